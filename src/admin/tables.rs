//! The tables of the status page: endings, limits, and what would have been refused.
//!
//! Pure. Tables have heads, and everything from outside goes through `Text`.

use super::figures::LimitFigures;
use super::findings;
use super::glance::{Glance, HINTS_MAX};
use super::markup::{Text, counted, number, put};
use crate::exchange::Fault;

/// Opens a section with one table; `heads` are names, with `.n` before those of numbers.
fn table(html: &mut String, id: &str, title: &str, note: &str, names: &[&str]) {
    section(html, id, title, note);
    heads(html, id, names);
}

pub(super) fn section(html: &mut String, id: &str, title: &str, note: &str) {
    put!(
        html,
        "<section id=\"{id}\" aria-labelledby=\"{id}-title\"><h2 id=\"{id}-title\">{title}<small>{note}</small></h2>"
    );
}

/// Opens a table of this section.
pub(super) fn heads(html: &mut String, id: &str, names: &[&str]) {
    put!(
        html,
        "<div class=\"scroll\" role=\"group\" aria-labelledby=\"{id}-title\" tabindex=\"0\"><table><thead><tr>"
    );
    for head in names {
        match head.strip_prefix(".n") {
            Some(head) => put!(html, "<th scope=\"col\" class=\"n\">{head}</th>"),
            None => put!(html, "<th scope=\"col\">{head}</th>"),
        }
    }
    html.push_str("</tr></thead><tbody>");
}

pub(super) const TABLE_END: &str = "</tbody></table></div>";
const SECTION_END: &str = "</tbody></table></div></section>";

pub(super) fn endings(html: &mut String, glance: &Glance) {
    let endings = &glance.figures.endings;
    let total: u64 = endings.values().sum();
    let note = format!(
        "{} since the start",
        counted(total, "exchange", "exchanges")
    );
    let heads = ["Reason", "Whose fault", ".nCount"];
    table(html, "endings", "How exchanges ended", &note, &heads);
    let mut rows: Vec<_> = endings.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    for (reason, count) in &rows {
        let fault = findings::fault(reason);
        let class = match fault {
            Some(Fault::Upstream | Fault::Proxy) => "badge warning",
            _ => "badge",
        };
        put!(
            html,
            "<tr><th scope=\"row\">{}</th><td><span class=\"{class}\">{}</span></td><td class=\"n\">{}</td></tr>",
            Text(reason),
            fault.map_or("unknown", Fault::token),
            number(**count)
        );
    }
    if rows.is_empty() {
        html.push_str("<tr><td colspan=\"3\" class=\"soft\">None has ended yet.</td></tr>");
    }
    html.push_str(SECTION_END);
}

pub(super) fn limits(html: &mut String, glance: &Glance) {
    let configured = glance.loaded.shown["limit"].as_array();
    let heads = ["Limit", "Allows", ".nWaited", ".nRefused", ".nRemembers"];
    table(html, "limits", "Limits", "", &heads);
    let none = LimitFigures::default();
    let mut rows = 0;
    for limit in configured.into_iter().flatten() {
        rows += 1;
        let word = |key: &str| limit[key].as_str().unwrap_or_default();
        let name = word("name");
        let figures = glance.figures.limits.get(name).unwrap_or(&none);
        let mut allows = vec![format!("per {}", Text(word("per")))];
        if let Some(rate) = limit["rate"].as_str() {
            allows.push(Text(rate).to_string());
        }
        if let Some(tunnels) = limit["tunnels"].as_u64() {
            allows.push(counted(tunnels, "tunnel", "tunnels"));
        }
        if let Some(bytes) = limit["bytes"].as_str() {
            allows.push(Text(bytes).to_string());
        }
        if limit["report_only"].as_bool() == Some(true) {
            allows.push("tried out only".to_owned());
        }
        let keys = limit["keys"]
            .as_u64()
            .map_or_else(String::new, |keys| format!(" of {}", number(keys)));
        put!(
            html,
            "<tr data-limit=\"{name}\"><th scope=\"row\" class=\"name\">{name}</th><td class=\"allows\">{}</td><td class=\"n\" data-head=\"waited \">{}</td><td class=\"n\" data-head=\"refused \">{}</td><td class=\"n\" data-head=\"remembers \">{}{keys}</td></tr>",
            allows.join(", "),
            number(figures.waits),
            number(figures.refusals),
            number(figures.keys),
            name = Text(name),
        );
    }
    if rows == 0 {
        html.push_str("<tr><td colspan=\"5\" class=\"soft\">No [[limit]] is configured.</td></tr>");
    }
    html.push_str(SECTION_END);
}

/// Only where there is something: rules that are not being tried out need no empty table.
pub(super) fn would_refuse(html: &mut String, glance: &Glance) {
    if glance.would_refuse.is_empty() {
        return;
    }
    let note = if glance.would_refuse_rows > HINTS_MAX {
        format!(
            "the first {HINTS_MAX} of {}; /would-refuse has all",
            glance.would_refuse_rows
        )
    } else {
        "by rules that are only tried out".to_owned()
    };
    let heads = [
        "Target",
        "Who asked",
        "Reason",
        ".nTimes",
        "Lines that would allow it",
    ];
    table(
        html,
        "would-refuse",
        "Would have been refused",
        &note,
        &heads,
    );
    for row in &glance.would_refuse {
        let who = match (&row.passed.client, &row.latest.user) {
            (Some(client), _) => client.to_string(),
            (None, Some(user)) => user.to_string(),
            (None, None) => row.latest.address.to_string(),
        };
        let limit = row
            .passed
            .limit
            .as_ref()
            .map_or_else(String::new, |limit| format!(" ({})", Text(limit)));
        put!(
            html,
            "<tr><th scope=\"row\" class=\"name\">{}</th><td>{}</td><td>{}{limit}</td><td class=\"n\">{}</td><td>",
            Text(&row.passed.target),
            Text(who),
            row.passed.reason.token(),
            number(row.count)
        );
        if row.lines_to_add.is_empty() {
            html.push('–');
        } else {
            put!(
                html,
                "<details><summary>show</summary><pre>{}</pre></details>",
                Text(&row.lines_to_add)
            );
        }
        html.push_str("</td></tr>");
    }
    html.push_str(SECTION_END);
}
