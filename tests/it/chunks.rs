//! Chunked bodies, read as strictly as they may be written: no extensions, no spaces, CRLF everywhere.

use crate::client::Client;
use crate::origin::Call;

/// Whoever can be asked for exactly so many bytes.
pub(crate) trait Reads {
    async fn read(&mut self, len: usize) -> Vec<u8>;
}

impl Reads for Client {
    async fn read(&mut self, len: usize) -> Vec<u8> {
        Self::read(self, len).await
    }
}

impl Reads for Call {
    async fn read(&mut self, len: usize) -> Vec<u8> {
        Self::read(self, len).await
    }
}

/// Data of the chunks that come next, until it is all of `wanted`; no chunk may hold more.
pub(crate) async fn data(from: &mut impl Reads, wanted: impl AsRef<[u8]>) {
    let wanted = wanted.as_ref();
    let mut got = Vec::new();
    while got.len() < wanted.len() {
        let chunk = chunk(from).await;
        assert!(!chunk.is_empty(), "the body ended after {}", shown(&got));
        got.extend(chunk);
    }
    assert_eq!(shown(&got), shown(wanted));
}

/// The end of a chunked body: its trailer lines.
pub(crate) async fn end(from: &mut impl Reads) -> Vec<String> {
    assert_eq!(line(from).await, "0", "the last chunk");
    trailers(from).await
}

/// A whole chunked body, and its trailer lines.
pub(crate) async fn all(from: &mut impl Reads) -> (Vec<u8>, Vec<String>) {
    let mut got = Vec::new();
    loop {
        let chunk = chunk(from).await;
        if chunk.is_empty() {
            return (got, trailers(from).await);
        }
        got.extend(chunk);
    }
}

async fn chunk(from: &mut impl Reads) -> Vec<u8> {
    let size = line(from).await;
    let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(digits, "a chunk's size: {size:?}");
    let size = usize::from_str_radix(&size, 16).expect("a size");
    if size == 0 {
        return Vec::new();
    }
    let data = from.read(size).await;
    assert_eq!(line(from).await, "", "behind a chunk");
    data
}

async fn trailers(from: &mut impl Reads) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = line(from).await;
        if line.is_empty() {
            return lines;
        }
        lines.push(line);
    }
}

async fn line(from: &mut impl Reads) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(from.read(1).await);
    }
    line.truncate(line.len() - 2);
    let text = String::from_utf8(line).expect("a line in ASCII");
    assert!(!text.contains(['\r', '\n']), "{text:?}");
    text
}

/// Bytes for a message: long ones as their length and sum.
fn shown(bytes: &[u8]) -> String {
    if bytes.len() < 200 {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let sum = bytes.iter().fold(5381_u64, |sum, byte| {
        sum.wrapping_mul(33) ^ u64::from(*byte)
    });
    format!("{} bytes, sum {sum:x}", bytes.len())
}
