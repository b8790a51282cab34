//! tidegate: a forward HTTP/HTTPS proxy for push-notification traffic, where a lost tunnel is a missed call.
//!
//! # One CONNECT through the house
//!
//! A client connects. [`listen`] takes a permit for it, accepts, and on a TLS listener shakes hands under a
//! deadline. What comes of it is a `ClientStream`, plain or TLS, and nobody further in needs to know which.
//!
//! [`serve`] reads the request's head byte by byte under a deadline (`http1.rs`), parses it strictly (`head.rs`), and
//! opens an entry in the ledger. From here on, whatever happens, one access line will be written and one counter will
//! move: the entry does both when it is dropped. `dispatch.rs` then takes the request from station to station:
//!
//! 1. `exchange/target.rs` turns the authority into a `Target`, once.
//! 2. [`gate`] asks who this is (`credentials.rs`, `digest.rs`, `nonce.rs`, `basic.rs`), has [`policy`] clear the
//!    target for them, lets it wait for its turn where a limit says so (`limits.rs`, `wait.rs`, `queue.rs`), and takes
//!    a tunnel permit.
//! 3. [`dial`] asks for the target's addresses (`resolve.rs`), has the policy clear each one, and races them inside
//!    one budget (`race.rs`, `connect.rs`).
//! 4. `serve/reply.rs` answers: `200 Connection established`, or the one status that goes with the reason.
//! 5. [`relay`] looks at the TLS hello if the destination wants that (`inspection.rs`, `hello.rs`), and moves bytes both
//!    ways in a small task of its own (`tunnel.rs`, `copy.rs`) until both sides have closed, one breaks, both are silent
//!    for too long, or the proxy ends. Whether the peers still acknowledge and answer is watched meanwhile (`acks.rs`,
//!    `turns.rs`, `silence.rs`, `peers.rs`).
//!
//! # One forward
//!
//! A request in absolute form takes the same way as far as the dial, but needs no tunnel's place. `serve/body.rs` says
//! where its body ends, `serve/headers.rs` which of its fields travel, `serve/order.rs` whether it is for the origin at
//! all. The origin is a connection that the core has kept (`relay/idle.rs`) or one that was dialled now, with TLS of our
//! own for `https` (`dial/tls.rs`). `serve/forward.rs` then moves both bodies at once, piece by piece, and
//! `serve/forwarded.rs` writes the reply. An origin's `101` to a WebSocket makes the two connections a tunnel. What goes to a
//! push service is looked at on its way ([`push`], `serve/pushes.rs`), and moves the counters of its sender.
//!
//! # What it stands on
//!
//! [`exchange`] has the nouns of a request, [`config`] what the operator wanted, [`telemetry`] what the operator
//! learns, [`deliver`] brings it to where they want it, [`lifecycle`] is how the program ends, [`admin`] the operator's
//! window. [`app`] builds all of it once: a
//! thread with its own sockets and scratch buffer for each core, and one control thread for names, the admin
//! endpoint and signals. A room imports only from the floors below it; `tests/tidy.rs` keeps it so.
#![allow(rustdoc::private_intra_doc_links)]

mod dial;
mod gate;
mod listen;
mod relay;
mod serve;

mod admin;
mod app;
pub mod commands;
mod config;
mod deliver;
mod exchange;
mod lifecycle;
mod policy;
mod probe;
mod push;
mod sys;
mod telemetry;

pub use app::{App, StartError, run};
pub use config::{Complaint, Complaints, Config, load};

/// The parsers that `tests/fuzz` throws bytes at.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::gate::fuzz_credentials as credentials;
}
