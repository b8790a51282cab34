//! How many connections and tunnels the descriptors allow.

use crate::config;
use crate::listen::permits;

/// How many connections and tunnels there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) connections: usize,
    pub(super) tunnels: usize,
    pub(super) held_refusals: usize,
}

impl Room {
    /// What the descriptors allow: two a tunnel, less a reserve for connections that are being refused, sockets that are
    /// still being tried, logs, listeners and the admin endpoint.
    ///
    /// `idle` connections to origins are kept beside them.
    pub(super) fn new(intake: &config::Intake, idle: u64, descriptors: u64) -> Self {
        let reserve = 2 * permits::REFUSALS as u64 + 64 + descriptors / 16 + idle;
        let allowed = usize::try_from(descriptors.saturating_sub(reserve) / 2)
            .unwrap_or(usize::MAX / 2)
            .max(1);
        let or_allowed = |configured: u32| {
            if configured == 0 {
                allowed
            } else {
                configured as usize
            }
        };
        let connections = or_allowed(intake.connections);
        Self {
            connections,
            tunnels: or_allowed(intake.tunnels),
            // Most of the connections are for those that are not refused.
            held_refusals: match intake.held_refusals {
                0 => connections / 4,
                configured => configured as usize,
            },
        }
    }

    pub(super) fn tell(self, intake: &config::Intake, descriptors: u64) {
        const FEW: u64 = 4096;
        let needed = 64 + 2 * self.connections.max(self.tunnels) as u64;
        if (intake.connections > 0 || intake.tunnels > 0) && needed > descriptors {
            tracing::warn!(
                descriptors,
                needed,
                "the descriptor limit is too low for [intake]: raise the hard limit (LimitNOFILE=, ulimit -Hn)"
            );
        } else if descriptors < FEW {
            tracing::warn!(
                descriptors,
                connections = self.connections,
                "the descriptor limit is low: raise the hard limit (LimitNOFILE=, ulimit -Hn)"
            );
        }
    }
}

/// Raises the soft limit of open descriptors to the hard one, and says what it is now.
pub(super) fn descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    match raised {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(error = %error, "cannot raise the descriptor limit");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}
