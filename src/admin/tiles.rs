//! The tiles of the status page: a number each, and its last quarter of an hour.
//!
//! Pure.

use super::findings;
use super::glance::Glance;
use super::history::{PERIOD, Sample};
use super::markup::{Text, counted, number, per_minute, put, took};
use super::plot;

/// Samples.
const LAST_MINUTE: usize = (60 / PERIOD.as_secs()) as usize;

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
                "{key}since the start half within about {}, <span class=\"key l1\"></span>99 % within about {}, of {}",
                all_time(0.5),
                all_time(0.99),
                number(spread.count())
            )
        };
        // The metric's buckets are rough; what is known better is told better.
        let (now, slow) = match glance.confirmations.and_then(|recent| recent.times) {
            Some(times) if id == "confirmation" => {
                let [p50, p99] = [times.p50, times.p99].map(|time| took(time.as_secs_f64()));
                (p50, format!("99 %: {p99}, in the last minute"))
            }
            _ => {
                let slow = newest(&series[1]).map(|slow| format!("99 %: about {}", took(slow)));
                let begins = samples.is_empty().then(|| spread.quantile(0.5)).flatten();
                let now = newest(&series[0]).or(begins).map(about);
                let unknown = || String::from("–");
                (now.unwrap_or_else(unknown), slow.unwrap_or_default())
            }
        };
        let plot = Plot {
            series: &series,
            shown: about,
        };
        tile(html, id, title, &now, &slow, Some(plot), &note);
    }
    html.push_str("</div>");
}

/// Of the last minute: what is older is in the curve, and not how things are now.
fn newest(line: &[Option<f64>]) -> Option<f64> {
    line.iter()
        .rev()
        .take(LAST_MINUTE)
        .flatten()
        .next()
        .copied()
}

fn about(seconds: f64) -> String {
    format!("about {}", took(seconds))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_is_a_minute() {
        let filled = |at: usize| {
            let mut line = vec![None; 40];
            line[at] = Some(1.0);
            newest(&line)
        };
        assert_eq!([filled(39), filled(28)], [Some(1.0); 2]);
        assert_eq!([filled(27), filled(0)], [None; 2]);
    }
}
