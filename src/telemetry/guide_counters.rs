//! The deployment guide's counters as this proxy moves them.
//!
//! Pure: the clock is an argument. A counter moves by what its row allows and by nothing else; values of different
//! origins are never added together.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::guide::{self, Component, CounterKind, CounterRow, Origin, Services, SubscriberService};

/// After so long the guide's interval counters fall back to 0.
const INTERVAL: Duration = Duration::from_secs(60);

/// All of them.
#[derive(Debug)]
pub(crate) struct GuideCounters {
    started: Instant,
    rows: Vec<CounterRow>,
    cells: Mutex<Vec<Cells>>,
}

/// By origin.
type Cells = [Cell; Origin::ALL.len()];

#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    total: u64,
    /// The interval that `in_interval` was counted in.
    interval: u64,
    in_interval: u64,
}

/// One counter as it stands.
#[derive(Debug)]
pub(crate) struct Standing<'a> {
    pub(crate) row: &'a CounterRow,
    /// As the guide would show it, by each origin that a proxy can know it by; empty: it never can.
    pub(crate) values: Vec<(Origin, u64)>,
}

impl GuideCounters {
    /// The first interval begins at `started`.
    pub(crate) fn new(started: Instant) -> Self {
        let rows = guide::counters();
        Self {
            started,
            cells: Mutex::new(vec![Cells::default(); rows.len()]),
            rows,
        }
    }

    /// Moves a counter by `n`. One that is of other services only stays as it is.
    pub(crate) fn add(
        &self,
        component: Component,
        name: &str,
        service: Option<SubscriberService>,
        origin: Origin,
        n: u64,
        now: Instant,
    ) {
        let mut rows = self.rows.iter();
        let Some(place) = rows.position(|row| row.component == component && *row.name == *name)
        else {
            debug_assert!(false, "{}: no counter {name}", component.name());
            return;
        };
        let row = &self.rows[place];
        debug_assert!(row.origins.contains(&origin), "{name} can't be {origin:?}");
        if !row.origins.contains(&origin) || !row.services.include(service) {
            return;
        }
        let interval = self.interval(now);
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = &mut cells[place][origin as usize];
        if cell.interval != interval {
            (cell.interval, cell.in_interval) = (interval, 0);
        }
        cell.total = cell.total.saturating_add(n);
        cell.in_interval = cell.in_interval.saturating_add(n);
    }

    /// The name of the counter in a family that has one for each service, such as `xcp_push_errors_total`.
    #[cfg(test)]
    pub(crate) fn name_for(&self, family: &str, service: SubscriberService) -> Option<&str> {
        let mut rows = self.rows.iter();
        let row =
            rows.find(|row| *row.family == *family && row.services == Services::Only(service));
        row.map(|row| &*row.name)
    }

    /// All of them, in the guide's order.
    pub(crate) fn standings(&self, now: Instant) -> Vec<Standing<'_>> {
        let interval = self.interval(now);
        let cells = self.cells();
        let value = |cell: &Cell, kind| match kind {
            CounterKind::Counter | CounterKind::Gauge => cell.total,
            CounterKind::Interval if cell.interval == interval => cell.in_interval,
            CounterKind::Interval => 0,
        };
        let standing = |(row, cells): (_, Cells)| {
            let row: &CounterRow = row;
            let origins = row.origins.iter();
            let values = origins.map(|&origin| (origin, value(&cells[origin as usize], row.kind)));
            let values = values.collect();
            Standing { row, values }
        };
        self.rows.iter().zip(cells).map(standing).collect()
    }

    /// The families for `/metrics`. One that a proxy can never know stands there without a sample: a flat 0 reads as an
    /// outage.
    pub(crate) fn render(&self) -> String {
        let cells = self.cells();
        let mut text = String::new();
        let mut done: Vec<&str> = Vec::new();
        for row in &self.rows {
            if done.contains(&&*row.family) {
                continue;
            }
            done.push(&row.family);
            let members = self.rows.iter().zip(&cells);
            let members: Vec<_> = members
                .filter(|(one, _)| one.family == row.family)
                .collect();
            let names: Vec<_> = members.iter().map(|(one, _)| &*one.name).collect();
            // Writing to a string never fails.
            let _ = writeln!(
                text,
                "# HELP {} {}\n# TYPE {} {}",
                row.family,
                help(row, &names),
                row.family,
                match row.kind {
                    CounterKind::Gauge => "gauge",
                    CounterKind::Counter | CounterKind::Interval => "counter",
                }
            );
            for (one, cells) in members {
                let service = match one.services {
                    Services::AnyApns => String::new(),
                    Services::Only(service) => {
                        format!("subscriber_service=\"{}\",", service.name())
                    }
                };
                for &origin in &one.origins {
                    let total = cells[origin as usize].total;
                    let _ = writeln!(
                        text,
                        "{}{{{service}origin=\"{}\"}} {total}",
                        one.family,
                        origin.token()
                    );
                }
            }
        }
        text
    }

    fn cells(&self) -> Vec<Cells> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.clone()
    }

    fn interval(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() / INTERVAL.as_secs()
    }
}

