//! The destinations of the status page: their addresses, and how they are.
//!
//! Pure. Those with a trouble come first; of many the first are shown, and the others fold.

use super::glance::Glance;
use super::markup::{Text, counted, number, put, span, took};
use super::tables::{TABLE_END, heads, section};
use crate::dial::health::{DestinationHealth, PeerHealth, Standing};

/// Addresses that are shown; `/destinations` has all.
const ADDRESSES_MAX: usize = 200;
/// Of one destination.
const OF_ONE_MAX: usize = 12;
/// Destinations that are shown unfolded, and at all.
const UNFOLDED: usize = 10;
const SHOWN_MAX: usize = 200;

const HEADS: [&str; 5] = ["Address", "State", ".nConnect", ".nFailures", "Rests for"];

/// One destination of the configuration; `None`: nobody has asked for it.
type Row<'a> = (&'a str, Option<&'a DestinationHealth>);

pub(super) fn destinations(html: &mut String, glance: &Glance) {
    let mut rows: Vec<Row<'_>> = glance.destinations.iter().map(known).collect();
    for name in glance.destination_names() {
        if !rows.iter().any(|(known, _)| *known == name) {
            rows.push((name, None));
        }
    }
    rows.sort_by_key(|(_, health)| !health.is_some_and(is_in_trouble));
    let addresses: usize = glance.destinations.iter().map(|one| one.peers.len()).sum();
    let note = if rows.len() > SHOWN_MAX || addresses > ADDRESSES_MAX {
        format!(
            "{} and {} in all; /destinations has them",
            counted(rows.len(), "destination", "destinations"),
            counted(addresses, "address", "addresses")
        )
    } else {
        String::new()
    };
    section(html, "destinations", "Destinations", &note);
    let mut left = ADDRESSES_MAX;
    let (shown, folded) = rows.split_at(rows.len().min(UNFOLDED));
    table(html, glance, shown, &mut left);
    if !folded.is_empty() {
        let sick = folded.iter().filter_map(|(_, health)| *health);
        let sick = sick.filter(|health| is_in_trouble(health)).count();
        put!(
            html,
            "<details id=\"destinations-more\"><summary>{} more, {} of them with a trouble</summary>",
            number(folded.len() as u64),
            number(sick as u64)
        );
        let folded = &folded[..folded.len().min(SHOWN_MAX - UNFOLDED)];
        table(html, glance, folded, &mut left);
        html.push_str("</details>");
    }
    html.push_str("</section>");
}

fn known(health: &DestinationHealth) -> Row<'_> {
    (health.destination.as_str(), Some(health))
}

fn is_in_trouble(health: &DestinationHealth) -> bool {
    let mut listed = health.listed();
    health.dead
        || health.silent
        || health.unresolved.is_some() && !health.has_a_good_one()
        || listed.any(|one| one.standing == Standing::Quarantined)
}

fn table(html: &mut String, glance: &Glance, rows: &[Row<'_>], left: &mut usize) {
    heads(html, "destinations", &HEADS);
    for (name, health) in rows {
        destination(html, name, tunnels_of(glance, name), &state(*health));
        let Some(health) = health else { continue };
        let gone = health.peers.iter().filter(|one| !one.listed);
        let most = OF_ONE_MAX.min(*left);
        let mut shown = 0;
        for peer in health.listed().chain(gone).take(most) {
            address(html, peer);
            shown += 1;
        }
        *left -= shown;
        let more = health.peers.len() - shown;
        if more > 0 {
            put!(
                html,
                "<tr><td colspan=\"5\" class=\"soft\">{} more; /destinations has all</td></tr>",
                number(more as u64)
            );
        }
    }
    html.push_str(TABLE_END);
}

fn state(health: Option<&DestinationHealth>) -> String {
    let Some(health) = health else {
        return String::from("<span class=\"badge\">not asked for yet</span>");
    };
    if health.dead {
        return String::from("<span class=\"badge error\">no address answers</span>");
    }
    if health.silent {
        return String::from("<span class=\"badge error\">accepts, and does not answer</span>");
    }
    match health.unresolved {
        // Somebody may have asked for a name that never was.
        Some(error) if health.has_a_good_one() => format!("asked last: {error}"),
        Some(error) => format!("<span class=\"badge error\">{error}</span>"),
        None if health.peers.is_empty() => String::from("no address tried yet"),
        None => String::new(),
    }
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
        _ if !peer.listed => ("", "not in DNS any more"),
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
        Some(_) if !peer.listed => "–".to_owned(),
        Some(left) if left.is_zero() => "next try".to_owned(),
        Some(left) => span(left),
    };
    put!(
        html,
        "<tr data-peer=\"{peer}\" data-state=\"{word}\"><td class=\"name\"><code>{ip}<wbr>:{port}</code></td>\
         <td><span class=\"badge {class}\">{word}</span>{suspected}</td><td class=\"n\" data-head=\"connect \">{connect}</td>\
         <td class=\"n\" data-head=\"failures \">{}</td><td data-head=\"rests \">{rests}</td></tr>",
        peer.failures,
        peer = Text(peer.peer),
        ip = Text(ip).to_string().replace(':', ":<wbr>"),
        port = peer.peer.port(),
    );
}
