//! What a server asks for beside pushes: a tunnel with TLS in it, an account, an access token.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use super::connection::{Answered, Connection, Post};
use super::{ProxyClient, ServerError};

const ONBOARD_PATH: &str = "/onboarding/v1/machine-accounts";
const TOKEN_PATH: &str = "/token/v1/access-tokens";
/// TLS in a new tunnel is waited for so long.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// An account or a token is waited for so long.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct AccessToken {
    pub(super) text: String,
    pub(super) good_until: Instant,
}

/// A machine account; its refresh token.
pub(super) async fn onboard(
    proxy: &ProxyClient,
    tls: &TlsConnector,
    target: &str,
    name: &str,
) -> Result<String, ServerError> {
    let reply = ask_once(proxy, tls, target, ONBOARD_PATH, &json!({ "name": name })).await?;
    Ok(text(&reply, "refreshToken"))
}

pub(super) async fn fetch_token(
    proxy: &ProxyClient,
    tls: &TlsConnector,
    target: &str,
    refresh_token: &str,
) -> Result<AccessToken, ServerError> {
    let body = json!({ "refreshToken": refresh_token });
    let reply = ask_once(proxy, tls, target, TOKEN_PATH, &body).await?;
    let lifetime = reply["expiresIn"].as_f64().unwrap_or(0.0).clamp(0.0, 1e6);
    Ok(AccessToken {
        text: text(&reply, "accessToken"),
        good_until: Instant::now() + Duration::from_secs_f64(lifetime),
    })
}

/// A connection that breaks before it stands is tried once more: nothing has been sent on it.
pub(super) async fn open(
    proxy: &ProxyClient,
    via: usize,
    tls: &TlsConnector,
    target: &str,
) -> Result<Connection, ServerError> {
    match open_once(proxy, via, tls, target).await {
        Err(ServerError::Tls { source, .. }) if source.kind() != io::ErrorKind::TimedOut => {
            open_once(proxy, via, tls, target).await
        }
        result => result,
    }
}

async fn open_once(
    proxy: &ProxyClient,
    via: usize,
    tls: &TlsConnector,
    target: &str,
) -> Result<Connection, ServerError> {
    let (tunnel, via) =
        proxy
            .connect_from(via, target)
            .await
            .map_err(|source| ServerError::Connect {
                target: target.to_owned(),
                source,
            })?;
    let standing = Connection::over(tunnel, via, target, tls);
    tokio::time::timeout(HANDSHAKE_WAIT, standing)
        .await
        .unwrap_or_else(|late| Err(late.into()))
        .map_err(|source| ServerError::Tls {
            target: target.to_owned(),
            source,
        })
}

/// One request on a connection of its own.
async fn ask_once(
    proxy: &ProxyClient,
    tls: &TlsConnector,
    target: &str,
    path: &str,
    body: &Value,
) -> Result<Value, ServerError> {
    let mut connection = open(proxy, 0, tls, target).await?;
    let post = Post {
        uri: path,
        host: target,
        bearer: None,
        credentials: None,
        body,
    };
    let reply = tokio::time::timeout(ANSWER_WAIT, connection.post(&post)).await;
    let target = target.to_owned();
    let result = match reply {
        Ok(Ok(reply)) if reply.status.is_success() => Ok(reply.body),
        Ok(Ok(Answered { status, .. })) => Err(ServerError::Answer { target, status }),
        Ok(Err(_)) => Err(ServerError::Broke { target }),
        Err(_) => {
            connection.abandon();
            return Err(ServerError::Silence { target });
        }
    };
    connection.close().await;
    result
}

fn text(reply: &Value, name: &str) -> String {
    reply[name].as_str().unwrap_or_default().to_owned()
}
