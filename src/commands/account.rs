//! What each station would say to a request, put into words.
//!
//! Decides nothing: the gate admits, the policy clears, the dialer looks ahead, and `reply.rs` has the status. Here is
//! only what they are asked, and how their answers read.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::config::whereabouts::Whereabouts;
use crate::config::{self, Config};
use crate::exchange::{Absolute, ExchangeId, ListenerName, Reason, Target, UserName};
use crate::gate::{self, Admission, Asked, Gate, Limits, Refusal, Rules};
use crate::policy::{OwnAddresses, Policy};
use crate::serve::reply;
use crate::telemetry::Meters;

/// What is to be explained.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) target: &'a str,
    pub(super) user: Option<UserName>,
    pub(super) from: Option<IpAddr>,
    pub(super) listener: Option<ListenerName>,
}

/// The whole story of one request.
#[derive(Debug, Serialize)]
pub(super) struct Account {
    pub(super) request: String,
    pub(super) from: IpAddr,
    pub(super) user: Option<String>,
    pub(super) listener: String,
    pub(super) client: Option<String>,
    pub(super) destination: Option<String>,
    /// In the order in which they would be tried.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) steps: Vec<Step>,
    pub(super) answer: Answer,
}

/// What one station says.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) station: &'static str,
    pub(super) says: Vec<String>,
}

/// What the client would be answered.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) passes: bool,
    pub(super) status: Option<u16>,
    pub(super) reason: Option<&'static str>,
    pub(super) says: String,
    /// What would have to change for it to pass.
    pub(super) to_do: Vec<String>,
}

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    #[error("no listener is called {0}")]
    NoListener(ListenerName),
    #[error("cannot ask for names")]
    Runtime(#[source] io::Error),
}

/// A request, parsed.
pub(super) struct Request {
    pub(super) target: Target,
    /// Of a forwarded one: whether its URI says https.
    pub(super) forward: Option<bool>,
}

/// A refusal, and what would help.
pub(super) struct Refused {
    reason: Reason,
    details: String,
    pub(super) challenges: Vec<String>,
    to_do: Vec<String>,
}

impl Account {
    pub(super) fn of(config: &Config, question: &Question<'_>) -> Result<Self, AccountError> {
        let mut telling = Telling::new(config, question)?;
        let refused = telling.run()?;
        let answer = match refused {
            None => telling.passes(),
            Some(refused) => refused.answer(),
        };
        Ok(Self {
            answer,
            ..telling.account
        })
    }
}

/// One account in the making.
pub(super) struct Telling<'a> {
    pub(super) config: &'a Config,
    pub(super) question: &'a Question<'a>,
    pub(super) listener: &'a config::Listener,
    pub(super) from: IpAddr,
    pub(super) found: Whereabouts,
    pub(super) account: Account,
}

impl<'a> Telling<'a> {
    fn new(config: &'a Config, question: &'a Question<'a>) -> Result<Self, AccountError> {
        let is_named = |one: &&config::Listener| question.listener.as_ref() == Some(&one.name);
        let serves = |one: &&config::Listener| {
            let served = |from| gate::is_served(one, from);
            question.from.is_none_or(served)
        };
        let listener = match &question.listener {
            Some(name) => (config.listeners.iter().find(is_named))
                .ok_or_else(|| AccountError::NoListener(name.clone()))?,
            None => (config.listeners.iter().find(serves))
                .or_else(|| config.listeners.first())
                .expect("a configuration has a listener"),
        };
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let assumed = || match listener.allow_from.first() {
            Some(network) if !gate::is_served(listener, loopback) => network.addr(),
            _ => loopback,
        };
        let from = question.from.unwrap_or_else(assumed).to_canonical();
        let is_uri = Absolute::looks_like(question.target.as_bytes());
        let request = if is_uri {
            // A path may hold a device token.
            match Absolute::parse(question.target.as_bytes()) {
                Ok(uri) => format!(
                    "GET {}://{}",
                    if uri.tls { "https" } else { "http" },
                    uri.target
                ),
                Err(_) => "GET".to_owned(),
            }
        } else {
            format!("CONNECT {}", question.target)
        };
        let user = question.user.as_ref().map(ToString::to_string);
        let by = user
            .as_deref()
            .map_or_else(String::new, |user| format!(" as {user}"));
        Ok(Self {
            config,
            question,
            listener,
            from,
            found: Whereabouts::of(config.source.path.as_deref()),
            account: Account {
                request: format!("{request} from {from}{by}"),
                from,
                user,
                listener: listener.name.to_string(),
                client: None,
                destination: None,
                addresses: Vec::new(),
                steps: Vec::new(),
                answer: Answer {
                    passes: false,
                    status: None,
                    reason: None,
                    says: String::new(),
                    to_do: Vec::new(),
                },
            },
        })
    }

    pub(super) fn say(&mut self, station: &'static str, says: impl IntoIterator<Item = String>) {
        let says: Vec<String> = says.into_iter().collect();
        if !says.is_empty() {
            self.account.steps.push(Step { station, says });
        }
    }

    /// `word (FILE:LINE)`.
    pub(super) fn at(&self, words: impl Display, section: &str, place: usize, key: &str) -> String {
        match self.found.key(section, place, key) {
            Some(line) => format!("{words} ({line})"),
            None => words.to_string(),
        }
    }

