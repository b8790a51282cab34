//! tidegate: a forward proxy for push-notification traffic.
#![allow(dead_code, unused_imports, unreachable_pub)] // SKELETON: removed when the rooms are joined

mod admin;
mod commands;
mod config;
mod dial;
mod exchange;
mod gate;
mod lifecycle;
mod listen;
mod policy;
mod relay;
mod serve;
mod telemetry;

pub use config::{Complaint, Complaints, Config};
