//! What an operator asks of the running program, who asked, and what is answered: the words of the control socket.
//!
//! Both ends take them from here. No secret is in any of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::config::diff::Change;

/// Where the control socket is looked for when nothing else is said.
pub(crate) const SOCKET: &str = "/run/tidegate/control.sock";

/// What changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Reload,
    Drain,
    Upload,
}

/// Who asked; every action is logged with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The signal's name.
    Signal(&'static str),
    /// A process at the control socket, as the kernel knows it.
    Process { uid: u32, pid: Option<i32> },
}

/// An order on its way to whoever carries it out.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) order: Order,
    pub(crate) by: By,
    /// Nobody may wait for it any more.
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// One line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Reloaded(Reloaded),
    Draining(Draining),
    Status(Box<Status>),
    Uploaded(Uploaded),
    Silence(Silence),
    Refused(Refused),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    /// SHA-256 of the file before and now.
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) applied: Vec<Change>,
    /// What keeps its old value until then.
    pub(crate) needs_restart: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Draining {
    pub(crate) tunnels: usize,
    pub(crate) tunnel_grace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Uploaded {
    /// How many were sent; 0: there were none, and nothing was sent.
    pub(crate) alarms: usize,
    /// Where to, without what nobody should see.
    pub(crate) to: String,
    pub(crate) took_ms: u64,
    /// What `alarms.upload` asks for.
    pub(crate) minimum_severity: String,
}

/// How deliveries of alarms stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Silence {
    /// Until when they are held back.
    pub(crate) until: Option<String>,
    /// How many alarms are active all the same.
    pub(crate) active: usize,
}

/// Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) why: String,
    /// Of a bad configuration, each as `tidegate check` prints it.
    #[serde(default)]
    pub(crate) complaints: Vec<String>,
    /// Of the file that was refused, where it could be read.
    #[serde(default)]
    pub(crate) hash: Option<String>,
}

/// What an operator wants in the first minute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_s: u64,
    /// `serving` or `draining`.
    pub(crate) phase: String,
    pub(crate) configuration: Configuration,
    pub(crate) listeners: BTreeMap<String, String>,
    pub(crate) connections: u64,
    pub(crate) tunnels: u64,
    pub(crate) tunnels_by_destination: BTreeMap<String, u64>,
    /// Ended so far, by reason.
    pub(crate) exchanges: BTreeMap<String, u64>,
    pub(crate) memory_bytes: Option<u64>,
    /// Active now; the worst first.
    #[serde(default)]
    pub(crate) alarms: Vec<ActiveAlarm>,
    /// Until when deliveries of alarms are held back.
    #[serde(default)]
    pub(crate) silenced_until: Option<String>,
    /// Only where they were asked for; those with the most tunnels first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) clients: Option<Vec<ClientRow>>,
    /// What each client really uses; only where clients were asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) habits: Option<Vec<Habits>>,
    /// What would have been refused if it were not only reported.
    pub(crate) would_refuse: Vec<WouldRefuse>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    /// `None`: the embedded default.
    pub(crate) path: Option<String>,
    pub(crate) hash: String,
    pub(crate) loaded_at: String,
    pub(crate) last_complaint: Option<String>,
    pub(crate) needs_restart: Vec<Change>,
}

/// An alarm that is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActiveAlarm {
    pub(crate) alarm: String,
    pub(crate) severity: String,
    pub(crate) since: String,
    pub(crate) subjects: Vec<String>,
}

/// A sender with live tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientRow {
    /// What it is known by: `client`, else `user`, else `address`.
    pub(crate) by: String,
    pub(crate) name: String,
    pub(crate) tunnels: u64,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WouldRefuse {
    pub(crate) client: String,
    pub(crate) target: String,
    pub(crate) reason: String,
    /// The `[[limit]]` that would have refused it, if it was one.
    #[serde(default)]
    pub(crate) limit: Option<String>,
    pub(crate) count: u64,
    pub(crate) first_seen: String,
    pub(crate) last_seen: String,
    /// The lines to add to the configuration, TOML; a limit has none.
    pub(crate) add: String,
}

/// What one client really uses, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Habits {
    /// The `[[client]]`, the user it logged in as last, and its address.
    pub(crate) client: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) address: String,
    pub(crate) listener: String,
    pub(crate) first_seen: String,
    pub(crate) last_seen: String,
    pub(crate) requests: u64,
    pub(crate) connections: u64,
    pub(crate) connect: u64,
    pub(crate) absolute_form: u64,
    pub(crate) http_1_0: u64,
    /// Connections by the version of their TLS; `none` without.
    pub(crate) tls: BTreeMap<String, u64>,
    /// Requests by what they logged in with; `none` without.
    pub(crate) logins: BTreeMap<String, u64>,
    /// Digests called something else than they were.
    pub(crate) mislabelled: u64,
    pub(crate) answered_407: u64,
    /// Logins right behind a 407 on its connection, and first on a connection.
    pub(crate) logins_behind_407: u64,
    pub(crate) logins_first: u64,
    pub(crate) nonces: Nonces,
    /// Server names in TLS hellos inside its tunnels, where those are looked at.
    pub(crate) sni: BTreeMap<String, u64>,
    /// How its tunnels ended: `reason by side`.
    pub(crate) tunnels_ended: BTreeMap<String, u64>,
}

/// Digests by their nonce count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nonces {
    pub(crate) first_use: u64,
    pub(crate) used_again: u64,
    /// The same nonce as before, with a count that is no higher.
    pub(crate) not_rising: u64,
    pub(crate) without_count: u64,
    pub(crate) highest_count: u32,
}

impl Refused {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            complaints: Vec::new(),
            hash: None,
        }
    }
}

impl By {
    pub(crate) fn uid(self) -> Option<u32> {
        match self {
            Self::Signal(_) => None,
            Self::Process { uid, .. } => Some(uid),
        }
    }

    pub(crate) fn pid(self) -> Option<i32> {
        match self {
            Self::Signal(_) => None,
            Self::Process { pid, .. } => pid,
        }
    }
}

/// By which way the order came.
impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => f.write_str(name),
            Self::Process { .. } => f.write_str("control_socket"),
        }
    }
}
