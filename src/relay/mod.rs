//! Bytes both ways, until both sides have ended or one has to.
//!
//! Knows nothing of who asked, or, beyond the name in a TLS hello, of what is inside a tunnel. Holds no buffer while a tunnel is silent.

mod acks;
pub(crate) mod brake;
pub(crate) mod client;
pub(crate) mod confirmations;
pub(crate) mod copy;
mod exchanges;
pub(crate) mod forward;
pub(crate) mod halves;
mod handshake;
mod hello;
pub(crate) mod idle;
pub(crate) mod inspection;
pub(crate) mod live;
mod offer;
pub(crate) mod outgoing;
pub(crate) mod peers;
mod records;
pub(crate) mod scratch;
mod silence;
pub(crate) mod tunnel;
mod turns;
pub(crate) mod upstream;

pub(crate) use brake::{Brake, Toll};
pub(crate) use client::ClientStream;
pub(crate) use confirmations::Confirmations;
pub(crate) use forward::{ForwardError, Origin};
pub(crate) use idle::Idle;
pub(crate) use inspection::Inspection;
pub(crate) use live::{Listing, LiveTunnel, Tunnels};
pub(crate) use peers::{Ground, Patience, Peers, Verdicts};
pub(crate) use scratch::Scratch;
pub(crate) use tunnel::Tunnel;
pub(crate) use upstream::UpstreamStream;
