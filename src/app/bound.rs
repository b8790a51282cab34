//! Every address the proxy listens on, bound before a thread starts, and shared out to the cores.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::watch;

use super::StartError;
use crate::config::{self, Config};
use crate::listen::{Terms, bind};

/// Everything that is bound before a thread starts.
pub(super) struct Bound {
    pub(super) listeners: Vec<BoundListener>,
    pub(super) admin: TcpListener,
}

pub(super) struct BoundListener {
    /// With the address that was bound (port 0 has become a port).
    pub(super) config: Arc<config::Listener>,
    pub(super) sockets: Vec<TcpListener>,
}

impl Bound {
    pub(super) fn iter(&self) -> impl Iterator<Item = &BoundListener> {
        self.listeners.iter()
    }

    pub(super) fn admin_address(&self) -> SocketAddr {
        self.admin
            .local_addr()
            .expect("a bound socket has an address")
    }
}

pub(super) fn bind_all(config: &Config, workers: usize) -> Result<Bound, StartError> {
    let keepalive = config.tunnel.keepalive;
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let sockets = bind::bind(listener.address, listener.dual_stack, workers, keepalive)
            .map_err(|source| {
                cannot_bind(
                    format!("listener \"{}\"", listener.name),
                    listener.address,
                    source,
                )
            })?;
        let mut bound = listener.clone();
        bound.address = sockets[0]
            .local_addr()
            .expect("a bound socket has an address");
        tracing::info!(listener = %bound.name, address = %bound.address, tls = bound.tls.is_some(), "listening");
        listeners.push(BoundListener {
            config: Arc::new(bound),
            sockets,
        });
    }
    let address = config.admin.address;
    let admin = bind::bind(address, false, 1, keepalive)
        .map_err(|source| cannot_bind("admin".into(), address, source))?
        .remove(0);
    let bound = Bound { listeners, admin };
    tracing::info!(address = %bound.admin_address(), "admin endpoint listening");
    Ok(bound)
}

fn cannot_bind(what: String, address: SocketAddr, source: io::Error) -> StartError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => {
            ": another program, perhaps a second tidegate, holds this port; \"ss -ltnp\" shows which"
        }
        io::ErrorKind::AddrNotAvailable => {
            ": no interface of this machine has this address; \"ip address\" shows those that exist"
        }
        io::ErrorKind::PermissionDenied => ": ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    StartError::Bind {
        what,
        address,
        hint,
        source,
    }
}

/// One core's socket of a listener, and how clients are met there.
pub(super) type Share = Vec<(watch::Receiver<Arc<Terms>>, TcpListener)>;

/// Sets a listener's terms, on all cores.
pub(super) type TermsSetter = watch::Sender<Arc<Terms>>;

/// One socket of every listener for each core; and what sets a listener's terms anew.
pub(super) fn share_out(
    listeners: Vec<BoundListener>,
    workers: usize,
) -> Result<(Vec<Share>, Vec<TermsSetter>), StartError> {
    let mut shares: Vec<Share> = (0..workers).map(|_| Vec::new()).collect();
    let mut all = Vec::new();
    for BoundListener { config, sockets } in listeners {
        let terms = Terms::new(Arc::clone(&config)).map_err(|source| StartError::Tls {
            listener: config.name.to_string(),
            source,
        })?;
        let terms = watch::Sender::new(Arc::new(terms));
        for (share, socket) in shares.iter_mut().zip(sockets) {
            share.push((terms.subscribe(), socket));
        }
        all.push(terms);
    }
    Ok((shares, all))
}
