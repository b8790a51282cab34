//! Stories about the whole house: a real proxy process, real sockets, real DNS, real TLS.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::new_ret_no_self,
    clippy::print_stdout,
    reason = "a test fails by panicking, and plays every part of the world"
)]

mod access_log;
mod admin;
mod alarms;
mod as_server;
mod auth;
mod bodies;
mod browser;
mod chunks;
mod client;
mod clients;
mod clients_seen;
mod collector;
mod connect;
mod credentials;
mod deliveries;
mod doctor;
mod drain;
mod explain;
mod failover;
mod faults;
mod forward;
mod health;
mod hostile;
mod house;
mod identity;
mod intake;
mod limits;
mod link;
mod names;
mod origin;
mod page;
mod policy;
mod probe;
#[path = "../tidy/promtool.rs"]
mod promtool;
mod proxy_protocol;
mod pushes;
mod receiver;
mod reload;
mod replay;
mod replies;
mod report;
mod reuse;
mod signs;
mod smuggling;
mod sni;
mod start;
mod syslog;
mod turns;
mod upstream;
mod ways;
mod websocket;
