use super::*;
use crate::control::tests::order;
use hickory_server::proto::op::{Message, MessageType, OpCode, Query};
use hickory_server::proto::rr::Name;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const A_WHILE: Duration = Duration::from_millis(200);

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn ask(names: &Running, name: &str, kind: RecordType) -> Option<Message> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket
        .send_to(&question(name, kind), names.addr())
        .await
        .unwrap();
    let mut heard = [0_u8; 1500];
    let length = timeout(A_WHILE, socket.recv(&mut heard))
        .await
        .ok()?
        .unwrap();
    Some(Message::from_vec(&heard[..length]).unwrap())
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    message
        .answers
        .iter()
        .filter_map(|record| record.data.ip_addr())
        .collect()
}

fn four() -> Vec<IpAddr> {
    (11..15).map(|n| IpAddr::from([127, 0, 0, n])).collect()
}

#[tokio::test]
async fn a_name_has_its_addresses_over_udp_in_order() {
    let names = Names::start().await.unwrap();
    names.set("push.test", four());
    let answer = ask(&names, "push.test.", RecordType::A).await.unwrap();
    assert_eq!(addresses(&answer), four());
    assert_eq!(answer.answers[0].ttl, 30);
    assert_eq!(names.queries("push.test", Kind::A), 1);
}

#[tokio::test]
async fn what_is_not_there_says_how_long_to_believe_it() {
    let names = Names::start().await.unwrap();
    names.set("push.test", four());
    for (name, kind) in [
        ("push.test.", RecordType::AAAA),
        ("nowhere.test.", RecordType::A),
    ] {
        let answer = ask(&names, name, kind).await.unwrap();
        let soa = answer
            .authorities
            .iter()
            .find_map(|record| match &record.data {
                RData::SOA(soa) => Some((record.ttl, soa.minimum)),
                _ => None,
            });
        assert_eq!(soa, Some((5, 5)), "{name}");
    }
}

#[tokio::test]
async fn a_name_has_its_addresses_over_tcp() {
    let names = Names::start().await.unwrap();
    names.set("push.test", four());
    let answer = ask_over_tcp(&names, "push.test.", RecordType::A).await;
    assert_eq!(addresses(&answer), four());
}

async fn ask_over_tcp(names: &Running, name: &str, kind: RecordType) -> Message {
    let mut stream = tokio::net::TcpStream::connect(names.addr()).await.unwrap();
    let question = question(name, kind);
    stream.write_u16(question.len() as u16).await.unwrap();
    stream.write_all(&question).await.unwrap();
    let mut heard = vec![0; usize::from(stream.read_u16().await.unwrap())];
    timeout(SOON, stream.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    Message::from_vec(&heard).unwrap()
}

#[tokio::test]
async fn names_fail_as_told() {
    let names = Names::start().await.unwrap();
    let code = |name: &'static str, kind| {
        let names = &names;
        async move {
            ask(names, name, kind)
                .await
                .map(|m| (m.metadata.response_code, m.answers.len()))
        }
    };
    names.set("push.test", four());
    assert_eq!(
        code("push.test.", RecordType::AAAA).await,
        Some((ResponseCode::NoError, 0))
    );
    assert_eq!(
        code("other.test.", RecordType::A).await,
        Some((ResponseCode::NXDomain, 0))
    );
    names.fail("push.test", Failure::Servfail);
    assert_eq!(
        code("push.test.", RecordType::A).await,
        Some((ResponseCode::ServFail, 0))
    );
    names.fail_only("push.test", Kind::A, Failure::Silent);
    assert_eq!(code("push.test.", RecordType::A).await, None);
    names.set("push.test", four());
    assert_eq!(
        code("push.test.", RecordType::A).await,
        Some((ResponseCode::NoError, 4))
    );
    names.remove("push.test");
    assert_eq!(
        code("push.test.", RecordType::A).await,
        Some((ResponseCode::NXDomain, 0))
    );
}

#[tokio::test]
async fn a_changed_name_says_its_new_address_at_once() {
    let names = Names::start().await.unwrap();
    names.set("push.test", four());
    ask(&names, "push.test.", RecordType::A).await;
    names.set("push.test", ["::1".parse().unwrap()]);
    let answer = ask(&names, "push.test.", RecordType::AAAA).await.unwrap();
    assert_eq!(addresses(&answer), ["::1".parse::<IpAddr>().unwrap()]);
    let v4 = ask(&names, "push.test.", RecordType::A).await.unwrap();
    assert!(addresses(&v4).is_empty());
}

