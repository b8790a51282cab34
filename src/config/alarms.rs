//! `[alarms]`: where alarms go besides `/metrics`.

use super::complaint::Wrong;
use super::file::Section;
use super::listener::{authorities, path};
use super::{Alarms, LeastSeverity, Receiver, Upload, endpoint, parent, receiver};

pub(super) fn read(mut section: Section<'_, '_>) -> Alarms {
    let instance = section.optional("instance", |item| {
        let text = item.words("proxy-1")?;
        if text.len() > 255 {
            return Err(Wrong::new("is longer than 255 bytes", r#""proxy-1""#));
        }
        Ok(text.to_owned())
    });
    let syslog = section.optional("syslog", |item| {
        endpoint::collector(item.text("syslog+tls://10.0.0.9:6514")?)
    });
    let alertmanager = to_receiver(
        &mut section,
        "alertmanager",
        "http://127.0.0.1:9093",
        "alertmanager_secret_file",
    );
    if alertmanager
        .as_ref()
        .is_some_and(|one| one.path.contains('?'))
    {
        section.complain(
            "alertmanager",
            Wrong::new(
                "has a query behind the path",
                r#"where its API begins, without /api/v2: "http://127.0.0.1:9093""#,
            ),
        );
    }
    let webhook = to_receiver(
        &mut section,
        "webhook",
        "https://ops.example/hook",
        "webhook_secret_file",
    );
    let ca = path(&mut section, "ca", "alarms-ca.pem");
    let ca = authorities(&section, "ca", ca.as_ref());
    let timeout = section.duration("timeout", "10s", "1s", "60s");
    let repeat = section.duration("repeat", "1h", "1m", "7d");
    let alertmanager_repeat = section.duration("alertmanager_repeat", "1m", "1s", "1h");
    let upload = section.maybe_section("upload").map(upload);
    Alarms {
        instance,
        syslog,
        alertmanager,
        webhook,
        ca,
        timeout,
        repeat,
        alertmanager_repeat,
        upload,
    }
}

fn upload(mut section: Section<'_, '_>) -> Upload {
    let receiver = to_receiver(
        &mut section,
        "url",
        "https://ops.example/alarms",
        "secret_file",
    );
    if !section.has("url") {
        section.missing("url", r#"where they go: url = "https://…""#);
    }
    let period = section.duration("period", "30m", "5m", "90m");
    let minimum_severity = section.word(
        "minimum_severity",
        "ERROR",
        &LeastSeverity::ALL.map(|one| (one.word(), one)),
    );
    let encrypts = section.word(
        "personal_data",
        "omit",
        &[("omit", false), ("encrypt", true)],
    );
    let key = path(&mut section, "key_file", "upload.key");
    if encrypts && !section.has("key_file") {
        section.missing(
            "key_file",
            r#"what to encrypt with: key_file = "upload.key""#,
        );
    }
    if !encrypts && section.has("key_file") {
        section.complain(
            "key_file",
            Wrong::new(
                "encrypts nothing",
                r#"personal_data = "encrypt" is what it is for"#,
            ),
        );
    }
    let key = key.and_then(|path| match receiver::key(&path) {
        Ok(key) => Some(key),
        Err(wrong) => {
            section.complain("key_file", wrong);
            None
        }
    });
    Upload {
        receiver: receiver.unwrap_or_else(Receiver::nobody),
        period,
        minimum_severity,
        key,
    }
}

/// The receiver, with the secret that lets us in: the password of the user in the URL, or else a bearer token.
fn to_receiver(
    section: &mut Section<'_, '_>,
    key: &'static str,
    example: &'static str,
    secret_key: &'static str,
) -> Option<Receiver> {
    let to = section.optional(key, |item| receiver::parse(item.text(example)?));
    let file = path(section, secret_key, "alarms.secret");
    if to.as_ref().is_some_and(|to| to.user.is_some()) && !section.has(secret_key) {
        section.complain(
            key,
            Wrong::new(
                "names a user, and there is no password for it",
                format!(r#"{secret_key} = "alarms.secret", a file with the password alone"#),
            ),
        );
    }
    if section.has(secret_key) && !section.has(key) {
        section.complain(
            secret_key,
            Wrong::new("is for nobody", format!("{key} = {example:?}")),
        );
    }
    let secret = file.and_then(|path| match parent::password(&path) {
        Ok(secret) => Some(secret),
        Err(wrong) => {
            section.complain(secret_key, wrong);
            None
        }
    });
    to.map(|to| Receiver { secret, ..to })
}

impl LeastSeverity {
    pub(crate) const ALL: [Self; 5] = [
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Information,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Information => "INFORMATION",
        }
    }
}

impl Receiver {
    /// Stands in where there was a complaint.
    fn nobody() -> Self {
        receiver::parse("http://localhost").expect("a URL")
    }
}
