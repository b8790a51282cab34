//! Brings what the operator wants to have elsewhere to where they want it: access lines to a syslog collector, alarms to
//! syslog, Alertmanager, a webhook and an upload.
//!
//! Blocks nobody: what is delivered waits in bounded queues, or is looked up when its receiver has time; a receiver that
//! is away is tried again and again, each time later. No client can name a receiver.

mod alertmanager;
mod backoff;
mod batch;
mod board;
pub(crate) mod courier;
pub(crate) mod deliveries;
mod desk;
mod failures;
mod herald;
mod link;
mod notice;
mod post;
mod seal;
mod sink;
mod structured;
mod syslog;
mod tls;
mod trouble;
mod upload;
mod uploader;
mod webhook;

pub(crate) use courier::{Courier, CourierError, Delivery};
pub(crate) use deliveries::{Deliveries, Wants};

/// Returns when the end has come.
async fn end(told: &mut tokio::sync::watch::Receiver<bool>) {
    // An error means that nobody is left who could say so.
    let _ = told.wait_for(|end| *end).await;
}
