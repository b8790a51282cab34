//! Prometheus' text format, as much of it as we need: names, labels, values.

use thiserror::Error;

/// Every sample of a page.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Samples(Vec<Sample>);

#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Labels(Vec<(String, String)>);

#[derive(Debug, Error, PartialEq)]
#[error("line {line} is not a sample: {text:?}")]
pub(super) struct BadSample {
    line: usize,
    text: String,
}

impl Samples {
    pub(super) fn parse(page: &str) -> Result<Self, BadSample> {
        let mut samples = Vec::new();
        for (index, line) in page.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            samples.push(sample(line).ok_or_else(|| BadSample {
                line: index + 1,
                text: line.chars().take(200).collect(),
            })?);
        }
        Ok(Self(samples))
    }

    /// The sum of a family's samples whose labels are wanted, as a count.
    pub(super) fn sum(&self, name: &str, wanted: impl Fn(&Labels) -> bool) -> u64 {
        let sum: f64 = self
            .0
            .iter()
            .filter(|sample| sample.name == name && wanted(&sample.labels))
            .map(|sample| sample.value)
            .sum();
        sum.max(0.0).round() as u64
    }
}

impl Labels {
    pub(super) fn of(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// `name{label="value",…} 1.5 [timestamp]`
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::default(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: (!name.is_empty()).then(|| name.to_owned())?,
        labels,
        value,
    })
}

/// The labels behind an opening brace, and what follows the closing one.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((Labels(labels), rest));
        }
        let (label, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((label.trim().to_owned(), value));
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_is_read() {
        let page = "# HELP a_total What.\n# TYPE a_total counter\n\
                    a_total{x=\"1\",y=\"b\\\"c\\\\\\n\"} 3\na_total{x=\"2\"} 4.0 1700000000\n\nb 5e1\n";
        let samples = Samples::parse(page).unwrap();
        assert_eq!(samples.sum("a_total", |_| true), 7);
        assert_eq!(samples.sum("a_total", |l| l.of("y") == Some("b\"c\\\n")), 3);
        assert_eq!(samples.sum("b", |_| true), 50);
        assert_eq!(samples.sum("c", |_| true), 0);
    }

    #[test]
    fn what_is_no_sample_is_named_by_line() {
        let check = |page: &str, line| {
            assert_eq!(Samples::parse(page).unwrap_err().line, line, "{page}");
        };
        check("a 1\nb", 2);
        check("a{x=\"1\" 1", 1);
        check("a{x} 1", 1);
        check("{x=\"1\"} 1", 1);
        check("a one", 1);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(page in ".*") {
            let _ = Samples::parse(&page);
        }

        #[test]
        fn any_label_value_comes_back(value in "[^\r]*", number in 0_u32..) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            prop_assume!(escaped.lines().count() <= 1);
            let line = format!("name{{label=\"{escaped}\",other=\"x\"}} {number}");
            let read = sample(&line).unwrap();
            prop_assert_eq!(read.labels.of("label"), Some(value.as_str()));
            prop_assert_eq!(read.value, f64::from(number));
        }
    }
}
