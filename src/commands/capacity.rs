//! `tidegate capacity`: from users, calls and messages to what the proxy has to carry, and the limits that fit.
//!
//! Reads what was said and writes what follows; the arithmetic is in `sizing.rs`. Looks at no configuration and no
//! machine, so that it can be asked before there is either.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::sizing::{self, Demand, Limit, Sizing};
use crate::config::Bytes;

const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// `tidegate capacity [--users N] …`
#[derive(Debug, Args)]
pub struct Capacity {
    /// Users whose devices are pushed to [default: 10000]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number::<1, 100_000_000>)]
    users: Option<u64>,
    /// Push devices of one user, on average [default: 1.5]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = decimal::<100>)]
    devices: Option<f64>,
    /// Calls to one user in the busy hour [default: 4]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = decimal_or_none::<10_000>)]
    calls: Option<f64>,
    /// Messages to one user in the busy hour [default: 20]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = decimal_or_none::<100_000>)]
    messages: Option<f64>,
    /// The share of devices that are in background when a message comes, 0 to 1 [default: 0.8]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = decimal_or_none::<1>)]
    background: Option<f64>,
    /// How many times the hour's mean its busiest minute has [default: 3]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true, value_parser = factor)]
    peak: Option<f64>,
    /// Clusters that share the proxy, each a [[client]] [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number::<1, 10_000>)]
    clusters: Option<u64>,
    /// Nodes that send pushes, of all clusters together [default: 4]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number::<1, 10_000>)]
    nodes: Option<u64>,
    /// Connection pools of one node: one to Push REST, which alone carries pushes, and to the token host [default: 2]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number::<1, 1_000>)]
    pools: Option<u64>,
    /// Connections of one pool [default: 20]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number::<1, 100_000>)]
    connections: Option<u64>,
    /// Seconds from a push to its answer, while its connection is busy [default: 0.3]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = decimal::<60>)]
    answer: Option<f64>,
    /// Users who sign in elsewhere when a node fails [default: half of the users, 7500 at most]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number::<1, 100_000_000>)]
    moving: Option<u64>,
    /// Lower limit of the clients' re-login timer, in seconds [default: 200]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = number::<0, 1_000_000>)]
    relogin_lower: Option<u64>,
    /// Upper limit of the clients' re-login timer, in seconds [default: 2075]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = number::<1, 1_000_000>)]
    relogin_upper: Option<u64>,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
}

impl Capacity {
    /// What follows goes to `out`, what is absurd to `err`; the result is the exit code.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
        let demand = self.demand();
        let sizing = match sizing::size(&demand) {
            Ok(sizing) => sizing,
            Err(absurd) => {
                // Where nobody reads what is wrong, the exit code still says it.
                let _ = writeln!(err, "error: {absurd}");
                return WRONG_USAGE;
            }
        };
        let rows = self.rows(&demand);
        let said = if self.json {
            format!("{:#}\n", object(&rows, &demand, &sizing))
        } else {
            text(&rows, &demand, &sizing)
        };
        match out.write_all(said.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => DONE,
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
            Err(_) => FAILED,
        }
    }

    fn demand(&self) -> Demand {
        let users = self.users.unwrap_or(10_000);
        Demand {
            users,
            devices: self.devices.unwrap_or(1.5),
            calls: self.calls.unwrap_or(4.0),
            messages: self.messages.unwrap_or(20.0),
            background: self.background.unwrap_or(0.8),
            peak: self.peak.unwrap_or(3.0),
            clusters: self.clusters.unwrap_or(1),
            nodes: self.nodes.unwrap_or(4),
            pools: self.pools.unwrap_or(2),
            connections: self.connections.unwrap_or(20),
            answer: self.answer.unwrap_or(0.3),
            moving: self.moving.unwrap_or_else(|| sizing::moving(users)),
            lower: self.relogin_lower.unwrap_or(200),
            upper: self.relogin_upper.unwrap_or(2_075),
        }
    }

    /// Everything that is assumed, in the order of the options.
    #[rustfmt::skip]
    fn rows(&self, demand: &Demand) -> [Assumed; 14] {
        let row = |name, what, value, said| Assumed { name, what, value, said };
        [
            row("users", "users", json!(demand.users), self.users.is_some()),
            row("devices", "push devices of one user", json!(demand.devices), self.devices.is_some()),
            row("calls", "calls to one user in the busy hour", json!(demand.calls), self.calls.is_some()),
            row("messages", "messages to one user in the busy hour", json!(demand.messages), self.messages.is_some()),
            row("background", "share of devices in background", json!(demand.background), self.background.is_some()),
            row("peak", "busiest minute, times the hour's mean", json!(demand.peak), self.peak.is_some()),
            row("clusters", "clusters that share the proxy", json!(demand.clusters), self.clusters.is_some()),
            row("nodes", "nodes that send pushes", json!(demand.nodes), self.nodes.is_some()),
            row("pools", "connection pools of one node", json!(demand.pools), self.pools.is_some()),
            row("connections", "connections of one pool", json!(demand.connections), self.connections.is_some()),
            row("answer", "seconds from a push to its answer", json!(demand.answer), self.answer.is_some()),
            row("moving", "users who move when a node fails", json!(demand.moving), self.moving.is_some()),
            row("relogin-lower", "re-login timer, lower limit, s", json!(demand.lower), self.relogin_lower.is_some()),
            row("relogin-upper", "re-login timer, upper limit, s", json!(demand.upper), self.relogin_upper.is_some()),
        ]
    }
}

