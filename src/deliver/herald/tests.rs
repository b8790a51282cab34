use super::super::link::LinkError;
use super::super::post::Post;
use super::super::sink::Syslog;
use super::*;
use crate::config::{Collector, Dns, Families, Keepalive, Receiver, Transport};
use crate::dial::operator::OperatorDialer;
use crate::dial::resolve::Resolver;
use crate::dial::tls::NativeRoots;
use crate::exchange::Host;
use crate::telemetry::AlarmBoard;
use crate::telemetry::alarm::Alarm;
use crate::telemetry::alarms::Evidence;
use crate::telemetry::guide::Origin;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const LONG: Duration = Duration::from_secs(20);

/// A herald of a webhook on this port.
fn herald(port: u16, repeat: Duration, board: &Arc<AlarmBoard>) -> Herald {
    let (dialer, meters) = dialer();
    let to = Receiver {
        tls: false,
        user: None,
        host: Host::Addr([127, 0, 0, 1].into()),
        port,
        path: String::from("/"),
        secret: None,
    };
    let post = Post::new(to, &NativeRoots::load(), None, dialer).unwrap();
    of(Sink::Webhook(post), repeat, board, meters)
}

/// A herald of a syslog collector on this port.
fn syslog_herald(port: u16, board: &Arc<AlarmBoard>) -> Herald {
    let (dialer, meters) = dialer();
    let collector = Collector {
        transport: Transport::Tcp,
        host: Host::Addr([127, 0, 0, 1].into()),
        port,
    };
    let syslog = Syslog::new(collector, &NativeRoots::load(), None, dialer).unwrap();
    of(Sink::Syslog(Box::new(syslog)), 100 * LONG, board, meters)
}

fn of(sink: Sink, repeat: Duration, board: &Arc<AlarmBoard>, meters: Arc<Meters>) -> Herald {
    let board = Board(Arc::clone(board));
    Herald::new(sink, "here".into(), LONG, repeat, board, meters)
}

fn dialer() -> (OperatorDialer, Arc<Meters>) {
    let dns = Dns {
        servers: Vec::new(),
        min_ttl: Duration::ZERO,
        max_ttl: LONG,
        negative_ttl: Duration::ZERO,
        serve_stale: Duration::ZERO,
        timeout: LONG,
        ca: None,
    };
    let meters = Arc::new(Meters::new(&[], &[]));
    let (resolver, _) = Resolver::new(&dns, Arc::clone(&meters));
    let keepalive = Keepalive {
        idle: LONG,
        interval: LONG,
        probes: 1,
    };
    let dialer = OperatorDialer::new(resolver, Families::Both, keepalive);
    (dialer, meters)
}

fn raise(board: &AlarmBoard, subject: &str) {
    let evidence = Evidence {
        exchange: None,
        text: String::from("seen"),
        remedy: None,
    };
    let alarm = Alarm::AllAddressesDead;
    board.raise(alarm, subject, Origin::Derived, evidence, Moment::now());
}

fn clear(board: &AlarmBoard, subject: &str) {
    board.clear(Alarm::AllAddressesDead, subject, "over", Moment::now());
}

/// The next message, answered with 200: what changed and what is active, by subject.
async fn message(listener: &TcpListener) -> (Vec<String>, Vec<String>) {
    let read = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            stream.read_buf(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
            if let Some(Ok(body)) = body.map(serde_json::from_str::<Value>) {
                let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(reply).await.unwrap();
                return body;
            }
        }
    };
    let body = timeout(LONG, read).await.expect("a message");
    let list = |key: &str| {
        let all = body[key].as_array().unwrap().iter();
        let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        all.map(|one| format!("{} {}", word(one, "subject"), word(one, "state")))
            .collect()
    };
    (list("changes"), list("active"))
}

#[tokio::test]
async fn in_a_silence_nothing_is_delivered_and_behind_it_what_is_still_active() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let board = Arc::new(AlarmBoard::default());
    let herald = herald(listener.local_addr().unwrap().port(), LONG, &board);
    let (end, told) = watch::channel(false);
    let story = async {
        board.silence(Some(Moment::now() + LONG));
        raise(&board, "gone");
        raise(&board, "stays");
        // Whatever was to be delivered in between would come before.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        clear(&board, "gone");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        board.silence(None);
        let stays = vec![String::from("stays active")];
        assert_eq!(message(&listener).await, (stays.clone(), stays));
        clear(&board, "stays");
        let over = vec![String::from("stays cleared")];
        assert_eq!(message(&listener).await, (over, Vec::new()));
        end.send_replace(true);
    };
    let local = LocalSet::new();
    local
        .run_until(async { tokio::join!(herald.run(told), story) })
        .await;
}

