//! The name server's control endpoint: its state, and orders that change it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::zone::{Entry, Zone};
use super::{Failure, Kind, Running};
use crate::control::{Asked, Control, Refusal, Said};

/// Longer is silence.
const DELAY_MAX_MS: u64 = 600_000;

/// What is left out stays as it was.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    addresses: Option<Vec<IpAddr>>,
    turns: Option<Vec<Vec<IpAddr>>>,
    /// Of both kinds.
    behavior: Option<String>,
    a: Option<String>,
    aaaa: Option<String>,
    delay_ms: Option<u64>,
}

/// Lets this server be changed over HTTP: `GET /`, `PUT /names/NAME`, `DELETE /names/NAME`, `PUT /server`.
pub async fn control(names: Arc<Running>, addr: SocketAddr) -> io::Result<Control> {
    Control::start(addr, move |asked| {
        let said = obey(&names, &asked);
        async move { said }
    })
    .await
}

fn obey(names: &Running, asked: &Asked) -> Said {
    let mut zone = names.zone();
    match asked.parts() {
        ("GET", path) if path.is_empty() => {}
        ("PUT", path) if path == ["server"] => {
            let order: Order = asked.read()?;
            let [behavior, a, aaaa] = order.failures()?;
            if order.addresses.is_some() || order.turns.is_some() || a.or(aaaa).is_some() {
                return Err(Refusal::Senseless(
                    "a server has a behavior and a delay_ms only".into(),
                ));
            }
            if let Some(failure) = behavior {
                zone.fail_all(failure);
            }
            if let Some(delay) = order.delay()? {
                zone.delay_all(delay);
            }
        }
        ("PUT", path) if path.len() == 2 && path[0] == "names" => {
            let order: Order = asked.read()?;
            let ([both, a, aaaa], delay) = (order.failures()?, order.delay()?);
            let name = path[1];
            match (order.addresses, order.turns) {
                (Some(_), Some(_)) => {
                    return Err(Refusal::Senseless("addresses or turns, not both".into()));
                }
                (Some(addresses), None) => zone.set(name, addresses),
                (None, Some(turns)) => zone.take_turns(name, turns),
                (None, None) if zone.knows(name) => {}
                (None, None) => {
                    return Err(Refusal::Unknown(format!(
                        "{name} has no addresses yet: give it some"
                    )));
                }
            }
            for (kind, failure) in [(Kind::A, a.or(both)), (Kind::Aaaa, aaaa.or(both))] {
                if let Some(failure) = failure {
                    zone.fail(name, kind, failure);
                }
            }
            if let Some(delay) = delay {
                zone.delay(name, delay);
            }
        }
        ("DELETE", path) if path.len() == 2 && path[0] == "names" => zone.remove(path[1]),
        _ => return Err(Refusal::nowhere(asked)),
    }
    Ok(state(names.addr(), &zone))
}

impl Order {
    /// For both kinds, for A, for AAAA; where one is named, `None` inside is health.
    #[expect(
        clippy::option_option,
        reason = "nothing was said, or health was said: two things"
    )]
    fn failures(&self) -> Result<[Option<Option<Failure>>; 3], Refusal> {
        let read = |word: &Option<String>| match word.as_deref() {
            None => Ok(None),
            Some("ok") => Ok(Some(None)),
            Some(word) => match word.parse() {
                Ok(failure) => Ok(Some(Some(failure))),
                Err(problem) => Err(Refusal::Senseless(format!("{problem}, nor ok"))),
            },
        };
        Ok([read(&self.behavior)?, read(&self.a)?, read(&self.aaaa)?])
    }

    fn delay(&self) -> Result<Option<Duration>, Refusal> {
        match self.delay_ms {
            Some(ms) if ms > DELAY_MAX_MS => Err(Refusal::Senseless(format!(
                "delay_ms is at most {DELAY_MAX_MS}"
            ))),
            ms => Ok(ms.map(Duration::from_millis)),
        }
    }
}

fn state(addr: SocketAddr, zone: &Zone) -> Value {
    let word =
        |failure: Option<Failure>| failure.map_or_else(|| "ok".to_owned(), |f| f.to_string());
    let (failure, delay) = zone.of_all();
    let one = |name: &str, entry: &Entry| {
        let queries = |kind| zone.queries(name, kind);
        json!({
            "turns": entry.turns,
            "a": word(entry.a),
            "aaaa": word(entry.aaaa),
            "delay_ms": millis(entry.delay),
            "queries": { "a": queries(Kind::A), "aaaa": queries(Kind::Aaaa) },
        })
    };
    let names = zone
        .names()
        .map(|(name, entry)| (name.to_owned(), one(name, entry)));
    json!({
        "address": addr,
        "behavior": word(failure),
        "delay_ms": millis(delay),
        "names": names.collect::<serde_json::Map<_, _>>(),
    })
}

fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}
