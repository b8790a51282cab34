//! Call servers, cloud and names together, through a proxy that is only here for it.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod dying;
mod forwarding;
mod keeping;
mod measuring;
mod pushing;
mod relaying;
mod storming;
mod talking;
mod tiny_proxy;
