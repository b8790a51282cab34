//! Requests in absolute form: `POST http://push.test/…` to the proxy itself, which then speaks to the cloud for us.
//!
//! Which pushes take this way is a share, spread evenly; they carry the same login as CONNECTs do.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ProxyClient;
use super::connection::{Answered, Connection, Post, SendError};
use super::counts::{Unanswered, one_more};
use super::proxy_client::ROUNDS;

/// Which pushes go in absolute form, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsoluteForm {
    /// How many in a hundred.
    pub percent: u8,
    /// Origins, `http://host:port` or `https://host:port`; they take turns.
    pub origins: Vec<String>,
}

/// The pushes of one server, told apart.
#[derive(Debug)]
pub(super) struct Turns {
    form: AbsoluteForm,
    pushes: AtomicU64,
}

impl Turns {
    pub(super) fn new(form: AbsoluteForm) -> Self {
        Self {
            form,
            pushes: AtomicU64::new(0),
        }
    }

    /// The origin of the next push, or `None` where it takes a tunnel.
    pub(super) fn next(&self) -> Option<&str> {
        let percent = u64::from(self.form.percent.min(100));
        let n = self.pushes.fetch_add(1, Ordering::Relaxed)
            % (100 * self.form.origins.len().max(1) as u64);
        let before = n * percent / 100;
        if (n + 1) * percent / 100 == before {
            return None;
        }
        let turn = usize::try_from(before).unwrap_or(0) % self.form.origins.len().max(1);
        self.form.origins.get(turn).map(String::as_str)
    }
}

/// `host:port` of an origin.
pub(super) fn authority(origin: &str) -> &str {
    origin
        .split_once("://")
        .map_or(origin, |(_, authority)| authority)
}

impl ProxyClient {
    /// Sends a request to the proxy, and answers its challenges: on the same connection where that stays open.
    pub(super) async fn post(
        &self,
        connection: &mut Connection,
        post: &Post<'_>,
    ) -> Result<Answered, SendError> {
        let counts = self.counts();
        let mut may_be_old = self.has_challenge();
        for round in 1..=ROUNDS {
            let credentials = self.credentials("POST", post.uri);
            let post = Post {
                credentials: credentials.as_deref(),
                ..*post
            };
            let unanswered = Unanswered::new(counts);
            let reply = match connection.post(&post).await {
                Ok(reply) => reply,
                Err(SendError::Cut) => return Err(SendError::Cut),
                Err(SendError::Unsent) => {
                    unanswered.settled();
                    return Err(SendError::Unsent);
                }
            };
            unanswered.settled();
            if reply.status == 407 {
                one_more(&counts.challenged);
                let again =
                    round < ROUNDS && self.learn(&reply.headers, credentials.is_some(), may_be_old);
                if !again {
                    return Ok(reply);
                }
                may_be_old = false;
                continue;
            }
            if credentials.is_some() {
                one_more(&counts.authenticated);
            }
            one_more(if reply.is_by_proxy() {
                &counts.refused
            } else {
                &counts.forwarded
            });
            return Ok(reply);
        }
        unreachable!("the last round returns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_even_and_origins_take_turns() {
        let check = |percent, origins: &[&str], pushes, expected: &[(usize, &str)]| {
            let turns = Turns::new(AbsoluteForm {
                percent,
                origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            });
            let found: Vec<_> = (0..pushes)
                .filter_map(|n| turns.next().map(|origin| (n, origin.to_owned())))
                .collect();
            let found: Vec<_> = found.iter().map(|(n, o)| (*n, o.as_str())).collect();
            assert_eq!(found, expected, "{percent} % to {origins:?}");
        };
        check(25, &["a", "b"], 12, &[(3, "a"), (7, "b"), (11, "a")]);
        check(50, &["a"], 4, &[(1, "a"), (3, "a")]);
        check(100, &["a", "b"], 3, &[(0, "a"), (1, "b"), (2, "a")]);
        check(0, &["a"], 200, &[]);
        check(25, &[], 8, &[]);
    }

    #[test]
    fn an_odd_share_keeps_the_turns_after_a_hundred() {
        let turns = Turns::new(AbsoluteForm {
            percent: 25,
            origins: vec!["a".into(), "b".into()],
        });
        let found: Vec<_> = (0..400).filter_map(|_| turns.next()).collect();
        let other = |origin: &str| if origin == "a" { "b" } else { "a" };
        assert_eq!(found.len(), 100);
        let turned = found.windows(2).all(|pair| pair[1] == other(pair[0]));
        assert!(turned, "{found:?}");
    }
}
