//! A control endpoint: plain HTTP on loopback, JSON in and out, usable from curl. What is controlled, its owner says.
//!
//! Loopback only: whoever can reach it can break what it controls, and that is all it is for.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const BODY_MAX: usize = 64 * 1024;
const CONNECTIONS_MAX: usize = 64;
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// One order.
#[derive(Debug)]
pub struct Asked {
    /// What is to be done.
    pub method: Method,
    /// With what: the parts of the path.
    pub path: Vec<String>,
    body: Bytes,
}

/// What an order is answered: a state, or why not.
pub type Said = Result<Value, Refusal>;

/// Why an order was not carried out.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such thing.
    Unknown(String),
    /// It makes no sense.
    Senseless(String),
    /// It was tried.
    Failed(io::Error),
}

/// An endpoint that listens. Dropping it ends it.
#[derive(Debug)]
pub struct Control {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Control {
    /// Listens here, on loopback, and has `obey` answer each order.
    pub async fn start<F>(
        addr: SocketAddr,
        obey: impl Fn(Asked) -> F + Send + Sync + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = Said> + Send + 'static,
    {
        if !addr.ip().is_loopback() {
            let problem = format!("{addr} is not on loopback: anybody there could break things");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let listener = TcpListener::bind(addr).await?;
        Ok(Self {
            addr: listener.local_addr()?,
            task: tokio::spawn(accept(listener, Arc::new(obey))),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asked {
    /// The body, as JSON of this shape; an empty one counts as `{}`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let body: &[u8] = match &*self.body {
            [] => b"{}",
            body => body,
        };
        serde_json::from_slice(body).map_err(|error| Refusal::Senseless(error.to_string()))
    }

    /// Method and path in a form that `match` likes.
    #[must_use]
    pub fn parts(&self) -> (&str, Vec<&str>) {
        let path = self.path.iter().map(String::as_str);
        (self.method.as_str(), path.collect())
    }
}

impl Refusal {
    /// For an order whose path or method is nobody's.
    #[must_use]
    pub fn nowhere(asked: &Asked) -> Self {
        let path = asked.path.join("/");
        Self::Unknown(format!("{} /{path} is nothing here", asked.method))
    }

    fn answer(self) -> (StatusCode, Value) {
        let (status, why) = match self {
            Self::Unknown(why) => (StatusCode::NOT_FOUND, why),
            Self::Senseless(why) => (StatusCode::BAD_REQUEST, why),
            Self::Failed(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        (status, json!({ "error": why }))
    }
}

async fn accept<F>(listener: TcpListener, obey: Arc<impl Fn(Asked) -> F + Send + Sync + 'static>)
where
    F: Future<Output = Said> + Send + 'static,
{
    // Dropped with us, connections and all.
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if open.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    open.spawn(serve(stream, obey.clone()));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = open.join_next() => {}
        }
    }
}

async fn serve<F>(stream: TcpStream, obey: Arc<impl Fn(Asked) -> F + Send + Sync + 'static>)
where
    F: Future<Output = Said> + Send + 'static,
{
    let service = service_fn(|request| {
        let obey = obey.clone();
        async move { answer(request, &*obey).await }
    });
    // An error here is a client that left or spoke no HTTP; its side knows.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer<F>(
    request: Request<Incoming>,
    obey: &(impl Fn(Asked) -> F + Sync),
) -> io::Result<Response<Full<Bytes>>>
where
    F: Future<Output = Said> + Send,
{
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await;
    let parts = head.uri.path().split('/').filter(|part| !part.is_empty());
    let asked = Asked {
        method: head.method,
        path: parts.map(str::to_owned).collect(),
        body: body.map_err(io::Error::other)?.to_bytes(),
    };
    let (status, value) = match obey(asked).await {
        Ok(value) => (StatusCode::OK, value),
        Err(refusal) => refusal.answer(),
    };
    let text = serde_json::to_string_pretty(&value).map_err(io::Error::other)?;
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(text + "\n")))
        .map_err(io::Error::other)
}

#[cfg(test)]
pub(crate) mod tests;
