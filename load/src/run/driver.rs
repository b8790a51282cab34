//! A driver process: it does its errand on one thread, writes its record, and ends.
//!
//! Drivers are processes of their own, so that a storm's driver can't delay the calls of the other inside itself; and
//! the storm's lets everybody else go first, so that what it delays, it delays in the proxy.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::errand::{Ended, Errand, How, Record, Work};
use crate::child::cores::yield_to_others;
use crate::drive::{Pace, Steps};
use crate::onprem::{ConnectError, ProxyClient, Refused, Tunnel};

/// A push, and the answer to it: what the origin of the benchmarks answers.
const BYTES: usize = 1024;
/// From the 200 to the answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// However long a refusal says.
const REST_MAX: Duration = Duration::from_secs(60);
/// How many different rests there are.
const OWN_RESTS: u64 = 61;
const STORM_NICE: i32 = 10;
/// Calls that are due and not taken up yet; the pacer waits beyond it, and no due time moves.
const DUE_MAX: usize = 1024;

/// Does the errand that stands in a file.
pub(super) fn serve(errand: &Path) -> io::Result<()> {
    let started = Instant::now();
    let errand = Arc::new(Errand::read(errand)?);
    if matches!(errand.work, Work::Logins { .. }) {
        yield_to_others(STORM_NICE)?;
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let record = runtime.block_on(async {
        match errand.work {
            Work::Calls { servers } => calls(&errand, servers, started).await,
            Work::Logins { at_once, rests } => logins(&errand, at_once, rests, started).await,
        }
    });
    record.write(&errand.record)
}

/// Open loop: each starts when it is due.
async fn calls(errand: &Arc<Errand>, servers: u16, started: Instant) -> Record {
    let servers: Vec<_> = (0..usize::from(servers.max(1)))
        .map(|number| Arc::new(errand.client(number)))
        .collect();
    // The first one of a server learns the nonce; those that count come after it.
    for (number, server) in servers.iter().enumerate() {
        let _ = exchange(server, errand.target(number)).await;
    }

    let pace = Pace::new(errand.per_second, errand.length);
    let start = Instant::now();
    let mut due = paced(pace, start);
    let mut under_way = JoinSet::new();
    while let Some((number, due)) = due.recv().await {
        let turn = usize::try_from(number).unwrap_or(0);
        let server = servers[turn % servers.len()].clone();
        let errand = errand.clone();
        under_way.spawn(async move { one(&server, errand.target(turn), number, due).await.0 });
    }
    let ended = under_way.join_all().await;
    Record {
        lead: start - started,
        took: start.elapsed(),
        ..Record::of(pace.total(), ended)
    }
}

/// So many at once, each when it is due or as soon after as one of them has time; never faster than they are due. Where
/// it `rests`, one that is refused waits for as long as it was told to, or up to twice that.
async fn logins(errand: &Arc<Errand>, at_once: u16, rests: bool, started: Instant) -> Record {
    let pace = Pace::new(errand.per_second, errand.length);
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let steps = Arc::new(Mutex::new(Steps::new(errand.per_second, start)));
    let mut places = JoinSet::new();
    for _ in 0..at_once {
        let (errand, next, steps) = (errand.clone(), next.clone(), steps.clone());
        places.spawn(async move {
            let mut ended = Vec::new();
            while start.elapsed() < errand.length {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(due) = pace.due(number).map(|offset| start + offset) else {
                    break;
                };
                let due = in_step(&steps, due).await;
                let turn = usize::try_from(number).unwrap_or(0);
                // Nobody it has been before: the proxy challenges it.
                let newcomer = errand.client(turn);
                let (one, rest) = one(&newcomer, errand.target(turn), number, due).await;
                ended.push(one);
                if !rests {
                    continue;
                }
                // Up to twice as long, each its own: nobody's clocks tick in step.
                let own = rest.mul_f64((number % OWN_RESTS) as f64 / OWN_RESTS as f64);
                let again = (Instant::now() + rest + own).min(start + errand.length);
                tokio::time::sleep_until(again.into()).await;
            }
            ended
        });
    }
    let ended = places.join_all().await.into_iter().flatten().collect();
    Record {
        lead: start - started,
        took: start.elapsed(),
        ..Record::of(pace.total(), ended)
    }
}

/// Sleeps until the next start; says when that was.
async fn in_step(steps: &Mutex<Steps>, due: Instant) -> Instant {
    loop {
        let at = {
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.take(due, Instant::now())
        };
        tokio::time::sleep_until(at.into()).await;
        if !Steps::missed(at, Instant::now()) {
            return at;
        }
    }
}

/// Numbers with their due times, each told when it is due: a thread sleeps more exactly than a timer wheel that turns
/// once a millisecond.
fn paced(pace: Pace, start: Instant) -> mpsc::Receiver<(u64, Instant)> {
    let (told, due) = mpsc::channel(DUE_MAX);
    thread::spawn(move || {
        for number in 0.. {
            let Some(at) = pace.due(number).map(|offset| start + offset) else {
                return;
            };
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if told.blocking_send((number, at)).is_err() {
                return;
            }
        }
    });
    due
}

/// How it went, and how long it was told to wait with the next.
async fn one(client: &ProxyClient, target: &str, number: u64, due: Instant) -> (Ended, Duration) {
    let (mut setup, mut rest) = (None, Duration::ZERO);
    let how = match client.connect(target).await {
        Ok(tunnel) => {
            setup = Some(due.elapsed());
            match push(tunnel).await {
                Ok(()) => How::Ok,
                Err(error) => How::Failed(format!("in the tunnel: {error}")),
            }
        }
        Err(ConnectError::Refused(refused)) => {
            rest = retry_after(&refused);
            How::Refused(refused.status)
        }
        Err(error) => How::Failed(crate::display::chain(&error)),
    };
    (Ended { number, setup, how }, rest)
}

fn retry_after(refused: &Refused) -> Duration {
    let field = refused.headers.get(http::header::RETRY_AFTER);
    let seconds = field.and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(REST_MAX)
}

async fn exchange(client: &ProxyClient, target: &str) -> io::Result<()> {
    push(client.connect(target).await.map_err(io::Error::other)?).await
}

/// There and back; the tunnel is closed behind it.
async fn push(mut tunnel: Tunnel) -> io::Result<()> {
    let exchange = async {
        let mut bytes = [b'p'; BYTES];
        tunnel.write_all(&bytes).await?;
        tunnel.flush().await?;
        tunnel.read_exact(&mut bytes).await?;
        Ok(())
    };
    timeout(ANSWER_WAIT, exchange).await?
}

impl Errand {
    fn client(&self, number: usize) -> ProxyClient {
        ProxyClient::plain(self.proxies[number % self.proxies.len()])
            .login(&self.user, &self.password)
    }

    fn target(&self, number: usize) -> &str {
        &self.targets[number % self.targets.len()]
    }
}
