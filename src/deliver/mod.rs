//! Brings what the operator wants to have elsewhere to where they want it: access lines to a syslog collector.
//!
//! Blocks nobody: what is delivered waits in bounded queues, a receiver that is away is tried again and again, each
//! time later, and what finds no room is counted as lost. No client can name a receiver.

mod backoff;
mod batch;
pub(crate) mod courier;
mod link;
mod syslog;
mod tls;
mod trouble;

pub(crate) use courier::{Courier, CourierError, Delivery};
