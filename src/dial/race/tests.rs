use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use tokio::time::{sleep, timeout};

use super::*;

/// What an address does when it is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Connects after so many milliseconds.
    Good(u64),
    /// Refuses after so many milliseconds.
    Bad(u64),
    Silent,
    /// Was dead when it was last seen, and connects after so many milliseconds; 0: never.
    Dead(u64),
}
use Peer::{Bad, Dead, Good, Silent};

const BUDGET: u64 = 1_500;

/// Milliseconds from the start of the race.
type Start = (u64, Peer);

struct Story {
    result: Result<Peer, RaceError>,
    ended: u64,
    starts: Vec<Start>,
    attempts: Vec<Attempt<Peer, &'static str>>,
    dropped: usize,
}

/// Counts an attempt as dropped when it goes, however it goes.
struct Alive(Rc<Cell<usize>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

async fn dial(peer: Peer, alive: Alive) -> Result<(), &'static str> {
    match peer {
        Good(ms) => sleep(Duration::from_millis(ms)).await,
        Bad(ms) => {
            sleep(Duration::from_millis(ms)).await;
            return Err("refused");
        }
        Silent | Dead(0) => pending().await,
        Dead(ms) => sleep(Duration::from_millis(ms)).await,
    }
    drop(alive);
    Ok(())
}

/// As they came. The dead go together.
fn plain(addrs: VecDeque<Peer>, _: Option<&Peer>) -> Order<Peer> {
    let together = addrs.iter().all(|peer| matches!(peer, Dead(_)));
    Order { addrs, together }
}

/// Runs a race to which each batch comes at its time; behind the last, no more can come.
async fn run(batches: Vec<(u64, Vec<Peer>)>) -> Story {
    timeout(Duration::from_secs(60), run_unbounded(batches))
        .await
        .expect("a race ends")
}

async fn run_unbounded(batches: Vec<(u64, Vec<Peer>)>) -> Story {
    let began = Instant::now();
    let ms = move || u64::try_from(began.elapsed().as_millis()).unwrap();
    let (addresses, incoming) = mpsc::channel(4);
    let names = async move {
        for (at, batch) in batches {
            sleep_until(began + Duration::from_millis(at)).await;
            // The race may be over.
            let _ = addresses.send(batch).await;
        }
    };
    let pace = Pace {
        deadline: began + Duration::from_millis(BUDGET),
        attempt_delay: Duration::from_millis(250),
    };
    let dropped = Rc::new(Cell::new(0));
    let mut starts = Vec::new();
    let mut attempts = Vec::new();
    let race = async {
        let connect = |peer: &Peer| {
            starts.push((ms(), *peer));
            dial(*peer, Alive(dropped.clone()))
        };
        let result = race(incoming, plain, connect, pace, &mut attempts).await;
        (result, ms(), dropped.get())
    };
    let ((result, ended, dropped), ()) = tokio::join!(race, names);
    Story {
        result: result.map(|(peer, ())| peer),
        ended,
        starts,
        attempts,
        dropped,
    }
}

