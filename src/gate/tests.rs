use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_auth::{PasswordClient, PasswordParams};
use proptest::prelude::*;

use super::*;
use crate::config::tests::Folder;
use crate::config::userfile::HashKind;
use crate::config::{
    ClientUser, Destination, HostPattern, HostRule, Identity, ListenerTls, PortRange, Priority,
    Rate, Repeat, Role, Secret, Sni, TlsVersion, Unlisted, UserLine,
};
use crate::exchange::{DestinationName, Host, ListenerName, Reason};
use crate::policy::OwnAddresses;

const PASSWORD: &str = "5ecret-pässword";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn lines(user: &str, password: &[u8], kinds: &[HashKind]) -> Vec<UserLine> {
    let line = |kind: &HashKind| UserLine {
        user: UserName::new(user),
        realm: "push".to_owned(),
        kind: *kind,
        ha1: Secret::new(hash::hash(*kind, &[user.as_bytes(), b"push", password]).as_bytes()),
    };
    kinds.iter().map(line).collect()
}

fn authentication() -> Authentication {
    Authentication {
        required: true,
        realm: "push".to_owned(),
        schemes: vec![Scheme::Digest, Scheme::Basic],
        basic_requires_tls: true,
        users_file: PathBuf::new(),
        users: lines(
            "ann",
            PASSWORD.as_bytes(),
            &[HashKind::Md5, HashKind::Sha256],
        ),
        digest_algorithms: vec![Algorithm::Md5, Algorithm::Sha256],
        userhash: false,
        nonce_lifetime: Duration::from_secs(3600),
        nonces: 1000,
        nonce_key_file: None,
        nonce_keys: Vec::new(),
        failure_rate: Rate { per_second: 1.0 },
        failure_burst: 30,
        failure_keys: 1000,
        next_nonce: false,
    }
}

fn client(name: &str, networks: &[&str], destinations: &[&str]) -> Client {
    Client {
        name: ClientName::new(name),
        users: Vec::new(),
        networks: networks
            .iter()
            .map(|network| network.parse().expect("a network"))
            .collect(),
        destinations: destinations
            .iter()
            .map(|name| DestinationName::new(name))
            .collect(),
        component: None,
        priority: Priority::Calls,
        exempt: false,
    }
}

fn destination(name: &str, host: &str) -> Destination {
    Destination {
        name: DestinationName::new(name),
        preset: None,
        hosts: vec![HostRule {
            pattern: HostPattern::Name(Arc::from(host)),
            role: Role::Push,
        }],
        ports: vec![PortRange {
            first: 443,
            last: 443,
        }],
        networks: Vec::new(),
        published: Vec::new(),
        sni: Sni::Off,
        ca: None,
        max_ttl: None,
        addresses: Vec::new(),
        connect_budget: None,
        repeat: Repeat::Safe,
        via: Vec::new(),
        password: None,
        source: Vec::new(),
        report_only: false,
    }
}

fn plain() -> Listener {
    Listener {
        name: ListenerName::new("plain"),
        address: SocketAddr::from(([127, 0, 0, 1], 3128)),
        dual_stack: false,
        allow_from: Vec::new(),
        proxy_protocol_from: Vec::new(),
        tls: None,
    }
}

fn tls() -> Listener {
    let made = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap();
    let folder = Folder::new();
    let certificate = folder.write("proxy.pem", made.cert.pem());
    let key = folder.write("proxy.key", made.signing_key.serialize_pem());
    Listener {
        name: ListenerName::new("tls"),
        tls: Some(ListenerTls {
            identity: Arc::new(Identity::read(&certificate, &key).unwrap()),
            client_ca: None,
            client_user: ClientUser::Subject,
            min_version: TlsVersion::V1_2,
            ticket_key_file: None,
            http2: false,
        }),
        ..plain()
    }
}

/// A gate, its rules, and the two destinations `push.test` and `other.test`.
struct Door {
    gate: Gate,
    rules: Rules,
    listener: Listener,
    client: &'static str,
    certificate: Option<UserName>,
    target: Target,
    now: SystemTime,
}

