//! The tables of the status page: destinations, endings, limits, and what would have been refused.
//!
//! Pure. Tables have heads, and everything from outside goes through `Text`.

use super::figures::LimitFigures;
use super::findings;
use super::glance::{Glance, HINTS_MAX};
use super::markup::{Text, counted, number, put, span, took};
use crate::dial::health::{PeerHealth, Standing};
use crate::exchange::Fault;

/// Addresses that are shown; `/destinations` has all.
const ADDRESSES_MAX: usize = 200;

/// Opens a section with a table; `heads` are names, with `.n` before those of numbers.
fn table(html: &mut String, id: &str, title: &str, note: &str, heads: &[&str]) {
    put!(
        html,
        "<section id=\"{id}\" aria-labelledby=\"{id}-title\"><h2 id=\"{id}-title\">{title}<small>{note}</small></h2>\
         <div class=\"scroll\" role=\"region\" aria-labelledby=\"{id}-title\" tabindex=\"0\"><table><thead><tr>"
    );
    for head in heads {
        match head.strip_prefix(".n") {
            Some(head) => put!(html, "<th scope=\"col\" class=\"n\">{head}</th>"),
            None => put!(html, "<th scope=\"col\">{head}</th>"),
        }
    }
    html.push_str("</tr></thead><tbody>");
}

const TABLE_END: &str = "</tbody></table></div></section>";

pub(super) fn destinations(html: &mut String, glance: &Glance) {
    let heads = ["Address", "State", ".nConnect", ".nFailures", "Rests for"];
    let addresses: usize = glance.destinations.iter().map(|one| one.peers.len()).sum();
    let note = if addresses > ADDRESSES_MAX {
        format!(
            "{} of {} addresses; /destinations has all",
            ADDRESSES_MAX,
            number(addresses as u64)
        )
    } else {
        String::new()
    };
    table(html, "destinations", "Destinations", &note, &heads);
    let mut left = ADDRESSES_MAX;
    let mut known = Vec::new();
    for one in &glance.destinations {
        let name = one.destination.as_str();
        known.push(name);
        let state = if one.dead {
            "<span class=\"badge error\">no address answers</span>"
        } else {
            ""
        };
        destination(html, name, tunnels_of(glance, name), state);
        for peer in one.peers.iter().take(left) {
            address(html, peer);
        }
        left = left.saturating_sub(one.peers.len());
    }
    for name in glance.destination_names() {
        if !known.contains(&name) {
            let state = "<span class=\"badge\">not asked for yet</span>";
            destination(html, name, tunnels_of(glance, name), state);
        }
    }
    html.push_str(TABLE_END);
}

fn tunnels_of(glance: &Glance, destination: &str) -> Option<usize> {
    let counts = glance.tunnels_by_destination.as_ref()?;
    Some(counts.get(destination).copied().unwrap_or_default())
}

/// `state` is HTML of ours.
fn destination(html: &mut String, name: &str, tunnels: Option<usize>, state: &str) {
    let tunnels = tunnels.map_or_else(String::new, |count| counted(count, "tunnel", "tunnels"));
    put!(
        html,
        "<tr class=\"destination\"><th scope=\"rowgroup\" class=\"name\">{}</th><td>{state}</td><td colspan=\"3\" class=\"soft\">{tunnels}</td></tr>",
        Text(name)
    );
}

fn address(html: &mut String, peer: &PeerHealth) {
    let (class, word) = match peer.standing {
        Standing::Healthy(_) => ("well", "healthy"),
        Standing::Unknown => ("", "unknown"),
        Standing::Quarantined => ("warning", "quarantined"),
    };
    let shown = peer.peer.to_string();
    // A long address may go on in a second line, where a reader would break it.
    let (ip, _) = shown.rsplit_once(':').unwrap_or((&shown, ""));
    let suspected = if peer.suspected {
        ", suspected by its tunnels"
    } else {
        ""
    };
    let connect = peer
        .connect
        .map_or_else(|| "–".to_owned(), |time| took(time.as_secs_f64()));
    let rests = match peer.quarantine {
        None => "–".to_owned(),
        Some(left) if left.is_zero() => "next try".to_owned(),
        Some(left) => span(left),
    };
    put!(
        html,
        "<tr data-peer=\"{peer}\" data-state=\"{word}\"><td class=\"name\"><code>{ip}<wbr>:{port}</code></td><td><span class=\"badge {class}\">{word}</span>{suspected}</td><td class=\"n\">{connect}</td><td class=\"n\">{}</td><td>{rests}</td></tr>",
        peer.failures,
        peer = Text(peer.peer),
        ip = Text(ip).to_string().replace(':', ":<wbr>"),
        port = peer.peer.port(),
    );
}

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
    html.push_str(TABLE_END);
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
            "<tr data-limit=\"{name}\"><th scope=\"row\" class=\"name\">{name}</th><td class=\"allows\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}{keys}</td></tr>",
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
    html.push_str(TABLE_END);
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
    html.push_str(TABLE_END);
}
