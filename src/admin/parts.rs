//! The parts of the status page, each a section of HTML.
//!
//! Pure. Words say what colours only stress, tables have heads, and everything from outside goes through `Text`.

use std::fmt::{Display, Write as _};
use std::path::Path;

use super::figures::LimitFigures;
use super::findings;
use super::glance::{AlarmRow, Glance, HINTS_MAX};
use super::history::Sample;
use super::markup::{Text, bytes, counted, moment, number, per_minute, span, took};
use super::{page, plot};
use crate::dial::health::{PeerHealth, Standing};
use crate::exchange::Fault;

/// Addresses that are shown; `/destinations` has all.
const ADDRESSES_MAX: usize = 200;

/// Writing to a string never fails.
macro_rules! put {
    ($html:expr, $($words:tt)*) => { write!($html, $($words)*).unwrap_or_default() };
}

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

pub(super) fn tiles(html: &mut String, glance: &Glance, samples: &[Sample]) {
    let figures = &glance.figures;
    let last = samples.last();
    let all = |pick: fn(&Sample) -> f64| vec![samples.iter().map(|one| Some(pick(one))).collect()];
    let two = |pick: fn(&Sample) -> [Option<f64>; 2]| -> Vec<Vec<Option<f64>>> {
        let line = |which: usize| samples.iter().map(|one| pick(one)[which]).collect();
        vec![line(0), line(1)]
    };
    html.push_str("<div class=\"tiles\">");
    let opened = figures.tunnels_ended + glance.tunnels as u64;
    tile(
        html,
        "tunnels",
        "Tunnels open now",
        &number(glance.tunnels as u64),
        &counted(
            figures.connections,
            "client connection",
            "client connections",
        ),
        Some(Plot {
            series: &all(|one| one.tunnels),
            shown: |count| number(count as u64),
        }),
        "",
    );
    tile(
        html,
        "opened",
        "Tunnels opened",
        &number(opened),
        &last.map_or_else(String::new, |one| per_minute(one.opened_per_minute)),
        Some(Plot {
            series: &all(|one| one.opened_per_minute),
            shown: per_minute,
        }),
        "since the start",
    );
    let failed = findings::failed(figures);
    tile(
        html,
        "failed",
        "Exchanges failed",
        &number(failed),
        &last.map_or_else(String::new, |one| per_minute(one.failed_per_minute)),
        Some(Plot {
            series: &all(|one| one.failed_per_minute),
            shown: per_minute,
        }),
        "by a fault of the target's side or the proxy's",
    );
    if figures.pushes.is_empty() {
        let why = if opened > 0 {
            "No visible pushes: all traffic is in tunnels."
        } else {
            "No visible pushes yet; those inside tunnels can't be seen."
        };
        tile(html, "pushes", "Pushes seen", "–", "", None, why);
    } else {
        let by_status = figures.pushes.iter();
        let by_status =
            by_status.map(|(status, count)| format!("{}: {}", Text(status), number(*count)));
        tile(
            html,
            "pushes",
            "Pushes seen",
            &number(figures.pushes_total()),
            &last.map_or_else(String::new, |one| per_minute(one.pushes_per_minute)),
            Some(Plot {
                series: &all(|one| one.pushes_per_minute),
                shown: per_minute,
            }),
            &format!("answers: {}", by_status.collect::<Vec<_>>().join(", ")),
        );
    }
    let times = [
        (
            "confirmation",
            "Confirmation of a push in a tunnel",
            &figures.confirmation,
            two(|one| one.confirmation),
        ),
        (
            "setup",
            "Setting up an exchange",
            &figures.setup,
            two(|one| one.setup),
        ),
    ];
    for (id, title, spread, series) in times {
        let all_time = |share| spread.quantile(share).map_or_else(|| "–".to_owned(), took);
        let note = if spread.count() == 0 {
            "nothing measured yet".to_owned()
        } else {
            let key = "<span class=\"key\"></span>";
            format!(
                "{key}half within {}, <span class=\"key l1\"></span>99 % within {}, of {}",
                all_time(0.5),
                all_time(0.99),
                number(spread.count())
            )
        };
        let newest = |which: usize| series[which].iter().rev().flatten().next().copied();
        let now = newest(0).map_or_else(|| all_time(0.5), took);
        let slow = newest(1).map_or_else(String::new, |slow| format!("99 %: {}", took(slow)));
        let plot = Plot {
            series: &series,
            shown: took,
        };
        tile(html, id, title, &now, &slow, Some(plot), &note);
    }
    html.push_str("</div>");
}

/// The lines of a plot, and how one of their values is written.
struct Plot<'a> {
    series: &'a [Vec<Option<f64>>],
    shown: fn(f64) -> String,
}

/// `big`, `beside` and `note` are HTML of ours.
fn tile(
    html: &mut String,
    id: &str,
    title: &str,
    big: &str,
    beside: &str,
    plot: Option<Plot<'_>>,
    note: &str,
) {
    put!(
        html,
        "<section id=\"{id}\" aria-labelledby=\"{id}-title\"><h2 id=\"{id}-title\">{title}</h2><p class=\"big\">{big}<small>{beside}</small></p>"
    );
    if let Some(Plot { series, shown }) = plot {
        html.push_str(&plot::lines(
            &format!("{title}, the last 15 minutes"),
            series,
        ));
        let top = plot::top(series);
        let top = top.map_or_else(String::new, |top| format!("top {}", shown(top)));
        put!(
            html,
            "<p class=\"range\"><span>15 min ago</span><span>{top}</span><span>now</span></p>"
        );
    }
    put!(html, "<p class=\"soft\">{note}</p></section>");
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
