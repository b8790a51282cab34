//! The tunnels that live now: one small shared record each, so that sweeps and views can look without asking.

use std::collections::HashMap;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use slab::Slab;
use tokio::time::Instant;

use super::acks::Acks;
use super::confirmations::{Confirmations, Tally};
use super::exchanges::{Exchanges, Told};
use super::peers::Peers;
use super::turns::Turn;
use crate::exchange::{
    ClientAddr, ClientName, DestinationName, ExchangeId, Handshake, ListenerName, PeerAddr, Side,
    Target, UserName,
};
use crate::sys::TcpInfo;
use crate::telemetry::Meters;

const DESTINATIONS_MAX: usize = 1_024;

/// What a tunnel is, and how far it has come.
#[derive(Debug)]
pub(crate) struct LiveTunnel {
    pub(crate) id: ExchangeId,
    pub(crate) opened_at: SystemTime,
    pub(crate) opened: Instant,
    pub(crate) listener: ListenerName,
    pub(crate) client: ClientAddr,
    pub(crate) sender: Option<ClientName>,
    pub(crate) user: Option<UserName>,
    pub(crate) target: Target,
    pub(crate) peer: PeerAddr,
    pub(crate) traffic: Traffic,
    pub(crate) orders: Orders,
    /// Its destination, and where its exchanges are counted.
    pub(crate) tally: Arc<Tally>,
}

/// What has passed through. Written by the tunnel's own core, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
    /// Milliseconds from the opening to the last byte in either direction.
    last_ms: AtomicU64,
    /// The turn that is open, as one word.
    turn: AtomicU64,
    /// Milliseconds from the opening to the last byte down; they begin anew after 49 days.
    heard: AtomicU32,
    /// The longest silence so far, in milliseconds: 49 days of them.
    idle_max_ms: AtomicU32,
    /// Whether both sides acknowledge what they are sent, as one word.
    acks: AtomicU32,
    /// The round trip to the upstream when it was looked at last, in tenths of a millisecond.
    rtt: AtomicU16,
    /// Whether bytes were read from one side that the other has not taken yet.
    holding: AtomicBool,
    /// Whether it has a confirmation of which only silence can tell that it is one.
    waiting: AtomicBool,
    /// One more than the exchanges that it is sure to have had; 0 where they cannot be told.
    exchanges: AtomicU32,
    /// How far its TLS handshake has come, as one byte.
    handshake: AtomicU8,
    /// What the metrics know already: a tunnel lives for days, and its bytes must show before it ends.
    counted_up: AtomicU64,
    counted_down: AtomicU64,
}

impl Traffic {
    pub(crate) fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    pub(crate) fn idle_max(&self) -> Duration {
        Duration::from_millis(self.idle_max_ms.load(Ordering::Relaxed).into())
    }

    pub(crate) fn note_up(&self, bytes: usize, since_opened: Duration) {
        self.up.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = self.note(since_opened);
        // Nothing moved but what was counted when it came.
        if bytes > 0 {
            self.set_turn(self.turn().up(bytes, now));
        }
    }

    pub(crate) fn note_down(&self, bytes: usize, since_opened: Duration) {
        self.down.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = self.note(since_opened);
        if bytes > 0 {
            self.heard.store(now as u32, Ordering::Relaxed);
            self.set_turn(self.turn().down());
        }
    }

    fn turn(&self) -> Turn {
        Turn::from_bits(self.turn.load(Ordering::Relaxed))
    }

    fn set_turn(&self, turn: Turn) {
        self.turn.store(turn.to_bits(), Ordering::Relaxed);
    }

    fn acks(&self) -> Acks {
        Acks::from_bits(self.acks.load(Ordering::Relaxed))
    }

    fn set_acks(&self, acks: Acks) {
        self.acks.store(acks.to_bits(), Ordering::Relaxed);
    }

