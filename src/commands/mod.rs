//! commands: skeleton

pub(crate) mod check;
