//! Which page answers which path.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Serialize, Serializer};
use tokio::task;
use tokio::time::Instant;

use super::tunnels::TunnelList;
use super::{Loaded, Window, alarms, counters, destinations, off_dns, would_refuse};
use crate::config::diff::Change;
use crate::exchange::ListenerName;
use crate::telemetry::{Moment, Timestamp, json};

/// A page, or a list that is made as it is read.
pub(super) type Body = Either<Full<Bytes>, TunnelList>;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "<!doctype html>
<html lang=\"en\"><meta charset=\"utf-8\"><title>tidegate</title>
<h1>tidegate</h1>
<ul>
<li><a href=\"/metrics\">/metrics</a> counters for Prometheus
<li><a href=\"/alarms\">/alarms</a> what is wrong, since when, and what to do
<li><a href=\"/counters\">/counters</a> the deployment guide's counters
<li><a href=\"/livez\">/livez</a> it runs
<li><a href=\"/readyz\">/readyz</a> it takes new work
<li><a href=\"/config\">/config</a> the configuration in force
<li><a href=\"/tunnels\">/tunnels</a> the tunnels open now
<li><a href=\"/destinations\">/destinations</a> the addresses of each destination, and how they are
<li><a href=\"/would-refuse\">/would-refuse</a> what rules that are only tried out would have refused
</ul>
";
const NO_PAGE: &str = "no such page; there are: / /metrics /alarms /counters /livez /readyz /config /tunnels /destinations /would-refuse\n";

pub(super) async fn answer<B>(window: &Window, request: &Request<B>) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "read-only\n");
        let read = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, read);
        return refusal;
    }
    match (request.uri().path(), request.uri().query()) {
        ("/", _) => page(StatusCode::OK, HTML, INDEX),
        ("/livez", _) => page(StatusCode::OK, TEXT, "ok\n"),
        // With a question that we can't answer there is no such page: "ready" might be a lie.
        ("/readyz", None) if window.phase.is_draining() => {
            page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n")
        }
        ("/readyz", None) => page(StatusCode::OK, TEXT, "ready\n"),
        ("/metrics", _) => metrics(window).await,
        ("/config", _) => config(&window.loaded.borrow()),
        ("/would-refuse", _) => page(StatusCode::OK, JSON, would_refuse::shown(&window.reports)),
        ("/alarms", _) => {
            let text = alarms::shown(&window.alarms, Moment::now());
            page(StatusCode::OK, JSON, text)
        }
        ("/counters", _) => {
            let now = Moment::now().instant;
            page(StatusCode::OK, JSON, counters::shown(&window.counters, now))
        }
        ("/destinations", _) => {
            let health = window.health.view(Instant::now());
            page(StatusCode::OK, JSON, destinations::shown(&health))
        }
        ("/tunnels", _) => tunnels(window, Instant::now()).await,
        _ => page(StatusCode::NOT_FOUND, TEXT, NO_PAGE),
    }
}

async fn metrics(window: &Window) -> Response<Body> {
    let meters = Arc::clone(&window.meters);
    let (cores, resolver) = (window.tunnels.clone(), window.resolver.clone());
    let guide = alarms::metrics(&window.alarms, Moment::now()) + &window.counters.render();
    // Names are resolved on this thread, too; they should not wait for a long page.
    let health = window.health.view(Instant::now());
    let rendered = task::spawn_blocking(move || {
        off_dns::count(&cores, &resolver, &meters);
        meters.render() + &destinations::peers_up(&health) + &guide
    });
    match rendered.await {
        Ok(text) => page(StatusCode::OK, METRICS, text),
        Err(_) => broken(),
    }
}

async fn tunnels(window: &Window, now: Instant) -> Response<Body> {
    let (cores, resolver) = (window.tunnels.clone(), window.resolver.clone());
    match task::spawn_blocking(move || TunnelList::gather(&cores, resolver, now)).await {
        Ok(list) => respond(StatusCode::OK, JSON, Either::Right(list)),
        Err(_) => broken(),
    }
}

fn config(loaded: &Loaded) -> Response<Body> {
    let mut text = Vec::new();
    json::append(&mut text, &Shown::of(loaded));
    text.push(b'\n');
    page(StatusCode::OK, JSON, text)
}

/// The fields of `/config`.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    path: Option<std::borrow::Cow<'a, str>>,
    hash: &'a str,
    loaded_at: Timestamp,
    last_complaint: Option<&'a str>,
    needs_restart: &'a [Change],
    #[serde(serialize_with = "by_name")]
    listeners: &'a [(ListenerName, SocketAddr)],
    config: &'a serde_json::Value,
}

impl<'a> Shown<'a> {
    fn of(loaded: &'a Loaded) -> Self {
        Self {
            path: loaded.path.as_deref().map(Path::to_string_lossy),
            hash: &loaded.hash,
            loaded_at: Timestamp(loaded.loaded_at),
            last_complaint: loaded.last_complaint.as_deref(),
            needs_restart: &loaded.needs_restart,
            listeners: &loaded.listeners,
            config: &loaded.shown,
        }
    }
}

fn by_name<S: Serializer>(
    listeners: &[(ListenerName, SocketAddr)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        listeners
            .iter()
            .map(|(name, address)| (name.as_str(), address)),
    )
}

fn broken() -> Response<Body> {
    page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "internal\n")
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    respond(status, kind, Either::Left(Full::new(text.into())))
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
