//! Stories about the whole house: a real proxy process, real sockets, real DNS, real TLS.

mod client;
mod house;
mod upstream;

mod connect;
