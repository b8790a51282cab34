//! What rules that are only tried out would have refused, as JSON: the page `/would-refuse`.
//!
//! At most as long as the table, which is bounded.

use std::net::IpAddr;

use serde::Serialize;

use crate::policy::Reports;
use crate::telemetry::{Timestamp, json};

#[derive(Debug, Serialize)]
struct Shown {
    /// Rows that are missing because there were too many.
    dropped: u64,
    would_refuse: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    client: Option<String>,
    target: String,
    destination: String,
    reason: &'static str,
    /// The `[[limit]]` that would have refused it, if it was one.
    limit: Option<String>,
    count: u64,
    first_seen: Timestamp,
    last_seen: Timestamp,
    last_user: Option<String>,
    last_address: IpAddr,
    lines_to_add: String,
}

/// The page: the most frequent first.
pub(super) fn shown(reports: &Reports) -> Vec<u8> {
    let rows = reports.rows().into_iter().map(|row| Row {
        client: row.passed.client.map(|name| name.to_string()),
        target: row.passed.target.to_string(),
        destination: row.passed.destination.to_string(),
        reason: row.passed.reason.token(),
        limit: row.passed.limit.map(|limit| limit.to_string()),
        count: row.count,
        first_seen: Timestamp(row.first_seen),
        last_seen: Timestamp(row.last_seen),
        last_user: row.latest.user.map(|user| user.to_string()),
        last_address: row.latest.address,
        lines_to_add: row.lines_to_add,
    });
    let shown = Shown {
        dropped: reports.dropped(),
        would_refuse: rows.collect(),
    };
    let mut text = Vec::new();
    json::append(&mut text, &shown);
    text.push(b'\n');
    text
}
