//! Answers that are still good: within the TTL caps, and bounded.
//!
//! Pure: no sockets, no clock; `now` comes in as an argument.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::resolve::{Answer, Family, ResolveError};
use crate::config;

/// Names that are remembered at most; `*.` rules let clients choose names.
const NAMES_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Cache {
    names: HashMap<Arc<str>, [Option<Cached>; 2]>,
    min_ttl: Duration,
    max_ttl: Duration,
    negative_ttl: Duration,
}

#[derive(Debug, Clone)]
struct Cached {
    answer: Answer,
    /// As the servers gave it, before any cap.
    ttl: Duration,
    at: Instant,
}

impl Cache {
    pub(super) fn new(dns: &config::Dns) -> Self {
        Self {
            names: HashMap::new(),
            min_ttl: dns.min_ttl,
            max_ttl: dns.max_ttl,
            negative_ttl: dns.negative_ttl,
        }
    }

    pub(super) fn find(
        &self,
        name: &str,
        family: Family,
        max_ttl: Option<Duration>,
        now: Instant,
    ) -> Option<Answer> {
        let cached = self.names.get(name)?[family as usize].as_ref()?;
        (now.saturating_duration_since(cached.at) < self.lifetime(cached, max_ttl))
            .then(|| cached.answer.clone())
    }

    fn lifetime(&self, cached: &Cached, max_ttl: Option<Duration>) -> Duration {
        match cached.answer {
            Ok(_) => cached
                .ttl
                .max(self.min_ttl)
                .min(max_ttl.unwrap_or(self.max_ttl))
                .min(self.max_ttl),
            Err(_) => self.negative_ttl,
        }
    }

    pub(super) fn keep(
        &mut self,
        name: &Arc<str>,
        family: Family,
        answer: &Answer,
        ttl: Duration,
        now: Instant,
    ) {
        // A server that is silent or failing now may answer the next question.
        if matches!(answer, Err(ResolveError::TimedOut | ResolveError::Failed)) {
            return;
        }
        if !self.names.contains_key(name) && self.names.len() >= NAMES_MAX {
            self.forget_oldest();
        }
        let slots = self.names.entry(Arc::clone(name)).or_default();
        slots[family as usize] = Some(Cached {
            answer: answer.clone(),
            ttl,
            at: now,
        });
    }

    /// Frees an eighth of the places at once, so that a flood of names does not pay a search each.
    fn forget_oldest(&mut self) {
        let newest =
            |slots: &[Option<Cached>; 2]| slots.iter().flatten().map(|cached| cached.at).max();
        let mut ages: Vec<_> = self.names.values().map(newest).collect();
        let (_, border, _) = ages.select_nth_unstable(NAMES_MAX / 8);
        let border = *border;
        self.names.retain(|_, slots| newest(slots) > border);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn cache() -> Cache {
        Cache {
            names: HashMap::new(),
            min_ttl: Duration::from_secs(5),
            max_ttl: Duration::from_secs(3600),
            negative_ttl: Duration::from_secs(5),
        }
    }

    fn found() -> Answer {
        Ok([IpAddr::from([192, 0, 2, 1])].into())
    }

    /// Keeps an answer with `ttl` seconds, and says for how many seconds it is found.
    fn lives(answer: &Answer, ttl: u64, max_ttl: Option<u64>) -> u64 {
        let (mut cache, start) = (cache(), Instant::now());
        let name: Arc<str> = "push.test".into();
        cache.keep(&name, Family::V4, answer, Duration::from_secs(ttl), start);
        let is_found = |age| {
            cache
                .find(
                    "push.test",
                    Family::V4,
                    max_ttl.map(Duration::from_secs),
                    start + Duration::from_secs(age),
                )
                .is_some()
        };
        (0..=7200)
            .find(|age| !is_found(*age))
            .expect("forgotten at last")
    }

    #[tokio::test]
    async fn answers_live_within_the_caps() {
        assert_eq!(lives(&found(), 300, None), 300);
        assert_eq!(lives(&found(), 0, None), 5, "the floor");
        assert_eq!(lives(&found(), 86_400, None), 3600, "the cap");
        assert_eq!(lives(&found(), 300, Some(60)), 60, "the destination's cap");
        assert_eq!(
            lives(&found(), 300, Some(2)),
            2,
            "the destination's cap wins over the floor"
        );
        assert_eq!(
            lives(&Err(ResolveError::NotFound), 300, None),
            5,
            "a name that does not exist"
        );
        assert_eq!(
            lives(&Err(ResolveError::TimedOut), 300, None),
            0,
            "silence is not remembered"
        );
    }

    #[tokio::test]
    async fn families_are_kept_apart_and_names_are_bounded() {
        let (mut cache, start) = (cache(), Instant::now());
        for count in 0..NAMES_MAX + 100 {
            let name: Arc<str> = format!("host-{count}.test").into();
            cache.keep(
                &name,
                Family::V6,
                &found(),
                Duration::from_secs(60),
                start + Duration::from_millis(count as u64),
            );
        }
        assert!(
            cache.names.len() <= NAMES_MAX,
            "{} names",
            cache.names.len()
        );
        let newest = format!("host-{}.test", NAMES_MAX + 99);
        assert!(cache.find(&newest, Family::V6, None, start).is_some());
        assert!(cache.find(&newest, Family::V4, None, start).is_none());
        assert!(
            cache.find("host-0.test", Family::V6, None, start).is_none(),
            "the oldest went first"
        );
    }
}