impl Door {
    fn new(authentication: &Authentication, clients: &[Client]) -> Self {
        let destinations = [
            destination("push", "push.test"),
            destination("other", "other.test"),
        ];
        let own = OwnAddresses { bound: Vec::new() };
        let policy = Arc::new(Policy::new(&destinations, Unlisted::Refuse, own));
        Self {
            gate: Gate::open_with(authentication, 2).expect("opens"),
            rules: Rules::of(authentication, clients, policy),
            listener: plain(),
            client: "192.0.2.1",
            certificate: None,
            target: Target {
                host: Host::Name(Arc::from("push.test")),
                port: 443,
            },
            now: now(),
        }
    }

    fn on(mut self, listener: Listener) -> Self {
        self.listener = listener;
        self
    }

    fn from(mut self, client: &'static str) -> Self {
        self.client = client;
        self
    }

    fn certified(mut self, user: &str) -> Self {
        self.certificate = Some(UserName::new(user));
        self
    }

    fn to(mut self, host: &str) -> Self {
        self.target.host = Host::Name(Arc::from(host));
        self
    }

    fn ask(&self, authorization: &[&str]) -> Result<Admission, Refusal> {
        let values: Vec<_> = authorization.iter().map(|value| value.as_bytes()).collect();
        self.ask_bytes(&values)
    }

    fn ask_bytes(&self, authorization: &[&[u8]]) -> Result<Admission, Refusal> {
        let request_target = self.target.to_string();
        let asked = Asked {
            listener: &self.listener,
            client: self.client.parse().expect("an address"),
            method: "CONNECT",
            request_target: request_target.as_bytes(),
            target: &self.target,
            authorization,
            certificate_user: self.certificate.as_ref(),
        };
        self.gate.admit(&self.rules, &asked, self.now)
    }

    /// `ok`, or the reason; then user, scheme, algorithm and client, as far as known.
    #[track_caller]
    fn check(&self, authorization: &[&str], want: &str) {
        let (word, login) = match self.ask(authorization) {
            Ok(admission) => ("ok", admission.login),
            Err(refusal) => {
                let challenged = !refusal.challenges.is_empty();
                let reason = refusal.error.reason();
                let is_407 = [
                    Reason::NoCredentials,
                    Reason::BadCredentials,
                    Reason::StaleNonce,
                ]
                .contains(&reason);
                assert_eq!(challenged, is_407, "{reason:?}");
                (reason.token(), refusal.login)
            }
        };
        let user = login.user.map(|user| user.to_string());
        let sender = login.sender.map(|sender| format!("@{sender}"));
        let known = [
            Some(word),
            user.as_deref(),
            login.scheme.map(Scheme::token),
            login.algorithm.map(Algorithm::token),
            sender.as_deref(),
        ];
        let known: Vec<_> = known.into_iter().flatten().collect();
        assert_eq!(known.join(" "), want, "{authorization:?}");
    }

    fn challenges(&self) -> Vec<String> {
        self.ask(&[])
            .expect_err("not without credentials")
            .challenges
    }

    /// One answer after the other to the same challenge, each with the next count.
    fn answers(&self, challenge: &str, user: &'static str) -> impl FnMut() -> String + use<> {
        let mut client = PasswordClient::try_from(challenge).expect("a challenge it understands");
        let target = self.target.to_string();
        move || {
            let params = PasswordParams {
                username: user,
                password: PASSWORD,
                uri: &target,
                method: "CONNECT",
                body: None,
            };
            client.respond(&params).expect("an answer")
        }
    }

    /// How an independent client answers one of our challenges.
    fn answer(&self, challenge: &str, user: &str, password: &str) -> String {
        let mut client = PasswordClient::try_from(challenge).expect("a challenge it understands");
        let params = PasswordParams {
            username: user,
            password,
            uri: &self.target.to_string(),
            method: "CONNECT",
            body: Some(&[]),
        };
        client.respond(&params).expect("an answer")
    }
}

fn basic_value(user: &str, password: &[u8]) -> String {
    let pair = [user.as_bytes(), b":", password].concat();
    format!("Basic {}", STANDARD.encode(pair))
}

/// Challenges with the nonce taken out.
fn shape(challenges: &[String]) -> Vec<String> {
    let without = |challenge: &String| {
        let Some((before, after)) = challenge.split_once("nonce=\"") else {
            return challenge.clone();
        };
        let (nonce, after) = after.split_once('"').expect("the nonce ends");
        assert_eq!(nonce.len(), 43, "{challenge}");
        format!("{before}nonce=\"N\"{after}")
    };
    challenges.iter().map(without).collect()
}

