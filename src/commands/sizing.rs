//! How much traffic users make, and what a proxy needs to carry it.
//!
//! Pure arithmetic over what was assumed: asks neither the clock nor the machine, so that it can speak of another one.

use std::fmt;

/// Users a second that may sign in again after a failover.
pub(super) const RELOGIN_LIMIT: f64 = 4.0;
/// A pair of chat nodes serves 15,000 users, so one that fails moves half of them.
pub(super) const MOVING_AT_MOST: u64 = 7_500;
/// Measured by `tidegate-load bench`: memory of the process for one idle tunnel, and CPU for one CONNECT as one would
/// run it (digest, access log, target by name).
pub(super) const PLAIN_TUNNEL_BYTES: u64 = 2_004;
pub(super) const TLS_TUNNEL_BYTES: u64 = 9_918;
pub(super) const CPU_MICROSECONDS: f64 = 85.6;
/// Two sockets in the kernel, their buffers empty.
pub(super) const KERNEL_TUNNEL_BYTES: u64 = 8_192;
/// The program without a tunnel: caches, memories of nonces and addresses, the log's queue.
pub(super) const BASE_BYTES: u64 = 64 << 20;
/// Suggested limits are this many times what is expected: they are for storms, not for a good day.
pub(super) const MARGIN: u64 = 2;

/// More descriptors than this Linux gives no process, unless its `fs.nr_open` is raised.
pub(super) const NR_OPEN: u64 = 1 << 20;

/// What a configuration takes for a rate, and for a number of tunnels.
const MOST: u64 = 10_000_000;
/// Connections that are being refused, logs, listeners, the admin endpoint, and connections kept to origins.
const DESCRIPTOR_RESERVE: u64 = 192 + 512;
/// Below this the proxy warns at start.
const DESCRIPTORS_AT_LEAST: u64 = 4_096;

/// What is assumed, each within the bounds that the command line has checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Demand {
    pub(super) users: u64,
    /// Push devices of one user.
    pub(super) devices: f64,
    /// Calls to one user in the busy hour.
    pub(super) calls: f64,
    /// Messages to one user in the busy hour.
    pub(super) messages: f64,
    /// The share of devices that are in background when a message comes.
    pub(super) background: f64,
    /// How much more the busiest minute has than the mean of its hour.
    pub(super) peak: f64,
    pub(super) clusters: u64,
    pub(super) nodes: u64,
    /// Connection pools of one node, one of them for pushes.
    pub(super) pools: u64,
    /// Connections of one pool.
    pub(super) connections: u64,
    /// Seconds that a connection is busy with one push.
    pub(super) answer: f64,
    /// Users who sign in elsewhere when a node fails.
    pub(super) moving: u64,
    /// The clients' re-login timer, in seconds.
    pub(super) lower: u64,
    pub(super) upper: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sizing {
    /// Pushes a second in the mean of the busy hour.
    pub(super) calls: f64,
    pub(super) messages: f64,
    pub(super) mean: f64,
    /// Transactions a second in the busiest minute.
    pub(super) peak: f64,
    /// Users a second who sign in again.
    pub(super) relogins: f64,
    /// Transactions a second when that happens in the busiest minute.
    pub(super) storm: f64,
    /// Connections that are busy at a time in the busiest minute: what comes, times how long it stays.
    pub(super) busy: u64,
    /// Connections that can be: the pools to the token host carry no push.
    pub(super) pushing: u64,
    pub(super) tunnels: u64,
    pub(super) descriptors: u64,
    pub(super) plain_bytes: u64,
    pub(super) tls_bytes: u64,
    /// Cores, if each transaction of the storm had a CONNECT of its own.
    pub(super) cores: f64,
    pub(super) per_cluster: Limit,
    pub(super) together: Limit,
}

/// One suggested `[[limit]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) rate: u64,
    pub(super) burst: u64,
    pub(super) tunnels: u64,
}

/// Assumptions that contradict one another, or lead beyond what one proxy can be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Absurd {
    NothingToDo,
    TimerBackwards { lower: u64, upper: u64 },
    MoreMoveThanThereAre { moving: u64, users: u64 },
    MoreClustersThanNodes { clusters: u64, nodes: u64 },
    TooManyTransactions { rate: f64 },
    TooManyTunnels { tunnels: u64 },
}

