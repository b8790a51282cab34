//! The guide's counters as simulated servers move them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::rows::{CounterRow, Kind, counters};
use super::{Component, ORIGIN};

/// After so long the guide's interval counters fall back to 0.
const INTERVAL: Duration = Duration::from_secs(60);

/// How a push went to the cloud: what counts in a tunnel, nobody else can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In TLS, through a tunnel.
    Tunnel,
    /// In absolute form, in the sight of the proxy.
    Absolute,
}

/// All of them.
#[derive(Debug)]
pub struct Counters {
    started: Instant,
    rows: Vec<CounterRow>,
    moved: fn(Component) -> &'static [&'static str],
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    played: BTreeSet<Component>,
    cells: Vec<Cell>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    /// By way.
    totals: [u64; 2],
    /// The interval that `in_interval` was counted in.
    interval: u64,
    in_interval: u64,
}

/// What one of them has come to, in one way, since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// Whose it is.
    pub component: Component,
    /// The guide's name.
    pub name: String,
    /// It falls to 0 every 60 s where it is shown; not here.
    pub is_interval: bool,
    /// What it has come to.
    pub value: u64,
}

impl Counters {
    /// The first interval begins at `started`. `moved` names the counters that the player of a component moves.
    #[must_use]
    pub fn new(started: Instant, moved: fn(Component) -> &'static [&'static str]) -> Self {
        let rows = counters();
        let cells = vec![Cell::default(); rows.len()];
        Self {
            started,
            rows,
            moved,
            inner: Mutex::new(Inner {
                played: BTreeSet::new(),
                cells,
            }),
        }
    }

    /// From now on somebody plays it: what that moves begins at 0.
    pub fn play(&self, component: Component) {
        self.inner().played.insert(component);
    }

    /// One more, if it is a counter of this service.
    pub fn add(&self, component: Component, name: &str, service: &str, way: Way, now: Instant) {
        let mut rows = self.rows.iter();
        let place = rows.position(|row| row.component == component && row.name == name);
        debug_assert!(place.is_some(), "{component}: no counter {name}");
        debug_assert!(
            (self.moved)(component).contains(&name),
            "{name} is not said to move"
        );
        let Some(place) = place.filter(|place| self.rows[*place].is_of(service)) else {
            return;
        };
        let interval = self.interval(now);
        let cell = &mut self.inner().cells[place];
        if cell.interval != interval {
            (cell.interval, cell.in_interval) = (interval, 0);
        }
        cell.totals[way as usize] += 1;
        cell.in_interval += 1;
    }

    /// Those that somebody moves, in the guide's order.
    #[must_use]
    pub fn totals(&self, way: Way) -> Vec<Total> {
        let inner = self.inner();
        let both = self.rows.iter().zip(&inner.cells);
        let moved = both.filter(|(row, _)| self.is_moved(&inner, row));
        let total = |(row, cell): (&CounterRow, &Cell)| Total {
            component: row.component,
            name: row.name.clone(),
            is_interval: row.kind == Kind::Interval,
            value: cell.totals[way as usize],
        };
        moved.map(total).collect()
    }

    /// By component and name, in the shape of the proxy's page of that name.
    #[must_use]
    pub fn page(&self, now: Instant) -> Value {
        let interval = self.interval(now);
        let inner = self.inner();
        let mut page = Map::new();
        for (row, cell) in self.rows.iter().zip(&inner.cells) {
            let shown = match row.kind {
                _ if !self.is_moved(&inner, row) => {
                    json!([{ "value": null, "origin": "not simulated" }])
                }
                Kind::Counter | Kind::Gauge => {
                    json!([{ "value": cell.totals.iter().sum::<u64>(), "origin": ORIGIN }])
                }
                Kind::Interval => {
                    let is_now = cell.interval == interval;
                    let value = if is_now { cell.in_interval } else { 0 };
                    json!([{ "value": value, "origin": ORIGIN }])
                }
            };
            let group = page
                .entry(row.component.name())
                .or_insert_with(|| json!({}));
            group[&row.name] = shown;
        }
        Value::Object(page)
    }

    fn is_moved(&self, inner: &Inner, row: &CounterRow) -> bool {
        inner.played.contains(&row.component)
            && (self.moved)(row.component).contains(&row.name.as_str())
    }

    fn interval(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() / INTERVAL.as_secs()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const CALLS: Component = Component::CallManager;
    const CHATS: Component = Component::XcpPush;
    const SENT: &str = "NumberOfPushReqSent";
    const ERRORS: &str = "PushErrorsApns";

    fn counters_of(component: Component) -> &'static [&'static str] {
        match component {
            Component::CallManager => &[SENT],
            Component::XcpPush => &[ERRORS],
            _ => &[],
        }
    }

    fn shown(counters: &Counters, component: Component, name: &str, now: Instant) -> Value {
        let page = counters.page(now);
        let values = page[component.name()][name].as_array().unwrap();
        assert_eq!(values.len(), 1);
        json!([values[0]["value"], values[0]["origin"]])
    }

    #[test]
    fn all_exist_and_only_what_somebody_plays_has_a_value() {
        let start = Instant::now();
        let counters = Counters::new(start, counters_of);
        counters.play(CALLS);
        let page = counters.page(start);
        let groups = page.as_object().unwrap().values();
        let all: Vec<_> = groups
            .flat_map(|group| group.as_object().unwrap())
            .collect();
        assert_eq!(all.len(), 47);
        let known = |(_, values): &&(&String, &Value)| values[0]["value"].is_u64();
        let known: Vec<_> = all
            .iter()
            .filter(known)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(known, [SENT]);
        let other = "PushErrorsFcm";
        assert_eq!(
            shown(&counters, CHATS, other, start),
            json!([null, "not simulated"])
        );
    }

    #[test]
    fn they_move_for_their_services_and_ways_are_told_apart() {
        let start = Instant::now();
        let counters = Counters::new(start, counters_of);
        counters.play(CALLS);
        for (service, way) in [
            ("APNS", Way::Tunnel),
            ("APNS:beta", Way::Tunnel),
            ("FCM", Way::Tunnel),
            ("APNS", Way::Absolute),
        ] {
            counters.add(CALLS, SENT, service, way, start);
        }
        let later = start + 90 * SECOND;
        assert_eq!(
            shown(&counters, CALLS, SENT, later),
            json!([3, "simulated"])
        );
        let total = |way| counters.totals(way)[0].value;
        assert_eq!((total(Way::Tunnel), total(Way::Absolute)), (2, 1));
        assert_eq!(counters.totals(Way::Tunnel).len(), 1);
    }

    #[test]
    fn an_interval_counter_falls_to_0_every_60_s() {
        let start = Instant::now();
        let counters = Counters::new(start, counters_of);
        counters.play(CHATS);
        let add = |now| counters.add(CHATS, ERRORS, "APNS", Way::Tunnel, now);
        let is = |value: u64, now| {
            assert_eq!(
                shown(&counters, CHATS, ERRORS, now),
                json!([value, "simulated"])
            );
        };
        add(start);
        add(start + 59 * SECOND);
        is(2, start + 59 * SECOND);
        is(0, start + 60 * SECOND);
        add(start + 61 * SECOND);
        is(1, start + 61 * SECOND);
        let total = &counters.totals(Way::Tunnel)[0];
        assert_eq!((total.value, total.is_interval), (3, true));
    }
}