    /// Goes from station to station, as far as the request would come.
    fn run(&mut self) -> Result<Option<Refused>, AccountError> {
        let request = match parse(self.question.target) {
            Ok(request) => request,
            Err((reason, details)) => {
                let to_do = "the client must ask for HOST:PORT (CONNECT), or for a whole http:// or https:// URI";
                return Ok(Some(Refused::new(reason, details, to_do.into())));
            }
        };
        let meters = Arc::new(Meters::new(&[], &[]));
        let limits = Limits::new(&self.config.limits, 0, &meters);
        let own = self.config.listeners.iter().map(|one| one.address);
        let own = OwnAddresses {
            bound: own.chain([self.config.admin.address]).collect(),
        };
        let unlisted = self.config.policy.unlisted;
        let policy = Arc::new(Policy::new(&self.config.destinations, unlisted, own));
        let rules = Rules::new(self.config, Arc::clone(&policy), limits.clone());
        let gate = Gate::looking_on();
        self.say_listener(&rules, &gate, &request);
        let admitted = self.admit(&rules, &gate, &request);
        let sender = match &admitted {
            Ok(admission) => &admission.login.sender,
            Err(refusal) => &refusal.login.sender,
        };
        self.say_who(sender.as_ref());
        let login = self.say_credentials(sender.as_ref(), &rules, &gate, &request);
        let is_served = gate::is_served(self.listener, self.from);
        if is_served {
            self.say_policy(&policy, &request.target, sender.as_ref(), &admitted);
        }
        let admission = match (admitted, login) {
            (Ok(admission), login) => {
                self.say_limits(&limits, &admission, &request);
                let outlook = self.look_ahead(&admission.cleared, meters)?;
                self.say_way(&admission.cleared, &outlook, request.forward);
                if let Some(login) = login {
                    return Ok(Some(login));
                }
                if let Some(error) = &outlook.error {
                    let to_do =
                        self.to_do_about_names(error.reason(), &outlook, &admission.cleared);
                    return Ok(Some(Refused::new(error.reason(), error.to_string(), to_do)));
                }
                admission
            }
            (Err(_), Some(login)) if is_served => return Ok(Some(login)),
            (Err(refusal), _) => {
                let to_do = self.to_do_about(&refusal, &policy, &request.target);
                let (reason, details) = (refusal.error.reason(), refusal.error.to_string());
                return Ok(Some(Refused::new(reason, details, to_do)));
            }
        };
        let clear = request.forward == Some(false);
        if clear
            && admission.cleared.takes_only_tls()
            && !admission.cleared.destination().report_only
        {
            let to_do = "ask with https, or CONNECT; or set sni to \"match\" or \"off\"";
            let details = "this destination takes nothing but TLS".into();
            return Ok(Some(Refused::new(
                Reason::SniMismatch,
                details,
                to_do.into(),
            )));
        }
        Ok(None)
    }

    /// Asks the gate, for somebody whose login is right.
    fn admit(&self, rules: &Rules, gate: &Gate, request: &Request) -> Result<Admission, Refusal> {
        // A right login and a certificate that names the user lead to the same place.
        let anybody = UserName::new("?");
        let user = match &self.question.user {
            Some(user) => Some(user),
            None if self.config.authentication.required => Some(&anybody),
            None => None,
        };
        gate.admit(rules, &self.asked(request, user), SystemTime::now())
    }

    pub(super) fn asked<'q>(
        &'q self,
        request: &'q Request,
        user: Option<&'q UserName>,
    ) -> Asked<'q> {
        Asked {
            listener: self.listener,
            client: self.from,
            method: if request.forward.is_some() {
                "GET"
            } else {
                "CONNECT"
            },
            request_target: self.question.target.as_bytes(),
            target: &request.target,
            authorization: &[],
            certificate_user: user,
        }
    }
    fn passes(&self) -> Answer {
        let (status, says) = if Absolute::looks_like(self.question.target.as_bytes()) {
            (
                None,
                "the target's own answer, once one of the addresses connects".to_owned(),
            )
        } else {
            let line = String::from_utf8_lossy(reply::ESTABLISHED);
            let line = line.trim_end();
            (
                Some(reply::ESTABLISHED_STATUS),
                format!("{line}, once one of the addresses connects"),
            )
        };
        Answer {
            passes: true,
            status,
            reason: None,
            says,
            to_do: Vec::new(),
        }
    }
}

impl Refused {
    pub(super) fn new(reason: Reason, details: String, to_do: String) -> Self {
        Self {
            reason,
            details,
            challenges: Vec::new(),
            to_do: vec![to_do],
        }
    }

    /// As it would be written to the client.
    fn answer(self) -> Answer {
        let refusal = reply::Refusal {
            reason: self.reason,
            details: &self.details,
            challenges: &self.challenges,
            fields: &[],
            keep: true,
        };
        let (status, bytes) = refusal.render(ExchangeId::new(0, 0, 0)).unzip();
        let bytes = bytes.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or_default().to_owned();
        Answer {
            passes: false,
            status,
            reason: Some(self.reason.token()),
            says: format!("{line}, {}: {}", self.reason.token(), self.details),
            to_do: self.to_do,
        }
    }
}

fn parse(target: &str) -> Result<Request, (Reason, String)> {
    let target = target.as_bytes();
    if Absolute::looks_like(target) {
        let uri = Absolute::parse(target).map_err(|error| (error.reason(), error.to_string()))?;
        return Ok(Request {
            target: uri.target,
            forward: Some(uri.tls),
        });
    }
    let target =
        Target::from_connect(target).map_err(|error| (error.reason(), error.to_string()))?;
    Ok(Request {
        target,
        forward: None,
    })
}

pub(super) fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}