#[tokio::test]
async fn what_is_active_is_told_again_and_the_last_change_before_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let board = Arc::new(AlarmBoard::default());
    let repeat = Duration::from_millis(1);
    let herald = herald(listener.local_addr().unwrap().port(), repeat, &board);
    let (end, told) = watch::channel(false);
    let story = async {
        raise(&board, "one");
        let one = vec![String::from("one active")];
        assert_eq!(message(&listener).await, (one.clone(), one.clone()));
        assert_eq!(message(&listener).await, (Vec::new(), one));
        clear(&board, "one");
        end.send_replace(true);
        let over = vec![String::from("one cleared")];
        while message(&listener).await != (over.clone(), Vec::new()) {}
    };
    let local = LocalSet::new();
    local
        .run_until(async { tokio::join!(herald.run(told), story) })
        .await;
}

/// The subjects of the next messages over a connection.
async fn told(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(b"seen") {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
    };
    timeout(LONG, read).await.expect("a message");
    let text = String::from_utf8(bytes).unwrap();
    let subjects = text.split("subject=\"").skip(1);
    let subjects: Vec<&str> = subjects
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    subjects.join(" ")
}

#[tokio::test]
async fn a_collector_that_ends_an_idle_connection_is_told_only_what_it_does_not_know() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let board = Arc::new(AlarmBoard::default());
    let herald = syslog_herald(listener.local_addr().unwrap().port(), &board);
    let (end, told_end) = watch::channel(false);
    let story = async {
        for subject in ["one", "two", "three"] {
            raise(&board, subject);
            let mut stream = listener.accept().await.unwrap().0;
            assert_eq!(told(&mut stream).await, subject);
            // Timers are a little coarse.
            pass(2 * PROOF).await;
            pass(CALM).await;
        }
        end.send_replace(true);
    };
    let local = LocalSet::new();
    local
        .run_until(async { tokio::join!(herald.run(told_end), story) })
        .await;
}

#[tokio::test]
async fn what_a_connection_may_have_taken_along_is_sent_again_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let board = Arc::new(AlarmBoard::default());
    let herald = syslog_herald(listener.local_addr().unwrap().port(), &board);
    let (end, told_end) = watch::channel(false);
    let story = async {
        let accepted = async |subjects: &str| {
            let mut stream = listener.accept().await.unwrap().0;
            assert_eq!(told(&mut stream).await, subjects);
            pass(2 * PROOF).await;
        };
        raise(&board, "one");
        accepted("one").await;
        // Nothing new, and it comes again.
        accepted("one").await;
        // A third time it does not: that is how this collector ends each connection.
        pass(PROOF).await;
        raise(&board, "two");
        accepted("two").await;
        end.send_replace(true);
    };
    let local = LocalSet::new();
    local
        .run_until(async { tokio::join!(herald.run(told_end), story) })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_connection_may_have_taken_along_depends_on_how_it_broke() {
    let check = async |error: LinkError, age: Duration, told_again: &str| {
        let board = Arc::new(AlarmBoard::default());
        let mut herald = syslog_herald(1, &board);
        let due = |herald: &Herald, board: &Arc<AlarmBoard>| {
            let alarms = Board(Arc::clone(board)).notices();
            herald.desk.due(&alarms, Instant::now(), Moment::now().wall)
        };
        raise(&board, "old");
        for _ in 0..2 {
            let news = due(&herald, &board).unwrap();
            herald.sent(Instant::now());
            herald.desk.delivered(&news, Instant::now());
            raise(&board, "new");
            tokio::time::advance(CALM).await;
        }
        tokio::time::advance(age - CALM).await;
        herald.broke(&error.into());
        let again = due(&herald, &board).map_or(String::new(), |news| {
            let changes = news.changes.iter().map(|one| &*one.subject);
            let changes = changes.collect::<Vec<_>>().join(" ");
            if news.again {
                changes + " and the rest"
            } else {
                changes
            }
        });
        assert_eq!(again, told_again);
    };
    let minute = Duration::from_secs(60);
    let broken = |kind: std::io::ErrorKind| LinkError::Broken(kind.into());
    check(LinkError::Closed, minute, "").await;
    check(broken(std::io::ErrorKind::ConnectionReset), minute, "").await;
    // Nobody has acknowledged it for so long.
    check(
        broken(std::io::ErrorKind::TimedOut),
        minute,
        "new and the rest",
    )
    .await;
    check(LinkError::Stuck, minute, "new and the rest").await;
}

/// So much time is over, for everybody.
async fn pass(time: Duration) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
