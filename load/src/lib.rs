//! The other side of tidegate: simulated call servers, a simulated push cloud, a name server, and a demo that
//! puts them around a real tidegate process and measures.
//!
//! It shares no code with the proxy, so that a mistake in one can't hide in the other; only the deployment guide's data
//! (`config/guide/`) is read by both.
//!
//! | room | what it is |
//! |---|---|
//! | [`scenario`] | what a run plays, from a file or built in; pure |
//! | [`measure`] | latencies from the *intended* start, outcomes, the summary |
//! | [`control`] | a small HTTP endpoint over which cloud and names are changed while they run |
//! | [`guide`] | the deployment guide's counters and alarms, as a simulated server keeps them |
//! | [`cloud`] | Push REST, tokens and onboarding over TLS; every address can misbehave on demand |
//! | [`names`] | a DNS server with a small zone that can be changed and made to fail |
//! | [`onprem`] | call servers behind a proxy: CONNECT, 407 rounds, kept connections, pushes |
//! | [`relay`] | a null TCP relay, the yardstick |
//! | [`child`] | programs that we start, and what they used, by pid |
//! | [`drive`] | open-loop pacing |
//! | [`display`] | the tables at the end; pure |
//! | [`demo`] | all of it around one proxy process, with a verdict |
//! | [`bench`] | the proxy beside the relay: CPU per transaction, memory per idle tunnel |
//! | [`failover`] | addresses and DNS die in every way we know, and a table says what a sender notices |
//! | [`turns`] | what the proxy says of the exchanges inside its tunnels, beside the servers' own clocks |
//! | [`run`] | a scenario: one cluster's storm of logins beside another's calls, with limits and without |
//!
//! Rooms import from the floors below only: `scenario measure control guide` · `cloud names onprem relay child` · `drive display` ·
//! `demo bench run failover turns`.

pub mod control;
pub mod guide;
pub mod measure;
pub mod scenario;

pub mod child;
pub mod cloud;
pub mod names;
pub mod onprem;
pub mod relay;

pub mod display;
pub mod drive;

pub mod bench;
pub mod demo;
pub mod failover;
pub mod run;
pub mod turns;
