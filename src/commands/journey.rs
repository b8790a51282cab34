//! The way of a call server through a proxy: name, address, TLS, 407, login, CONNECT, and TLS inside the tunnel.
//!
//! Says each step as it is done, and stops where a server would be stuck.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http_auth::{DigestClient, PasswordParams, basic, parse_challenges};
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::advice;
use super::as_server::{Mark, Step};
use super::heard::{Heard, plain};
use super::trust::{Side, certificate, clock, no_tls};
use super::wire::{exchange, read_over};
use crate::config::{Config, Parent, Secret};
use crate::dial::Way;
use crate::dial::tls::NativeRoots;
use crate::exchange::Target;

/// So long a server waits for its push to be confirmed.
const CONFIRMATION: Duration = Duration::from_secs(5);

/// All that is needed for it.
pub(super) struct Journey<'c> {
    pub(super) proxy: Parent,
    pub(super) target: Target,
    pub(super) login: Option<(String, Secret)>,
    /// Trusted beside the system's.
    pub(super) extra: Vec<CertificateDer<'static>>,
    pub(super) config: &'c Config,
}

/// Here it ends.
pub(super) struct Stuck;

pub(super) type Tell<'t> = &'t mut dyn FnMut(Step);

impl Journey<'_> {
    pub(super) async fn go(&self, tell: Tell<'_>) {
        // How far it came has been told.
        let _: Result<(), Stuck> = self.steps(tell).await;
    }

    async fn steps(&self, tell: Tell<'_>) -> Result<(), Stuck> {
        let roots = NativeRoots::load();
        let places = self.names(&roots, tell).await?;
        let peer = self.addresses(&places, tell).await?;
        let mut way = self.open(peer, &roots, tell, true).await?;
        let mut buffer = BytesMut::new();
        let begun = Instant::now();
        let (bare, keeps) = self.ask(&mut way, &mut buffer, None, tell).await?;
        if self.challenge(&bare, begun.elapsed(), tell)? {
            if !keeps {
                buffer.clear();
                way = self.open(peer, &roots, tell, false).await?;
            }
            let login = self.answer(&bare, peer, tell)?;
            let begun = Instant::now();
            let (heard, _) = self.ask(&mut way, &mut buffer, Some(&login), tell).await?;
            self.connected(&heard, begun.elapsed(), tell)?;
        }
        self.inside(way, &roots, tell).await
    }

    /// One CONNECT, its answer, and whether the connection is good for another one.
    async fn ask(
        &self,
        way: &mut Way,
        buffer: &mut BytesMut,
        login: Option<&str>,
        tell: Tell<'_>,
    ) -> Result<(Heard, bool), Stuck> {
        let target = &self.target;
        let login = login.map(|login| format!("Proxy-Authorization: {login}\r\n"));
        let head = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
            login.unwrap_or_default()
        );
        let mut heard = exchange(way, buffer, &head)
            .await
            .map_err(|(what, remedy)| {
                tell(
                    Step::new(Mark::Fail, "ask", format!("CONNECT {target}: {what}"))
                        .remedy(remedy),
                );
                Stuck
            })?;
        let is_tunnel = (200..300).contains(&heard.status);
        let keeps = is_tunnel || read_over(&mut heard, way, buffer).await;
        Ok((heard, keeps))
    }

    /// What the bare CONNECT was answered; whether it is to be asked again with a login.
    fn challenge(&self, heard: &Heard, took: Duration, tell: Tell<'_>) -> Result<bool, Stuck> {
        let by = heard
            .proxy()
            .map(|proxy| format!(" by {proxy}"))
            .unwrap_or_default();
        match heard.status {
            200..=299 => {
                let what = format!(
                    "CONNECT {}: {}{by}: no login is asked for",
                    self.target,
                    heard.line()
                );
                tell(Step::new(Mark::Ok, "bare", what).took(took));
                self.phrase(heard, tell);
                Ok(false)
            }
            407 => {
                let challenges = heard.challenges();
                let words: Vec<String> =
                    challenges.iter().flatten().map(|one| one.words()).collect();
                let realm = challenges
                    .iter()
                    .flatten()
                    .next()
                    .map(|one| one.realm.clone());
                let what = format!(
                    "407{by}, in this order: {}; realm \"{}\"; the connection {}",
                    words.join(", "),
                    realm.unwrap_or_default(),
                    if heard.keeps {
                        "stays open"
                    } else {
                        "is closed"
                    }
                );
                tell(Step::new(Mark::Ok, "bare", what).took(took));
                for (warns, words) in
                    advice::of_challenges(&challenges, heard.keeps, self.proxy.tls)
                {
                    let mark = if warns { Mark::Warn } else { Mark::Note };
                    tell(Step::new(mark, "bare", words));
                }
                Ok(true)
            }
            _ => {
                self.refused("bare", heard, false, took, tell);
                Err(Stuck)
            }
        }
    }

    /// A `Proxy-Authorization` to the first challenge that we can answer, as most clients do.
    fn answer(&self, heard: &Heard, peer: SocketAddr, tell: Tell<'_>) -> Result<String, Stuck> {
        let mut stuck = |what: &str, remedy: &str| {
            tell(Step::new(Mark::Fail, "login", what).remedy(remedy));
            Stuck
        };
        let Some((user, password)) = &self.login else {
            return Err(stuck(
                "the proxy asks for a login, and none was named",
                "--user NAME, with the password on the terminal, from standard input or from --password-file",
            ));
        };
        let Ok(password) = std::str::from_utf8(password.reveal()) else {
            return Err(stuck(
                "the password is not UTF-8, which this login is made of",
                "save its file as UTF-8",
            ));
        };
        let authority = self.target.to_string();
        let lines: Vec<_> = heard.all("proxy-authenticate").collect();
        let offers = lines
            .iter()
            .flat_map(|line| parse_challenges(line).unwrap_or_default());
        let mut basic_offered = false;
        for offer in offers {
            basic_offered |= offer.scheme.eq_ignore_ascii_case("basic");
            let Ok(mut digest) = DigestClient::try_from(&offer) else {
                continue;
            };
            let params = PasswordParams {
                username: user,
                password,
                uri: &authority,
                method: "CONNECT",
                body: None,
            };
            if let Ok(login) = digest.respond(&params) {
                return Ok(login);
            }
        }
        match basic_offered {
            true if self.proxy.tls || peer.ip().is_loopback() => {
                Ok(basic::encode_credentials(user, password))
            }
            true => Err(stuck(
                "the proxy takes Basic alone, and anybody on the way could read the password",
                "have it offer digest, or reach it with https://",
            )),
            false => Err(stuck(
                "none of the challenges can be answered",
                "have the proxy offer Digest MD5 and SHA-256, a line each",
            )),
        }
    }

    /// What the CONNECT with a login was answered.
    fn connected(&self, heard: &Heard, took: Duration, tell: Tell<'_>) -> Result<(), Stuck> {
        if !(200..300).contains(&heard.status) {
            self.refused("login", heard, true, took, tell);
            return Err(Stuck);
        }
        let step = Step::new(
            Mark::Ok,
            "login",
            format!("CONNECT {}: {}", self.target, heard.line()),
        )
        .took(took);
        tell(if took >= CONFIRMATION {
            Step {
                mark: Mark::Warn,
                ..step
            }
            .remedy("a server waits 5 s for its push to be confirmed: see what the proxy waits for")
        } else {
            step
        });
        self.phrase(heard, tell);
        Ok(())
    }

    fn phrase(&self, heard: &Heard, tell: Tell<'_>) {
        if heard.phrase != "Connection established"
            && heard
                .proxy()
                .is_none_or(|name| !name.starts_with("tidegate"))
        {
            let what = "some push libraries compare the answer with \"200 Connection established\" byte by byte";
            tell(Step::new(Mark::Note, "connect", what));
        }
    }

    fn refused(
        &self,
        step: &'static str,
        heard: &Heard,
        logged_in: bool,
        took: Duration,
        tell: Tell<'_>,
    ) {
        let advice = advice::of(heard, logged_in);
        let mut what = format!(
            "CONNECT {}: {}: {}",
            self.target,
            heard.line(),
            advice.meaning
        );
        if let Some(after) = heard.first("retry-after") {
            what += &format!("; Retry-After: {}", plain(after));
        }
        if let Some(id) = &heard.exchange {
            what += &format!("; exchange {id} in the proxy's log");
        }
        tell(
            Step::new(Mark::Fail, step, what)
                .took(took)
                .remedy(advice.remedy),
        );
    }

    /// TLS with the target inside the tunnel, and what its clock says.
    async fn inside(&self, way: Way, roots: &NativeRoots, tell: Tell<'_>) -> Result<(), Stuck> {
        let begun = Instant::now();
        let tls = self.shake(&self.target.host, way, roots).await;
        let mut tls = tls.map_err(|error| {
            let (what, remedy) = no_tls(&error, Side::Target);
            tell(
                Step::new(Mark::Fail, "target", what)
                    .took(begun.elapsed())
                    .remedy(remedy),
            );
            Stuck
        })?;
        tell(certificate(
            "target",
            "with the target, through the tunnel",
            &tls,
            begun.elapsed(),
        ));
        let begun = Instant::now();
        let head = format!(
            "HEAD / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.target.host
        );
        let heard = exchange(&mut tls, &mut BytesMut::new(), &head).await;
        let took = begun.elapsed();
        let date = heard.as_ref().ok().and_then(|heard| heard.first("date"));
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        tell(
            match (date, heard.as_ref()) {
                (Some(date), _) => clock(date, SystemTime::now()),
                (None, Ok(heard)) => Step::new(
                    Mark::Note,
                    "clock",
                    format!(
                        "{} without a Date: this machine's clock is not compared",
                        heard.line()
                    ),
                ),
                (None, Err((what, _))) => Step::new(
                    Mark::Note,
                    "clock",
                    format!(
                        "no HTTP from the target ({what}): this machine's clock is not compared"
                    ),
                ),
            }
            .took(took),
        );
        Ok(())
    }
}
