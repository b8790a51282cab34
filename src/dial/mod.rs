//! dial: skeleton

pub(crate) mod order;
pub(crate) mod race;