    /// The round trip to the upstream when it was looked at last.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        let tenths = u64::from(self.rtt.load(Ordering::Relaxed));
        (tenths > 0).then(|| Duration::from_micros(tenths * 100))
    }

    /// The silence of this turn is known. Said by the tunnel's own core, like all that is noted here.
    pub(super) fn note_silence(&self) {
        self.set_turn(self.turn().note());
    }

    pub(crate) fn set_holding(&self, holding: bool) {
        self.holding.store(holding, Ordering::Relaxed);
    }

    /// Whether a cut now would lose bytes that one side has sent.
    pub(crate) fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Relaxed)
    }

    /// The exchanges that it is sure to have had; `None` where they cannot be told.
    pub(crate) fn exchanges(&self) -> Option<u32> {
        self.exchanges.load(Ordering::Relaxed).checked_sub(1)
    }

    /// How far its TLS handshake has come, where there is one.
    pub(crate) fn handshake(&self) -> Option<Handshake> {
        match self.handshake.load(Ordering::Relaxed) {
            1 => Some(Handshake::Begun),
            2 => Some(Handshake::Through),
            3 => Some(Handshake::Died),
            _ => None,
        }
    }

    fn set_handshake(&self, handshake: Option<Handshake>) {
        let code = match handshake {
            None => 0,
            Some(Handshake::Begun) => 1,
            Some(Handshake::Through) => 2,
            Some(Handshake::Died) => 3,
        };
        self.handshake.store(code, Ordering::Relaxed);
    }

    /// Bytes up and down since this was last asked.
    pub(crate) fn uncounted(&self) -> (u64, u64) {
        let (up, down) = (self.up(), self.down());
        let counted = (
            self.counted_up.swap(up, Ordering::Relaxed),
            self.counted_down.swap(down, Ordering::Relaxed),
        );
        (up.saturating_sub(counted.0), down.saturating_sub(counted.1))
    }

    /// Notes that something moved now: the silence before it has ended. In milliseconds.
    pub(crate) fn note(&self, since_opened: Duration) -> u64 {
        let now = u64::try_from(since_opened.as_millis()).unwrap_or(u64::MAX);
        let silence = now.saturating_sub(self.last_ms.swap(now, Ordering::Relaxed));
        let silence = u32::try_from(silence).unwrap_or(u32::MAX);
        self.idle_max_ms.fetch_max(silence, Ordering::Relaxed);
        self.set_acks(self.acks().moved());
        now
    }
}

/// What a tunnel's task is told while both sides live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Another hour has passed: write its line, and live on.
    Tell,
    /// End for this reason.
    End(Cause),
}

/// Why a tunnel has to end although both sides live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Both directions were silent for too long.
    Idle,
    /// The proxy ends, and the tunnel's grace is over.
    Draining,
}

/// Orders given from outside the tunnel's task.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    end: AtomicU8,
    tell: AtomicBool,
    /// Looking at its sockets is for whoever moves the bytes: it has them.
    look: AtomicBool,
    /// Whole hours that were told of.
    hours: AtomicU32,
    /// The tunnel's task, where it waits. A `Notify` would cost every silent tunnel 70 bytes more.
    waiting: Mutex<Option<Waker>>,
}

impl Orders {
    fn end(&self, cause: Cause) {
        let code = match cause {
            Cause::Idle => 1,
            Cause::Draining => 2,
        };
        // The first order stands.
        let _ = self
            .end
            .compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        self.ring();
    }

