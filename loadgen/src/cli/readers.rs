//! Arguments of `run` about how clients subscribe and read.

use super::{parse_duration, parse_rate};
use clap::ValueEnum;
use fanfare_wire::command::{Mode, OnSlow};
use std::time::Duration;

/// How clients subscribe and read.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Readers")]
pub struct ReaderArgs {
    /// Which updates the clients ask for
    #[arg(long, value_name = "WHICH")]
    pub mode: Option<ModeName>,

    /// What they ask for in case they read too slowly
    #[arg(long, value_name = "WHAT")]
    pub on_slow: Option<OnSlowName>,

    /// They ask for at most one update of a topic in so many milliseconds
    #[arg(long, value_name = "MS")]
    pub min_interval_ms: Option<u32>,

    /// They ask for no superseded update that has waited for so many milliseconds
    #[arg(long, value_name = "MS")]
    pub max_stale_ms: Option<u32>,

    /// Share of the clients that read slowly while updates are published
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    pub slow_percent: f64,

    /// How much each of those reads
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(10..=1 << 30))]
    pub slow_bytes_per_s: u64,

    /// Share of the clients that read nothing while updates are published
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    pub stalled_percent: f64,

    /// These read on after so long [default: when everything is published]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub wake_after: Option<Duration>,

    /// Share of the clients whose host is gone without a word as soon as updates are published: it
    /// acknowledges nothing and never comes back
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = parse_percent)]
    pub half_open_percent: f64,

    /// Receive buffer of the clients that read slowly, nothing, or are gone; 0: as the kernel likes
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub slow_receive_buffer: usize,

    /// Cut all healthy clients at once while updates are published; they come back with `since`, and
    /// must get all that they missed
    #[arg(long)]
    pub resume: bool,

    /// When they are cut [default: half the duration]
    #[arg(long, value_name = "TIME", requires = "resume", value_parser = parse_duration)]
    pub cut_after: Option<Duration>,
}

impl ReaderArgs {
    /// Whether the clients ask for anything beside the topics.
    pub fn asks_for_something(&self) -> bool {
        let ReaderArgs {
            mode,
            on_slow,
            min_interval_ms,
            max_stale_ms,
            ..
        } = self;
        mode.is_some() || on_slow.is_some() || min_interval_ms.is_some() || max_stale_ms.is_some()
    }
}

/// `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// Every update
    All,
    /// The newest when the socket can take it
    Latest,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Mode {
        match name {
            ModeName::All => Mode::All,
            ModeName::Latest => Mode::Latest,
        }
    }
}

/// `--on-slow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnSlowName {
    /// What waits is replaced by what is newer
    Conflate,
    /// The connection is closed with 4103
    Close,
}

impl From<OnSlowName> for OnSlow {
    fn from(name: OnSlowName) -> OnSlow {
        match name {
            OnSlowName::Conflate => OnSlow::Conflate,
            OnSlowName::Close => OnSlow::Close,
        }
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match parse_rate(text.trim_end_matches('%'))? {
        percent if percent <= 100.0 => Ok(percent),
        _ => Err("must be 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_end_at_a_hundred() {
        for (text, expected) in [
            ("0.33", Some(0.33)),
            ("1%", Some(1.0)),
            ("100", Some(100.0)),
            ("100.1", None),
            ("-1", None),
        ] {
            assert_eq!(parse_percent(text).ok(), expected, "{text}");
        }
    }
}
