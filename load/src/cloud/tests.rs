use super::*;
use crate::control::tests::order;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const A_WHILE: Duration = Duration::from_millis(250);

async fn cloud(addresses: u8) -> Running {
    Cloud::start(CloudPlan::new().addresses(addresses))
        .await
        .unwrap()
}

async fn closed(stream: &mut TcpStream) -> io::Result<usize> {
    timeout(SOON, stream.read(&mut [0; 16])).await.unwrap()
}

#[tokio::test]
async fn every_address_listens_on_the_same_port() {
    let cloud = cloud(4).await;
    let ports: Vec<_> = cloud.addrs().iter().map(SocketAddr::port).collect();
    assert_eq!(ports, vec![cloud.port(); 4]);
    for addr in cloud.addrs() {
        TcpStream::connect(addr).await.unwrap();
    }
}

#[tokio::test]
async fn a_hanging_address_answers_no_connect_and_resets_what_was_open() {
    let cloud = cloud(2).await;
    let mut open = TcpStream::connect(cloud.addr(0)).await.unwrap();
    wait_open(&cloud, 0, 1).await;

    assert_eq!(cloud.set(0, Behavior::Hang).await.unwrap(), 1);
    let error = closed(&mut open).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(
        timeout(A_WHILE, TcpStream::connect(cloud.addr(0)))
            .await
            .is_err()
    );
    TcpStream::connect(cloud.addr(1)).await.unwrap();

    cloud.set(0, Behavior::Ok).await.unwrap();
    timeout(SOON, TcpStream::connect(cloud.addr(0)))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_refusing_address_refuses_and_comes_back_on_its_port() {
    let cloud = cloud(1).await;
    let mut open = TcpStream::connect(cloud.addr(0)).await.unwrap();
    wait_open(&cloud, 0, 1).await;

    cloud.set(0, Behavior::Refuse).await.unwrap();
    assert!(closed(&mut open).await.is_err());
    let error = TcpStream::connect(cloud.addr(0)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);

    cloud.set(0, Behavior::Ok).await.unwrap();
    TcpStream::connect(cloud.addr(0)).await.unwrap();
}

#[tokio::test]
async fn a_resetting_address_accepts_and_resets() {
    let cloud = cloud(1).await;
    cloud.set(0, Behavior::Reset).await.unwrap();
    let mut stream = TcpStream::connect(cloud.addr(0)).await.unwrap();
    assert!(closed(&mut stream).await.is_err());
}

#[tokio::test]
async fn a_silent_address_accepts_and_says_nothing() {
    let cloud = cloud(1).await;
    cloud.set(0, Behavior::Silent).await.unwrap();
    let mut stream = TcpStream::connect(cloud.addr(0)).await.unwrap();
    stream.write_all(b"\x16\x03\x01 hello").await.unwrap();
    assert!(timeout(A_WHILE, stream.read(&mut [0; 16])).await.is_err());
}

#[tokio::test]
async fn connections_can_be_reset_while_the_address_goes_on() {
    let cloud = cloud(1).await;
    let mut first = TcpStream::connect(cloud.addr(0)).await.unwrap();
    wait_open(&cloud, 0, 1).await;
    assert_eq!(cloud.drop_connections(0).await.unwrap(), 1);
    assert!(closed(&mut first).await.is_err());
    assert_eq!(cloud.open(0), 0);
    let _second = TcpStream::connect(cloud.addr(0)).await.unwrap();
    wait_open(&cloud, 0, 1).await;
}

#[tokio::test]
async fn in_clear_it_is_the_same_cloud_and_dies_with_its_address() {
    let plan = CloudPlan::new().addresses(2).plain_port(0);
    let cloud = Cloud::start(plan).await.unwrap();
    let port = cloud.plain_port().unwrap();
    assert_ne!(port, cloud.port());
    let addr = SocketAddr::new(cloud.addr(0).ip(), port);
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let body = r#"{"name":"cucm1"}"#;
    let head = format!(
        "POST {ONBOARD_PATH} HTTP/1.1\r\nHost: onboard.test:{port}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    let mut heard = [0; 12];
    let reading = stream.read_exact(&mut heard);
    timeout(SOON, reading).await.unwrap().unwrap();
    assert_eq!(&heard, b"HTTP/1.1 201");

    // The rest of the answer may have come; then the reset.
    assert_eq!(cloud.set(0, Behavior::Refuse).await.unwrap(), 1);
    assert!(TcpStream::connect(addr).await.is_err());
    TcpStream::connect(SocketAddr::new(cloud.addr(1).ip(), port))
        .await
        .unwrap();
}

/// Until the cloud has accepted so many: a connect is done before the accept.
async fn wait_open(cloud: &Running, index: usize, count: usize) {
    timeout(SOON, async {
        while cloud.open(index) != count {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_address_can_reset_when_the_handshake_is_done() {
    let cloud = cloud(2).await;
    let connector = crate::onprem::tls::trusting(cloud.ca_pem()).unwrap();
    let name = || crate::onprem::tls::server_name("push.test").unwrap();
    cloud.set(0, Behavior::ResetTls).await.unwrap();
    let stream = TcpStream::connect(cloud.addr(0)).await.unwrap();
    let mut stream = timeout(SOON, connector.connect(name(), stream))
        .await
        .unwrap()
        .unwrap();
    let read = timeout(SOON, stream.read(&mut [0; 16])).await.unwrap();
    assert_eq!(
        read.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset,
        "not closed: reset"
    );
    let stream = TcpStream::connect(cloud.addr(1)).await.unwrap();
    let mut stream = connector.connect(name(), stream).await.unwrap();
    assert!(timeout(A_WHILE, stream.read(&mut [0; 16])).await.is_err());
}

#[tokio::test]
async fn an_address_can_be_slow_also_on_connections_that_are_open() {
    let cloud = Cloud::start(CloudPlan::new().plain_port(0)).await.unwrap();
    let addr = SocketAddr::new(cloud.addr(0).ip(), cloud.plain_port().unwrap());
    let mut stream = TcpStream::connect(addr).await.unwrap();
    wait_open(&cloud, 0, 1).await;
    cloud
        .set(0, Behavior::Slow(Duration::from_millis(100)))
        .await
        .unwrap();
    let asked = Instant::now();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: push.test\r\n\r\n")
        .await
        .unwrap();
    timeout(SOON, stream.read_exact(&mut [0; 12]))
        .await
        .unwrap()
        .unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn orders_over_http_change_an_address_and_its_state_is_seen() {
    let cloud = Arc::new(cloud(2).await);
    let control = control(cloud.clone(), ([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let check = async |method: &str, path: &str, body: &str, status: u16, part: &str| {
        let (answered, said) = order(control.addr(), method, path, body).await;
        assert_eq!(answered, status, "{said}");
        assert!(said.contains(part), "{said}");
    };
    let hang = r#"{"behavior":"hang"}"#;
    check("PUT", "/addresses/127.0.0.12", hang, 200, r#""hang""#).await;
    assert_eq!(cloud.behavior(1), Behavior::Hang);
    assert!(
        timeout(A_WHILE, TcpStream::connect(cloud.addr(1)))
            .await
            .is_err()
    );
    check("GET", "/", "", 200, r#""127.0.0.12": {"#).await;
    let mut open = TcpStream::connect(cloud.addr(0)).await.unwrap();
    wait_open(&cloud, 0, 1).await;
    check(
        "POST",
        "/addresses/127.0.0.11/drop",
        "",
        200,
        r#""reset": 1"#,
    )
    .await;
    assert!(closed(&mut open).await.is_err());
    check("PUT", "/addresses/127.0.0.99", hang, 404, "no address").await;
    let dead = r#"{"behavior":"dead"}"#;
    check("PUT", "/addresses/127.0.0.11", dead, 400, "none of ok").await;
    check("PUT", "/addresses/127.0.0.11", "", 400, "missing field").await;
}
