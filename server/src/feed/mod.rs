//! Built-in publishers: a recorded file played back, and a simulated market.
//!
//! Both are plain loops on a thread of their own. They know neither topics' owners nor connections, only the
//! [`Sink`] the server hands them, which is also how they are tested: with a sink that has virtual time.
//! They keep an open schedule: a server that was full for a while is caught up with, not slowed down for.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

mod columns;
mod market;
mod recording;
pub mod replay;
mod row;
mod row_time;
pub mod sim;
mod source;
mod symbols;
#[cfg(test)]
mod testing;

/// Where a feed publishes, and how it waits.
pub trait Sink {
    /// Publishes `json`, one JSON value, to `topic`, a valid topic that is not reserved.
    ///
    /// Blocks while the server is full. `Break` means the server stops, and so must the feed.
    fn publish(&mut self, topic: &str, json: &[u8]) -> ControlFlow<()>;

    /// Returns once `deadline` has passed, at once when it lies behind. `Break` as soon as the server stops.
    fn wait_until(&mut self, deadline: Instant) -> ControlFlow<()>;
}

/// A recorded CSV file, published row by row at the pace of its own times.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The file, plain or gzip; `None` is the built-in one, daily prices of five stocks.
    pub path: Option<PathBuf>,
    /// The column whose value is a row's topic; `None` finds it by name (`Ticker`, `symbol`, …).
    pub topic_column: Option<String>,
    /// The column whose value is a row's time; `None` finds it by name, then by what its values look like.
    pub time_column: Option<String>,
    /// Stands before every topic, may be empty.
    pub topic_prefix: String,
    /// Recorded seconds in a second: 1 is the pace of the recording, 86,400 one day a second.
    pub speed: f64,
    /// Whether to begin again after the last row.
    pub repeat: bool,
}

/// A simulated market: the same seed gives the same symbols, prices and times.
#[derive(Clone, Debug, PartialEq)]
pub struct Sim {
    /// How many symbols are traded, one topic each.
    pub symbols: u32,
    /// What the random numbers start from.
    pub seed: u64,
    /// Updates in a second, all symbols together, on the long average.
    pub rate: f64,
}

/// What a feed did until it ended or was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Updates the sink took.
    pub published: u64,
    /// Rows of the file that could not be published, counted once however often the file is repeated.
    pub bad_rows: u64,
    /// Times the whole file was played.
    pub passes: u64,
}