#[test]
fn challenges_come_one_by_one_in_the_order_configured() {
    const MD5: &str = r#"Digest realm="push", nonce="N", algorithm=MD5, qop="auth", charset=UTF-8"#;
    const SHA256: &str =
        r#"Digest realm="push", nonce="N", algorithm=SHA-256, qop="auth", charset=UTF-8"#;
    const BASIC: &str = r#"Basic realm="push", charset="UTF-8""#;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Authentication), listener: Listener, want: &[&str]) {
        let mut authentication = authentication();
        change(&mut authentication);
        let door = Door::new(&authentication, &[]).on(listener);
        assert_eq!(shape(&door.challenges()), want);
    }

    check(|_| {}, plain(), &[MD5, SHA256]);
    check(|_| {}, tls(), &[MD5, SHA256, BASIC]);
    check(
        |it| it.basic_requires_tls = false,
        plain(),
        &[MD5, SHA256, BASIC],
    );
    check(|it| it.digest_algorithms.reverse(), plain(), &[SHA256, MD5]);
    check(|it| it.schemes.reverse(), tls(), &[BASIC, MD5, SHA256]);
    check(|it| it.schemes = vec![Scheme::Basic], tls(), &[BASIC]);
    check(
        |it| it.schemes = vec![Scheme::Digest],
        tls(),
        &[MD5, SHA256],
    );
    // An algorithm that no user could answer would lock everybody out who takes it.
    let only_md5 = |it: &mut Authentication| it.users.truncate(1);
    check(only_md5, plain(), &[MD5]);
    check(|it| it.users.clear(), plain(), &[MD5, SHA256]);
}

#[test]
fn an_independent_client_gets_through_at_the_first_407() {
    let door = Door::new(&authentication(), &[]).on(tls());
    let challenges = door.challenges();
    let wants = ["ok ann digest MD5", "ok ann digest SHA-256", "ok ann basic"];
    for (place, want) in wants.into_iter().enumerate() {
        let challenge = &door.challenges()[place];
        door.check(&[&door.answer(challenge, "ann", PASSWORD)], want);
        let wrong = want.replace("ok ", "bad_credentials ");
        door.check(&[&door.answer(challenge, "ann", "other")], &wrong);
        let unknown = wrong.replace("ann", "eve");
        door.check(&[&door.answer(challenge, "eve", PASSWORD)], &unknown);
        door.check(
            &[&door.answer(challenge, "", "")],
            &wrong.replace("ann ", ""),
        );
    }
    assert_eq!(challenges.len(), wants.len());
}

#[test]
fn a_client_goes_on_with_the_same_nonce_until_it_is_stale() {
    let mut door = Door::new(&authentication(), &[]);
    let challenge = door.challenges().swap_remove(0);
    let wrong = door.answer(&challenge, "ann", "other");
    let mut answers = door.answers(&challenge, "ann");
    door.now += Duration::from_secs(3600);
    door.check(&[&answers()], "ok ann digest MD5");
    door.check(&[&answers()], "ok ann digest MD5");
    door.now += Duration::from_secs(1);
    let answer = answers();
    door.check(&[&answer], "stale_nonce ann digest MD5");
    door.check(&[&wrong], "bad_credentials ann digest MD5");
    let stale = door.ask(&[&answer]).expect_err("stale").challenges;
    assert_eq!(
        shape(&stale),
        [
            r#"Digest realm="push", nonce="N", algorithm=MD5, qop="auth", charset=UTF-8, stale=true"#,
            r#"Digest realm="push", nonce="N", algorithm=SHA-256, qop="auth", charset=UTF-8, stale=true"#,
        ]
    );
    let bad = door.ask(&[&wrong]).expect_err("wrong").challenges;
    assert!(!bad[0].contains("stale"), "{bad:?}");
    let answer = door.answer(&stale[0], "ann", PASSWORD);
    door.check(&[&answer], "ok ann digest MD5");
}