impl fmt::Display for Absurd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToDo => f.write_str(
                "without calls and without messages in background there is nothing to push",
            ),
            Self::TimerBackwards { lower, upper } => write!(
                f,
                "--relogin-upper ({upper} s) must be above --relogin-lower ({lower} s): the rate is divided by their difference"
            ),
            Self::MoreMoveThanThereAre { moving, users } => {
                write!(f, "--moving ({moving}) must not be above --users ({users})")
            }
            Self::MoreClustersThanNodes { clusters, nodes } => write!(
                f,
                "--clusters ({clusters}) must not be above --nodes ({nodes}): nodes are those of all clusters together"
            ),
            Self::TooManyTransactions { rate } => write!(
                f,
                "this comes to {rate:.0} transactions a second, and a limit can say {MOST}/s at most: share the users out among several proxies"
            ),
            Self::TooManyTunnels { tunnels } => write!(
                f,
                "this comes to {tunnels} tunnels, and a limit can say {MOST} at most: share the nodes out among several proxies"
            ),
        }
    }
}

pub(super) fn size(demand: &Demand) -> Result<Sizing, Absurd> {
    check(demand)?;
    let users = demand.users as f64;
    let each_second = |per_hour: f64| per_hour / 3_600.0;
    // A call is pushed to every device, one in foreground too; a message only to those in background.
    let calls = each_second(users * demand.calls * demand.devices);
    let messages = each_second(users * demand.messages * demand.devices * demand.background);
    let mean = calls + messages;
    let peak = mean * demand.peak;
    if mean == 0.0 {
        return Err(Absurd::NothingToDo);
    }
    let relogins = demand.moving as f64 / (demand.upper - demand.lower) as f64;
    // Each device of a user who moves may be woken once.
    let storm = peak + relogins * demand.devices;

    let tunnels = demand.nodes * demand.pools * demand.connections;
    let together = Limit {
        rate: whole(storm * MARGIN as f64)?,
        burst: 0,
        // Those that died unnoticed are still counted when their successors come.
        tunnels: tunnels * MARGIN,
    };
    // No cluster has a part of a node: where they do not share evenly, one has more, and its share of the users.
    let largest = demand.nodes.div_ceil(demand.clusters);
    let share = |of_all: u64| (of_all * largest).div_ceil(demand.nodes);
    let per_cluster = Limit {
        rate: share(together.rate),
        burst: 0,
        tunnels: share(together.tunnels),
    };
    if together.tunnels > MOST {
        return Err(Absurd::TooManyTunnels { tunnels });
    }
    let burst = |limit: Limit| Limit {
        // A node that comes back opens all of its connections at once, and a second may have twice its share.
        burst: (limit.rate * 2).max(limit.tunnels).min(MOST),
        ..limit
    };
    let bytes = |each: u64| BASE_BYTES + together.tunnels * (each + KERNEL_TUNNEL_BYTES);
    Ok(Sizing {
        calls,
        messages,
        mean,
        peak,
        relogins,
        storm,
        busy: whole(peak * demand.answer)?,
        pushing: demand.nodes * demand.connections,
        tunnels,
        descriptors: descriptors(together.tunnels),
        plain_bytes: bytes(PLAIN_TUNNEL_BYTES),
        tls_bytes: bytes(TLS_TUNNEL_BYTES),
        cores: storm * CPU_MICROSECONDS / 1e6,
        per_cluster: burst(per_cluster),
        together: burst(together),
    })
}

fn check(demand: &Demand) -> Result<(), Absurd> {
    let Demand {
        users,
        moving,
        clusters,
        nodes,
        lower,
        upper,
        ..
    } = *demand;
    if upper <= lower {
        return Err(Absurd::TimerBackwards { lower, upper });
    }
    if moving > users {
        return Err(Absurd::MoreMoveThanThereAre { moving, users });
    }
    if clusters > nodes {
        return Err(Absurd::MoreClustersThanNodes { clusters, nodes });
    }
    Ok(())
}

/// Who moves when nobody said so: half of the users, as in a pair of nodes, or of a full pair.
pub(super) fn moving(users: u64) -> u64 {
    users.div_ceil(2).min(MOVING_AT_MOST)
}

/// The upper limit of the timer with which `moving` users come slowly enough.
pub(super) fn upper_for(moving: u64, lower: u64) -> u64 {
    lower + (moving as f64 / RELOGIN_LIMIT).ceil() as u64
}

/// What the descriptor limit must be, so that the proxy allows itself so many tunnels: it takes two for each, and keeps
/// a sixteenth and some back. A power of two, as such limits are.
fn descriptors(tunnels: u64) -> u64 {
    let needed = (2 * tunnels + DESCRIPTOR_RESERVE) * 16;
    needed
        .div_ceil(15)
        .max(DESCRIPTORS_AT_LEAST)
        .next_power_of_two()
}

/// Rounded up, at least 1, and no more than a configuration takes.
fn whole(rate: f64) -> Result<u64, Absurd> {
    if rate <= MOST as f64 {
        Ok((rate.ceil() as u64).max(1))
    } else {
        Err(Absurd::TooManyTransactions { rate })
    }
}

#[cfg(test)]
mod tests;
