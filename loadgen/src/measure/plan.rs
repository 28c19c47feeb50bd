//! From arguments to a plan: everything resolved and bounded before anything is opened.

use super::pacing::Shape;
use crate::cli::{MeasureArgs, SourceAddresses};
use crate::payload::{Filling, NUMBERED_BYTES_MIN};
use crate::plan::{FitError, Host, fit};
use crate::protocol::Protocol;
use crate::target::{Compression, Target};
use anyhow::{Context as _, ensure};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A measurement, ready to be carried out.
#[derive(Debug)]
pub struct Plan {
    /// Where to connect.
    pub target: Target,
    /// Where to connect from, in turn. `None`: the kernel chooses.
    pub sources: Vec<Option<IpAddr>>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Subscriber connections.
    pub connections: u32,
    /// Handshakes and subscribe commands at a time.
    pub connecting_max: u32,
    /// Names of the topics.
    pub topics: Vec<String>,
    /// Topics of each connection: connection `c` has `c·k` to `c·k + k - 1`, round the topics.
    pub subscriptions: u32,
    /// Size of a payload.
    pub payload_bytes: usize,
    /// What fills it.
    pub filling: Filling,
    /// The load.
    pub shape: Shape,
    /// Load before the window.
    pub warm_up: Duration,
    /// The window.
    pub duration: Duration,
    /// Bound for what is under way at the end.
    pub drain_timeout: Duration,
    /// Whose CPU time and memory are measured.
    pub server_pid: Option<u32>,
    /// Slip beyond which the generator counts as saturated.
    pub slip_limit: Duration,
    /// Where to write the report.
    pub json: Option<PathBuf>,
}

impl Plan {
    /// Checks the arguments. An error is for the operator.
    pub fn new(args: MeasureArgs, host: &Host) -> anyhow::Result<Plan> {
        let protocol = match args.echo {
            // Nothing is said but what is echoed.
            Some(_) => Protocol::Fanfare(crate::dialect::Dialect::Json),
            None => Protocol::new(&args)?,
        };
        let shape = Shape::new(&args);
        ensure!(
            !protocol.polls() || args.subscriptions == 1,
            "--protocol fanfare-poll: a poll is of one topic, not of --subscriptions {}",
            args.subscriptions
        );
        ensure!(
            args.payload_bytes >= NUMBERED_BYTES_MIN,
            "--payload-bytes must be at least {NUMBERED_BYTES_MIN}: a payload carries its number and its intended time"
        );
        ensure!(
            args.subscriptions <= args.topics,
            "--subscriptions {} is more than the {} topics there are",
            args.subscriptions,
            args.topics
        );
        ensure!(args.echo != Some(0), "--echo must be at least 1 byte");
        ensure!(args.rate != Some(0.0), "--rate must be more than 0");
        let subscriptions = u64::from(args.connections) * u64::from(args.subscriptions);
        ensure!(
            args.echo.is_some() || subscriptions >= u64::from(args.topics),
            "{subscriptions} subscriptions leave some of the {} topics without a subscriber",
            args.topics
        );
        ensure!(
            !args.rejoin || args.connections > args.connecting,
            "--rejoin needs more --connections than --connecting: {} of them would be the oldest and the newest at once",
            args.connections
        );
        // One thread holds them all, and a publisher.
        let files = fit::workers(host, args.connections + 1, Some(1));
        files.map_err(|error| match error {
            FitError::Workers { fit, .. } => {
                anyhow::anyhow!("--connections: one thread holds at most {fit} here (ulimit -n)")
            }
            other => other.into(),
        })?;
        let config = args.tls.config(std::iter::once(&args.url))?;
        let mut target = Target::resolve(&args.url, config.as_ref()).context("--url")?;
        if args.compress {
            target.compression = Compression::Demanded;
        }
        let sources = fit::sources(
            host,
            args.connections,
            &[target.address],
            &SourceAddresses::Auto,
        )?;
        Ok(Plan {
            target,
            sources,
            protocol,
            connections: args.connections,
            connecting_max: args.connecting,
            topics: (0..args.topics)
                .map(|number| format!("t{number}"))
                .collect(),
            subscriptions: args.subscriptions,
            payload_bytes: args.payload_bytes,
            filling: match &args.payload_from {
                Some(path) => Filling::from_file(path).context("--payload-from")?,
                None => Filling::Letter,
            },
            shape,
            warm_up: args.warm_up,
            duration: args.duration,
            drain_timeout: args.drain_timeout,
            server_pid: args.server_pid,
            slip_limit: args.slip_limit,
            json: args.json,
        })
    }

    /// The number of a connection's first topic.
    pub fn first_topic(&self, slot: u32) -> u32 {
        let topics = self.topics.len() as u64;
        (u64::from(slot) * u64::from(self.subscriptions) % topics) as u32
    }

    /// The topics of a connection.
    pub fn topics_of(&self, slot: u32) -> impl Iterator<Item = &str> {
        let first = self.first_topic(slot) as usize;
        let topics = self.topics.len();
        (0..self.subscriptions as usize).map(move |n| &*self.topics[(first + n) % topics])
    }
}
