//! The parts of the status page that are words: how it is, its alarms, what runs here. Each a section of HTML.
//!
//! Pure. Words say what colours only stress, tables have heads, and everything from outside goes through `Text`.

use std::fmt::Display;
use std::path::Path;

use super::findings;
use super::glance::{AlarmRow, Glance};
use super::markup::{Text, bytes, counted, moment, number, put, span};
use super::page;

pub(super) fn state(html: &mut String, glance: &Glance) {
    let findings = findings::findings(glance);
    let (class, words) = page::headline(glance, &findings);
    put!(
        html,
        "<section id=\"state\" class=\"{class}\" aria-labelledby=\"headline\"><h2 id=\"headline\">{words}</h2><p class=\"soft\">"
    );
    match (glance.is_draining(), glance.tunnels_end_in) {
        (false, _) if glance.figures.endings.is_empty() && glance.tunnels == 0 => {
            html.push_str("Ready. Nobody has asked for anything yet.");
        }
        (false, _) => html.push_str("Ready: it takes new work."),
        (true, None) => put!(
            html,
            "{} may live on as long as they like.",
            tunnels_open(glance)
        ),
        (true, Some(left)) => {
            put!(
                html,
                "{} may live on for {}.",
                tunnels_open(glance),
                span(left)
            );
        }
    }
    put!(
        html,
        " Up for <span id=\"uptime\">{}</span>, seen at {}.</p>",
        span(glance.uptime),
        moment(glance.at)
    );
    if !findings.is_empty() {
        html.push_str("<ul>");
        for one in findings {
            let class = page::class(one.severity);
            put!(
                html,
                "<li><span class=\"badge {class}\">{class}</span> {}",
                Text(one.what)
            );
            if !one.action.is_empty() {
                put!(html, "<p>{}</p>", Text(one.action));
            }
            html.push_str("</li>");
        }
        html.push_str("</ul>");
    }
    html.push_str("</section>");
}

fn tunnels_open(glance: &Glance) -> String {
    counted(glance.tunnels, "open tunnel", "open tunnels")
}

pub(super) fn alarms(html: &mut String, glance: &Glance) {
    let (active, over): (Vec<_>, Vec<_>) = glance.alarms.iter().partition(|alarm| alarm.active);
    let silence = glance.silenced.map_or_else(String::new, |left| {
        format!("; silenced, not delivered for {}", span(left))
    });
    put!(
        html,
        "<section id=\"alarms\" aria-labelledby=\"alarms-title\"><h2 id=\"alarms-title\">Alarms<small>{} active{silence}</small></h2>",
        active.len()
    );
    if active.is_empty() {
        html.push_str("<p class=\"soft\">No alarm is active.</p>");
    }
    for one in active {
        alarm(html, glance, one);
    }
    if !over.is_empty() {
        put!(
            html,
            "<details id=\"alarms-over\"><summary>{} cleared</summary>",
            over.len()
        );
        for one in over {
            alarm(html, glance, one);
        }
        html.push_str("</details>");
    }
    html.push_str("</section>");
}

fn alarm(html: &mut String, glance: &Glance, alarm: &AlarmRow) {
    let (class, badge, since) = if alarm.active {
        (
            page::class(alarm.severity),
            alarm.severity_name.as_str(),
            "since",
        )
    } else {
        ("", "cleared", "at")
    };
    let ago = glance.at.duration_since(alarm.since).unwrap_or_default();
    let about = match alarm.subject.as_str() {
        "" => String::new(),
        subject => format!(" · {}", Text(subject)),
    };
    put!(
        html,
        "<article class=\"alarm\" data-alarm=\"{name}\"><h3>{name}{about}<span class=\"badge {class}\">{}</span></h3>\
         <p>{}</p><p class=\"do\"><b>What to do:</b> {}</p>\
         <p class=\"soft\">{}, {}, {since} {} ({} ago), raised {}",
        Text(badge),
        Text(&alarm.summary),
        Text(&alarm.action),
        Text(&alarm.component),
        Text(&alarm.origin),
        moment(alarm.since),
        span(ago),
        counted(alarm.raised, "time", "times"),
        name = Text(&alarm.name),
    );
    if !alarm.evidence.is_empty() {
        put!(html, "<br>last seen: {}", Text(&alarm.evidence));
    }
    if let Some(exchange) = &alarm.exchange {
        put!(html, " (exchange <code>{}</code>)", Text(exchange));
    }
    html.push_str("</p></article>");
}

pub(super) fn build(html: &mut String, glance: &Glance) {
    let loaded = &glance.loaded;
    let path = loaded.path.as_deref().map(Path::to_string_lossy);
    let listeners = loaded.listeners.iter();
    let listeners =
        listeners.map(|(name, address)| format!("{} <code>{address}</code>", Text(name)));
    html.push_str("<section id=\"build\" aria-labelledby=\"build-title\"><h2 id=\"build-title\">Build and configuration</h2><dl>");
    let mut row = |term: &str, words: &dyn Display| {
        put!(html, "<dt>{term}</dt><dd>{words}</dd>");
    };
    row(
        "Version",
        &format!("{}, pid {}", env!("CARGO_PKG_VERSION"), std::process::id()),
    );
    row(
        "Configuration",
        &Text(path.as_deref().unwrap_or("the built-in default")),
    );
    row("Hash", &format!("<code>{}</code>", Text(&loaded.hash)));
    row(
        "Loaded",
        &format!(
            "{}, generation {} of this process",
            moment(loaded.loaded_at),
            glance.figures.reloads + 1
        ),
    );
    match &loaded.last_complaint {
        None => row("Last complaint", &"none"),
        Some(complaint) => row("Last complaint", &format!("<pre>{}</pre>", Text(complaint))),
    }
    row("Listeners", &listeners.collect::<Vec<_>>().join(", "));
    row(
        "Memory",
        &glance
            .memory_bytes
            .map_or_else(|| "unknown".to_owned(), bytes),
    );
    row(
        "Moved in tunnels",
        &format!(
            "{} up, {} down",
            bytes(glance.figures.bytes_up),
            bytes(glance.figures.bytes_down)
        ),
    );
    row("Failovers", &number(glance.figures.failovers));
    html.push_str("</dl></section>");
}