#[derive(Debug)]
struct Assumed {
    /// Of the option, without its dashes.
    name: &'static str,
    what: &'static str,
    value: Value,
    /// Else it is a default.
    said: bool,
}

/// What a person should think about.
fn warnings(demand: &Demand, sizing: &Sizing) -> Vec<String> {
    let mut warnings = Vec::new();
    if sizing.relogins > sizing::RELOGIN_LIMIT {
        warnings.push(format!(
            "{:.1} users a second sign in again after a failover, and the servers bear {}: raise the upper limit of the \
             re-login timer to {} s",
            sizing.relogins,
            sizing::RELOGIN_LIMIT,
            sizing::upper_for(demand.moving, demand.lower),
        ));
    }
    if sizing.busy > sizing.pushing {
        warnings.push(format!(
            "in the busiest minute {} connections are busy with pushes at a time, and the pools to Push REST have {}: \
             pushes wait at the servers",
            sizing.busy, sizing.pushing,
        ));
    }
    if sizing.descriptors > sizing::NR_OPEN {
        warnings.push(format!(
            "{} file descriptors are more than Linux gives one process: raise fs.nr_open (usually {}) with sysctl before \
             LimitNOFILE=, or the service does not start; or share the nodes out among several proxies",
            sizing.descriptors,
            sizing::NR_OPEN,
        ));
    }
    warnings
}

/// Lines that `tidegate check` takes.
fn limits(sizing: &Sizing) -> String {
    let limit = |name: &str, per: &str, limit: Limit| {
        let Limit {
            rate,
            burst,
            tunnels,
        } = limit;
        format!(
            "[[limit]]\nname = \"{name}\"\nper = \"{per}\"\nrate = \"{rate}/s\"\nburst = {burst}\ntunnels = {tunnels}\n"
        )
    };
    [
        limit("per-cluster", "client", sizing.per_cluster),
        limit("together", "all", sizing.together),
    ]
    .join("\n")
}

