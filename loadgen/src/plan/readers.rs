//! What the clients of a run ask for, and how they read.

use crate::class::{Classes, Mix};
use crate::cli::ReaderArgs;
use anyhow::{Context as _, ensure};
use fanfare_wire::command::Options;
use std::time::Duration;

/// How clients subscribe and read.
#[derive(Clone, Debug)]
pub struct Readers {
    /// How many read as they should, and how many do not.
    pub mix: Mix,
    /// What they ask for, beside the topics.
    pub options: Options,
    /// How much a slow one reads.
    pub slow_bytes_per_s: u64,
    /// When stalled ones read again, after the load has begun; `None`: when it has ended.
    pub wake_after: Option<Duration>,
    /// Receive buffer of those that are not healthy; `None`: as the kernel likes.
    pub receive_buffer: Option<usize>,
    /// When healthy ones are cut, to come back and resume, after the load has begun; `None`: never.
    pub cut_after: Option<Duration>,
}

impl Readers {
    /// All of these connections read as fast as they can, whatever there is.
    pub fn healthy(connections: u32) -> Readers {
        Readers {
            mix: Mix {
                counts: Classes {
                    healthy: connections,
                    ..Classes::default()
                },
            },
            options: Options::default(),
            slow_bytes_per_s: 0,
            wake_after: None,
            receive_buffer: None,
            cut_after: None,
        }
    }

    /// From the arguments of a run.
    pub fn new(args: &ReaderArgs, connections: u32, duration: Duration) -> anyhow::Result<Readers> {
        let shares = Classes {
            healthy: 0.0,
            slow: args.slow_percent,
            stalled: args.stalled_percent,
            half_open: args.half_open_percent,
        };
        let mix = Mix::new(connections, shares).context(
            "--slow-percent, --stalled-percent and --half-open-percent together are more than all connections",
        )?;
        ensure!(
            args.wake_after.is_none_or(|after| after < duration),
            "--wake-after must be less than --duration, or left out"
        );
        ensure!(
            args.wake_after.is_none() || mix.counts.stalled > 0,
            "--wake-after without --stalled-percent would wake nobody"
        );
        ensure!(
            args.cut_after.is_none_or(|after| after < duration),
            "--cut-after must be less than --duration"
        );
        ensure!(
            !args.resume || mix.counts.healthy > 0,
            "--resume cuts healthy clients, and there are none"
        );
        Ok(Readers {
            mix,
            options: Options {
                snapshot: None,
                mode: args.mode.map(Into::into),
                on_slow: args.on_slow.map(Into::into),
                min_interval_ms: args.min_interval_ms,
                max_stale_ms: args.max_stale_ms,
            },
            slow_bytes_per_s: args.slow_bytes_per_s,
            wake_after: args.wake_after,
            receive_buffer: Some(args.slow_receive_buffer).filter(|bytes| *bytes > 0),
            cut_after: args.resume.then(|| args.cut_after.unwrap_or(duration / 2)),
        })
    }
}
