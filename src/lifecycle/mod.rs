//! How the program ends: signals come in, a drain goes out to whoever must finish first.

pub(crate) mod drain;
pub(crate) mod notify;
pub(crate) mod orders;
pub(crate) mod signals;

pub(crate) use drain::{Drain, DrainWatch, Phase, PhaseView};
