//! fanfare: a push server that holds a million WebSocket connections on one small machine and tells all of them at once.
//!
//! Imports run one way: `cli → server → reactor → engine → hub → wire`. Engine and hub know no socket and no clock, so
//! a simulation can drive them as the reactor does.

pub mod addresses;
pub mod auth;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod engine;
pub mod feed;
pub mod feeder;
pub mod hub;
pub mod ledger;
pub mod mesh;
pub mod metrics;
pub mod origins;
pub mod pages;
pub mod reactor;
pub mod server;
pub mod shards;
#[cfg(test)]
mod sim;
pub mod site;
