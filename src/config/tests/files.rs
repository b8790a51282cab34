//! The files that a configuration names, and the configuration file itself.

use super::*;
use crate::config::{Complaints, Config, load, parse};

const MD5: &str = "00112233445566778899aabbccddeeff";

/// What is said about `t.toml` in `folder`, without the folder's name.
fn said(folder: &Folder, found: Result<Config, Complaints>) -> String {
    let said = found.err().map(|all| all.to_string()).unwrap_or_default();
    assert!(!said.contains(MD5), "{said}");
    said.replace(
        &format!(
            "{}/",
            folder.path("").display().to_string().trim_end_matches('/')
        ),
        "",
    )
}

fn check(folder: &Folder, text: &str, expected: &[&str]) {
    let said = said(folder, parse(text, &folder.path("t.toml")));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}\nis not: {start}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let folder = Folder::new();
    let check = |name: &str, start: &str| {
        let said = said(&folder, load(Some(&folder.path(name))));
        assert!(said.starts_with(start) && said.ends_with(')'), "{said}");
    };
    check("no.toml", "no.toml:0: file: there is no such file (");
    folder.write("latin.toml", b"[log]\n# caf\xe9\n");
    check(
        "latin.toml",
        "latin.toml:0: file: is not UTF-8 text (line 2) (",
    );
    folder.write("long.toml", "#".repeat((1 << 20) + 1));
    check(
        "long.toml",
        "long.toml:0: file: is longer than 1048576 bytes (",
    );
    fs::create_dir(folder.path("dir")).unwrap();
    check("dir", "dir:0: file: is a folder (");
    for nothing in ["", "# all of it is a comment\n"] {
        folder.write("empty.toml", nothing);
        check("empty.toml", "empty.toml:0: file: says nothing (");
    }
    folder.write("little.toml", "[log]\n");
    assert!(load(Some(&folder.path("little.toml"))).is_ok());
}

fn tls(certificate: &str, key: &str) -> String {
    format!(
        "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n[listener.tls]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n"
    )
}

#[test]
fn certificates_and_keys() {
    let folder = Folder::new();
    let (chain, key) = certificate();
    let (other_chain, other_key) = certificate();
    folder.write("a.pem", &chain);
    folder.write("a.key", &key);
    folder.write("b.key", &other_key);
    folder.write("both.pem", format!("{key}{chain}"));
    folder.write("order.pem", format!("{other_chain}{chain}"));
    folder.write("text.pem", "hello");
    folder.write("der.pem", [0x30, 0x82, 0xff, 0xfe]);
    folder.write(
        "cut.pem",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    );
    folder.write("torn.pem", chain.split_at(chain.len() - 40).0);
    folder.write("empty.pem", "");
    folder.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    folder.write(
        "old.key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n",
    );
    folder.write(
        "bad.key",
        "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
    );
    let on = |certificate: &str, key: &str, expected: &[&str]| {
        check(&folder, &tls(certificate, key), expected)
    };
    on("a.pem", "a.key", &[]);
    on("both.pem", "both.pem", &[]);
    on(
        "no.pem",
        "a.key",
        &["t.toml:5: listener[a].tls.certificate: there is no such file ("],
    );
    on(
        "a.pem",
        "no.key",
        &["t.toml:6: listener[a].tls.private_key: there is no such file ("],
    );
    on(
        "a.key",
        "a.pem",
        &[
            "t.toml:5: listener[a].tls.certificate: holds a private key, not a certificate (are certificate and private_key swapped?)",
            "t.toml:6: listener[a].tls.private_key: holds a certificate, not a private key (are certificate and private_key swapped?)",
        ],
    );
    on(
        "a.pem",
        "a.pem",
        &["t.toml:6: listener[a].tls.private_key: holds a certificate, not a private key (are"],
    );
    on(
        "a.pem",
        "b.key",
        &["t.toml:6: listener[a].tls.private_key: does not belong to the certificate ("],
    );
    on(
        "order.pem",
        "a.key",
        &[
            "t.toml:6: listener[a].tls.private_key: belongs to certificate 2 of the chain, not to the first (",
        ],
    );
    on(
        "text.pem",
        "a.key",
        &["t.toml:5: listener[a].tls.certificate: is not PEM (from DER: openssl x509"],
    );
    on(
        "der.pem",
        "a.key",
        &["t.toml:5: listener[a].tls.certificate: is not PEM ("],
    );
    on(
        "empty.pem",
        "a.key",
        &["t.toml:5: listener[a].tls.certificate: is not PEM ("],
    );
    on(
        "cut.pem",
        "a.key",
        &["t.toml:5: listener[a].tls.certificate: certificate 1 in it is damaged ("],
    );
    on(
        "torn.pem",
        "a.key",
        &["t.toml:5: listener[a].tls.certificate: certificate 1 in it is damaged ("],
    );
    on(
        "a.pem",
        "text.pem",
        &["t.toml:6: listener[a].tls.private_key: is not PEM (from DER: openssl pkey"],
    );
    on(
        "a.pem",
        "locked.key",
        &["t.toml:6: listener[a].tls.private_key: holds a locked private key ("],
    );
    on(
        "a.pem",
        "old.key",
        &["t.toml:6: listener[a].tls.private_key: holds a locked private key ("],
    );
    on(
        "a.pem",
        "bad.key",
        &["t.toml:6: listener[a].tls.private_key: is damaged, or of a kind"],
    );
}

