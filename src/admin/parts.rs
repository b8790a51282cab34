//! The parts of the status page that are words: how it is, what runs here. Each a section of HTML.
//!
//! Pure. Words say what colours only stress, tables have heads, and everything from outside goes through `Text`.

use std::fmt::Display;
use std::path::Path;

use super::findings;
use super::glance::Glance;
use super::markup::{Text, bytes, counted, moment, number, put, span};
use super::page;

pub(super) fn state(html: &mut String, glance: &Glance) {
    let findings = findings::findings(glance);
    let (class, words) = page::headline(glance, &findings);
    let phase = if glance.is_draining() {
        "draining"
    } else {
        "serving"
    };
    // Seconds; without a number they have no end.
    let left = glance
        .tunnels_end_in
        .map_or_else(String::new, |left| left.as_secs().to_string());
    put!(
        html,
        "<section id=\"state\" class=\"{class}\" data-phase=\"{phase}\" data-tunnels=\"{}\" data-left=\"{left}\" aria-labelledby=\"headline\"><h2 id=\"headline\">{words}</h2><p class=\"soft\">",
        glance.tunnels
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
