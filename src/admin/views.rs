//! Which page answers which path.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use serde::{Serialize, Serializer};
use tokio::task;
use tokio::time::Instant;

use super::events::{EventStream, LetGo, Pulse};
use super::page as status_page;
use super::tunnels::TunnelList;
use super::{Loaded, Window, alarms, counters, deep, destinations, off_dns, would_refuse};
use crate::config::diff::Change;
use crate::exchange::ListenerName;
use crate::telemetry::{Moment, Timestamp, json};

/// A page, a list that is made as it is read, or what goes on for as long as somebody watches.
pub(super) type Body = Either<Full<Bytes>, Either<TunnelList, EventStream>>;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What tells of no client, user or target, whoever asks.
const HARMLESS: [&str; 3] = ["/metrics", "/livez", "/readyz"];

/// The answer, and of one that goes on and on what tells its end. `is_private`: only this machine can ask us.
pub(super) async fn answer<B>(
    pulse: &Pulse,
    request: &Request<B>,
    is_private: bool,
) -> (Response<Body>, Option<LetGo>) {
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let is_harmless = HARMLESS.contains(&request.uri().path());
    if request.headers().get_all(HOST).iter().nth(1).is_some() {
        let words = "one Host field, please\n";
        return (page(StatusCode::BAD_REQUEST, TEXT, words), None);
    }
    if is_private && is_read && !is_harmless && !is_ours(request) {
        let words = "for this name nothing is shown: ask for an IP address or for localhost\n";
        return (page(StatusCode::MISDIRECTED_REQUEST, TEXT, words), None);
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/events") => events(pulse),
        _ => (whole(pulse, request).await, None),
    }
}

/// Whether it is asked for under a name that only means this machine. A browser here may run a page of somebody who has
/// had his name point to us: that page would be allowed to read what we answer.
fn is_ours<B>(request: &Request<B>) -> bool {
    let header = request.headers().get(HOST);
    let header = header.map(|host| host.to_str().unwrap_or("?").parse::<Authority>());
    let named = match (request.uri().authority(), header) {
        (Some(authority), _) => authority.clone(),
        (None, Some(Ok(authority))) => authority,
        (None, Some(Err(_))) => return false,
        // Browsers always say it.
        (None, None) => return true,
    };
    let host = named.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.strip_suffix('.').unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// Of those that end by themselves.
async fn whole<B>(pulse: &Pulse, request: &Request<B>) -> Response<Body> {
    let window = pulse.window();
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "read-only\n");
        let read = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, read);
        return refusal;
    }
    match (request.uri().path(), request.uri().query()) {
        ("/", _) => status(pulse).await,
        // The head of what GET would begin.
        ("/events", _) => page(StatusCode::OK, EVENTS, ""),
        ("/livez", _) => page(StatusCode::OK, TEXT, "ok\n"),
        // With a question that we can't answer there is no such page: "ready" might be a lie.
        ("/readyz", None) if window.phase.is_draining() => {
            page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n")
        }
        ("/readyz", None) => page(StatusCode::OK, TEXT, "ready\n"),
        ("/readyz", Some("deep")) => {
            let (is_ready, text) = deep::look(window, std::time::Instant::now());
            let status = if is_ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            page(status, JSON, text)
        }
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
            let now = Instant::now();
            let health = window.health.view(now);
            page(
                StatusCode::OK,
                JSON,
                destinations::shown(&health, &window.tunnels, now),
            )
        }
        ("/tunnels", _) => tunnels(window, Instant::now()).await,
        _ => page(StatusCode::NOT_FOUND, TEXT, no_page()),
    }
}

async fn status(pulse: &Pulse) -> Response<Body> {
    let Some(document) = pulse.page().await else {
        return broken();
    };
    let mut response = page(StatusCode::OK, HTML, document);
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(status_page::content_security_policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

fn events(pulse: &Pulse) -> (Response<Body>, Option<LetGo>) {
    match pulse.watch(Instant::now()) {
        Some((stream, let_go)) => {
            let body = Either::Right(Either::Right(stream));
            (respond(StatusCode::OK, EVENTS, body), Some(let_go))
        }
        None => {
            let words = "too many watchers\n";
            let mut refusal = page(StatusCode::SERVICE_UNAVAILABLE, TEXT, words);
            let later = HeaderValue::from_static("10");
            refusal.headers_mut().insert(RETRY_AFTER, later);
            (refusal, None)
        }
    }
}

fn no_page() -> String {
    let pages: Vec<_> = status_page::PAGES.iter().map(|(path, _)| *path).collect();
    format!("no such page; there are: / {}\n", pages.join(" "))
}

async fn metrics(window: &Window) -> Response<Body> {
    let meters = Arc::clone(&window.meters);
    let (cores, resolver) = (window.tunnels.clone(), window.resolver.clone());
    let guide = alarms::metrics(&window.alarms) + &window.counters.render();
    // Names are resolved on this thread, too; they should not wait for a long page.
    let mut health = window.health.view(Instant::now());
    let rendered = task::spawn_blocking(move || {
        off_dns::count(&cores, &resolver, &meters);
        destinations::without_gone(&mut health, &cores);
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
        Ok(list) => respond(StatusCode::OK, JSON, Either::Right(Either::Left(list))),
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
