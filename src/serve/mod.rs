//! serve: skeleton

pub(crate) mod head;
pub(crate) mod scan;