/// What a family counts, which of the guide's counters it is, and why it may have no sample.
fn help(row: &CounterRow, names: &[&str]) -> String {
    let summary = row.summary.replace(", in this 60 s interval", "");
    let mut help = format!(
        "{summary} In the guide, {} {}",
        row.component.name(),
        names.join(", ")
    );
    match row.kind {
        CounterKind::Interval => help.push_str(", which falls to 0 every 60 s."),
        CounterKind::Counter | CounterKind::Gauge => help.push('.'),
    }
    if row.origins.is_empty() {
        help.push_str(" Not observable by a proxy.");
    }
    help.replace('\\', r"\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "NumberOfPushReqSent";
    const SECOND: Duration = Duration::from_secs(1);

    fn value(counters: &GuideCounters, name: &str, now: Instant) -> Vec<(Origin, u64)> {
        let standings = counters.standings(now);
        let mut standings = standings.into_iter();
        standings.find(|one| *one.row.name == *name).unwrap().values
    }

    #[test]
    fn origins_are_never_added_together() {
        let start = Instant::now();
        let counters = GuideCounters::new(start);
        let errors = "NumberOfPushErrorResReceived";
        for (origin, n) in [(Origin::Observed, 2), (Origin::Derived, 3)] {
            counters.add(Component::CallManager, errors, None, origin, n, start);
        }
        let both = vec![(Origin::Observed, 2), (Origin::Derived, 3)];
        assert_eq!(value(&counters, errors, start), both);
        let sent = vec![(Origin::Observed, 0)];
        assert_eq!(value(&counters, SENT, start), sent);
    }

    #[test]
    fn a_counter_moves_for_its_services_only() {
        let start = Instant::now();
        let counters = GuideCounters::new(start);
        let component = Component::CallManager;
        for service in SubscriberService::ALL {
            let service = Some(service);
            counters.add(component, SENT, service, Origin::Observed, 1, start);
        }
        // Five are Apple's, two are not.
        assert_eq!(value(&counters, SENT, start), [(Origin::Observed, 5)]);
    }

    #[test]
    fn an_interval_counter_falls_to_0_every_60_s_and_its_total_does_not() {
        let start = Instant::now();
        let counters = GuideCounters::new(start);
        let service = SubscriberService::FcmDev;
        let name = counters.name_for("xcp_push_errors_total", service).unwrap();
        assert_eq!(name, "PushErrorFcmDev");
        let add = |now| {
            let service = Some(service);
            counters.add(Component::XcpPush, name, service, Origin::Observed, 1, now);
        };
        add(start);
        add(start + 59 * SECOND);
        let observed = |n| vec![(Origin::Observed, n)];
        assert_eq!(value(&counters, name, start + 59 * SECOND), observed(2));
        assert_eq!(value(&counters, name, start + 60 * SECOND), observed(0));
        add(start + 61 * SECOND);
        assert_eq!(value(&counters, name, start + 61 * SECOND), observed(1));
        let line = "xcp_push_errors_total{subscriber_service=\"FCM:dev\",origin=\"observed\"} 3";
        let text = counters.render();
        assert!(text.lines().any(|one| one == line), "{text}");
    }

    #[test]
    fn a_family_that_can_never_be_known_has_no_sample() {
        let text = GuideCounters::new(Instant::now()).render();
        let family = "xcp_push_enabled_sessions";
        let lines: Vec<_> = text.lines().filter(|line| line.contains(family)).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("# HELP"), "{lines:?}");
        assert!(
            lines[0].contains("PushEnabledSessionsApnsBeta"),
            "{lines:?}"
        );
        assert_eq!(lines[1], "# TYPE xcp_push_enabled_sessions gauge");
        // One family for each of the twelve plain counters, and five with a label for the service.
        assert_eq!(text.matches("# TYPE ").count(), 17);
    }
}
