use super::super::post::Post;
use super::*;
use crate::config::{Dns, Families, Keepalive, Receiver};
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
use tokio::net::TcpListener;
use tokio::task::LocalSet;

const LONG: Duration = Duration::from_secs(20);

/// A herald of a webhook on this port.
fn herald(port: u16, repeat: Duration, board: &Arc<AlarmBoard>) -> Herald {
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
    let to = Receiver {
        tls: false,
        user: None,
        host: Host::Addr([127, 0, 0, 1].into()),
        port,
        path: String::from("/"),
        secret: None,
    };
    let dialer = OperatorDialer::new(resolver, Families::Both, keepalive);
    let post = Post::new(to, &NativeRoots::load(), None, dialer).unwrap();
    let board = Board(Arc::clone(board));
    Herald::new(
        Sink::Webhook(post),
        "here".into(),
        LONG,
        repeat,
        board,
        meters,
    )
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
