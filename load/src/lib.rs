//! The other side of tidegate: simulated call servers, a simulated push cloud, a name server, and a demo that
//! puts them around a real tidegate process and measures.
//!
//! It shares no code with the proxy, so that a mistake in one can't hide in the other.
//!
//! | room | what it is |
//! |---|---|
//! | [`measure`] | latencies from the *intended* start, outcomes, the summary |
//! | [`cloud`] | Push REST, tokens and onboarding over TLS; every address can misbehave on demand |
//! | [`names`] | a DNS server with a small zone that can be changed and made to fail |
//! | [`onprem`] | call servers behind a proxy: CONNECT, 407 rounds, kept connections, pushes |
//! | [`drive`] | open-loop pacing |
//! | [`display`] | the table at the end; pure |
//! | [`demo`] | all of it around one proxy process, with a verdict |
//!
//! Rooms import from the floor below only: `measure` · `cloud names onprem` · `drive display` · `demo`.

pub mod measure;

pub mod cloud;
pub mod names;
pub mod onprem;

pub mod display;
pub mod drive;

pub mod demo;