#[test]
fn each_answer_passes_once_in_any_order() {
    let door = Door::new(&authentication(), &[]);
    for place in 0..2 {
        let challenge = door.challenges().swap_remove(place);
        let mut answers = door.answers(&challenge, "ann");
        let answers: Vec<_> = (0..9).map(|_| answers()).collect();
        for place in [1, 0, 8, 4] {
            assert!(door.ask(&[&answers[place]]).is_ok());
        }
        for place in [4, 0, 8, 1] {
            let refusal = door.ask(&[&answers[place]]).expect_err("again");
            assert_eq!(refusal.error.reason(), Reason::StaleNonce);
            assert_eq!(
                refusal.error.to_string(),
                "this nonce count was used before"
            );
            assert!(refusal.challenges[0].ends_with(", stale=true"));
            // One round more, and the client is in.
            let mut fresh = door.answers(&refusal.challenges[0], "ann");
            door.check(&[&fresh()], "ok ann digest MD5");
        }
        assert!(door.ask(&[&answers[2]]).is_ok());
    }
}

#[test]
fn without_qop_a_nonce_is_good_once() {
    let door = Door::new(&authentication(), &[]);
    let challenge = door
        .challenges()
        .swap_remove(0)
        .replace(", qop=\"auth\"", "");
    let answer = door.answer(&challenge, "ann", PASSWORD);
    assert!(!answer.contains("nc="), "{answer}");
    door.check(&[&answer], "ok ann digest MD5");
    door.check(&[&answer], "stale_nonce ann digest MD5");
}

#[test]
fn a_wrong_answer_uses_nothing_up() {
    let door = Door::new(&authentication(), &[]);
    let challenge = door.challenges().swap_remove(0);
    let wrong = door.answer(&challenge, "ann", "other");
    door.check(&[&wrong], "bad_credentials ann digest MD5");
    let right = door.answer(&challenge, "ann", PASSWORD);
    door.check(&[&right], "ok ann digest MD5");
}

#[test]
fn a_guesser_has_to_wait_and_keeps_nobody_else_out() {
    let mut authentication = authentication();
    authentication.failure_burst = 3;
    authentication
        .users
        .extend(lines("bob", PASSWORD.as_bytes(), &[HashKind::Md5]));
    let mut door = Door::new(&authentication, &[]).on(tls());
    let challenge = door.challenges().swap_remove(0);
    // One that was in before goes on, whatever others do behind its address.
    let mut known = door.answers(&challenge, "ann");
    door.check(&[&known()], "ok ann digest MD5");
    let wrong = door.answer(&challenge, "ann", "guess");
    let wrong_basic = basic_value("ann", b"guess");
    door.check(&[&wrong], "bad_credentials ann digest MD5");
    door.check(&[&wrong_basic], "bad_credentials ann basic");
    door.check(&[&wrong], "bad_credentials ann digest MD5");
    door.check(&[&wrong], "throttled ann digest MD5");
    let refusal = door.ask(&[&wrong_basic]).expect_err("too many");
    assert_eq!(refusal.error.retry_after(), Some(Duration::from_secs(1)));
    door.check(
        &[&wrong_basic.replace("Basic", "basic")],
        "throttled ann basic",
    );
    door.check(&[&basic_value("eve", b"guess")], "throttled eve basic");
    // Whether that guess was right, nobody is told.
    let fresh = |door: &Door, user| door.answer(&door.challenges()[0], user, PASSWORD);
    door.check(&[&fresh(&door, "ann")], "throttled ann digest MD5");
    door.check(
        &[&basic_value("ann", PASSWORD.as_bytes())],
        "throttled ann basic",
    );
    door.check(&[&known()], "ok ann digest MD5");
    door.check(&[&fresh(&door, "bob")], "ok bob digest MD5");
    door.check(&[], "no_credentials");
    let answer = fresh(&door, "ann");
    door.client = "192.0.2.2";
    door.check(&[&answer], "ok ann digest MD5");
    door.client = "::ffff:192.0.2.1";
    door.check(&[&wrong], "throttled ann digest MD5");
    door.client = "192.0.2.1";
    door.now += Duration::from_secs(1);
    door.check(&[&fresh(&door, "ann")], "ok ann digest MD5");
}

#[test]
fn what_is_no_guess_is_no_failure() {
    let mut authentication = authentication();
    authentication.failure_burst = 1;
    let door = Door::new(&authentication, &[]);
    let answer = door.answer(&door.challenges()[0], "ann", PASSWORD);
    for _ in 0..5 {
        door.check(&[], "no_credentials");
        door.check(&["Digest nonsense"], "bad_request");
        door.check(&[&basic_value("ann", b"x")], "bad_credentials ann basic");
    }
    door.check(&[&answer], "ok ann digest MD5");
    door.check(&[&answer], "stale_nonce ann digest MD5");
    door.check(&[&answer], "stale_nonce ann digest MD5");
    let wrong = door.answer(&door.challenges()[0], "ann", "x");
    door.check(&[&wrong], "bad_credentials ann digest MD5");
    door.check(&[&wrong], "throttled ann digest MD5");
}

