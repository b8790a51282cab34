//! The guide's counters, as the servers moved them and as the proxy saw them move. Pure.

use serde_json::Value;

use crate::guide::{Counters, Total, Way};

/// One of the guide's counters.
#[derive(Debug, Clone)]
pub(super) struct GuideCounter {
    pub(super) what: String,
    /// As the servers moved it with pushes in absolute form, and as the proxy saw it move.
    pub(super) absolute: u64,
    pub(super) seen: u64,
    /// As the servers moved it with pushes in tunnels, which only they can know.
    pub(super) tunnels: u64,
}

impl GuideCounter {
    /// Those that the servers keep. One that the proxy does not show at all has moved by nothing there.
    pub(super) fn all(servers: &Counters, seen: &Seen) -> Vec<Self> {
        let absolute = servers.totals(Way::Absolute).into_iter();
        let both = absolute.zip(servers.totals(Way::Tunnel));
        let kept = both.filter(|(one, _)| !one.is_interval);
        let read = |(one, tunnels): (Total, Total)| Self {
            what: format!("{} of {}", one.name, one.component),
            absolute: one.value,
            seen: seen.of(&one).unwrap_or(0),
            tunnels: tunnels.value,
        };
        kept.map(read).collect()
    }
}

/// The guide's counters as the proxy has observed them.
pub(super) struct Seen(pub(super) Value);

impl Seen {
    /// `None` where it has no such counter, or none that it can observe.
    fn of(&self, one: &Total) -> Option<u64> {
        let values = self.0[one.component.name()][&one.name].as_array()?;
        let mut values = values.iter();
        let observed = values.find(|value| value["origin"] == "observed")?;
        observed["value"].as_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::Component;
    use serde_json::json;
    use std::time::Instant;

    #[test]
    fn what_the_servers_keep_stands_beside_what_the_proxy_observed() {
        let (good, bad) = ("NumberOfPushSuccess", "NumberOfPushFailure");
        let chats = Component::XcpConfigManager;
        let now = Instant::now();
        let counters = Counters::new(now, |_| &["NumberOfPushSuccess", "NumberOfPushFailure"]);
        counters.play(chats);
        for way in [Way::Tunnel, Way::Tunnel, Way::Absolute] {
            counters.add(chats, good, "APNS", way, now);
        }
        let of = |origin: &str, value: u64| json!({ "origin": origin, "value": value });
        let page = json!({ chats.name(): { good: [of("derived", 9), of("observed", 1)] } });
        let all = GuideCounter::all(&counters, &Seen(page));
        let read = |one: &GuideCounter| (one.what.clone(), one.absolute, one.seen, one.tunnels);
        let what = |name: &str| format!("{name} of {chats}");
        // The proxy does not show the other one at all.
        let expected = [(what(good), 1, 1, 2), (what(bad), 0, 0, 0)];
        assert_eq!(all.iter().map(read).collect::<Vec<_>>(), expected);
    }
}
