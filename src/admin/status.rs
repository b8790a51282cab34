//! What `tidegate status` is told, put together from what the window sees.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::task;
use tokio::time::Instant;

use super::{Loaded, Window, alarms};
use crate::lifecycle::orders::{
    Answer, ClientRow, Configuration, Habits, Nonces, Refused, Status, WouldRefuse,
};
use crate::policy;
use crate::relay::{LiveTunnel, Tunnels};
use crate::telemetry::habits::{Habit, Who};
use crate::telemetry::summary::Summary;
use crate::telemetry::{Meters, Moment, Timestamp};

/// Senders that are listed; the others are many, and small.
const CLIENTS_MAX: usize = 1_000;

/// With a row for each sender if `clients`.
pub(super) async fn answer(window: &Arc<Window>, clients: bool) -> Answer {
    let window = Arc::clone(window);
    // Names are resolved on this thread, too; they should not wait for a hundred thousand tunnels to be counted.
    match task::spawn_blocking(move || look(&window, clients)).await {
        Ok(status) => Answer::Status(Box::new(status)),
        Err(_) => Answer::Refused(Refused::because("internal")),
    }
}

fn look(window: &Window, clients: bool) -> Status {
    let Summary {
        connections,
        exchanges,
    } = Summary::of(&Meters::render(&window.meters));
    let tunnels: Vec<_> = window.tunnels.iter().flat_map(Tunnels::snapshot).collect();
    let mut tunnels_by_destination = BTreeMap::new();
    for tunnel in &tunnels {
        let destination = tunnel.destination().to_string();
        *tunnels_by_destination.entry(destination).or_default() += 1;
    }
    let loaded = window.loaded.borrow().clone();
    let listeners = loaded.listeners.iter();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_s: Instant::now()
            .saturating_duration_since(window.started)
            .as_secs(),
        phase: String::from(if window.phase.is_draining() {
            "draining"
        } else {
            "serving"
        }),
        listeners: listeners
            .map(|(name, address)| (name.to_string(), address.to_string()))
            .collect(),
        configuration: configuration(loaded),
        connections,
        tunnels: tunnels.len() as u64,
        tunnels_by_destination,
        exchanges,
        memory_bytes: memory(),
        alarms: alarms::active(&window.alarms),
        silenced_until: alarms::silenced_until(&window.alarms, Moment::now()),
        clients: clients.then(|| senders(&tunnels)),
        habits: clients.then(|| window.habits().into_iter().map(habits).collect()),
        would_refuse: window
            .reports
            .rows()
            .into_iter()
            .map(would_refuse)
            .collect(),
    }
}

fn configuration(loaded: Loaded) -> Configuration {
    Configuration {
        path: loaded
            .path
            .as_deref()
            .map(Path::to_string_lossy)
            .map(Into::into),
        hash: loaded.hash,
        loaded_at: Timestamp(loaded.loaded_at).to_string(),
        last_complaint: loaded.last_complaint,
        needs_restart: loaded.needs_restart,
    }
}

fn would_refuse(row: policy::WouldRefuse) -> WouldRefuse {
    let policy::WouldRefuse { passed, latest, .. } = row;
    let client = match (passed.client, latest.user) {
        (Some(client), _) => client.to_string(),
        (None, Some(user)) => user.to_string(),
        (None, None) => latest.address.to_string(),
    };
    WouldRefuse {
        client,
        target: passed.target.to_string(),
        reason: passed.reason.token().to_owned(),
        limit: passed.limit.map(|limit| limit.to_string()),
        count: row.count,
        first_seen: Timestamp(row.first_seen).to_string(),
        last_seen: Timestamp(row.last_seen).to_string(),
        add: row.lines_to_add,
    }
}

fn habits((who, habit): (Who, Habit)) -> Habits {
    let words = |counts: BTreeMap<&'static str, u64>| {
        let owned = counts
            .into_iter()
            .map(|(word, count)| (word.to_owned(), count));
        owned.collect()
    };
    Habits {
        client: habit.sender.map(|sender| sender.to_string()),
        user: habit.user.map(|user| user.to_string()),
        address: who.address.to_string(),
        listener: who.listener.to_string(),
        first_seen: Timestamp(habit.first_seen).to_string(),
        last_seen: Timestamp(habit.last_seen).to_string(),
        requests: habit.requests,
        connections: habit.connections,
        connect: habit.tunnels,
        absolute_form: habit.forwards,
        http_1_0: habit.http10,
        tls: words(habit.tls),
        logins: words(habit.logins),
        mislabelled: habit.mislabelled,
        answered_407: habit.challenged,
        logins_behind_407: habit.answered_here,
        logins_first: habit.answered_anew,
        nonces: Nonces {
            first_use: habit.nonces.first,
            used_again: habit.nonces.again,
            not_rising: habit.nonces.not_rising,
            without_count: habit.nonces.uncounted,
            highest_count: habit.nonces.highest,
        },
        sni: habit
            .names
            .into_iter()
            .map(|(name, count)| (name.into(), count))
            .collect(),
        tunnels_ended: habit
            .endings
            .into_iter()
            .map(|((reason, by), count)| (format!("{reason} by {by}"), count))
            .collect(),
    }
}

fn senders(tunnels: &[Arc<LiveTunnel>]) -> Vec<ClientRow> {
    let mut rows: HashMap<(&str, String), ClientRow> = HashMap::new();
    for tunnel in tunnels {
        let (by, name) = match (&tunnel.sender, &tunnel.user) {
            (Some(client), _) => ("client", client.to_string()),
            (None, Some(user)) => ("user", user.to_string()),
            (None, None) => ("address", tunnel.client.0.ip().to_canonical().to_string()),
        };
        let row = rows.entry((by, name.clone())).or_insert_with(|| ClientRow {
            by: by.to_owned(),
            name,
            tunnels: 0,
            bytes_up: 0,
            bytes_down: 0,
        });
        row.tunnels += 1;
        row.bytes_up += tunnel.traffic.up();
        row.bytes_down += tunnel.traffic.down();
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by(|a, b| (b.tunnels, &a.name).cmp(&(a.tunnels, &b.name)));
    rows.truncate(CLIENTS_MAX);
    rows
}

/// Resident memory, as the kernel counts it.
pub(super) fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
