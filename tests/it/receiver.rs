//! A receiver of HTTP requests that answers only what, and when, its test says.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::house::PATIENCE;

#[derive(Debug)]
pub(crate) struct Receiver(TcpListener);

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Posted {
    stream: TcpStream,
    pub(crate) head: String,
    pub(crate) json: Value,
}

impl Receiver {
    pub(crate) async fn anywhere() -> Self {
        Self::on(([127, 0, 0, 1], 0).into()).await
    }

    /// Also where another has listened just now.
    pub(crate) async fn on(address: SocketAddr) -> Self {
        Self(TcpListener::bind(address).await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next request, whole.
    pub(crate) async fn posted(&self) -> Posted {
        timeout(PATIENCE, self.read()).await.expect("a request")
    }

    async fn read(&self) -> Posted {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            stream.read_buf(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is_it = name.eq_ignore_ascii_case("content-length");
                is_it.then(|| value.parse::<usize>().unwrap())
            });
            if body.len() == length.expect("a length") {
                let json = serde_json::from_str(body).unwrap();
                let head = head.to_owned();
                return Posted { stream, head, json };
            }
        }
    }
}

impl Posted {
    pub(crate) async fn answer(mut self, status: u16) {
        let reply = format!("HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\r\n");
        self.stream.write_all(reply.as_bytes()).await.unwrap();
    }

    /// Waits until whoever asked has lost patience.
    pub(crate) async fn hang(mut self) {
        let end = timeout(PATIENCE, self.stream.read_u8()).await;
        assert!(end.expect("the end").is_err());
    }

    /// Alarm and state of each in a list.
    pub(crate) fn alarms(&self, list: &str) -> Vec<String> {
        let all = self.json[list].as_array().expect("a list").iter();
        let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        all.map(|one| format!("{} {}", word(one, "alarm"), word(one, "state")))
            .collect()
    }
}
