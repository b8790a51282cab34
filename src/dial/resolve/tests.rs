//! The cache, the flights and their timers together, on a clock that stands until everybody waits.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use tokio::task::LocalSet;
use tokio::time::sleep;

use super::*;
use crate::dial::answerer::{Ask, Settled};

const TIMEOUT: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What an exchange may lose to names at most when all is well, or was before.
const NOTHING: Duration = Duration::from_millis(5);

/// Name servers that say what the test wants.
#[derive(Debug, Clone)]
struct Oracle(Rc<Words>);

#[derive(Debug)]
struct Words {
    answer: RefCell<Answer>,
    ttl: Duration,
    delay: Cell<Duration>,
    asked: Cell<usize>,
}

impl Oracle {
    fn says(&self, answer: Answer) {
        *self.0.answer.borrow_mut() = answer;
        self.0.delay.set(Duration::ZERO);
    }

    fn dies(&self) {
        self.says(Err(ResolveError::TimedOut));
        self.0.delay.set(TIMEOUT);
    }
}

impl Ask for Oracle {
    fn ask(&mut self, _: &Arc<str>, _: Family) -> Pin<Box<dyn Future<Output = Settled>>> {
        let words = Rc::clone(&self.0);
        words.asked.set(words.asked.get() + 1);
        Box::pin(async move {
            sleep(words.delay.get()).await;
            (words.answer.borrow().clone(), Some(words.ttl))
        })
    }

    fn look_around(&mut self) -> Vec<Arc<str>> {
        Vec::new()
    }
}

/// What is asked, and who answers.
struct World {
    resolver: Resolver,
    oracle: Oracle,
    meters: Arc<Meters>,
    name: Arc<str>,
}

impl World {
    /// One look-up of the IPv4 addresses, and how long it took.
    async fn lookup(&self) -> (Lookup, Duration) {
        let begun = Instant::now();
        let lookup = self.resolver.lookup(&self.name, Family::V4, None).await;
        (lookup, begun.elapsed())
    }

