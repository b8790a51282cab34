use std::net::SocketAddr;

use tokio::time::advance;

use super::*;
use crate::exchange::ExchangeId;
use crate::relay::live::Listing;
use crate::relay::live::tests::tunnel;
use crate::sys::TcpInfo;

const PATIENCE: Patience = Patience {
    acknowledge: Duration::from_secs(15),
    answer: Duration::from_secs(5),
};

/// Writes the verdicts down.
#[derive(Debug, Clone, Default)]
struct Clerk(Arc<Mutex<Vec<Ground>>>);

impl Verdicts for Clerk {
    fn suspect(&self, peer: SocketAddr, destination: &DestinationName, ground: Ground) {
        assert_eq!(peer, ([127, 0, 0, 1], 443).into());
        assert_eq!(destination.as_str(), "cisco");
        self.0.lock().unwrap().push(ground);
    }
}

/// Two cores whose tunnels all lead to one peer.
struct World {
    peers: Arc<Peers>,
    cores: [Tunnels; 2],
    clerk: Clerk,
}

impl World {
    fn new() -> Self {
        let clerk = Clerk::default();
        let peers = Arc::new(Peers::new(PATIENCE, clerk.clone()));
        let cores = [
            Tunnels::new(Arc::clone(&peers), Arc::default()),
            Tunnels::new(Arc::clone(&peers), Arc::default()),
        ];
        Self {
            peers,
            cores,
            clerk,
        }
    }

    fn tunnels<const COUNT: usize>(&self) -> [Listing; COUNT] {
        std::array::from_fn(|number| self.tunnel(number))
    }

    fn tunnel(&self, number: usize) -> Listing {
        let mut new = tunnel();
        Arc::get_mut(&mut new).unwrap().id = ExchangeId::new(0, 0, number as u64);
        self.cores[number % 2].list_while(new)
    }

    /// Time passes, and every core watches as often as it does.
    async fn after(&self, seconds: u64) {
        let mut round = 0;
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            advance(self.peers.pace().min(end - Instant::now())).await;
            for core in &self.cores {
                self.peers.watch(core, &self.cores, round, Instant::now());
            }
            round += 1;
        }
    }

    fn verdicts(&self) -> Vec<Ground> {
        std::mem::take(&mut self.clerk.0.lock().unwrap())
    }
}

fn up(tunnel: &Listing, bytes: usize) {
    tunnel.traffic.note_up(bytes, tunnel.opened.elapsed());
}

fn down(tunnel: &Listing) {
    tunnel.traffic.note_down(300, tunnel.opened.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_in_none_of_its_tunnels_is_suspect_once() {
    let world = World::new();
    let tunnels: [_; 4] = world.tunnels();
    tunnels.iter().for_each(|tunnel| {
        up(tunnel, 300);
        down(tunnel);
    });
    world.after(60).await;
    tunnels.iter().take(3).for_each(|tunnel| up(tunnel, 300));
    world.after(4).await;
    assert_eq!(world.verdicts(), []);
    world.after(2).await;
    assert_eq!(world.verdicts(), [Ground::Unanswered { tunnels: 3 }]);
    world.after(3_600).await;
    assert_eq!(world.verdicts(), []);
}

#[tokio::test(start_paused = true)]
async fn one_silent_tunnel_or_one_that_answers_is_no_verdict() {
    let world = World::new();
    let tunnels: [_; 6] = world.tunnels();
    up(&tunnels[0], 300);
    world.after(3_600).await;
    assert_eq!(world.verdicts(), [], "one alone");
    tunnels.iter().take(5).for_each(|tunnel| up(tunnel, 300));
    world.after(4).await;
    // On the other core.
    down(&tunnels[5]);
    world.after(600).await;
    assert_eq!(world.verdicts(), [], "one was answered");
}

/// What a client of HTTP/2 says in an hour without a push, with the last word each time.
#[tokio::test(start_paused = true)]
async fn an_idle_hour_of_http2_leaves_the_peer_healthy() {
    let world = World::new();
    let tunnels: [_; 4] = world.tunnels();
    for tunnel in &tunnels {
        up(tunnel, 517);
        down(tunnel);
        // The end of the handshake, preface, SETTINGS, and a push.
        up(tunnel, 80 + 73 + 400);
        down(tunnel);
        // The acknowledgement of its SETTINGS, and room for more replies.
        up(tunnel, 31);
        up(tunnel, 35);
        up(tunnel, 35);
    }
    for _ in 0..60 {
        world.after(60).await;
        for tunnel in &tunnels {
            down(tunnel);
            up(tunnel, 39);
        }
    }
    world.after(60).await;
    assert_eq!(world.verdicts(), []);
    // They were watched: the next pushes, which nobody answers, tell.
    tunnels.iter().for_each(|tunnel| up(tunnel, 300));
    world.after(7).await;
    assert_ne!(world.verdicts(), []);
}

#[tokio::test(start_paused = true)]
async fn senders_that_give_up_at_the_same_time_as_we_do_tell_too() {
    let world = World::new();
    for round in 1..=2 {
        let tunnel = world.tunnel(round);
        up(&tunnel, 300);
        world.after(5).await;
        tunnel.ended(Side::Client, Instant::now());
        drop(tunnel);
        world.after(2).await;
    }
    assert_eq!(world.verdicts(), [Ground::Unanswered { tunnels: 2 }]);
}

#[tokio::test(start_paused = true)]
async fn short_tunnels_that_were_answered_excuse_those_that_were_not() {
    let world = World::new();
    let [short, a, b, c] = world.tunnels();
    for tunnel in [&short, &a, &b, &c] {
        up(tunnel, 300);
    }
    world.after(1).await;
    down(&short);
    short.ended(Side::Client, Instant::now());
    drop(short);
    world.after(600).await;
    assert_eq!(world.verdicts(), []);
    // What the proxy ends by itself tells nothing.
    for tunnel in [&a, &b, &c] {
        down(tunnel);
        up(tunnel, 300);
        tunnel.ended(Side::Proxy, Instant::now() + Duration::from_secs(9));
    }
    drop((a, b, c));
    world.after(60).await;
    assert_eq!(world.verdicts(), []);
}

#[tokio::test(start_paused = true)]
async fn only_tunnels_that_moved_are_looked_at() {
    let world = World::new();
    let tunnels: [_; 3] = world.tunnels();
    let due = |round| {
        let due = |core| world.peers.watch(core, &world.cores, round, Instant::now());
        let due = world.cores.iter().flat_map(due);
        due.map(|tunnel| tunnel.id).collect::<Vec<_>>()
    };
    let in_all_rounds = || (0..6).flat_map(due).collect::<Vec<_>>();
    assert_eq!(in_all_rounds(), []);
    tunnels.iter().for_each(|tunnel| up(tunnel, 9));
    assert_eq!(in_all_rounds().len(), 3, "each has its turn");
    advance(Duration::from_secs(2)).await;
    let (clean, under_way) = (
        TcpInfo::default(),
        TcpInfo {
            unacked: 1,
            ..TcpInfo::default()
        },
    );
    for (tunnel, upstream) in tunnels.iter().zip([clean, clean, under_way]) {
        tunnel.look(upstream, clean, PATIENCE.acknowledge, Instant::now());
    }
    assert_eq!(in_all_rounds(), []);
    advance(Duration::from_secs(12)).await;
    assert_eq!(in_all_rounds(), []);
    advance(Duration::from_secs(1)).await;
    assert_eq!(due(3), [tunnels[2].id], "at once when its time is over");
}
