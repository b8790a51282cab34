//! Stories of tunnels, told in records and milliseconds.

use super::*;
use crate::relay::offer::tests::hello;

/// What happens in a tunnel.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// Records of encrypted data, by their size on the wire.
    Up(&'static [u16]),
    Down(&'static [u16]),
    /// Records of the handshake.
    UpShake(u16),
    DownShake(u16),
    UpClear(&'static [u8]),
    DownClear(usize),
    /// Milliseconds.
    After(u64),
    /// The same in microseconds.
    AfterMicros(u64),
    /// The sweep rings.
    Rest,
    /// One side leaves.
    End(Side),
}
use Move::{After, AfterMicros, Down, DownClear, DownShake, End, Rest, Up, UpClear, UpShake};

const HELLO: u8 = 22;

#[derive(Default)]
struct Heard {
    exchanges: u32,
    /// In milliseconds.
    times: Vec<f64>,
}

fn record(kind: u8, wire: u16) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend((wire - 5).to_be_bytes());
    bytes.resize(wire.into(), 0);
    bytes
}

fn records(sizes: &[u16]) -> Vec<u8> {
    sizes
        .iter()
        .flat_map(|size| record(APPLICATION_DATA, *size))
        .collect()
}

fn play(opening: &[u8], moves: impl IntoIterator<Item = Move>) -> (Exchanges, Heard) {
    let (mut exchanges, mut heard, mut now) = (Exchanges::default(), Heard::default(), 1_000);
    let mut note = |told: Told| {
        heard.exchanges += told.exchanges;
        heard
            .times
            .extend(told.confirmation.map(|micros| micros as f64 / 1e3));
    };
    if !opening.is_empty() {
        note(exchanges.up(opening, now));
    }
    for step in moves {
        match step {
            Up(sizes) => note(exchanges.up(&records(sizes), now)),
            Down(sizes) => note(exchanges.down(&records(sizes), now)),
            UpShake(size) => note(exchanges.up(&record(HELLO, size), now)),
            DownShake(size) => note(exchanges.down(&record(HELLO, size), now)),
            UpClear(bytes) => note(exchanges.up(bytes, now)),
            DownClear(len) => note(exchanges.down(&vec![b'x'; len], now)),
            After(ms) => now += ms * 1_000,
            AfterMicros(micros) => now += micros,
            Rest => note(exchanges.rest(now)),
            End(by) => note(exchanges.end(by, now)),
        }
    }
    (exchanges, heard)
}

/// The handshake of TLS 1.3 up to the client's Finished.
const SHAKE13: [Move; 5] = [After(1), DownShake(127), Down(&[1500]), After(1), Up(&[74])];
/// That of TLS 1.2, with a session ticket.
const SHAKE12: [Move; 6] = [
    After(1),
    DownShake(3000),
    After(1),
    UpShake(126),
    After(1),
    DownShake(250),
];

/// What is told of it once the client has left.
fn check(
    protocols: Option<&[&str]>,
    shake: &[Move],
    moves: &[Move],
    exchanges: u32,
    times: &[f64],
) {
    let leaves = [End(Side::Client)];
    let all = shake.iter().chain(moves).chain(&leaves).copied();
    let (_, heard) = play(&hello(protocols), all);
    assert_eq!(
        (heard.exchanges, &*heard.times),
        (exchanges, times),
        "{protocols:?} {moves:?}"
    );
}

const HTTP1: Option<&[&str]> = Some(&["http/1.1"]);
const HTTP2: Option<&[&str]> = Some(&["h2", "http/1.1"]);
const ASK: Move = Up(&[400]);
const ANSWER: Move = Down(&[220]);
const TICKETS_SENT: Move = Down(&[255, 255]);
/// SETTINGS ACK, WINDOW_UPDATE, PING and GOAWAY, each in a record of its own.
const ASIDES: [u16; 4] = [31, 35, 39, 48];

#[test]
fn it_costs_a_tunnel_little() {
    assert!(size_of::<Exchanges>() <= 36);
}

#[test]
fn http1_after_tls12_is_all_told() {
    check(
        HTTP1,
        &SHAKE12,
        &[ASK, After(50), ANSWER, ASK, After(7), ANSWER],
        2,
        &[50.0, 7.0],
    );
    // No ALPN is HTTP/1.1, too.
    check(None, &SHAKE12, &[ASK, After(50), ANSWER], 1, &[50.0]);
}

#[test]
fn a_handshake_and_its_tickets_are_no_exchange() {
    check(HTTP1, &SHAKE12, &[], 0, &[]);
    check(
        HTTP1,
        &SHAKE13,
        &[After(1), TICKETS_SENT, After(900)],
        0,
        &[],
    );
    check(
        HTTP2,
        &SHAKE13,
        &[After(1), TICKETS_SENT, After(9_000), Rest],
        0,
        &[],
    );
    // TLS 1.3 with a client's certificate, whose Finished cannot be told from it.
    let certificate = [
        After(1),
        DownShake(127),
        Down(&[1500]),
        After(1),
        Up(&[1200, 286, 74]),
    ];
    check(HTTP1, &certificate, &[After(1), TICKETS_SENT], 0, &[]);
    check(
        HTTP1,
        &certificate,
        &[After(1), TICKETS_SENT, After(9), ASK, After(20), ANSWER],
        1,
        &[20.0],
    );
}

#[test]
fn what_the_first_question_of_tls13_took_is_not_known() {
    // Its answer comes behind the tickets: the exchange is sure, its time is not.
    let first = [ASK, After(1), TICKETS_SENT, After(49), ANSWER];
    check(HTTP1, &SHAKE13, &first, 1, &[]);
    let more = [&first[..], &[After(5), ASK, After(50), ANSWER]].concat();
    check(HTTP1, &SHAKE13, &more, 2, &[50.0]);
    // A server without tickets: the next question says that the first was answered.
    check(
        HTTP1,
        &SHAKE13,
        &[ASK, After(50), ANSWER, After(1_001)],
        0,
        &[],
    );
    check(
        HTTP1,
        &SHAKE13,
        &[ASK, After(50), ANSWER, ASK, After(9), ANSWER],
        2,
        &[9.0],
    );
    // Or that the client leaves at once, as it does when each push has its own connection.
    check(HTTP1, &SHAKE13, &[ASK, After(50), ANSWER], 1, &[]);
    let server_leaves = [ASK, After(50), ANSWER, End(Side::Upstream)];
    let (_, heard) = play(&hello(HTTP1), SHAKE13.into_iter().chain(server_leaves));
    assert_eq!(heard.exchanges, 0);
    // Tickets that come before it settle it.
    let after_tickets = [TICKETS_SENT, ASK, After(50), ANSWER];
    check(HTTP1, &SHAKE13, &after_tickets, 1, &[50.0]);
    // Unless there are more of them.
    let more = [
        TICKETS_SENT,
        ASK,
        AfterMicros(900),
        TICKETS_SENT,
        After(50),
        ANSWER,
    ];
    check(HTTP1, &SHAKE13, &more, 1, &[]);
    // Tickets in the middle of a question.
    let torn = [
        ASK,
        After(28),
        ASK,
        After(2),
        TICKETS_SENT,
        After(3),
        ASK,
        After(40),
        ANSWER,
        After(2),
        ANSWER,
    ];
    check(HTTP1, &SHAKE13, &torn, 1, &[]);
}

#[test]
fn the_time_counts_from_the_last_byte_of_a_question() {
    let upload = [
        ASK,
        After(300),
        Up(&[16_000]),
        After(300),
        Up(&[27]),
        After(40),
        ANSWER,
    ];
    check(HTTP1, &SHAKE12, &upload, 1, &[40.0]);
    // "100 Continue", and the body that waited for it.
    check(
        HTTP1,
        &SHAKE12,
        &[ASK, After(9), Down(&[54]), Up(&[2_000]), After(40), ANSWER],
        1,
        &[40.0],
    );
}

#[test]
fn what_http2_says_by_itself_is_neither_question_nor_answer() {
    let mut hour: Vec<_> = [Up(&[92]), ASK, After(50), ANSWER].to_vec();
    for _ in 0..240 {
        hour.extend([
            After(7_000),
            Up(&ASIDES),
            After(1),
            Down(&ASIDES),
            After(8_000),
            Down(&ASIDES),
        ]);
        hour.extend([Up(&ASIDES), Rest]);
    }
    check(HTTP2, &SHAKE13, &hour, 0, &[]);
    // Nor does it disturb those that are.
    let push = [
        ASK,
        AfterMicros(100),
        Down(&ASIDES),
        After(20),
        Up(&ASIDES),
        AfterMicros(29_900),
        ANSWER,
    ];
    check(
        HTTP2,
        &SHAKE13,
        &[&hour[..], &push, &[After(300), Rest]].concat(),
        1,
        &[50.0],
    );
}

/// An HTTP/2 tunnel whose first push is done, and then these moves.
fn check_http2(moves: &[Move], exchanges: u32, times: &[f64]) {
    let all = [
        &[ASK, After(1), TICKETS_SENT, After(49), ANSWER, After(9_000)],
        moves,
    ]
    .concat();
    check(HTTP2, &SHAKE13, &all, exchanges, times);
    check(HTTP2, &SHAKE12, &all, exchanges, times);
}

#[test]
fn http2_is_told_where_questions_stand_alone() {
    let push = [ASK, After(50), ANSWER, After(900)];
    // Silence proves it, or the next question after enough of it.
    check_http2(&[&push[..], &[Rest]].concat(), 1, &[50.0]);
    check_http2(&[push, push, push].concat(), 3, &[50.0, 50.0, 50.0]);
    // Head and body in two writes, and an answer in two pieces.
    let pieces = [
        ASK,
        AfterMicros(500),
        ASK,
        After(50),
        ANSWER,
        AfterMicros(500),
        ANSWER,
        After(900),
        Rest,
    ];
    check_http2(&pieces, 1, &[50.0]);
    // Too soon to be sure.
    check_http2(&[ASK, After(50), ANSWER, After(100), Rest], 1, &[]);
    check_http2(
        &[
            ASK,
            After(50),
            ANSWER,
            After(100),
            ASK,
            After(50),
            ANSWER,
            After(900),
            Rest,
        ],
        2,
        &[],
    );
}

#[test]
fn an_answer_whose_head_is_as_small_as_what_http2_says_by_itself_has_no_time() {
    let small_head = [
        ASK,
        After(20),
        Down(&[52]),
        After(300),
        ANSWER,
        After(2_000),
        Rest,
    ];
    check_http2(&small_head, 1, &[]);
    let aside = [
        ASK,
        After(20),
        Down(&[35]),
        After(300),
        ANSWER,
        After(2_000),
        Rest,
    ];
    check_http2(&aside, 1, &[320.0]);
}

#[test]
fn exchanges_that_cross_have_no_time() {
    // Whose answer is it?
    check_http2(
        &[
            ASK,
            After(20),
            ASK,
            After(30),
            ANSWER,
            After(20),
            ANSWER,
            After(9_000),
            Rest,
        ],
        1,
        &[],
    );
    // Two questions in one piece: what seemed the next one's answer was the second's.
    let hidden = [
        Up(&[800]),
        After(5),
        ANSWER,
        After(2_900),
        ASK,
        After(10),
        ANSWER,
        After(40),
        ANSWER,
    ];
    check_http2(&[&hidden[..], &[After(9_000), Rest]].concat(), 2, &[5.0]);
    // For a while after they crossed nothing is believed.
    let crossing = [ASK, After(20), ASK, After(30), ANSWER, After(20), ANSWER];
    let soon = [After(4_000), ASK, After(50), ANSWER, After(900), Rest];
    check_http2(&[&crossing[..], &soon].concat(), 2, &[]);
    let later = [After(5_100), ASK, After(50), ANSWER, After(900), Rest];
    check_http2(&[&crossing[..], &later].concat(), 2, &[50.0]);
}

#[test]
fn what_is_not_understood_is_not_told() {
    let (exchanges, heard) = play(
        b"ping",
        [
            DownClear(400),
            After(1),
            UpClear(&[b'x'; 400]),
            DownClear(400),
        ],
    );
    assert!(!exchanges.are_understood() && heard.exchanges == 0);
    // A server that speaks first.
    let (exchanges, _) = play(b"", [DownClear(90), UpClear(b"EHLO push.test")]);
    assert!(!exchanges.are_understood());
    // Questions in early data.
    let (exchanges, heard) = play(
        &hello(HTTP1),
        [ASK, After(1), DownShake(127), Down(&[900]), ASK, ANSWER],
    );
    assert!(!exchanges.are_understood() && heard.exchanges == 0);
    // Something that is no TLS any more.
    let (exchanges, _) = play(&hello(HTTP1), [DownShake(90), UpClear(b"what?")]);
    assert!(!exchanges.are_understood());
}

#[test]
fn http1_in_clear_is_told_as_well() {
    const HEAD: &[u8] = &[b'P'; 200];
    let moves = [
        After(30),
        DownClear(25),
        UpClear(&[b'b'; 900]),
        After(40),
        DownClear(200),
        End(Side::Upstream),
    ];
    let (exchanges, heard) = play(HEAD, moves);
    assert_eq!((heard.exchanges, &*heard.times), (1, &[40.0][..]));
    assert!(exchanges.are_understood());
}

#[test]
fn a_short_answer_of_http1_is_an_answer_unless_it_was_an_interim_one() {
    let bare = Down(&[49]);
    // "204 No Content" and nothing else, between others.
    let alternating = [
        ASK,
        After(50),
        bare,
        After(30),
        ASK,
        After(50),
        ANSWER,
        After(30),
    ];
    check(HTTP1, &SHAKE12, &alternating, 2, &[50.0]);
    // Its time is sure when the client is content for a while, or leaves.
    let at_once = [
        ASK,
        After(50),
        Down(&[65]),
        ASK,
        After(40),
        Down(&[65]),
        After(101),
        ASK,
        After(9),
        ANSWER,
    ];
    check(HTTP1, &SHAKE12, &at_once, 3, &[40.0, 9.0]);
    let slowly = [ASK, After(50), bare, After(1_000), ASK, After(40), bare];
    check(HTTP1, &SHAKE12, &slowly, 2, &[50.0, 40.0]);
    let rests = [ASK, After(50), bare, After(5_000), Rest, Rest];
    check(HTTP1, &SHAKE12, &rests, 1, &[50.0]);
    // "100 Continue" with a date and a server's name, and the body that waited for it: it looks like an exchange, and has
    // no time.
    let expect = [
        ASK,
        After(1),
        Down(&[120]),
        After(1),
        Up(&[2_000]),
        After(200),
        ANSWER,
    ];
    check(HTTP1, &SHAKE12, &expect, 2, &[200.0]);
    // The same without any field, and a client that is far away.
    let expect = [
        ASK,
        After(1),
        Down(&[47]),
        After(90),
        Up(&[2_000]),
        After(200),
        ANSWER,
    ];
    check(HTTP1, &SHAKE12, &expect, 1, &[200.0]);
    // The body did not wait.
    let impatient = [ASK, After(1), Down(&[120]), After(200), ANSWER];
    check(HTTP1, &SHAKE12, &impatient, 1, &[]);
    // "103 Early Hints", short or long, and long before the answer.
    for hints in [Down(&[130]), Down(&[600])] {
        check(
            HTTP1,
            &SHAKE12,
            &[ASK, After(1), hints, After(4_000), Rest, ANSWER],
            1,
            &[],
        );
    }
    // Head and body on their own.
    let pieces = [
        ASK,
        After(50),
        Down(&[120]),
        After(2),
        Down(&[90]),
        After(2),
        Down(&[27]),
    ];
    check(HTTP1, &SHAKE12, &pieces, 1, &[50.0]);
}

#[test]
fn a_short_question_of_http1_is_one() {
    let moves = [
        Up(&[77]),
        After(9),
        ANSWER,
        After(9),
        Up(&[49]),
        After(8),
        ANSWER,
    ];
    check(HTTP1, &SHAKE12, &moves, 2, &[9.0, 8.0]);
    // Questions that do not wait for an answer are one.
    let pipelined = [Up(&[400, 400, 400]), After(9), ANSWER, ANSWER, ANSWER];
    check(HTTP1, &SHAKE12, &pipelined, 1, &[9.0]);
}

#[test]
fn where_something_comes_unasked_no_time_is_believed() {
    let tick = [After(90), Down(&[200]), After(10)];
    // A WebSocket: it was an answer only the first time.
    let mut socket = [ASK, After(5), ANSWER].to_vec();
    for _ in 0..8 {
        socket.extend(tick);
        socket.extend([ASK]);
        socket.extend(tick);
    }
    let (_, heard) = play(&hello(HTTP1), SHAKE12.into_iter().chain(socket));
    assert_eq!(heard.times, [0.0; 0]);
    // The rest of a slow answer: what has room around it is believed again.
    let slow = [
        ASK,
        After(5),
        ANSWER,
        After(100),
        Down(&[9_000]),
        After(100),
    ];
    check(HTTP1, &SHAKE12, &slow, 1, &[]);
    let soon = [&slow[..], &[ASK, After(7), ANSWER]].concat();
    check(HTTP1, &SHAKE12, &soon, 2, &[]);
    let later = [&slow[..], &[After(400), ASK, After(7), ANSWER]].concat();
    check(HTTP1, &SHAKE12, &later, 2, &[7.0]);
}

#[test]
fn what_an_http2_server_begins_with_disturbs_nothing() {
    // Tickets, SETTINGS in a large record, and then the first answer; a server that speaks before it is asked.
    let paced = [ASK, After(50), ANSWER, After(900)];
    let first = [
        ASK,
        After(1),
        TICKETS_SENT,
        After(2),
        Down(&[90]),
        After(50),
        ANSWER,
    ];
    let all = [&first[..], &[After(900)], &paced, &paced].concat();
    check(HTTP2, &SHAKE13, &all, 2, &[50.0, 50.0]);
    let all = [&[After(2), TICKETS_SENT, After(5)], &all[..]].concat();
    check(HTTP2, &SHAKE13, &all, 2, &[50.0, 50.0]);
}

#[test]
fn it_says_how_far_the_handshake_came() {
    let check = |opening: &[u8], moves: &[Move], expected| {
        let (exchanges, _) = play(opening, moves.iter().copied());
        assert_eq!(exchanges.handshake(), expected, "{moves:?}");
    };
    let hello = hello(HTTP1);
    check(&hello, &[], Some(Handshake::Begun));
    check(&hello, &SHAKE13[..3], Some(Handshake::Begun));
    check(&hello, &SHAKE13, Some(Handshake::Through));
    check(&hello, &SHAKE12, Some(Handshake::Begun));
    check(&hello, &[End(Side::Client)], Some(Handshake::Begun));
    check(&hello, &[End(Side::Upstream)], Some(Handshake::Died));
    let refused = [&SHAKE13[..3], &[Up(&[24])]].concat();
    check(&hello, &refused, Some(Handshake::Died));
    let answered = [&SHAKE13[..], &[ASK, ANSWER, End(Side::Upstream)]].concat();
    check(&hello, &answered, Some(Handshake::Through));
    check(b"POST / HTTP/1.1", &[DownClear(90)], None);
    check(b"ping", &[DownClear(90)], None);
    check(b"", &[DownClear(90)], None);
}