    fn metric(&self, series: &str) -> f64 {
        let text = self.meters.render();
        let line = text.lines().find(|line| line.starts_with(series));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// Tells a story to its end, with answers of this TTL and this floor.
async fn tell<F: Future<Output = ()>>(ttl: u64, min_ttl: u64, story: impl FnOnce(World) -> F) {
    let dns = config::Dns {
        servers: Vec::new(),
        min_ttl: Duration::from_secs(min_ttl),
        max_ttl: Duration::from_secs(3600),
        negative_ttl: Duration::from_secs(5),
        serve_stale: DAY,
        timeout: TIMEOUT,
        ca: None,
    };
    let meters = Arc::new(Meters::new(&[], &[]));
    let (resolver, answerer) = Resolver::new(&dns, Arc::clone(&meters));
    let oracle = Oracle(Rc::new(Words {
        answer: RefCell::new(ip(1)),
        ttl: Duration::from_secs(ttl),
        delay: Cell::default(),
        asked: Cell::default(),
    }));
    let world = World {
        resolver,
        oracle: oracle.clone(),
        meters,
        name: "push.test".into(),
    };
    let told = async {
        tokio::task::spawn_local(answerer.answer(oracle));
        story(world).await;
    };
    LocalSet::new().run_until(told).await;
}

fn ip(last: u8) -> Answer {
    Ok([IpAddr::from([192, 0, 2, last])].into())
}

fn addrs(lookup: &Lookup) -> Answer {
    lookup.clone().map(|found| found.addrs)
}

#[tokio::test(start_paused = true)]
async fn dead_dns_is_not_noticed_for_a_day() {
    tell(1, 5, |world| async move {
        let (lookup, _) = world.lookup().await;
        assert_eq!(lookup, ip(1).map(Found::good));
        world.oracle.dies();
        let dead = Instant::now();
        let mut stale = 0;
        while dead.elapsed() < DAY {
            let (lookup, took) = world.lookup().await;
            assert!(took <= NOTHING, "{took:?} at {:?}", dead.elapsed());
            assert_eq!(addrs(&lookup), ip(1), "at {:?}", dead.elapsed());
            stale += usize::from(lookup.unwrap().stale.is_some());
            sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(stale, 8639, "all but the first");
        let age = world.metric("tidegate_dns_stale_age_seconds");
        assert!(age > 86_380.0, "{age}");
        let served = world.metric("tidegate_dns_lookups_total{result=\"stale\"}");
        assert!((served - 8639.0).abs() < 0.5, "{served}");
        // Nobody is asked more often than RFC 8767 wants, once it lasts.
        assert!(world.oracle.0.asked.get() < 2900, "{:?}", world.oracle);
        sleep(Duration::from_secs(60)).await;
        let (lookup, took) = world.lookup().await;
        assert_eq!(lookup, Err(ResolveError::TimedOut), "too old at last");
        assert_eq!(took, TIMEOUT);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dead_dns_is_not_noticed_whenever_it_begins_and_comes_back_by_itself() {
    for phase in 0..20 {
        tell(1, 0, |world| async move {
            assert!(world.lookup().await.0.is_ok());
            for _ in 0..phase {
                sleep(Duration::from_millis(100)).await;
                assert!(world.lookup().await.1 <= NOTHING);
            }
            world.oracle.dies();
            for tenth in 0..600 {
                sleep(Duration::from_millis(100)).await;
                let (lookup, took) = world.lookup().await;
                assert!(took <= NOTHING, "{phase}, {tenth}: {took:?}");
                assert_eq!(addrs(&lookup), ip(1), "{phase}, {tenth}");
            }
            world.oracle.says(ip(2));
            let mut tenths = 0;
            while addrs(&world.lookup().await.0) != ip(2) {
                sleep(Duration::from_millis(100)).await;
                tenths += 1;
                assert!(tenths <= 320, "still the old one");
            }
            let (lookup, _) = world.lookup().await;
            assert_eq!(lookup, ip(2).map(Found::good));
            sleep(Duration::from_secs(3)).await;
            assert!(world.metric("tidegate_dns_stale_age_seconds") < 0.1);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_in_use_never_waits_for_its_renewal() {
    tell(10, 0, |world| async move {
        world.oracle.0.delay.set(Duration::from_millis(200));
        assert_eq!(world.lookup().await.1, Duration::from_millis(200));
        for _ in 0..100 {
            sleep(Duration::from_secs(7)).await;
            let (lookup, took) = world.lookup().await;
            assert!(took <= NOTHING && lookup.unwrap().stale.is_none());
        }
        let asked = world.oracle.0.asked.get();
        assert!((80..=90).contains(&asked), "once in 8 s: {asked}");
        sleep(Duration::from_secs(600)).await;
        let later = world.oracle.0.asked.get();
        assert!(later <= asked + 8, "nobody uses it any more: {later}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rare_name_waits_a_moment_and_then_takes_what_there_is() {
    tell(60, 0, |world| async move {
        assert!(world.lookup().await.0.is_ok());
        sleep(Duration::from_secs(3600)).await;
        world.oracle.dies();
        let (lookup, took) = world.lookup().await;
        assert!(took <= Duration::from_millis(340), "{took:?}");
        let found = lookup.unwrap();
        let age = found.stale.expect("stale").as_secs();
        assert!((3300..3600).contains(&age), "{age}");
        assert!(world.lookup().await.1 <= NOTHING, "the next waits no more");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_asked_lately_gets_its_new_address_first() {
    tell(60, 0, |world| async move {
        assert!(world.lookup().await.0.is_ok());
        sleep(Duration::from_secs(3600)).await;
        world.oracle.says(ip(2));
        world.oracle.0.delay.set(Duration::from_millis(100));
        let (lookup, took) = world.lookup().await;
        assert_eq!(lookup, ip(2).map(Found::good));
        assert_eq!(took, Duration::from_millis(100));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn servers_that_fail_do_not_end_an_answer_and_an_answer_does() {
    tell(60, 0, |world| async move {
        assert!(world.lookup().await.0.is_ok());
        world.oracle.says(Err(ResolveError::Failed));
        sleep(Duration::from_secs(61)).await;
        let (lookup, took) = world.lookup().await;
        assert!(took <= NOTHING && lookup.unwrap().stale.is_some());
        for none in [ResolveError::NotFound, ResolveError::NoAddress] {
            world.oracle.says(Err(none));
            sleep(Duration::from_secs(31)).await;
            assert_eq!(world.lookup().await.0, Err(none));
        }
        let failed = world.metric("tidegate_dns_lookups_total{result=\"failed\"}");
        assert!(failed >= 2.0, "{failed}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_name_is_asked_for_once_however_many_wait() {
    tell(60, 0, |world| async move {
        world.oracle.0.delay.set(Duration::from_millis(300));
        let world = Rc::new(world);
        let lookups: Vec<_> = (0..100)
            .map(|_| {
                let world = Rc::clone(&world);
                tokio::task::spawn_local(async move { world.lookup().await })
            })
            .collect();
        for lookup in lookups {
            assert_eq!(addrs(&lookup.await.unwrap().0), ip(1));
        }
        assert_eq!(world.oracle.0.asked.get(), 1);
        let v6 = world.resolver.lookup(&world.name, Family::V6, None);
        assert!(v6.await.is_ok());
        assert_eq!(world.oracle.0.asked.get(), 2, "the other family is its own");
    })
    .await;
}
