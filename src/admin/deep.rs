//! `/readyz?deep`: whether a push destination was reached lately, by an exchange or by a probe.
//!
//! Asks nobody: it says what is known.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::Window;
use crate::exchange::DestinationName;
use crate::relay::Tunnels;
use crate::telemetry::reached::{By, Last};

/// Whether it is so, and the whole answer.
pub(super) fn look(window: &Window, now: Instant) -> (bool, String) {
    let (last, lately) = window.reached.view();
    let heard = heard(&window.tunnels, now);
    let ago = |at: Instant| now.saturating_duration_since(at);
    let latest = |last: &Last| {
        let tunnel = heard.get(&last.destination).map(|at| (*at, By::Exchange));
        last.at.into_iter().chain(tunnel).max_by_key(|(at, _)| *at)
    };
    let reached = last.iter().filter_map(&latest);
    let is_reached = last.is_empty() || reached.map(|(at, _)| ago(at)).any(|ago| ago <= lately);
    let is_draining = window.phase.is_draining();
    let destination = |last: &Last| -> Value {
        let latest = latest(last);
        json!({
            "destination": last.destination.as_str(),
            "reached_s_ago": latest.map(|(at, _)| ago(at).as_secs()),
            "by": latest.map(|(_, by)| by.word()),
        })
    };
    let is_ready = is_reached && !is_draining;
    let answer = json!({
        "ready": is_ready,
        "why": if is_draining {
            "draining"
        } else if last.is_empty() {
            "there is no push destination"
        } else if is_reached {
            "a push destination was reached lately"
        } else {
            "no push destination was reached lately: tidegate doctor says why"
        },
        "lately_s": lately.as_secs(),
        "push_destinations": last.iter().map(destination).collect::<Vec<_>>(),
    });
    (is_ready, format!("{answer:#}\n"))
}

/// When the tunnels that live now last had a byte from each destination.
fn heard(cores: &[Tunnels], now: Instant) -> HashMap<DestinationName, Instant> {
    let mut heard = HashMap::new();
    for tunnel in cores.iter().flat_map(Tunnels::snapshot) {
        if let Some(at) = tunnel.heard(now.into()) {
            let at = at.into_std();
            let latest = heard.entry(tunnel.destination().clone()).or_insert(at);
            *latest = at.max(*latest);
        }
    }
    heard
}