    /// Rings once for every hour, or once for several that passed unseen.
    fn tell_hourly(&self, age: Duration) {
        let hours = u32::try_from(age.as_secs() / 3_600).unwrap_or(u32::MAX);
        if hours > self.hours.swap(hours, Ordering::Relaxed) {
            self.tell.store(true, Ordering::Release);
            self.ring();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // The lock is gone before the task is woken.
        let waiting = self.waiting().take();
        if let Some(task) = waiting {
            task.wake();
        }
    }

    /// Returns with the next order. Nothing is lost when the future is dropped.
    pub(crate) fn given(&self) -> impl Future<Output = Order> + '_ {
        poll_fn(|cx| {
            if let Some(order) = self.next() {
                return Poll::Ready(order);
            }
            {
                let mut waiting = self.waiting();
                match &mut *waiting {
                    Some(task) => task.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
            }
            // It may have been given while nobody waited.
            self.next().map_or(Poll::Pending, Poll::Ready)
        })
    }

    fn next(&self) -> Option<Order> {
        match self.end.load(Ordering::Acquire) {
            1 => Some(Order::End(Cause::Idle)),
            2 => Some(Order::End(Cause::Draining)),
            _ => self
                .tell
                .swap(false, Ordering::AcqRel)
                .then_some(Order::Tell),
        }
    }
}

impl LiveTunnel {
    pub(crate) fn destination(&self) -> &DestinationName {
        &self.tally.destination
    }

    /// How long both directions have been silent.
    pub(crate) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened + self.last())
    }

    /// From the opening to the last byte in either direction.
    pub(super) fn last(&self) -> Duration {
        Duration::from_millis(self.traffic.last_ms.load(Ordering::Relaxed))
    }

    /// When the upstream sent its last byte, if it has sent any in the last 24 days; of TLS, once the client has accepted
    /// it.
    pub(crate) fn heard(&self, now: Instant) -> Option<Instant> {
        let age = now.saturating_duration_since(self.opened).as_millis() as u64;
        let heard = self.traffic.heard.load(Ordering::Relaxed);
        // Another core may write while this one reads: what seems to come from the future comes now.
        let since = (age as u32).wrapping_sub(heard).cast_signed().max(0);
        let heard = age.saturating_sub(since.cast_unsigned().into());
        let is_accepted = matches!(self.traffic.handshake(), None | Some(Handshake::Through));
        (is_accepted && self.traffic.down() > 0).then(|| self.opened + Duration::from_millis(heard))
    }

    /// When something was asked that has had no answer for so long, unless that was noted.
    pub(super) fn silent_since(&self, patience: Duration, now: Instant) -> Option<Instant> {
        let turn = self.traffic.turn();
        // Rounded up: what was heard just before is no answer to it.
        let asked = self.opened + turn.asked()? + Duration::from_millis(1);
        (!turn.is_noted() && now.saturating_duration_since(asked) >= patience).then_some(asked)
    }

    /// Notes what its bytes have told of its exchanges. Said by its own core.
    pub(super) fn told(&self, told: Told, exchanges: &Exchanges) {
        if told != Told::default() {
            self.tally.note(told.exchanges, told.confirmation);
        }
        let traffic = &self.traffic;
        let known = traffic
            .exchanges()
            .unwrap_or(0)
            .saturating_add(told.exchanges);
        let known = if exchanges.are_understood() {
            known.saturating_add(1)
        } else {
            0
        };
        traffic.exchanges.store(known, Ordering::Relaxed);
        traffic.set_handshake(exchanges.handshake());
        traffic
            .waiting
            .store(exchanges.is_waiting(), Ordering::Relaxed);
    }

    /// Whether its sockets have to be looked at. `turn`: whether it is its turn, if it has moved.
    pub(super) fn is_due(&self, turn: bool, patience: Duration, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.opened);
        self.traffic.acks().is_due(turn, patience, age)
    }

    /// Has its task look at its sockets.
    pub(crate) fn ask_to_look(&self) {
        self.orders.look.store(true, Ordering::Relaxed);
        self.orders.ring();
    }

    /// Whether its task was asked to look, once.
    pub(super) fn has_to_look(&self) -> bool {
        self.orders.look.load(Ordering::Relaxed) && self.orders.look.swap(false, Ordering::Relaxed)
    }

    /// Takes what the kernel says of both legs, and says which is dead.
    pub(super) fn look(
        &self,
        upstream: TcpInfo,
        client: TcpInfo,
        patience: Duration,
        now: Instant,
    ) -> Option<Side> {
        let tenths = u16::try_from(upstream.rtt.as_micros().div_ceil(100)).unwrap_or(u16::MAX);
        self.traffic.rtt.store(tenths, Ordering::Relaxed);
        let age = now.saturating_duration_since(self.opened);
        let seen = self
            .traffic
            .acks()
            .look(upstream, client, self.last(), patience, age);
        match seen {
            Ok(acks) => {
                self.traffic.set_acks(acks);
                None
            }
            Err(side) => Some(side),
        }
    }
}

