//! A small plot: one or two lines over the last quarter of an hour, as SVG.
//!
//! Pure. Colours and widths are the style sheet's.

use std::fmt::Write as _;

use super::history::SAMPLES_MAX;
use super::markup::Text;

const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 40.0;
/// So that the line at the top and at the bottom is as thick as elsewhere.
const MARGIN: f64 = 2.0;

/// Lines of equal length, oldest value first, the newest at the right edge; where there is no value the line has a gap.
/// `label` is what a screen reader says.
pub(super) fn lines(label: &str, series: &[Vec<Option<f64>>]) -> String {
    let top = top(series).unwrap_or_default();
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <path class=\"axis\" d=\"M0 {y}H{WIDTH}\"/>",
        Text(label),
        y = HEIGHT - MARGIN / 2.0
    );
    for (number, values) in series.iter().enumerate() {
        let _ = write!(
            svg,
            "<path class=\"line l{number}\" d=\"{}\"/>",
            path(values, top)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// The greatest value, at which the plot ends; `None` where there is nothing to draw.
pub(super) fn top(series: &[Vec<Option<f64>>]) -> Option<f64> {
    series.iter().flatten().flatten().copied().reduce(f64::max)
}

fn path(values: &[Option<f64>], top: f64) -> String {
    let step = WIDTH / (SAMPLES_MAX - 1) as f64;
    let first = SAMPLES_MAX.saturating_sub(values.len());
    let mut d = String::new();
    let mut drawing = false;
    for (at, value) in values.iter().enumerate() {
        let Some(value) = value else {
            drawing = false;
            continue;
        };
        let x = (first + at) as f64 * step;
        let share = if top > 0.0 { value / top } else { 0.0 };
        let y = HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN);
        let _ = write!(d, "{}{x:.1} {y:.1}", if drawing { 'L' } else { 'M' });
        if !drawing {
            // A value between two gaps is a dot, not nothing.
            d.push_str("h.1");
        }
        drawing = true;
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_the_right_edge_and_have_gaps() {
        let svg = lines(
            "a \"label\"",
            &[vec![Some(0.0), None, Some(4.0), Some(2.0)]],
        );
        assert!(svg.contains("aria-label=\"a &quot;label&quot;\""), "{svg}");
        assert!(
            svg.contains("d=\"M177.0 38.0h.1M179.0 2.0h.1L180.0 20.0\""),
            "{svg}"
        );
        assert!(lines("none", &[Vec::new()]).contains("d=\"\""));
    }
}
