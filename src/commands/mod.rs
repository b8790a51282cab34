//! What the command line does beside `run`.

pub mod check;
pub mod passwd;
mod prompt;
