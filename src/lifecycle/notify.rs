//! What the service manager is told (sd_notify(3)): ready, reloading, stopping, and one line of status.
//!
//! Without NOTIFY_SOCKET in the environment nothing happens. A call may wait for a manager that does not read: keep it
//! off the threads that others wait for.

use sd_notify::NotifyState;

/// Serving; also the end of a reload, whatever came of it.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub(crate) fn reloading() {
    // Without the time of its clock the manager would take the READY of an earlier reload for the end of this one.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => {
            tracing::warn!(error = %error, "cannot read the clock for the service manager")
        }
    }
}

pub(crate) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = %error, "cannot reach the service manager (NOTIFY_SOCKET)");
    }
}
