//! The cloud's control endpoint: its state, and orders that change what an address does.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Behavior, Running};
use crate::control::{Asked, Control, Refusal, Said};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    behavior: String,
}

/// Lets this cloud be changed over HTTP: `GET /`, `PUT /addresses/IP`, `POST /addresses/IP/drop`.
pub async fn control(cloud: Arc<Running>, addr: SocketAddr) -> io::Result<Control> {
    Control::start(addr, move |asked| {
        let cloud = cloud.clone();
        async move { obey(&cloud, &asked).await }
    })
    .await
}

async fn obey(cloud: &Running, asked: &Asked) -> Said {
    match asked.parts() {
        ("GET", path) if path.is_empty() => {
            let states = (0..cloud.addrs().len()).map(|index| state(cloud, index));
            Ok(json!({
                "port": cloud.port(),
                "plain_port": cloud.plain_port(),
                "confirmed": cloud.confirmed(),
                "addresses": states.collect::<serde_json::Map<_, _>>(),
            }))
        }
        ("PUT", path) if path.len() == 2 && path[0] == "addresses" => {
            let index = index(cloud, path[1])?;
            let Order { behavior } = asked.read()?;
            let behavior: Behavior = behavior.parse().map_err(Refusal::Senseless)?;
            let reset = cloud.set(index, behavior).await.map_err(Refusal::Failed)?;
            Ok(changed(cloud, index, reset))
        }
        ("POST", path) if path.len() == 3 && path[0] == "addresses" && path[2] == "drop" => {
            let index = index(cloud, path[1])?;
            let reset = cloud.drop_connections(index).await;
            Ok(changed(cloud, index, reset.map_err(Refusal::Failed)?))
        }
        _ => Err(Refusal::nowhere(asked)),
    }
}

fn index(cloud: &Running, text: &str) -> Result<usize, Refusal> {
    let ip: Option<IpAddr> = text.parse().ok();
    let found = cloud.ips().iter().position(|own| Some(*own) == ip);
    found.ok_or_else(|| Refusal::Unknown(format!("{text} is no address of this cloud")))
}

fn state(cloud: &Running, index: usize) -> (String, Value) {
    let state = json!({
        "behavior": cloud.behavior(index).to_string(),
        "open": cloud.open(index),
        "accepted": cloud.accepted(index),
    });
    (cloud.addr(index).ip().to_string(), state)
}

/// The address as it is now, and how many of its connections that has reset.
fn changed(cloud: &Running, index: usize, reset: usize) -> Value {
    let (ip, state) = state(cloud, index);
    json!({ ip: state, "reset": reset })
}
