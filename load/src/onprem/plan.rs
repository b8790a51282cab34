//! Who a server is, and how it behaves.

use std::sync::Arc;
use std::time::Duration;

use super::ask::AccessToken;
use super::books::Who;
use super::{AbsoluteForm, Books, ServerError};
use crate::guide::{Component, Moment};

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
    /// Which part of a cluster it plays: whose counters it moves, and whose alarms it raises.
    pub component: Component,
    /// Where these stand; several servers may share them.
    pub books: Arc<Books>,
}

impl ServerPlan {
    /// The usual names (`push.test`, `token.test`, `onboard.test`) on one port, four tunnels, HTTP/1.1, 5 s,
    /// nothing in absolute form, a CallManager with books of its own.
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
            component: Component::CallManager,
            books: Arc::default(),
        }
    }

    pub(super) fn who(&self) -> Who<'_> {
        Who {
            component: self.component,
            server: &self.name,
        }
    }

    /// It was needed, and fetched or not.
    pub(super) fn note_token(&self, fetched: &Result<AccessToken, ServerError>) {
        let problem = fetched.as_ref().err();
        self.books.token(self.who(), problem, Moment::now());
    }
}

/// What a push says of itself beside its payload, which only its device can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushLabel {
    /// The subscriber service, as the deployment guide spells it: `APNS`, `APNS:beta`, `FCM`.
    pub service: &'static str,
    /// `voip`, `message`, `missedCall`, `sharedCancel`, `customRegion`.
    pub kind: &'static str,
}

impl PushLabel {
    /// A fleet's mix: mostly calls and messages to Apple's devices, some to Google's, and now and then what the custom
    /// region has instead of calls.
    pub const MIX: [Self; 8] = [
        Self::new("APNS", "voip"),
        Self::new("APNS", "message"),
        Self::new("FCM", "voip"),
        Self::new("APNS:beta", "voip"),
        Self::new("APNS", "customRegion"),
        Self::new("FCM", "message"),
        Self::new("APNS", "missedCall"),
        Self::new("APNS", "sharedCancel"),
    ];

    const fn new(service: &'static str, kind: &'static str) -> Self {
        Self { service, kind }
    }
}

/// A call to a device of Apple's.
impl Default for PushLabel {
    fn default() -> Self {
        Self::MIX[0]
    }
}