#[test]
fn a_client_may_hash_its_name_where_it_is_told_so() {
    let mut authentication = authentication();
    authentication.userhash = true;
    let door = Door::new(&authentication, &[]);
    for (place, algorithm) in ["MD5", "SHA-256"].into_iter().enumerate() {
        let challenge = &door.challenges()[place];
        assert!(
            challenge.ends_with(", charset=UTF-8, userhash=true"),
            "{challenge}"
        );
        let answer = door.answer(challenge, "ann", PASSWORD);
        assert!(
            answer.contains("userhash=true") && !answer.contains("ann"),
            "{answer}"
        );
        door.check(&[&answer], &format!("ok ann digest {algorithm}"));
    }
}

#[test]
fn sessions_are_accepted_only_where_they_are_listed() {
    let mut authentication = authentication();
    let door = |authentication: &Authentication| Door::new(authentication, &[]);
    let plain = door(&authentication);
    let challenge = plain.challenges()[1].replace("SHA-256", "SHA-256-sess");
    let answer = plain.answer(&challenge, "ann", PASSWORD);
    plain.check(&[&answer], "bad_credentials ann digest SHA-256-sess");
    authentication.digest_algorithms = vec![Algorithm::Sha256Sess, Algorithm::Md5Sess];
    let listed = door(&authentication);
    for (place, algorithm) in ["SHA-256-sess", "MD5-sess"].into_iter().enumerate() {
        let challenge = &listed.challenges()[place];
        let answer = listed.answer(challenge, "ann", PASSWORD);
        listed.check(&[&answer], &format!("ok ann digest {algorithm}"));
    }
}

#[test]
fn a_forwarded_reply_is_told_our_own_proof() {
    let mut authentication = authentication();
    let ask = |authentication: &Authentication, method: &str| {
        let door = Door::new(authentication, &[]);
        let challenge = door.challenges().swap_remove(1);
        let mut client = PasswordClient::try_from(&*challenge).expect("a challenge");
        let params = PasswordParams {
            username: "ann",
            password: PASSWORD,
            uri: "/",
            method,
            body: None,
        };
        let value = client.respond(&params).expect("an answer");
        let asked = Asked {
            listener: &door.listener,
            client: door.client.parse().expect("an address"),
            method,
            request_target: b"http://push.test:443/",
            target: &door.target,
            authorization: &[value.as_bytes()],
            certificate_user: None,
        };
        let admission = door.gate.admit(&door.rules, &asked, door.now);
        admission.expect("right").authentication_info
    };
    let info = ask(&authentication, "GET").expect("something to say");
    assert!(
        info.starts_with("qop=auth, rspauth=\"") && info.ends_with("nc=00000001"),
        "{info}"
    );
    authentication.next_nonce = true;
    let info = ask(&authentication, "GET").expect("something to say");
    assert!(
        info.starts_with("nextnonce=\"") && info.contains("\", qop=auth, rspauth="),
        "{info}"
    );
    let door = Door::new(&authentication, &[]);
    let answer = door.answer(&door.challenges()[0], "ann", PASSWORD);
    let admission = door.ask(&[&answer]).expect("right");
    assert_eq!(
        admission.authentication_info, None,
        "a CONNECT's 200 has no fields"
    );
}

#[test]
fn after_a_restart_a_right_answer_is_stale_and_no_failed_login() {
    let before = Door::new(&authentication(), &[]);
    let after = Door::new(&authentication(), &[]);
    let challenge = before.challenges().swap_remove(1);
    let answer = before.answer(&challenge, "ann", PASSWORD);
    after.check(&[&answer], "stale_nonce ann digest SHA-256");
}