/// The live tunnels of one core; the admin window looks at all cores'.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tunnels(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    all: Mutex<Slab<Arc<LiveTunnel>>>,
    /// `None`: nobody wants to know how peers behave.
    peers: Option<Arc<Peers>>,
    /// What this core counts of each destination.
    tallies: Mutex<HashMap<DestinationName, Arc<Tally>>>,
    /// Where all cores tell it.
    confirmations: Arc<Confirmations>,
}

impl Tunnels {
    pub(crate) fn new(peers: Arc<Peers>, confirmations: Arc<Confirmations>) -> Self {
        Self(Arc::new(Shared {
            peers: Some(peers),
            confirmations,
            ..Shared::default()
        }))
    }

    fn tallies(&self) -> MutexGuard<'_, HashMap<DestinationName, Arc<Tally>>> {
        self.0
            .tallies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the exchanges in a tunnel to this destination are counted. Beyond the limit they are counted nowhere: no
    /// configuration has so many destinations, and reloads may bring new names again and again.
    pub(crate) fn tally(&self, destination: &DestinationName) -> Arc<Tally> {
        let mut tallies = self.tallies();
        if let Some(tally) = tallies.get(destination) {
            return Arc::clone(tally);
        }
        let tally = Arc::new(Tally::new(destination.clone()));
        if tallies.len() < DESTINATIONS_MAX {
            tallies.insert(destination.clone(), Arc::clone(&tally));
        }
        tally
    }

    /// Tells what was counted of exchanges since this was last asked. For this core's own thread.
    pub(crate) fn tell_exchanges(&self, meters: &Meters, now: Instant) {
        for tally in self.tallies().values() {
            self.0.confirmations.take(tally, meters, now);
        }
    }

    /// What the exchanges of all cores took.
    pub(crate) fn confirmations(&self) -> &Confirmations {
        &self.0.confirmations
    }

    fn all(&self) -> MutexGuard<'_, Slab<Arc<LiveTunnel>>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows each with its place. None can come or go meanwhile.
    pub(super) fn each(&self, mut show: impl FnMut(usize, &Arc<LiveTunnel>)) {
        for (place, tunnel) in self.all().iter() {
            show(place, tunnel);
        }
    }

    /// Lists a tunnel until the listing is dropped.
    pub(crate) fn list_while(&self, tunnel: Arc<LiveTunnel>) -> Listing {
        let place = self.all().insert(Arc::clone(&tunnel));
        Listing {
            tunnels: self.clone(),
            tunnel,
            place,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all().len()
    }

    pub(crate) fn snapshot(&self) -> Vec<Arc<LiveTunnel>> {
        self.all()
            .iter()
            .map(|(_, tunnel)| Arc::clone(tunnel))
            .collect()
    }

    /// Ends what has been silent for too long, has those that lived another hour write their line if `hourly`, and says
    /// how many bytes have passed since the last sweep, up and down. One sweep for all tunnels costs less than a timer
    /// for each.
    pub(crate) fn sweep(&self, idle_timeout: Duration, hourly: bool, now: Instant) -> (u64, u64) {
        let mut moved = (0, 0);
        for (_, tunnel) in self.all().iter() {
            let (up, down) = tunnel.traffic.uncounted();
            moved = (moved.0 + up, moved.1 + down);
            if tunnel.traffic.waiting.load(Ordering::Relaxed) {
                tunnel.orders.ring();
            }
            if tunnel.idle(now) >= idle_timeout {
                tunnel.orders.end(Cause::Idle);
            } else if hourly {
                let age = now.saturating_duration_since(tunnel.opened);
                tunnel.orders.tell_hourly(age);
            }
        }
        moved
    }

    pub(crate) fn end_all(&self) {
        for (_, tunnel) in self.all().iter() {
            tunnel.orders.end(Cause::Draining);
        }
    }
}

/// A tunnel with its place in the list.
#[derive(Debug)]
pub(crate) struct Listing {
    tunnels: Tunnels,
    tunnel: Arc<LiveTunnel>,
    place: usize,
}

impl Listing {
    pub(super) fn peers(&self) -> Option<&Peers> {
        self.tunnels.0.peers.as_deref()
    }

