//! Stories about the whole house: a real proxy process, real sockets, real DNS, real TLS.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::new_ret_no_self,
    clippy::print_stdout,
    reason = "a test fails by panicking, and plays every part of the world"
)]

mod client;
mod collector;
mod house;
mod upstream;

mod access_log;
mod admin;
mod auth;
mod connect;
mod curl;
mod drain;
mod failover;
mod hostile;
mod identity;
mod intake;
mod link;
mod policy;
mod proxy_protocol;
mod reload;
mod report;
mod start;
mod syslog;
