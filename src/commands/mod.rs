//! What the command line does beside `run`.

mod account;
mod advice;
mod ahead;
pub mod as_server;
pub mod capacity;
mod chain;
pub mod check;
pub mod control;
pub mod doctor;
mod door;
pub mod explain;
pub mod export_acl;
mod habits;
mod heard;
mod journey;
pub mod passwd;
mod prompt;
mod remedy;
mod sizing;
mod stations;
mod status;
mod trust;
mod unreached;
mod wire;