    /// Says how the tunnel ended to whoever watches its peer.
    pub(super) fn ended(&self, closed_by: Side, now: Instant) {
        if let Some(peers) = self.peers() {
            peers.ended(self, closed_by, now);
        }
    }
}

impl Deref for Listing {
    type Target = LiveTunnel;

    fn deref(&self) -> &LiveTunnel {
        &self.tunnel
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.tunnels.all().try_remove(self.place);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::exchange::Host;
    use tokio::time::{advance, timeout};

    const HOUR: Duration = Duration::from_secs(3_600);

    pub(in crate::relay) fn tunnel() -> Arc<LiveTunnel> {
        Arc::new(LiveTunnel {
            id: ExchangeId::new(1, 2, 3),
            opened_at: SystemTime::UNIX_EPOCH,
            opened: Instant::now(),
            listener: ListenerName::new("plain"),
            client: ClientAddr(([127, 0, 0, 1], 40_000).into()),
            sender: None,
            user: None,
            target: Target {
                host: Host::Name("push.test".into()),
                port: 443,
            },
            peer: PeerAddr(([127, 0, 0, 1], 443).into()),
            traffic: Traffic::default(),
            orders: Orders::default(),
            tally: Arc::new(Tally::new(DestinationName::new("cisco"))),
        })
    }

    /// The order that waits, if one does.
    async fn order(tunnel: &LiveTunnel) -> Option<Order> {
        timeout(Duration::ZERO, tunnel.orders.given()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_is_told_of_once_an_hour_from_its_own_opening() {
        let tunnels = Tunnels::default();
        let old = tunnel();
        let _listed = tunnels.list_while(Arc::clone(&old));
        let sweep = |hourly| tunnels.sweep(100 * HOUR, hourly, Instant::now());
        advance(HOUR - Duration::from_secs(1)).await;
        sweep(true);
        assert_eq!(order(&old).await, None);
        for _ in 0..6 * 24 {
            advance(Duration::from_secs(1)).await;
            sweep(true);
            assert_eq!(order(&old).await, Some(Order::Tell));
            sweep(true);
            assert_eq!(order(&old).await, None);
            advance(HOUR - Duration::from_secs(1)).await;
            // It lives, and is not silent.
            old.traffic.note(old.opened.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hours_that_nobody_swept_or_wanted_are_not_made_up_for() {
        let tunnels = Tunnels::default();
        let old = tunnel();
        let _listed = tunnels.list_while(Arc::clone(&old));
        advance(3 * HOUR).await;
        tunnels.sweep(100 * HOUR, false, Instant::now());
        assert_eq!(order(&old).await, None);
        tunnels.sweep(100 * HOUR, true, Instant::now());
        assert_eq!(order(&old).await, Some(Order::Tell));
        assert_eq!(order(&old).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_order_to_end_goes_first_and_stays() {
        let tunnels = Tunnels::default();
        let old = tunnel();
        let _listed = tunnels.list_while(Arc::clone(&old));
        advance(2 * HOUR).await;
        tunnels.sweep(3 * HOUR, true, Instant::now());
        advance(HOUR).await;
        tunnels.sweep(3 * HOUR, true, Instant::now());
        tunnels.end_all();
        assert_eq!(order(&old).await, Some(Order::End(Cause::Idle)));
        assert_eq!(order(&old).await, Some(Order::End(Cause::Idle)));
    }
}