#[test]
fn an_expired_certificate_is_told() {
    let folder = Folder::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([String::from("a.test")]).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    folder.write("a.pem", params.self_signed(&key).unwrap().pem());
    folder.write("a.key", key.serialize_pem());
    check(
        &folder,
        &tls("a.pem", "a.key"),
        &["t.toml:5: listener[a].tls.certificate: has expired"],
    );
}

#[test]
fn the_earliest_end_of_the_chain_counts() {
    let folder = Folder::new();
    let (chain, key) = certificate();
    let mut params = rcgen::CertificateParams::new([String::from("ca.test")]).unwrap();
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let above = params
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .pem();
    folder.write("a.pem", format!("{chain}{above}"));
    folder.write("a.key", key);
    let config = parse(&tls("a.pem", "a.key"), &folder.path("t.toml")).unwrap();
    let identity = &config.listeners[0].tls.as_ref().unwrap().identity;
    assert_eq!(identity.key.cert.len(), 2);
    // 2002-01-01, which is over; clients do not mind a superfluous certificate above.
    let end = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_009_843_200);
    assert_eq!(identity.expires, end);
}

#[test]
fn every_usual_kind_of_key_is_taken() {
    let folder = Folder::new();
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new([String::from("a.test")]).unwrap();
        folder.write("a.pem", params.self_signed(&key).unwrap().pem());
        folder.write("a.key", key.serialize_pem());
        check(&folder, &tls("a.pem", "a.key"), &[]);
    }
}

#[test]
fn the_older_forms_of_a_key_are_taken() {
    use base64::Engine;
    let folder = Folder::new();
    // Inside PKCS#8, behind a head of fixed length, stands the older form.
    for (algorithm, head, label) in [
        (&rcgen::PKCS_RSA_SHA256, 26, "RSA"),
        (&rcgen::PKCS_ECDSA_P256_SHA256, 29, "EC"),
    ] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new([String::from("a.test")]).unwrap();
        folder.write("a.pem", params.self_signed(&key).unwrap().pem());
        let inside = base64::engine::general_purpose::STANDARD.encode(&key.serialize_der()[head..]);
        let pem = format!(
            "-----BEGIN {label} PRIVATE KEY-----\n{inside}\n-----END {label} PRIVATE KEY-----\n"
        );
        folder.write("a.key", pem);
        check(&folder, &tls("a.pem", "a.key"), &[]);
    }
}

#[test]
fn users_files() {
    let folder = Folder::new();
    let required = "[authentication]\nrequired = true\nusers = \"u\"\n";
    let optional = "[authentication]\nusers = \"u\"\n";
    let named =
        "[[client]]\nname = \"c\"\nusers = [\"ann\", \"bop\"]\n[authentication]\nusers = \"u\"\n";
    check(
        &folder,
        required,
        &[
            "t.toml:3: authentication.users: there is no file u, and required = true needs it (make it: tidegate passwd u USER)",
        ],
    );
    check(&folder, optional, &[]);
    check(
        &folder,
        named,
        &[
            "t.toml:5: authentication.users: there is no file u, and a [[client]] with users needs it",
        ],
    );
    folder.write("u", "");
    check(
        &folder,
        required,
        &["t.toml:3: authentication.users: the file has no users ("],
    );
    check(&folder, optional, &[]);
    folder.write("u", format!("# staff\nann:lab:{MD5}\nbob:lab2:{MD5}\n"));
    let realm = "t.toml:3: authentication.users: the file has no user of the realm \"tidegate\", only of \"lab\", \"lab2\" (";
    check(&folder, required, &[realm]);
    check(&folder, optional, &[&realm.replace(":3:", ":2:")]);
    folder.write(
        "u",
        format!("ann:tidegate:{MD5}\nbob\nbob:tidegate:{MD5}0\ncid:lab:{MD5}\n"),
    );
    check(
        &folder,
        required,
        &[
            "u:2: user: the line has no colon (",
            "u:3: user: the line ends in 33 characters that are no hash (",
        ],
    );
    folder.write("u", format!("ann:tidegate:{MD5}\nbob:tidegate:{MD5}\n"));
    check(&folder, required, &[]);
    check(
        &folder,
        named,
        &[
            "t.toml:3: client[c].users: the users file has no \"bop\" of this realm (did you mean \"bob\"?)",
        ],
    );
    folder.write("u", [0xff, 0xfe]);
    check(
        &folder,
        required,
        &["t.toml:3: authentication.users: u is not UTF-8 text (line 1) ("],
    );
}

