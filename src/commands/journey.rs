//! The way of a call server through a proxy: name, address, TLS, 407, login, CONNECT, and TLS inside the tunnel.
//!
//! Says each step as it is done, and stops where a server would be stuck.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http_auth::{DigestClient, PasswordParams, basic, parse_challenges};
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use super::advice;
use super::as_server::{Mark, Step};
use super::heard::{Heard, plain};
use super::trust::{behind, nothing_behind};
use super::wire::{PATIENCE, exchange, read_over};
use crate::config::{Config, Parent, Secret};
use crate::dial::Way;
use crate::dial::tls::NativeRoots;
use crate::exchange::Target;
use crate::probe::Outsider;

/// So long a server waits for its push to be confirmed.
const CONFIRMATION: Duration = Duration::from_secs(5);
/// What the way may take of it: some day it takes twice as long.
const SLOW: Duration = Duration::from_secs(2);
/// Answers to challenges: the second one where the first nonce was too old.
const ROUNDS: usize = 2;

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
        // A server keeps names; all that follows is a part of the wait for a push that has no connection yet.
        let begun = Instant::now();
        let mut way = self.open(peer, &roots, tell, true).await?;
        let mut buffer = BytesMut::new();
        let (bare, mut keeps, waited) = self.ask(&mut way, &mut buffer, None, tell).await?;
        if self.challenge(&bare, waited, tell)? {
            let mut last = bare;
            for round in 1..=ROUNDS {
                if !keeps {
                    buffer.clear();
                    way = self.open(peer, &roots, tell, false).await?;
                }
                let login = self.answer(&last, peer, tell)?;
                let (heard, keeps_on, took) =
                    self.ask(&mut way, &mut buffer, Some(&login), tell).await?;
                // Only the nonce was too old: clients follow by themselves.
                if round < ROUNDS && heard.is_stale() {
                    (last, keeps) = (heard, keeps_on);
                    continue;
                }
                self.connected(&heard, took, tell)?;
                break;
            }
        }
        self.inside(way, &roots, tell).await;
        in_time(begun.elapsed()).into_iter().for_each(tell);
        Ok(())
    }

    /// One CONNECT, its answer, whether the connection is good for another one, and how long it took.
    async fn ask(
        &self,
        way: &mut Way,
        buffer: &mut BytesMut,
        login: Option<&str>,
        tell: Tell<'_>,
    ) -> Result<(Heard, bool, Duration), Stuck> {
        let target = &self.target;
        let login = login.map(|login| format!("Proxy-Authorization: {login}\r\n"));
        let head = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
            login.unwrap_or_default()
        );
        let begun = Instant::now();
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
        Ok((heard, keeps, begun.elapsed()))
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
        let what = format!("CONNECT {}: {}", self.target, heard.line());
        tell(Step::new(Mark::Ok, "login", what).took(took));
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
    async fn inside(&self, way: Way, roots: &NativeRoots, tell: Tell<'_>) {
        let outsider = Outsider {
            native_roots: roots,
            extra: &self.extra,
            ca: "--ca",
            patience: PATIENCE,
        };
        let begun = Instant::now();
        match outsider.look(way, &self.target).await {
            Ok(sight) => behind(&sight).into_iter().for_each(tell),
            Err(failure) => {
                let (what, remedy) = nothing_behind(failure);
                let step = Step::new(Mark::Fail, "target", what).remedy(remedy);
                tell(step.took(begun.elapsed()));
            }
        }
    }
}

/// Every step to the target's answer is a part of the wait for a push.
fn in_time(waited: Duration) -> Option<Step> {
    let what = format!(
        "connection, CONNECT, TLS and the target's answer took {:.1} s in all, and a server waits {} s for its push to be confirmed",
        waited.as_secs_f64(),
        CONFIRMATION.as_secs()
    );
    let remedy = "the times above say which step is slow: the proxy's load, its name servers, or its way to the target";
    let mark = if waited >= CONFIRMATION {
        Mark::Fail
    } else {
        Mark::Warn
    };
    (waited >= SLOW).then(|| Step::new(mark, "time", what).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_eats_up_a_servers_patience_is_told() {
        let check = |waited: u64, mark: Option<Mark>| {
            let step = in_time(Duration::from_millis(waited));
            assert_eq!(step.map(|step| step.mark), mark, "{waited}");
        };
        check(1_999, None);
        check(2_000, Some(Mark::Warn));
        check(4_999, Some(Mark::Warn));
        check(5_000, Some(Mark::Fail));
        let step = in_time(Duration::from_secs(8)).unwrap();
        assert!(step.what.contains("8.0 s in all"), "{step:?}");
    }
}