#[tokio::test]
async fn a_truncated_answer_is_whole_over_tcp() {
    let names = Names::start().await.unwrap();
    names.set("push.test", four());
    names.fail("push.test", Failure::Truncated);
    let answer = ask(&names, "push.test.", RecordType::A).await.unwrap();
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    let answer = ask_over_tcp(&names, "push.test.", RecordType::A).await;
    assert!(!answer.metadata.truncation);
    assert_eq!(addresses(&answer), four());
}

#[tokio::test]
async fn answers_take_turns() {
    let names = Names::start().await.unwrap();
    names.take_turns("push.test", four().into_iter().map(|ip| vec![ip]));
    for ip in four() {
        let answer = ask(&names, "push.test.", RecordType::A).await.unwrap();
        assert_eq!(addresses(&answer), [ip]);
    }
}

#[tokio::test]
async fn a_server_fails_as_a_whole_and_comes_back() {
    let names = Names::start().await.unwrap();
    names.set("push.test", four());
    names.fail_all(Some(Failure::Silent));
    assert!(ask(&names, "push.test.", RecordType::A).await.is_none());
    names.fail_all(None);
    names.delay_all(Duration::from_millis(50));
    let asked = std::time::Instant::now();
    let answer = ask(&names, "push.test.", RecordType::A).await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(50));
    assert_eq!(addresses(&answer), four());
}

#[tokio::test]
async fn orders_over_http_change_names_and_their_state_is_seen() {
    let names = Arc::new(Names::start().await.unwrap());
    let control = control(names.clone(), ([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let check = async |method: &str, path: &str, body: &str, status: u16, part: &str| {
        let (answered, said) = order(control.addr(), method, path, body).await;
        assert_eq!(answered, status, "{said}");
        assert!(said.contains(part), "{said}");
    };
    let code = async |kind| {
        let answer = ask(&names, "push.test.", kind).await;
        answer.map(|answer| (answer.metadata.response_code, addresses(&answer)))
    };
    let path = "/names/push.test";
    check(
        "PUT",
        path,
        r#"{"behavior":"servfail"}"#,
        404,
        "no addresses yet",
    )
    .await;
    check(
        "PUT",
        path,
        r#"{"addresses":["127.0.0.11"]}"#,
        200,
        "127.0.0.11",
    )
    .await;
    let eleven = || vec![IpAddr::from([127, 0, 0, 11])];
    assert_eq!(
        code(RecordType::A).await,
        Some((ResponseCode::NoError, eleven()))
    );
    check(
        "PUT",
        path,
        r#"{"aaaa":"silent"}"#,
        200,
        r#""aaaa": "silent""#,
    )
    .await;
    assert_eq!(code(RecordType::AAAA).await, None);
    assert_eq!(
        code(RecordType::A).await,
        Some((ResponseCode::NoError, eleven()))
    );
    check(
        "PUT",
        "/server",
        r#"{"behavior":"servfail"}"#,
        200,
        "servfail",
    )
    .await;
    assert_eq!(
        code(RecordType::AAAA).await,
        Some((ResponseCode::ServFail, vec![]))
    );
    check("PUT", "/server", r#"{"behavior":"ok"}"#, 200, r#""a": 2"#).await;
    check(
        "PUT",
        path,
        r#"{"behavior":"ok","delay_ms":1}"#,
        200,
        r#""delay_ms": 1"#,
    )
    .await;
    assert_eq!(
        code(RecordType::AAAA).await,
        Some((ResponseCode::NoError, vec![]))
    );
    check("PUT", path, r#"{"a":"dead"}"#, 400, "none of servfail").await;
    check("PUT", path, r#"{"adresses":[]}"#, 400, "unknown field").await;
    check("PUT", "/server", r#"{"a":"ok"}"#, 400, "only").await;
    check("DELETE", path, "", 200, r#""names": {}"#).await;
    assert_eq!(
        code(RecordType::A).await,
        Some((ResponseCode::NXDomain, vec![]))
    );
}
