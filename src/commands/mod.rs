//! commands: skeleton

pub(crate) mod passwd;
mod prompt;
