//! The status page as a document: its head, its rules for the browser, and the order of its parts.
//!
//! Self-contained: the browser is told to fetch nothing but `/events`, and to run nothing but what stands here.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::findings::{self, Finding};
use super::glance::{Glance, Severity};
use super::history::Sample;
use super::markup::Text;
use super::{alarm_list, destination_list, parts, tables, tiles};

const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Every page, with what it is for.
pub(super) const PAGES: &[(&str, &str)] = &[
    ("/metrics", "counters for Prometheus"),
    ("/alarms", "what is wrong, since when, and what to do"),
    ("/counters", "the deployment guide's counters"),
    ("/livez", "it runs"),
    ("/readyz", "it takes new work"),
    ("/readyz?deep", "and a push destination was reached lately"),
    ("/config", "the configuration in force"),
    ("/tunnels", "the tunnels open now"),
    (
        "/destinations",
        "the addresses of each destination, and how they are",
    ),
    (
        "/would-refuse",
        "what rules that are only tried out would have refused",
    ),
    ("/events", "the status page's states as they come"),
];

/// What the browser may do with the page.
pub(super) fn content_security_policy() -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}

fn hash(text: &str) -> String {
    let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!("sha256-{hash}")
}

pub(super) fn document(title: &str, main: &str) -> Bytes {
    let pages = PAGES
        .iter()
        .map(|(path, what)| format!("<a href=\"{path}\" title=\"{}\">{path}</a>", Text(what)));
    let pages: Vec<_> = pages.collect();
    let mut text = String::with_capacity(DOCUMENT.len() + STYLE.len() + SCRIPT.len() + main.len());
    // What was put in is never looked at again: it may hold a brace.
    let mut rest = DOCUMENT;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) = after.split_once('}').unwrap_or((after, ""));
        text.push_str(before);
        match place {
            "title" => text.push_str(&Text(title).to_string()),
            "style" => text.push_str(STYLE),
            "script" => text.push_str(SCRIPT),
            "main" => text.push_str(main),
            "pages" => text.push_str(&pages.join("\n")),
            other => debug_assert!(false, "no such place: {other}"),
        }
        rest = after;
    }
    text.push_str(rest);
    text.into()
}

/// Of the window: the worst first, so that a row of tabs tells it.
pub(super) fn title(glance: &Glance) -> String {
    let (_, words) = headline(glance, &findings::findings(glance));
    format!("{words} · tidegate")
}

/// The class that colours it, and the words that say it.
pub(super) fn headline(glance: &Glance, findings: &[Finding]) -> (&'static str, &'static str) {
    let worst = findings.first().map(|worst| worst.severity);
    match worst {
        Some(severity @ Severity::Error) if glance.is_draining() => (
            class(severity),
            "Draining: it takes no new work, and something is wrong",
        ),
        Some(Severity::Error) => (class(Severity::Error), "Something is wrong"),
        _ if glance.is_draining() => ("warning", "Draining: it takes no new work"),
        Some(severity @ Severity::Warning) => (class(severity), "It works, and wants a look"),
        Some(severity @ Severity::Notice) => (class(severity), "All is well, with a remark"),
        None => ("well", "All is well"),
    }
}

pub(super) fn class(severity: Severity) -> &'static str {
    match severity {
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// All that changes.
pub(super) fn main(glance: &Glance, samples: &[Sample]) -> String {
    let mut html = String::with_capacity(16 * 1024);
    parts::state(&mut html, glance);
    tiles::tiles(&mut html, glance, samples);
    alarm_list::alarms(&mut html, glance);
    destination_list::destinations(&mut html, glance);
    html.push_str("<div class=\"pair\">");
    tables::endings(&mut html, glance);
    tables::limits(&mut html, glance);
    html.push_str("</div>");
    tables::would_refuse(&mut html, glance);
    parts::build(&mut html, glance);
    html
}