#[test]
fn a_file_that_nobody_mentions_is_not_read() {
    let folder = Folder::new();
    folder.write("users.htdigest", "broken\n");
    check(&folder, "", &[]);
    check(
        &folder,
        "[authentication]\nrequired = true\n",
        &[
            "t.toml:1: authentication.users: the file has no users (",
            "users.htdigest:1: user: the line has no colon (",
        ],
    );
}

#[test]
fn a_user_that_no_scheme_can_admit_is_told() {
    let folder = Folder::new();
    folder.write(
        "u",
        format!("ann:tidegate:{MD5}\nbob:tidegate:{MD5}\nbob:tidegate:{MD5}{MD5}\n"),
    );
    let text = |schemes: &str| {
        format!(
            "[authentication]\nrequired = true\nusers = \"u\"\ndigest_algorithms = [\"SHA-256\"]\nschemes = {schemes}\n"
        )
    };
    check(
        &folder,
        &text("[\"digest\"]"),
        &["t.toml:4: authentication.digest_algorithms: \"ann\" can never log in"],
    );
    check(&folder, &text("[\"digest\", \"basic\"]"), &[]);
}

#[test]
fn nonce_keys() {
    let folder = Folder::new();
    let text = "[authentication]\nnonce_key_file = \"n.key\"\n";
    let key = MD5.repeat(2);
    check(&folder, text, &[]);
    folder.write("n.key", format!("2 {key}\n1 {key}\n"));
    let config = parse(text, &folder.path("t.toml")).unwrap();
    let ids: Vec<u8> = config
        .authentication
        .nonce_keys
        .iter()
        .map(|key| key.id)
        .collect();
    assert_eq!(ids, [2, 1]);
    assert!(
        !format!("{config:?}").contains("17, 34, 51"),
        "a key is printed"
    );
    folder.write("n.key", format!("2 {key}\n\n2 {key}\n"));
    check(
        &folder,
        text,
        &["n.key:3: nonce key: has the number 2 again ("],
    );
    folder.write("n.key", "");
    check(&folder, text, &["n.key:0: nonce key: holds no key ("]);
    fs::remove_file(folder.path("n.key")).unwrap();
    fs::create_dir(folder.path("n.key")).unwrap();
    check(
        &folder,
        text,
        &["t.toml:2: authentication.nonce_key_file: is a folder ("],
    );
}

#[test]
fn client_certificates() {
    let folder = Folder::new();
    let (chain, key) = certificate();
    folder.write("a.pem", &chain);
    folder.write("a.key", &key);
    folder.write("ca.pem", &chain);
    let text = |address: &str, more: &str, rest: &str| {
        format!(
            "[[listener]]\nname = \"a\"\naddress = \"{address}\"\n[listener.tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\n{more}\n{rest}"
        )
    };
    let ca = "client_ca = \"ca.pem\"";
    let named = "[[client]]\nname = \"c\"\nusers = [\"cucm1\"]\n";
    // A certificate is as good as a password: no open proxy, and no users file that must know the user.
    check(&folder, &text("0.0.0.0:1", ca, ""), &[]);
    check(&folder, &text("127.0.0.1:1", ca, named), &[]);
    let required = "[authentication]\nrequired = true\n";
    check(&folder, &text("0.0.0.0:1", ca, required), &[]);
    let config = parse(&text("0.0.0.0:1", ca, ""), &folder.path("t.toml")).unwrap();
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.client_ca.as_ref().unwrap().certificates.len(), 1);
    // Those who come by another listener must still know a password.
    let plain = "[[listener]]\nname = \"p\"\naddress = \"127.0.0.1:2\"\n[authentication]\nrequired = true\n";
    check(
        &folder,
        &text("0.0.0.0:1", ca, plain),
        &["t.toml:11: authentication.users: there is no file users.htdigest"],
    );
    // A users file that is there is read, for those who send a password beside their certificate.
    folder.write("u", format!("ann:tidegate:{MD5}\n"));
    let mentioned = "[authentication]\nrequired = true\nusers = \"u\"\n";
    let config = parse(
        &text("0.0.0.0:1", ca, &format!("{named}{mentioned}")),
        &folder.path("t.toml"),
    )
    .unwrap();
    assert_eq!(config.authentication.users.len(), 1);
    for (file, words) in [
        ("no.pem", "there is no such file"),
        ("a.key", "holds a private key, not a certificate"),
        ("empty.pem", "is not PEM"),
        ("damaged.pem", "certificate 2 in it is damaged"),
    ] {
        folder.write("empty.pem", "");
        folder.write(
            "damaged.pem",
            format!("{chain}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        );
        check(
            &folder,
            &text("0.0.0.0:1", &format!("client_ca = \"{file}\""), ""),
            &[&format!("t.toml:7: listener[a].tls.client_ca: {words}")],
        );
    }
    check(
        &folder,
        &text("127.0.0.1:1", "client_user = \"san\"", ""),
        &["t.toml:7: listener[a].tls.client_user: means nothing without client_ca"],
    );
    check(
        &folder,
        &text("127.0.0.1:1", &format!("{ca}\nclient_user = \"cn\""), ""),
        &["t.toml:8: listener[a].tls.client_user: cannot be \"cn\""],
    );
}
