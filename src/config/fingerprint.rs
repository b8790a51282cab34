//! What stood in the files that a configuration names, and in what it must not show, as hashes: enough to see a change.
//!
//! Users and nonce keys are compared themselves, in `diff.rs`. A hash made here is never shown to anybody.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;

use super::{Config, disk};

/// By key, as in `listener "tls".tls.certificate`.
pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

pub(super) fn of(config: &Config) -> Contents {
    let mut contents = Contents::new();
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        let key = |name: &str| format!("listener {:?}.tls.{name}", listener.name.as_str());
        // The certificates in hand, not the file again: it may have changed meanwhile.
        contents.insert(key("certificate"), certificates(&tls.identity.key.cert));
        if let Some(ca) = &tls.client_ca {
            contents.insert(key("client_ca"), certificates(&ca.certificates));
        }
        note_file(
            &mut contents,
            key("ticket_key_file"),
            tls.ticket_key_file.as_deref(),
        );
    }
    for destination in &config.destinations {
        let key = |name: &str| format!("destination {:?}.{name}", destination.name.as_str());
        if let Some(ca) = &destination.ca {
            contents.insert(key("ca"), certificates(&ca.certificates));
        }
        if let Some(password) = &destination.password {
            contents.insert(key("password_file"), hash(password.secret.reveal()));
        }
    }
    let servers = config.dns.servers.iter().map(ToString::to_string);
    let servers: Vec<String> = servers.collect();
    contents.insert("dns.servers".into(), hash(servers.join("\n").as_bytes()));
    if let Some(ca) = &config.dns.ca {
        contents.insert("dns.ca".into(), certificates(&ca.certificates));
    }
    if let Some(ca) = &config.log.syslog_ca {
        contents.insert("log.syslog_ca".into(), certificates(&ca.certificates));
    }
    let alarms = &config.alarms;
    if let Some(ca) = &alarms.ca {
        contents.insert("alarms.ca".into(), certificates(&ca.certificates));
    }
    let upload = alarms.upload.as_ref();
    for (key, secret_key, to) in [
        (
            "alarms.alertmanager",
            "alarms.alertmanager_secret_file",
            alarms.alertmanager.as_ref(),
        ),
        (
            "alarms.webhook",
            "alarms.webhook_secret_file",
            alarms.webhook.as_ref(),
        ),
        (
            "alarms.upload.url",
            "alarms.upload.secret_file",
            upload.map(|upload| &upload.receiver),
        ),
    ] {
        let Some(to) = to else { continue };
        contents.insert(key.into(), hash(format!("{to}{}", to.path).as_bytes()));
        if let Some(secret) = &to.secret {
            contents.insert(secret_key.into(), hash(secret.secret.reveal()));
        }
    }
    if let Some(key) = upload.and_then(|upload| upload.key.as_ref()) {
        contents.insert("alarms.upload.key_file".into(), hash(key.secret.reveal()));
    }
    contents
}

/// What cannot be read has had its complaint, or will have it from whoever needs it.
fn note_file(contents: &mut Contents, key: String, path: Option<&Path>) {
    if let Some(text) = path.and_then(|path| disk::read(path, disk::LONGEST).ok()) {
        contents.insert(key, hash(text.as_bytes()));
    }
}

fn certificates(all: &[CertificateDer<'_>]) -> Vec<u8> {
    let bytes = all.iter().flat_map(|one| one.as_ref().to_vec());
    hash(&bytes.collect::<Vec<u8>>())
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}
