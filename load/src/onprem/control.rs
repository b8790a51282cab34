//! The servers' control endpoint: what they have counted of the proxy, and the guide's counters and alarms as they keep
//! them. Nothing is changed here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;

use super::{Books, Counts};
use crate::control::{Asked, Control, Refusal, Said};
use crate::guide::Moment;

/// Lets these be looked at over HTTP: `GET /`, `GET /counters`, `GET /alarms`.
pub async fn control(
    books: Arc<Books>,
    counts: Arc<Counts>,
    addr: SocketAddr,
) -> io::Result<Control> {
    Control::start(addr, move |asked| {
        let said = obey(&books, &counts, &asked, Moment::now());
        async move { said }
    })
    .await
}

fn obey(books: &Books, counts: &Counts, asked: &Asked, now: Moment) -> Said {
    match asked.parts() {
        ("GET", path) if path.is_empty() => Ok(json!({ "proxy": counts.now() })),
        ("GET", path) if path == ["counters"] => Ok(books.counters().page(now.instant)),
        ("GET", path) if path == ["alarms"] => Ok(books.alarms().page(now)),
        _ => Err(Refusal::nowhere(asked)),
    }
}
