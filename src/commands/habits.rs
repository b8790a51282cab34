//! What each client really uses, as text for people and as a file for support.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::json;

use crate::lifecycle::orders::{Habits, Status};

/// One paragraph for each.
pub(super) fn text(all: &[Habits]) -> String {
    let mut text = String::new();
    for one in all {
        let name = one.client.as_deref().or(one.user.as_deref());
        let user = one.user.iter().map(|user| format!(", user {user}"));
        let user: String = user.collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\n{} at {} on {}{user}; {} to {}",
            name.unwrap_or("somebody"),
            one.address,
            one.listener,
            one.first_seen,
            one.last_seen
        );
        let mut row = |title: &str, words: String| {
            let _ = writeln!(text, "  {title:<10} {words}");
        };
        row(
            "requests",
            format!(
                "{} on {} connections; {} CONNECT, {} absolute-form; {} HTTP/1.0",
                one.requests, one.connections, one.connect, one.absolute_form, one.http_1_0
            ),
        );
        row("tls", list(&one.tls));
        row(
            "logins",
            format!("{}; {} called wrongly", list(&one.logins), one.mislabelled),
        );
        row(
            "407",
            format!(
                "{} answers; {} logins followed on the same connection, {} came first on theirs",
                one.answered_407, one.logins_behind_407, one.logins_first
            ),
        );
        row("nonces", nonces(one));
        if !one.sni.is_empty() {
            row("sni", list(&one.sni));
        }
        if !one.tunnels_ended.is_empty() {
            row("ended", list(&one.tunnels_ended));
        }
    }
    text
}

/// What the counts mean.
fn nonces(one: &Habits) -> String {
    let nonces = &one.nonces;
    let all = nonces.first_use + nonces.used_again + nonces.without_count;
    if all == 0 {
        return "none: no digests".to_owned();
    }
    let habit = if nonces.without_count == all {
        "never counts (no qop)"
    } else if nonces.not_rising > 0 {
        "repeats counts"
    } else if nonces.used_again == 0 {
        "takes a new nonce each time (nc=1)"
    } else if nonces.first_use == 0 {
        "keeps its nonce, and never begins at nc=1"
    } else {
        "keeps its nonce and counts up"
    };
    format!(
        "{habit}; {} first uses, {} further, {} not rising, highest nc {}",
        nonces.first_use, nonces.used_again, nonces.not_rising, nonces.highest_count
    )
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let items: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    items.join(", ")
}

/// Numbers for clients' names, users and addresses: the same one for the same, wherever it stands.
pub(super) fn anonymize(status: &mut Status) {
    let mut known: HashMap<(&str, String), usize> = HashMap::new();
    let mut number = |kind: &'static str, text: &mut String| {
        let next = known.len() + 1;
        let number = known.entry((kind, std::mem::take(text))).or_insert(next);
        *text = format!("{kind}-{number}");
    };
    for one in status.habits.iter_mut().flatten() {
        one.client
            .iter_mut()
            .for_each(|client| number("client", client));
        one.user.iter_mut().for_each(|user| number("user", user));
        number("address", &mut one.address);
    }
    for row in status.clients.iter_mut().flatten() {
        match row.by.as_str() {
            "client" => number("client", &mut row.name),
            "user" => number("user", &mut row.name),
            _ => number("address", &mut row.name),
        }
    }
    // They name clients and what they asked for.
    status.would_refuse.clear();
    status.alarms.clear();
}

/// A file that its owner alone may read.
pub(super) fn write(status: &Status, path: &Path) -> io::Result<()> {
    let text = json!({
        "tidegate": status.version,
        "uptime_s": status.uptime_s,
        "configuration": status.configuration.hash,
        "clients": status.habits,
    });
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    // The mode is for a file that is made; this one may have been there.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(format!("{text:#}\n").as_bytes())
}
