//! Deterministic simulation: a whole server under one seed.
//!
//! Several shards, as the reactor drives them, with sockets that tear and refuse, mail that is late, clients that read as they
//! like and go at any point, and a clock that jumps. Everything is drawn from one seed, so a run can be repeated. A model holds every
//! message to what docs/PROTOCOL.md promises, and after every step the engines are looked at: queues within their limits,
//! nobody kept waiting or closed before the time, and in the end nothing left over.
//!
//! `scripts/sim` runs many seeds; `cargo test` a few. That each promise is really watched shows `broken_test.rs`, which
//! breaks them one by one.

mod acts;
mod answers;
mod checks;
mod client;
mod events;
mod post;
mod requests;
mod run;
mod said;
mod setup;
mod socket;
mod stream;
mod subscriber;
mod tally;
mod tick;
mod truth;
mod web;
mod world;

mod broken_test;
mod seeds_test;