#[test]
fn two_replicas_with_one_key_file_accept_each_others_nonces() {
    let folder = Folder::new();
    let file = folder.path("nonce.key");
    let mut authentication = authentication();
    authentication.nonce_key_file = Some(file.clone());
    authentication.nonce_keys = noncekey::create(&folder.path("other.key")).unwrap();
    let one = Door::new(&authentication, &[]);
    let other = Door::new(&authentication, &[]);
    let answer = one.answer(&one.challenges()[0], "ann", PASSWORD);
    other.check(&[&answer], "ok ann digest MD5");
    assert!(!file.exists(), "keys that were read are not made again");

    authentication.nonce_keys = Vec::new();
    Door::new(&authentication, &[]);
    assert!(file.exists(), "a missing key file is made");

    authentication.nonce_key_file = Some(file.join("nowhere"));
    let error = Gate::open_with(&authentication, 1).expect_err("no such directory");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn credentials_that_cannot_be_right() {
    let door = Door::new(&authentication(), &[]);
    door.check(&[], "no_credentials");
    door.check(&["Bearer abc"], "no_credentials");
    door.check(&["Negotiate YII="], "no_credentials");
    door.check(&[""], "bad_request");
    door.check(&["Basic !"], "bad_request");
    door.check(&["Digest username=ann"], "bad_request");
    let challenge = &door.challenges()[0];
    let answer = door.answer(challenge, "ann", PASSWORD);
    door.check(&[&answer, &answer], "bad_request");
    door.check(&[&format!("{answer}, nc=00000002")], "bad_request");
    let changed = |from: &str, to: &str| {
        assert!(answer.contains(from), "{answer}");
        answer.replace(from, to)
    };
    let bad = "bad_credentials ann digest";
    door.check(
        &[&changed("qop=auth", "qop=auth-int")],
        &format!("{bad} MD5"),
    );
    door.check(
        &[&changed("algorithm=MD5", "algorithm=MD5-sess")],
        &format!("{bad} MD5-sess"),
    );
    door.check(&[&changed("algorithm=MD5", "algorithm=SHA-512-256")], bad);
    door.check(
        &[&changed("realm=\"push\"", "realm=\"gate\"")],
        &format!("{bad} MD5"),
    );
    door.check(
        &[&changed("push.test:443", "other.test:443")],
        "bad_request ann digest MD5",
    );
    door.check(
        &[&changed("algorithm=MD5", "algorithm=SHA-256")],
        "ok ann digest MD5",
    );
}

#[test]
fn what_is_not_offered_is_named() {
    let door = Door::new(&authentication(), &[]);
    let answer = door.answer(&door.challenges()[0], "ann", PASSWORD);
    for (from, to, want) in [
        ("qop=auth", "qop=auth-int", "this digest qop is not offered"),
        ("=MD5", "=MD5-sess", "this digest algorithm is not offered"),
        (
            "realm=\"push",
            "realm=\"gate",
            "credentials for another realm",
        ),
    ] {
        let refusal = door.ask(&[&answer.replace(from, to)]).unwrap_err();
        assert_eq!(refusal.error.to_string(), want);
    }
}

#[test]
fn basic_is_kept_off_plain_listeners() {
    let value = basic_value("ann", PASSWORD.as_bytes());
    let door = Door::new(&authentication(), &[]);
    door.check(&[&value], "bad_credentials ann basic");
    let refusal = door.ask(&[&value]).expect_err("in clear");
    assert_eq!(
        refusal.error.to_string(),
        "basic is accepted on TLS listeners only"
    );
    door.on(tls()).check(&[&value], "ok ann basic");
    let mut authentication = authentication();
    authentication.basic_requires_tls = false;
    let latin_1 = basic_value("ann", b"5ecret-p\xE4ssword");
    Door::new(&authentication, &[]).check(&[&latin_1], "ok ann basic");
    authentication.schemes = vec![Scheme::Digest];
    Door::new(&authentication, &[]).check(&[&value], "bad_credentials basic");
}

#[test]
fn where_nobody_must_log_in_wrong_credentials_are_refused_all_the_same() {
    let mut authentication = authentication();
    authentication.required = false;
    let door = Door::new(&authentication, &[]).on(tls());
    door.check(&[], "ok");
    let value = basic_value("ann", PASSWORD.as_bytes());
    door.check(&[&value], "ok ann basic");
    door.check(&[&basic_value("ann", b"x")], "bad_credentials ann basic");
    door.check(&["Basic !"], "bad_request");
}

#[test]
fn an_exempt_network_needs_no_credentials_and_what_it_sends_means_nothing() {
    let exempt = Client {
        exempt: true,
        ..client("apns", &["10.0.0.0/8"], &["push"])
    };
    let clients = [exempt, client("strict", &["10.9.0.0/16"], &[])];
    let door = || Door::new(&authentication(), &clients);
    let ten = door().from("10.1.2.3");
    ten.check(&[], "ok @apns");
    ten.check(&["Basic !", "x"], "ok @apns");
    door().from("::ffff:10.1.2.3").check(&[], "ok @apns");
    door().from("10.9.0.1").check(&[], "no_credentials @strict");
    door().from("192.0.2.1").check(&[], "no_credentials");
    door()
        .from("10.1.2.3")
        .to("other.test")
        .check(&[], "client_denied @apns");
}

#[test]
fn a_user_says_more_than_an_address() {
    let mut by_user = client("cluster", &[], &["other"]);
    by_user.users = vec![UserName::new("ann")];
    let clients = [client("site", &["192.0.2.0/24"], &["push"]), by_user];
    let mut authentication = authentication();
    authentication.required = false;
    let door = |host| Door::new(&authentication, &clients).on(tls()).to(host);
    let value = basic_value("ann", PASSWORD.as_bytes());
    door("push.test").check(&[], "ok @site");
    door("other.test").check(&[], "client_denied @site");
    door("other.test").check(&[&value], "ok ann basic @cluster");
    door("push.test").check(&[&value], "client_denied ann basic @cluster");
    // A name that was only claimed makes nobody a member.
    let wrong = basic_value("ann", b"x");
    door("other.test").check(&[&wrong], "bad_credentials ann basic @site");
}

#[test]
fn the_questions_come_in_order() {
    let mut listener = plain();
    listener.allow_from = vec!["192.0.2.0/24".parse().expect("a network")];
    let door = |client, host| {
        let door = Door::new(&authentication(), &[]);
        door.on(listener.clone()).from(client).to(host)
    };
    door("198.51.100.1", "nowhere.test").check(&[], "client_denied");
    door("::ffff:192.0.2.1", "nowhere.test").check(&[], "no_credentials");
    let unlisted = door("192.0.2.1", "nowhere.test");
    let answer = unlisted.answer(&unlisted.challenges()[0], "ann", PASSWORD);
    unlisted.check(&[&answer], "target_denied ann digest MD5");
}

#[test]
fn a_place_is_free_again_when_its_permit_is_dropped() {
    let mut authentication = authentication();
    authentication.required = false;
    let door = Door::new(&authentication, &[]);
    let first = door.gate.take_tunnel().expect("room");
    let _second = door.gate.take_tunnel().expect("room");
    assert!(door.gate.take_tunnel().is_none(), "the house is full");
    drop(first);
    assert!(door.gate.take_tunnel().is_some(), "one has gone");
    Gate::open_with(&authentication, usize::MAX).expect("as many as can be");
}

#[test]
fn nothing_printed_tells_a_secret() {
    let door = Door::new(&authentication(), &[]).on(tls());
    let answer = door.answer(&door.challenges()[0], "ann", "wr0ng");
    let response = answer.split("response=\"").nth(1).expect("a response");
    let response = response.split('"').next().expect("ends");
    let basic = basic_value("ann", b"wr0ng");
    let ha1 = &authentication().users[0];
    let stored = String::from_utf8_lossy(ha1.ha1.reveal()).into_owned();
    for value in [&answer, &basic] {
        let refusal = door.ask(&[value]).expect_err("wrong");
        let shown = format!(
            "{refusal:?} {} {:?} {:?} {:?}",
            refusal.error,
            door.gate,
            door.rules,
            credentials::parse(value.as_bytes())
        );
        for secret in ["wr0ng", response, &basic[6..], &stored] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}

#[test]
fn a_certificate_logs_in_and_credentials_beside_it_win() {
    let mut by_user = client("cluster", &[], &["push"]);
    by_user.users = vec![UserName::new("cucm1")];
    let exempt = Client {
        exempt: true,
        ..client("apns", &["10.0.0.0/8"], &["push"])
    };
    let clients = [by_user, exempt];
    let basic = basic_value("ann", PASSWORD.as_bytes());
    let wrong = basic_value("ann", b"x");
    for required in [true, false] {
        let mut authentication = authentication();
        authentication.required = required;
        let door = || {
            Door::new(&authentication, &clients)
                .on(tls())
                .certified("cucm1")
        };
        door().check(&[], "ok cucm1 certificate @cluster");
        door()
            .to("other.test")
            .check(&[], "client_denied cucm1 certificate @cluster");
        door().check(&[&basic], "ok ann basic");
        door().check(&[&wrong], "bad_credentials ann basic");
        door().check(&["Bearer x"], "no_credentials");
        // A sender that is known by its network needs no name.
        door().from("10.1.2.3").check(&[], "ok @apns");
        Door::new(&authentication, &clients)
            .certified("somebody")
            .check(&[], "ok somebody certificate");
    }
}

/// Which single change to a field value.
#[derive(Debug, Clone, Copy)]
enum Edit {
    Replace,
    Insert,
    Remove,
}

proptest! {
    /// Whatever one byte of a right answer is changed, as the field came over the wire: it is not right any more, unless
    /// the change said nothing (a blank, the case of a name, `opaque`).
    #[test]
    fn an_answer_with_one_byte_changed_never_passes(
        place in 0..2_usize,
        at: proptest::sample::Index,
        edit in proptest::sample::select(vec![Edit::Replace, Edit::Insert, Edit::Remove]),
        byte in any::<u8>(),
    ) {
        let door = Door::new(&authentication(), &[]);
        let right = door.answer(&door.challenges()[place], "ann", PASSWORD).into_bytes();
        let mut changed = right.clone();
        let at = at.index(right.len());
        match edit {
            Edit::Replace => changed[at] = byte,
            Edit::Insert => changed.insert(at, byte),
            Edit::Remove => { changed.remove(at); }
        }
        let same = credentials::parse(&changed) == credentials::parse(&right);
        prop_assert_eq!(door.ask_bytes(&[&changed]).is_ok(), same, "{}", String::from_utf8_lossy(&changed));
        // The attempt has used nothing up.
        prop_assert_eq!(door.ask_bytes(&[&right]).is_ok(), !same);
    }

    /// The same with one parameter taken from another answer of the same user, or left out.
    #[test]
    fn an_answer_with_one_parameter_changed_never_passes(place in 0..2_usize, from in 0..3_usize, which: proptest::sample::Index) {
        let door = Door::new(&authentication(), &[]);
        let challenge = &door.challenges()[place];
        let mut answers = door.answers(challenge, "ann");
        let right = answers();
        // Another count, another nonce, another password.
        let other = match from {
            0 => answers(),
            1 => door.answer(&door.challenges()[place], "ann", PASSWORD),
            _ => door.answer(challenge, "ann", "other"),
        };
        let parts = |answer: &str| -> Vec<String> {
            answer.trim_start_matches("Digest ").split(", ").map(str::to_owned).collect()
        };
        let (mut params, others) = (parts(&right), parts(&other));
        let which = which.index(params.len());
        let name = |param: &str| param.split('=').next().map(str::to_owned);
        let swapped = others.iter().find(|other| name(other) == name(&params[which])).expect("it has the same ones");
        prop_assume!(params[which] != *swapped);
        params[which].clone_from(swapped);
        let changed = format!("Digest {}", params.join(", "));
        prop_assert!(door.ask(&[&changed]).is_err(), "{changed}");
        params.remove(which);
        let cut = format!("Digest {}", params.join(", "));
        prop_assert!(door.ask(&[&cut]).is_err(), "{cut}");
    }

    /// Two replicas with one key, answers in any order, inside the window and far outside, to either of them: each lets
    /// an answer pass once at most.
    #[test]
    fn an_answer_passes_once_on_each_replica(asked in proptest::collection::vec((any::<bool>(), 0..200_usize), 1..120)) {
        let folder = Folder::new();
        let mut authentication = authentication();
        authentication.nonce_keys = noncekey::create(&folder.path("nonce.key")).unwrap();
        let doors = [Door::new(&authentication, &[]), Door::new(&authentication, &[])];
        let mut answers = doors[0].answers(&doors[0].challenges()[0], "ann");
        let answers: Vec<_> = (0..200).map(|_| answers()).collect();
        let mut passed = std::collections::HashSet::new();
        for (replica, count) in asked {
            if doors[usize::from(replica)].ask(&[&answers[count]]).is_ok() {
                prop_assert!(passed.insert((replica, count)), "{count} again at {replica}");
            }
        }
        prop_assert!(!passed.is_empty());
    }
}
