//! What the command line does beside `run`.

mod account;
mod ahead;
pub mod check;
pub mod control;
pub mod explain;
pub mod export_acl;
pub mod passwd;
mod prompt;
mod remedy;
mod stations;
mod status;
