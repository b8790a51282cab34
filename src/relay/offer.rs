//! What a client's first bytes in a tunnel say of what will be talked in it: HTTP/1.1, perhaps HTTP/2, or neither.
//!
//! Pure, and no gate: it judges by one look at the bytes that came first, and where they are not enough it takes the
//! more complicated for given.

use super::hello::Fields;
use super::records::HANDSHAKE;

const CLIENT_HELLO: u8 = 1;
const ALPN: u16 = 16;
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// A request of HTTP/1.1 in clear.
    Http1,
    /// HTTP/2 in clear.
    Http2,
    /// A TLS hello that offers no HTTP/2.
    TlsForHttp1,
    /// TLS, and HTTP/2 may be chosen.
    Tls,
    Other,
}

/// Of the first bytes of the client.
pub(super) fn offer(bytes: &[u8]) -> Offer {
    match bytes {
        [HANDSHAKE, ..] => match offers_http2(bytes) {
            Some(false) => Offer::TlsForHttp1,
            Some(true) | None => Offer::Tls,
        },
        [b'A'..=b'Z', ..] if bytes.starts_with(PREFACE) => Offer::Http2,
        [b'A'..=b'Z', b'A'..=b'Z', ..] => Offer::Http1,
        _ => Offer::Other,
    }
}

/// Whether a hello offers "h2"; `None` where it is not whole, or not in one record.
fn offers_http2(bytes: &[u8]) -> Option<bool> {
    let mut record = Fields(bytes);
    let _kind_and_version = record.take(3)?;
    let mut message = Fields(record.vector16()?);
    if message.u8()? != CLIENT_HELLO {
        return None;
    }
    let mut hello = Fields(message.vector24()?);
    let (_version, _random) = (hello.take(2)?, hello.take(32)?);
    let _session_id = hello.vector8()?;
    let _cipher_suites = hello.vector16()?;
    let _compression = hello.vector8()?;
    if hello.is_empty() {
        return Some(false);
    }
    let mut extensions = Fields(hello.vector16()?);
    while !extensions.is_empty() {
        let (kind, data) = (extensions.u16()?, extensions.vector16()?);
        if kind != ALPN {
            continue;
        }
        let mut names = Fields(data);
        let mut names = Fields(names.vector16()?);
        while !names.is_empty() {
            if names.vector8()? == b"h2" {
                return Some(true);
            }
        }
    }
    Some(false)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A hello whose only extension is this list of protocols.
    pub(in crate::relay) fn hello(protocols: Option<&[&str]>) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        if let Some(protocols) = protocols {
            let names: Vec<u8> = protocols
                .iter()
                .flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat())
                .collect();
            let mut extension = ALPN.to_be_bytes().to_vec();
            extension.extend((names.len() as u16 + 2).to_be_bytes());
            extension.extend((names.len() as u16).to_be_bytes());
            extension.extend(names);
            body.extend((extension.len() as u16).to_be_bytes());
            body.extend(extension);
        }
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let mut record = vec![HANDSHAKE, 3, 1];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    }

    #[test]
    fn a_tunnel_without_http2_is_told_from_one_that_may_have_it() {
        let check = |bytes: &[u8], expected| assert_eq!(offer(bytes), expected, "{bytes:?}");
        check(&hello(None), Offer::TlsForHttp1);
        check(&hello(Some(&["http/1.1"])), Offer::TlsForHttp1);
        check(&hello(Some(&["h2", "http/1.1"])), Offer::Tls);
        check(&hello(Some(&["http/1.1", "h2"])), Offer::Tls);
        // Who knows what the rest of it says.
        check(&hello(Some(&["http/1.1"]))[..60], Offer::Tls);
        check(&[HANDSHAKE, 3, 1], Offer::Tls);
        check(b"POST /push/v1/messages HTTP/1.1\r\n", Offer::Http1);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Offer::Http2);
        check(b"ping", Offer::Other);
        check(&[0x81, 0x85, 1, 2, 3, 4], Offer::Other);
        check(&[], Offer::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = offer(&bytes);
            let _ = offer(&[&hello(None)[..9], &bytes].concat());
        }
    }
}
