use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[derive(serde::Deserialize)]
struct Body {
    times: u32,
}

/// A status, and the answer as it came.
pub(crate) async fn order(addr: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    (heard[9..12].parse().unwrap(), heard)
}

#[tokio::test]
async fn orders_are_read_and_answered_in_json() {
    let control = Control::start(([127, 0, 0, 1], 0).into(), |asked: Asked| async move {
        match asked.parts() {
            ("GET", path) if path.is_empty() => Ok(json!({ "doors": 2 })),
            ("PUT", path) if path == ["doors", "1"] => {
                let body: Body = asked.read()?;
                Ok(json!({ "knocked": body.times }))
            }
            _ => Err(Refusal::nowhere(&asked)),
        }
    })
    .await
    .unwrap();
    let check = async |method: &str, path: &str, body: &str, status: u16, part: &str| {
        let (answered, said) = order(control.addr(), method, path, body).await;
        assert_eq!(answered, status, "{said}");
        assert!(said.contains(part), "{said}");
    };
    check("GET", "/", "", 200, "\"doors\": 2").await;
    check("PUT", "/doors/1", r#"{"times":3}"#, 200, "\"knocked\": 3").await;
    check("PUT", "/doors/1", "", 400, "missing field `times`").await;
    check("PUT", "/doors/1", "{", 400, "error").await;
    check("DELETE", "/doors/1", "", 404, "DELETE /doors/1 is nothing").await;
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let started = Control::start(([0, 0, 0, 0], 0).into(), |_| async { Ok(Value::Null) });
    assert!(started.await.is_err());
}
