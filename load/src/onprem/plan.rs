//! Who a server is, and how it behaves.

use std::time::Duration;

use super::AbsoluteForm;

/// Who a server is and where its cloud is.
#[derive(Debug, Clone)]
pub struct ServerPlan {
    /// Its name, part of its machine account.
    pub name: String,
    /// Push REST, `host:port`.
    pub push: String,
    /// Tokens, `host:port`.
    pub token: String,
    /// Onboarding, `host:port`.
    pub onboard: String,
    /// The certificates it trusts, PEM.
    pub roots_pem: String,
    /// How many tunnels to Push REST it keeps at most; with HTTP/2, how many pushes are under way in its one.
    pub tunnels: usize,
    /// HTTP/2 in its tunnels, where the cloud takes it.
    pub http2: bool,
    /// How long it waits for a confirmation.
    pub confirmation_wait: Duration,
    /// Which pushes go in absolute form instead of through a tunnel.
    pub absolute: AbsoluteForm,
}

impl ServerPlan {
    /// The usual names (`push.test`, `token.test`, `onboard.test`) on one port, four tunnels, HTTP/1.1, 5 s,
    /// nothing in absolute form.
    #[must_use]
    pub fn new(name: &str, port: u16, roots_pem: &str) -> Self {
        Self {
            name: name.to_owned(),
            push: format!("push.test:{port}"),
            token: format!("token.test:{port}"),
            onboard: format!("onboard.test:{port}"),
            roots_pem: roots_pem.to_owned(),
            tunnels: 4,
            http2: false,
            confirmation_wait: Duration::from_secs(5),
            absolute: AbsoluteForm {
                percent: 0,
                origins: Vec::new(),
            },
        }
    }
}
