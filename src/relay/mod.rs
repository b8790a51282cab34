//! Bytes both ways, until both sides have ended or one has to.

pub(crate) mod live;

pub(crate) use live::{LiveTunnel, Tunnels};
