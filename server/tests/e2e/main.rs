//! End to end: the real binary on a port of the system's choice, and clients that this project did not write.
//!
//! Every wait has a deadline and ends with an event; a test that hangs fails. Each test has a server of its own, so
//! they run side by side. What Python's and Node's clients make of the same server is tested in `../clients`.

#[path = "../../../tls/tests/support/mod.rs"]
mod authority;
mod backpressure;
mod bursts;
mod commands;
mod feeds;
mod filters;
mod full;
mod handshakes;
mod harness;
mod hostile;
mod http_bodies;
mod http_connection;
mod http_cycle;
mod http_events;
mod http_files;
mod http_limits;
mod http_smuggling;
mod http_topics;
mod identity;
mod lifecycle;
mod metrics;
mod page;
mod protocol;
mod rooms;
mod slow;
mod tls;
