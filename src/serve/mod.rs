//! serve: skeleton

pub(crate) mod head;