fn text(rows: &[Assumed], demand: &Demand, sizing: &Sizing) -> String {
    let mut text = String::from("Assumed\n");
    for Assumed {
        name,
        what,
        value,
        said,
    } in rows
    {
        let option = format!("--{name}{}", if *said { "" } else { " (default)" });
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {what:<40} {:>10}  {option}", value.to_string());
    }
    let mut line = |what: &str, value: String, remark: &str| {
        let line = if value.is_empty() {
            format!("\n{what}")
        } else {
            format!("  {what:<40} {value:>10}  {remark}")
        };
        let _ = writeln!(text, "{}", line.trim_end());
    };
    let rate = |per_second: f64| format!("{per_second:.1}");
    let size = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    line("Transactions a second", String::new(), "");
    line(
        "calls, mean of the busy hour",
        rate(sizing.calls),
        "every push device, in foreground too",
    );
    line(
        "messages, mean of the busy hour",
        rate(sizing.messages),
        "devices in background",
    );
    line("together", rate(sizing.mean), "");
    line("busiest minute", rate(sizing.peak), "");
    line(
        "users who sign in again after a failover",
        rate(sizing.relogins),
        &format!(
            "{} / ({} - {}), {} at most",
            demand.moving,
            demand.upper,
            demand.lower,
            sizing::RELOGIN_LIMIT
        ),
    );
    line(
        "busiest minute with such a storm",
        rate(sizing.storm),
        "a push for each of their devices",
    );
    line("The proxy", String::new(), "");
    line(
        "tunnels",
        sizing.tunnels.to_string(),
        "nodes × pools × connections",
    );
    line(
        "of them for pushes",
        sizing.pushing.to_string(),
        "nodes × connections: one pool of a node goes to Push REST",
    );
    line(
        "busy with pushes in the busiest minute",
        sizing.busy.to_string(),
        "transactions × seconds to the answer",
    );
    line(
        "tunnels at worst",
        sizing.together.tunnels.to_string(),
        "those that died unnoticed beside their successors",
    );
    line(
        "file descriptors",
        sizing.descriptors.to_string(),
        "for the latter: LimitNOFILE=, ulimit -Hn",
    );
    line(
        "memory, plain listener",
        size(sizing.plain_bytes),
        &per_tunnel(sizing::PLAIN_TUNNEL_BYTES),
    );
    line(
        "memory, TLS listener",
        size(sizing.tls_bytes),
        &per_tunnel(sizing::TLS_TUNNEL_BYTES),
    );
    line(
        "cores",
        format!("{:.3}", sizing.cores),
        &format!(
            "the storm, {} µs a CONNECT, each push its own",
            sizing::CPU_MICROSECONDS
        ),
    );
    let _ = writeln!(
        text,
        "\nSuggested limits, {} times the storm; a cluster is a [[client]], else each user or address has its own\n",
        sizing::MARGIN
    );
    text.push_str(&limits(sizing));
    for warning in warnings(demand, sizing) {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}

fn per_tunnel(bytes: u64) -> String {
    format!(
        "{bytes} bytes a tunnel, {} of the kernel's, {} without any",
        sizing::KERNEL_TUNNEL_BYTES,
        Bytes(sizing::BASE_BYTES)
    )
}

fn object(rows: &[Assumed], demand: &Demand, sizing: &Sizing) -> Value {
    let assumed = rows.iter().map(|row| {
        let value = json!({ "value": row.value, "default": !row.said, "what": row.what });
        (row.name.replace('-', "_"), value)
    });
    let limit = |limit: Limit| json!({ "rate": limit.rate, "burst": limit.burst, "tunnels": limit.tunnels });
    json!({
        "assumed": assumed.collect::<serde_json::Map<_, _>>(),
        "transactions_per_second": {
            "calls": sizing.calls,
            "messages": sizing.messages,
            "mean": sizing.mean,
            "peak_minute": sizing.peak,
            "storm": sizing.storm,
        },
        "relogins_per_second": sizing.relogins,
        "tunnels": sizing.tunnels,
        "tunnels_at_worst": sizing.together.tunnels,
        "push_connections": sizing.pushing,
        "busy_connections": sizing.busy,
        "file_descriptors": sizing.descriptors,
        "memory_bytes": { "plain": sizing.plain_bytes, "tls": sizing.tls_bytes },
        "cores": sizing.cores,
        "limits": { "per_cluster": limit(sizing.per_cluster), "together": limit(sizing.together) },
        "limits_toml": limits(sizing),
        "warnings": warnings(demand, sizing),
    })
}

/// A whole number within its bounds.
fn number<const LEAST: u64, const MOST: u64>(text: &str) -> Result<u64, String> {
    match u64::from_str(text) {
        Ok(number) if (LEAST..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from {LEAST} to {MOST}")),
    }
}

/// A number above 0, with a fraction if need be.
fn decimal<const MOST: u32>(text: &str) -> Result<f64, String> {
    match finite(text) {
        Some(number) if number >= 0.01 && number <= f64::from(MOST) => Ok(number),
        _ => Err(format!("must be a number from 0.01 to {MOST}")),
    }
}

/// The same, where none at all makes sense.
fn decimal_or_none<const MOST: u32>(text: &str) -> Result<f64, String> {
    match finite(text) {
        Some(number) if number >= 0.0 && number <= f64::from(MOST) => Ok(number),
        _ => Err(format!("must be a number from 0 to {MOST}")),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    match finite(text) {
        Some(number) if (1.0..=60.0).contains(&number) => Ok(number),
        _ => Err(String::from(
            "must be a number from 1 to 60: the busiest minute has at least the mean, and at most the whole hour",
        )),
    }
}

fn finite(text: &str) -> Option<f64> {
    f64::from_str(text).ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests;
