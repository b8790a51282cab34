//! What the command line does beside `run`.

pub mod capacity;
pub mod check;
pub mod control;
pub mod doctor;
pub mod export_acl;
pub mod passwd;
mod prompt;
mod sizing;
mod status;
