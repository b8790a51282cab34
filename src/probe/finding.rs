//! One thing that was found out, as it is told: how bad, where, what, and what to do about it.

use std::fmt;

use serde::Serialize;

/// The worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Pushes do not get through here.
    Fail,
    /// They do, and something will go wrong, or has with one of several addresses.
    Warn,
    Ok,
    /// Nothing could be found out.
    Note,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// What was looked at: `names`, `address`, `tls`, `clock`, …
    pub(crate) check: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) destination: String,
    /// `push.test:443`; empty: it is about this machine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) target: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    /// The word that an exchange would end with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'static str>,
    pub(crate) what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Fail => "FAIL",
            Self::Warn => "WARN",
            Self::Ok => "ok",
            Self::Note => "note",
        }
    }
}

/// One line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4}  ", self.severity.word())?;
        if self.target.is_empty() {
            f.write_str("this machine")?;
        } else {
            write!(f, "{} {}", self.destination, self.target)?;
        }
        if !self.role.is_empty() {
            write!(f, " ({})", self.role)?;
        }
        if let Some(peer) = &self.peer {
            write!(f, " at {peer}")?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(reason) = self.reason {
            write!(f, " [{reason}]")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, " -> {remedy}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let mut finding = Finding {
            severity: Severity::Fail,
            check: "names",
            destination: "lab".into(),
            target: "push.test:443".into(),
            role: "push",
            peer: None,
            reason: Some("name_not_found"),
            what: "the name does not exist".into(),
            remedy: Some("spell it".into()),
        };
        assert_eq!(
            finding.to_string(),
            "FAIL  lab push.test:443 (push): the name does not exist [name_not_found] -> spell it"
        );
        finding.severity = Severity::Ok;
        finding.peer = Some("127.0.0.1:443".into());
        (finding.reason, finding.remedy) = (None, None);
        assert_eq!(
            finding.to_string(),
            "ok    lab push.test:443 (push) at 127.0.0.1:443: the name does not exist"
        );
    }
}
