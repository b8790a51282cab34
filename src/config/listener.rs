//! `[[listener]]`: where clients come in, and with which certificate they are met.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;

use super::complaint::Wrong;
use super::file::{Section, Written};
use super::identity::{self, Identity, Part};
use super::item::Item;
use super::{Authorities, ClientUser, Listener, ListenerTls, Network, TlsVersion, endpoint, units};
use crate::exchange::ListenerName;

/// A listener as far as it could be read. Without a good address or certificate there is a complaint, and a
/// placeholder stands in.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) listener: Listener,
    pub(super) has_address: bool,
    pub(super) has_tls: bool,
    /// Clients must show a certificate: it has a `client_ca`, readable or not.
    pub(super) has_client_ca: bool,
}

/// The one that serves where the file has none.
pub(super) fn default() -> Listener {
    Listener {
        name: ListenerName::new("plain"),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 3128)),
        dual_stack: false,
        allow_from: Vec::new(),
        proxy_protocol_from: Vec::new(),
        tls: None,
    }
}

pub(super) fn read(mut section: Section<'_, '_>, now: SystemTime) -> Written<Draft> {
    let name = section.optional("name", |item| item.name("plain").map(ListenerName::new));
    if !section.has("name") {
        section.missing("name", r#"what metrics and logs call it: name = "plain""#);
    }
    let address = section.optional("address", |item| {
        endpoint::listening(item.text("127.0.0.1:3128")?)
    });
    if !section.has("address") {
        section.missing("address", r#"where it listens: address = "127.0.0.1:3128""#);
    }
    let dual_stack = section.flag("dual_stack", false);
    if dual_stack
        && address.is_some_and(|address| address.is_ipv4() || !address.ip().is_unspecified())
    {
        section.complain(
            "dual_stack",
            Wrong::new(
                "means nothing for this address",
                r#"it makes "[::]" serve IPv4 too; leave it out elsewhere"#,
            ),
        );
    }
    let allow_from = networks(&mut section, "allow_from");
    let proxy_protocol_from = networks(&mut section, "proxy_protocol_from");
    let mut has_client_ca = false;
    let (has_tls, tls) = match section.maybe_section("tls") {
        Some(section) => (true, read_tls(section, now, &mut has_client_ca)),
        None => (false, None),
    };
    section.written(Draft {
        listener: Listener {
            name: name.unwrap_or_else(|| ListenerName::new("")),
            address: address.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            dual_stack,
            allow_from,
            proxy_protocol_from,
            tls,
        },
        has_address: address.is_some(),
        has_tls,
        has_client_ca,
    })
}

pub(super) fn networks(section: &mut Section<'_, '_>, key: &'static str) -> Vec<Network> {
    section.list(key, Vec::new(), network)
}

pub(super) fn network(item: &Item<'_, '_>) -> Result<Network, Wrong> {
    units::network(item.text("10.0.0.0/8")?)
}

fn read_tls(
    mut section: Section<'_, '_>,
    now: SystemTime,
    has_client_ca: &mut bool,
) -> Option<ListenerTls> {
    let certificate = path(&mut section, "certificate", "proxy.pem");
    let private_key = path(&mut section, "private_key", "proxy.key");
    if !section.has("certificate") {
        section.missing(
            "certificate",
            r#"the chain in PEM: certificate = "proxy.pem""#,
        );
    }
    if !section.has("private_key") {
        section.missing(
            "private_key",
            r#"the key in PEM: private_key = "proxy.key""#,
        );
    }
    let client_ca = path(&mut section, "client_ca", "clients.pem");
    let client_ca = authorities(&section, "client_ca", client_ca.as_ref());
    *has_client_ca = section.has("client_ca");
    if let Some(ca) = &client_ca {
        trust_anchors(&section, ca);
    }
    let client_user = section.word(
        "client_user",
        "subject",
        &[("subject", ClientUser::Subject), ("san", ClientUser::San)],
    );
    if section.has("client_user") && !section.has("client_ca") {
        section.complain(
            "client_user",
            Wrong::new(
                "means nothing without client_ca",
                r#"say whose certificates are taken: client_ca = "clients.pem""#,
            ),
        );
    }
    let min_version = section.word(
        "min_version",
        "1.2",
        &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)],
    );
    let ticket_key_file = path(&mut section, "ticket_key_file", "tickets.key");
    let http2 = section.flag("http2", false);
    let (certificate, private_key) = (certificate?, private_key?);
    let identity = match Identity::read(&certificate, &private_key) {
        Ok(identity) => identity,
        Err(err) => {
            let key = match err.part() {
                Part::Certificate => "certificate",
                Part::PrivateKey => "private_key",
            };
            section.complain(key, err.wrong());
            // A bad certificate must not hide a bad key until the next run.
            if key == "certificate"
                && let Err(err) = identity::check_key(&private_key)
            {
                section.complain("private_key", err.wrong());
            }
            return None;
        }
    };
    if identity.has_expired(now) {
        section.complain(
            "certificate",
            Wrong::new(
                "has expired, and no client would accept it",
                "renew it; if it is good, the clock of this machine is wrong",
            ),
        );
    }
    Some(ListenerTls {
        identity: Arc::new(identity),
        client_ca,
        client_user,
        min_version,
        ticket_key_file,
        http2,
    })
}

/// A path, relative to the configuration file's folder.
pub(super) fn path(
    section: &mut Section<'_, '_>,
    key: &'static str,
    example: &str,
) -> Option<PathBuf> {
    let sheet = section.sheet();
    section.optional(key, |item: &Item<'_, '_>| {
        item.words(example).map(|path| sheet.resolve(path))
    })
}

/// Certificates that are to be trusted must at least be certificates.
pub(super) fn authorities(
    section: &Section<'_, '_>,
    key: &str,
    path: Option<&PathBuf>,
) -> Option<Authorities> {
    let path = path?;
    match identity::authorities(path) {
        Ok(certificates) => Some(Authorities {
            path: path.clone(),
            certificates: certificates.into(),
        }),
        Err(err) => {
            section.complain(key, err.wrong());
            None
        }
    }
}

/// A certificate can be well-formed and still be none that others could be traced back to.
fn trust_anchors(section: &Section<'_, '_>, ca: &Authorities) {
    let mut store = RootCertStore::empty();
    for (place, certificate) in ca.certificates.iter().enumerate() {
        if store.add(certificate.clone()).is_err() {
            section.complain(
                "client_ca",
                Wrong::new(
                    format!("certificate {} in it cannot be trusted", place + 1),
                    "X.509 version 3 certificates of the authorities that sign your clients' certificates",
                ),
            );
        }
    }
}
