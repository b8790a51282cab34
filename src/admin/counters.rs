//! The page `/counters`: the deployment guide's counters under the guide's own names, grouped by component.

use std::time::Instant;

use serde::{Serialize, Serializer};

use crate::exchange::Component;
use crate::telemetry::guide::Origin;
use crate::telemetry::guide_counters::Standing;
use crate::telemetry::{GuideCounters, json};

/// One value of a counter, and how it came to be known.
#[derive(Debug, Serialize)]
struct Value {
    value: Option<u64>,
    origin: &'static str,
}

/// By component, in the guide's order.
struct Page<'a>(&'a [Standing<'a>]);

/// The counters of one component.
struct Group<'a>(Component, &'a [Standing<'a>]);

pub(super) fn shown(counters: &GuideCounters, now: Instant) -> Vec<u8> {
    let mut text = Vec::new();
    json::append(&mut text, &Page(&counters.standings(now)));
    text.push(b'\n');
    text
}

impl Serialize for Page<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let groups = Component::ALL.map(|component| Group(component, self.0));
        // Not every component has counters.
        let groups = groups.iter().filter(|group| group.own().next().is_some());
        serializer.collect_map(groups.map(|group| (group.0.name(), group)))
    }
}

impl Group<'_> {
    fn own(&self) -> impl Iterator<Item = &Standing<'_>> {
        self.1.iter().filter(|one| one.row.component == self.0)
    }
}

impl Serialize for Group<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.own().map(|one| (&*one.row.name, values(one))))
    }
}

fn values(standing: &Standing<'_>) -> Vec<Value> {
    if standing.values.is_empty() {
        return vec![Value {
            value: None,
            origin: "not observable",
        }];
    }
    let value = |&(origin, value): &(Origin, u64)| Value {
        value: Some(value),
        origin: origin.token(),
    };
    standing.values.iter().map(value).collect()
}
