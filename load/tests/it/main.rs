//! Call servers, cloud and names together, through a proxy that is only here for it.

mod pushing;
mod talking;
mod tiny_proxy;