/// The addresses known at once, who wins (or why nobody), when, and when each attempt started.
async fn check(peers: &[Peer], result: Result<Peer, RaceError>, ended: u64, starts: &[u64]) {
    let story = run(vec![(0, peers.to_vec())]).await;
    let expected: Vec<Start> = starts.iter().copied().zip(peers.iter().copied()).collect();
    assert_eq!((story.result, story.ended), (result, ended), "{peers:?}");
    assert_eq!(story.starts, expected, "{peers:?}");
    assert_eq!(story.dropped, story.starts.len(), "all dropped: {peers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_good_first_address_is_the_only_one_tried() {
    check(&[Good(0), Good(0)], Ok(Good(0)), 0, &[0]).await;
    check(&[Good(20), Silent], Ok(Good(20)), 20, &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_calls_the_next_at_once() {
    check(&[Bad(0), Good(5)], Ok(Good(5)), 5, &[0, 0]).await;
    check(&[Bad(10), Bad(10), Good(5)], Ok(Good(5)), 25, &[0, 10, 20]).await;
    // The first still hangs when the second refuses.
    check(
        &[Silent, Bad(10), Good(5)],
        Ok(Good(5)),
        265,
        &[0, 250, 260],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_first_address_costs_one_delay() {
    check(&[Silent, Good(5)], Ok(Good(5)), 255, &[0, 250]).await;
    check(&[Silent, Silent, Good(5)], Ok(Good(5)), 505, &[0, 250, 500]).await;
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_tried_together_at_once() {
    check(&[Dead(0), Dead(0), Dead(5)], Ok(Dead(5)), 5, &[0, 0, 0]).await;
    // Behind one that is no better after all.
    check(&[Bad(3), Dead(0), Dead(5)], Ok(Dead(5)), 8, &[0, 3, 3]).await;
    check(
        &[Silent, Dead(0), Dead(5)],
        Ok(Dead(5)),
        255,
        &[0, 250, 250],
    )
    .await;
    let many = run(vec![(0, vec![Dead(0); 40])]).await;
    let at_once = many.starts.iter().filter(|start| start.0 == 0).count();
    assert_eq!((at_once, many.starts.len()), (TOGETHER_MAX, 40));
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_address_can_still_win() {
    check(&[Good(300), Good(100)], Ok(Good(300)), 300, &[0, 250]).await;
}

#[tokio::test(start_paused = true)]
async fn eight_silent_addresses_leave_time_for_the_ninth() {
    let story = run(vec![(0, [vec![Silent; 8], vec![Good(100)]].concat())]).await;
    assert_eq!(story.result, Ok(Good(100)));
    assert_eq!(story.starts.len(), 9);
    assert!(story.starts[8].0 <= 1_340, "{:?}", story.starts);
    assert!(story.ended < BUDGET, "{}", story.ended);
}

#[tokio::test(start_paused = true)]
async fn when_all_refuse_the_race_ends_with_the_last() {
    check(&[Bad(10), Bad(10)], Err(RaceError::AllFailed), 20, &[0, 10]).await;
    check(
        &[Bad(400), Bad(10)],
        Err(RaceError::AllFailed),
        400,
        &[0, 250],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_all_are_silent_the_race_ends_at_the_deadline() {
    check(
        &[Silent, Silent],
        Err(RaceError::TimedOut),
        BUDGET,
        &[0, 250],
    )
    .await;
    check(&[Silent], Err(RaceError::TimedOut), BUDGET, &[0]).await;
    check(&[Good(1_600)], Err(RaceError::TimedOut), BUDGET, &[0]).await;
    // One that refuses leaves the rest their time.
    check(
        &[Silent, Bad(1)],
        Err(RaceError::TimedOut),
        BUDGET,
        &[0, 250],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_race_without_addresses_says_so() {
    check(&[], Err(RaceError::NoAddress), 0, &[]).await;
    let late = run(vec![(100, vec![])]).await;
    assert_eq!((late.result, late.ended), (Err(RaceError::NoAddress), 100));
    let never = run(vec![(2_000, vec![Good(0)])]).await;
    assert_eq!(
        (never.result, never.ended),
        (Err(RaceError::TimedOut), BUDGET)
    );
    assert!(never.attempts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_late_address_starts_as_it_comes() {
    let alone = run(vec![(120, vec![Good(5)])]).await;
    assert_eq!((alone.result, alone.ended), (Ok(Good(5)), 125));
    // The delay is over when it comes, so it waits no more.
    let behind = run(vec![(0, vec![Silent]), (700, vec![Good(5)])]).await;
    assert_eq!((behind.result, behind.ended), (Ok(Good(5)), 705));
    // The delay is not over yet.
    let early = run(vec![(0, vec![Silent]), (100, vec![Good(5)])]).await;
    assert_eq!((early.result, early.ended), (Ok(Good(5)), 255));
    // The only one has failed, so it is called for.
    let called = run(vec![(0, vec![Bad(10)]), (100, vec![Good(5)])]).await;
    assert_eq!((called.result, called.ended), (Ok(Good(5)), 105));
    // One of two has failed while none waited.
    let owed = run(vec![(0, vec![Silent, Bad(10)]), (300, vec![Good(5)])]).await;
    assert_eq!((owed.result, owed.ended), (Ok(Good(5)), 305));
}

#[tokio::test(start_paused = true)]
async fn many_late_addresses_share_the_time_that_is_left() {
    let story = run(vec![
        (0, vec![Silent]),
        (1_000, [vec![Silent; 4], vec![Good(50)]].concat()),
    ])
    .await;
    assert_eq!(story.result, Ok(Good(50)), "{:?}", story.starts);
    let starts: Vec<_> = story.starts.iter().map(|start| start.0).collect();
    assert_eq!(starts, [0, 1_000, 1_100, 1_200, 1_300, 1_400]);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_is_told_in_the_order_of_starts() {
    let story = run(vec![(0, vec![Bad(10), Silent, Good(400), Silent])]).await;
    let told: Vec<_> = story
        .attempts
        .iter()
        .map(|attempt| {
            (
                attempt.addr,
                attempt.took.as_millis(),
                attempt.outcome.clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Bad(10), 10, Outcome::Failed("refused")),
            (Silent, 650, Outcome::Lost),
            (Good(400), 400, Outcome::Connected),
            (Silent, 150, Outcome::Lost),
        ]
    );
    let story = run(vec![(0, vec![Silent, Bad(10)])]).await;
    let outcomes: Vec<_> = story
        .attempts
        .iter()
        .map(|attempt| attempt.outcome.clone())
        .collect();
    assert_eq!(outcomes, [Outcome::TimedOut, Outcome::Failed("refused")]);
}

#[tokio::test(start_paused = true)]
async fn whoever_drops_the_race_drops_its_attempts() {
    let (addresses, incoming) = mpsc::channel(1);
    addresses.send(vec![Silent, Silent]).await.unwrap();
    let dropped = Rc::new(Cell::new(0));
    let mut attempts: Vec<Attempt<Peer, &str>> = Vec::new();
    let pace = Pace {
        deadline: Instant::now() + Duration::from_secs(5),
        attempt_delay: Duration::from_millis(250),
    };
    let connect = |peer: &Peer| dial(*peer, Alive(dropped.clone()));
    let race = race(incoming, |waiting, _| waiting, connect, pace, &mut attempts);
    assert!(timeout(Duration::from_secs(1), race).await.is_err());
    assert_eq!(dropped.get(), 2);
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| (attempt.took.as_millis(), &attempt.outcome))
        .collect();
    assert_eq!(
        told,
        [(1_000, &Outcome::Abandoned), (750, &Outcome::Abandoned)]
    );
}

#[tokio::test(start_paused = true)]
async fn order_sees_all_that_wait_and_the_last_one_tried() {
    let (addresses, incoming) = mpsc::channel(2);
    addresses.send(vec![Bad(1), Bad(2)]).await.unwrap();
    addresses.send(vec![Bad(3)]).await.unwrap();
    drop(addresses);
    let mut seen = Vec::new();
    let order = |mut waiting: VecDeque<Peer>, last: Option<&Peer>| {
        seen.push((waiting.len(), last.copied()));
        waiting.make_contiguous().reverse();
        waiting
    };
    let mut attempts: Vec<Attempt<Peer, &str>> = Vec::new();
    let pace = Pace {
        deadline: Instant::now() + Duration::from_secs(5),
        attempt_delay: Duration::from_millis(250),
    };
    let connect = |peer: &Peer| dial(*peer, Alive(Rc::default()));
    let ended = timeout(
        Duration::from_secs(60),
        race(incoming, order, connect, pace, &mut attempts),
    )
    .await;
    assert_eq!(ended.unwrap().unwrap_err(), RaceError::AllFailed);
    assert_eq!(seen[..3], [(3, None), (2, Some(Bad(3))), (1, Some(Bad(1)))]);
}

#[tokio::test(start_paused = true)]
async fn behind_the_deadline_nothing_starts() {
    let (addresses, incoming) = mpsc::channel(1);
    addresses.send(vec![Good(0)]).await.unwrap();
    let mut attempts: Vec<Attempt<Peer, &str>> = Vec::new();
    let pace = Pace {
        deadline: Instant::now(),
        attempt_delay: Duration::from_millis(250),
    };
    let connect = |peer: &Peer| dial(*peer, Alive(Rc::default()));
    let race = race(incoming, |waiting, _| waiting, connect, pace, &mut attempts);
    let ended = timeout(Duration::from_secs(60), race).await.unwrap();
    assert_eq!(ended.unwrap_err(), RaceError::TimedOut);
    assert!(attempts.is_empty());
}
