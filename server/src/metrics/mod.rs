//! What is told of a running server: counts, durations and gauges of each shard as plain data, summed when somebody asks.
//!
//! A shard writes into its own [`Counters`] and [`Histogram`]s, without a lock and without an atomic. Whoever asks gets one
//! [`Report`] of each shard by mail, adds them up, and makes of the sum the text of `/metrics` ([`text`]) or the JSON of
//! `/v1/stats` and `$sys.stats` ([`stats`]). Nothing in here looks at a clock: times are passed in.

pub mod counters;
pub mod histogram;
pub mod rates;
pub mod report;
pub mod stats;
pub mod text;

pub use counters::Counters;
pub use histogram::Histogram;
pub use report::{Entrance, Gathered, Gauges, Report, Slow};
