//! The status of a running proxy as text for people: aligned, the first thing to know first.
//!
//! Pure.

use std::fmt::Write;

use super::habits;
use crate::lifecycle::orders::{ClientRow, Status, WouldRefuse};

pub(super) fn text(status: &Status) -> String {
    let Status {
        version,
        pid,
        uptime_s,
        phase,
        configuration,
        listeners,
        connections,
        tunnels,
        tunnels_by_destination,
        exchanges,
        memory_bytes,
        alarms,
        silenced_until,
        clients,
        habits,
        would_refuse,
    } = status;
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<15}{value}");
    };
    let since = age(*uptime_s);
    row(
        "tidegate",
        format!("{version}, pid {pid}, {phase}, up {since}"),
    );
    let path = configuration.path.as_deref().unwrap_or("(built in)");
    row("configuration", path.to_owned());
    row("  loaded", configuration.loaded_at.clone());
    row("  hash", configuration.hash.clone());
    for change in &configuration.needs_restart {
        row("  restart for", change.to_string());
    }
    for complaint in configuration
        .last_complaint
        .iter()
        .flat_map(|all| all.lines())
    {
        row("  COMPLAINT", complaint.to_owned());
    }
    for (name, address) in listeners {
        row("listener", format!("{name} {address}"));
    }
    if let Some(until) = silenced_until {
        row("SILENCE", format!("no alarm is delivered until {until}"));
    }
    for alarm in alarms {
        let subjects = alarm.subjects.join(", ");
        row(
            "ALARM",
            format!(
                "{} {} ({subjects}) since {}",
                alarm.severity, alarm.alarm, alarm.since
            ),
        );
    }
    row("connections", connections.to_string());
    row("tunnels", tunnels.to_string());
    for (destination, count) in tunnels_by_destination {
        row("", format!("{count:>8} {destination}"));
    }
    row("exchanges", exchanges.values().sum::<u64>().to_string());
    for (reason, count) in exchanges {
        row("", format!("{count:>8} {reason}"));
    }
    if let Some(bytes) = memory_bytes {
        row("memory", size(*bytes));
    }
    if let Some(clients) = clients {
        text += &client_table(clients);
    }
    if let Some(habits) = habits {
        text += &habits::text(habits);
    }
    if !would_refuse.is_empty() {
        text += &would_refuse_list(would_refuse);
    }
    text
}

fn client_table(clients: &[ClientRow]) -> String {
    let longest = clients.iter().map(|row| row.name.chars().count()).max();
    let width = longest.unwrap_or_default().max(6);
    let mut text = format!(
        "\n{:<8} {:<width$} {:>8} {:>11} {:>11}\n",
        "known by", "client", "tunnels", "up", "down"
    );
    for row in clients {
        let (up, down) = (size(row.bytes_up), size(row.bytes_down));
        let _ = writeln!(
            text,
            "{:<8} {:<width$} {:>8} {up:>11} {down:>11}",
            row.by, row.name, row.tunnels
        );
    }
    text
}

fn would_refuse_list(rows: &[WouldRefuse]) -> String {
    let mut text = String::from("\nWould have been refused, were it not only reported:\n");
    for row in rows {
        let _ = writeln!(
            text,
            "{:>8} times {} → {} ({}), {} to {}; {}",
            row.count,
            row.client,
            row.target,
            row.reason,
            row.first_seen,
            row.last_seen,
            match &row.limit {
                Some(limit) => format!("by the limit {limit}"),
                None if row.add.is_empty() => "the lines above allow it, too".to_owned(),
                None => "to allow it:".to_owned(),
            }
        );
        for line in row.add.lines() {
            let _ = writeln!(text, "             {line}");
        }
    }
    text
}

/// In the two largest units: `3d 4h`.
fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{value:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_top_to_bottom() {
        let json = r#"{"version":"0.1.0","pid":7,"uptime_s":93600,"phase":"serving",
            "configuration":{"path":"/etc/t.toml","hash":"abc","loaded_at":"2026-03-01T09:30:00.250Z",
              "last_complaint":"t.toml:3: log.level: bad (hint)","needs_restart":[{"key":"runtime.workers","what":"0 → 2"}]},
            "listeners":{"plain":"127.0.0.1:3128"},"connections":5,"tunnels":4,
            "tunnels_by_destination":{"cisco":4},"exchanges":{"finished":10,"idle":2},"memory_bytes":20971520,"silenced_until":"s",
            "alarms":[{"alarm":"TidegateReloadRefused","severity":"ERROR","since":"t","subjects":["configuration"]}],
            "clients":[{"by":"client","name":"cluster-1","tunnels":3,"bytes_up":2048,"bytes_down":5}],
            "would_refuse":[{"client":"10.0.0.1","target":"a.test:443","reason":"target_denied","count":3,
              "first_seen":"f","last_seen":"l","add":"[[destination]]\nname = \"a\""},
              {"client":"10.0.0.1","target":"a.test:1","reason":"target_denied","count":1,
              "first_seen":"f","last_seen":"l","add":""},
              {"client":"cluster-1","target":"a.test:443","reason":"rate_limited","limit":"per-cluster","count":1,
              "first_seen":"f","last_seen":"l","add":""}]}"#;
        let status: Status = serde_json::from_str(json).unwrap();
        assert_eq!(
            text(&status),
            "tidegate       0.1.0, pid 7, serving, up 1d 2h
configuration  /etc/t.toml
  loaded       2026-03-01T09:30:00.250Z
  hash         abc
  restart for  runtime.workers: 0 → 2
  COMPLAINT    t.toml:3: log.level: bad (hint)
listener       plain 127.0.0.1:3128
SILENCE        no alarm is delivered until s
ALARM          ERROR TidegateReloadRefused (configuration) since t
connections    5
tunnels        4
                      4 cisco
exchanges      12
                     10 finished
                      2 idle
memory         20.0 MiB

known by client     tunnels          up        down
client   cluster-1        3     2.0 KiB         5 B

Would have been refused, were it not only reported:
       3 times 10.0.0.1 → a.test:443 (target_denied), f to l; to allow it:
             [[destination]]
             name = \"a\"
       1 times 10.0.0.1 → a.test:1 (target_denied), f to l; the lines above allow it, too
       1 times cluster-1 → a.test:443 (rate_limited), f to l; by the limit per-cluster
"
        );
    }

    #[test]
    fn ages_and_sizes() {
        assert_eq!(
            [5, 65, 3_660, 90_000].map(age),
            ["5s", "1m 5s", "1h 1m", "1d 1h"]
        );
        assert_eq!(
            [0, 1_023, 1_024, 3 << 30].map(size),
            ["0 B", "1023 B", "1.0 KiB", "3.0 GiB"]
        );
    }
}
