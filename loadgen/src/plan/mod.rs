//! From arguments to a plan that can be carried out: everything resolved, bounded, and known to fit
//! on this host. Whatever is wrong with the arguments is said here, before anything is opened.

pub mod fit;
mod readers;

pub use fit::{FitError, Host};
pub use readers::Readers;

use crate::cli::{DialectName, LatencyFrom, RunArgs, TlsArgs};
use crate::dialect::Dialect;
use crate::link::Framing;
use crate::payload::PAYLOAD_BYTES_MIN;
use crate::target::{Compression, Target};
use crate::topics::{Batch, Popularity, Topics};
use anyhow::{Context as _, bail, ensure};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Updates a second that one publishing connection carries unless told otherwise.
const UPDATES_PER_PUBLISHER_PER_S: f64 = 5000.0;
/// What a server is expected to accept at least, to bound a run whose connect rate is not limited.
const SLOWEST_CONNECTS_PER_S: f64 = 500.0;

/// A run, ready to be carried out. Shared by all threads.
#[derive(Debug)]
pub struct Plan {
    /// What the host allows.
    pub host: Host,
    /// The protocol; over plain HTTP what events hold.
    pub dialect: Dialect,
    /// How subscribers connect: to a WebSocket, to a stream of events, or to poll.
    pub framing: Framing,
    /// Where to connect; connections take turns.
    pub targets: Vec<Target>,
    /// Where to connect from; connections to one target take turns. `None`: the kernel chooses.
    pub sources: Vec<Option<IpAddr>>,
    /// Subscriber connections.
    pub connections: u32,
    /// Threads that hold them.
    pub workers: u32,
    /// New connections a second; 0 for no limit but `in_flight`.
    pub connect_rate_per_s: f64,
    /// Subscribe commands a second; 0 for no limit but `in_flight`.
    pub subscribe_rate_per_s: f64,
    /// Unanswered handshakes or subscribe commands at a time, over all workers.
    pub in_flight_max: u32,
    /// Tries for each connection.
    pub attempts_max: u8,
    /// The topics.
    pub topics: Topics,
    /// Which of them a connection subscribes to, batch by batch; a run has one batch.
    pub batches: Vec<Batch>,
    /// Topics of each connection, over all batches.
    pub subscriptions: usize,
    /// Updates a second over all topics; 0 to only listen.
    pub publish_rate_per_s: f64,
    /// Publishing connections.
    pub publishers: u32,
    /// Size of a payload.
    pub payload_bytes: usize,
    /// Where a delivery's latency begins.
    pub latency_from: LatencyFrom,
    /// What clients ask for, and how they read.
    pub readers: Readers,
    /// Seed of every random choice that matters.
    pub seed: u64,
    /// Disconnects do not fail the run.
    pub allow_disconnects: bool,
    /// The steady phase.
    pub duration: Duration,
    /// Bound for a handshake, a subscribe command, a check.
    pub answer_timeout: Duration,
    /// Bound for what is still under way when publishing ends.
    pub drain_timeout: Duration,
    /// Bound for the closing handshakes; zero drops the connections.
    pub close_timeout: Duration,
    /// Bound for a phase in which nothing succeeds any more.
    pub stall_timeout: Duration,
    /// Bound for the whole run.
    pub deadline: Duration,
    /// Slip beyond which the generator counts as saturated.
    pub slip_limit: Duration,
    /// Where to write the report.
    pub json: Option<PathBuf>,
    /// Where to write raw histograms.
    pub histograms: Option<PathBuf>,
    /// No progress line.
    pub quiet: bool,
}

impl Plan {
    /// Checks the arguments against each other and against the host. An error is for the operator.
    pub fn new(args: RunArgs, host: &Host) -> anyhow::Result<Plan> {
        let (mut targets, destinations) = targets(&args.url, &args.tls)?;
        if args.compress {
            ensure!(
                matches!(
                    args.protocol,
                    DialectName::Fanfare | DialectName::FanfareBin
                ),
                "--compress is for WebSockets; --protocol names none"
            );
            for target in &mut targets {
                target.compression = Compression::Demanded;
            }
        }
        let publish_rate_per_s =
            args.publish_rate
                .unwrap_or(if args.topic.is_empty() { 100.0 } else { 0.0 });
        ensure!(
            args.payload_bytes >= PAYLOAD_BYTES_MIN,
            "--payload-bytes must be at least {PAYLOAD_BYTES_MIN}: a payload carries its intended time"
        );
        ensure!(
            publish_rate_per_s > 0.0 || args.publishers.is_none(),
            "--publishers without --publish-rate would publish nothing"
        );
        let topics = topics(&args)?;
        let subscriptions = args.subscriptions as usize;
        ensure!(
            subscriptions <= topics.len(),
            "--subscriptions {subscriptions} is more than the {} topics there are",
            topics.len()
        );
        if args.protocol == DialectName::FanfarePoll {
            ensure!(
                subscriptions == 1,
                "--protocol fanfare-poll: a poll is of one topic, not of --subscriptions {subscriptions}"
            );
            ensure!(
                !args.readers.resume,
                "--resume: a poll brings the newest value and nothing that was missed; use fanfare or fanfare-sse"
            );
            ensure!(
                !args.readers.asks_for_something(),
                "--mode, --on-slow, --min-interval-ms and --max-stale-ms: a poll has no such options"
            );
        }
        let workers = fit::workers(host, args.connections, args.workers)?;
        let sources = fit::sources(
            host,
            args.connections,
            &destinations,
            &args.source_addresses,
        )?;
        let publishers = (publish_rate_per_s / UPDATES_PER_PUBLISHER_PER_S).ceil() as u32;
        let default_from = if publish_rate_per_s > 0.0 {
            LatencyFrom::Schedule
        } else {
            LatencyFrom::Server
        };
        if let Some(dir) = &args.histograms {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("--histograms {}", dir.display()))?;
        }
        Ok(Plan {
            host: *host,
            dialect: match args.protocol {
                DialectName::FanfareBin => Dialect::Binary,
                _ => Dialect::Json,
            },
            framing: match args.protocol {
                DialectName::Fanfare | DialectName::FanfareBin => Framing::WebSocket,
                DialectName::FanfareSse => Framing::Events,
                DialectName::FanfarePoll => Framing::Answers,
            },
            targets,
            sources,
            connections: args.connections,
            workers,
            connect_rate_per_s: args.connect_rate,
            subscribe_rate_per_s: args.subscribe_rate,
            in_flight_max: args.in_flight,
            attempts_max: args.attempts,
            batches: vec![Batch {
                first_topic: 0,
                popularity: Popularity::new(topics.len() as u32, args.zipf),
                count: subscriptions,
            }],
            topics,
            subscriptions,
            publish_rate_per_s,
            publishers: if publish_rate_per_s > 0.0 {
                args.publishers.unwrap_or(publishers)
            } else {
                0
            },
            payload_bytes: args.payload_bytes,
            latency_from: args.latency_from.unwrap_or(default_from),
            readers: Readers::new(&args.readers, args.connections, args.duration)?,
            seed: args.seed,
            allow_disconnects: args.allow_disconnects,
            duration: args.duration,
            answer_timeout: args.answer_timeout,
            drain_timeout: args.drain_timeout,
            close_timeout: args.close_timeout,
            stall_timeout: args.stall_timeout,
            deadline: args.deadline.unwrap_or_else(|| default_deadline(&args)),
            slip_limit: args.slip_limit,
            json: args.json,
            histograms: args.histograms,
            quiet: args.quiet,
        })
    }
}

impl Plan {
    /// Where the connection with this number in the run goes.
    pub fn target_of(&self, number: u64) -> &Target {
        &self.targets[(number % self.targets.len() as u64) as usize]
    }
}

/// The targets of these URLs, and their different addresses.
pub(crate) fn targets(
    urls: &[String],
    tls: &TlsArgs,
) -> anyhow::Result<(Vec<Target>, Vec<SocketAddr>)> {
    let config = tls.config(urls.iter())?;
    let targets = urls
        .iter()
        .map(|url| Target::resolve(url, config.as_ref()).context("--url"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut destinations: Vec<SocketAddr> = targets.iter().map(|target| target.address).collect();
    destinations.sort_unstable();
    destinations.dedup();
    Ok((targets, destinations))
}

fn topics(args: &RunArgs) -> anyhow::Result<Topics> {
    let topics = if args.topic.is_empty() {
        Topics::new((0..args.topics).map(|number| format!("{}{number}", args.topic_prefix)))
    } else {
        Topics::new(args.topic.iter().cloned())
    };
    for name in topics.names() {
        if let Err(error) = fanfare_wire::topic::check_topic(name) {
            bail!("{name:?} is no topic: {error}");
        }
    }
    Ok(topics)
}

/// Four times what the phases should take, and a minute.
fn default_deadline(args: &RunArgs) -> Duration {
    let paced = |per_s: f64| {
        let per_s = if per_s > 0.0 {
            per_s
        } else {
            SLOWEST_CONNECTS_PER_S
        };
        Duration::from_secs_f64((f64::from(args.connections) / per_s).min(24.0 * 3600.0))
    };
    let ending = args.drain_timeout + args.close_timeout;
    let phases = paced(args.connect_rate) + paced(args.subscribe_rate) + args.duration + ending;
    4 * phases + Duration::from_secs(60)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    /// The plan that these arguments of `run` make, on a host of two cores and 20,000 open files.
    pub(crate) fn plan(arguments: &str) -> anyhow::Result<Plan> {
        let words = ["fanfare-loadgen", "run"]
            .into_iter()
            .chain(arguments.split_whitespace());
        let Command::Run(args) = Cli::try_parse_from(words)?.command else {
            bail!("no run");
        };
        Plan::new(
            *args,
            &Host {
                open_files_max: 20_000,
                cores: 2,
                local_ports: 28_232,
            },
        )
    }

    #[test]
    fn a_bare_run_has_the_documented_defaults() {
        let plan = plan("").unwrap();
        assert_eq!(
            (plan.connections, plan.workers, plan.publishers),
            (10_000, 2, 1)
        );
        assert_eq!((plan.topics.len(), plan.topics.name(0)), (1, "load.0"));
        assert_eq!((plan.publish_rate_per_s, plan.payload_bytes), (100.0, 100));
        assert_eq!(plan.latency_from, LatencyFrom::Schedule);
    }

    #[test]
    fn existing_topics_are_only_listened_to_unless_told() {
        let listening = plan("--topic AAPL --topic MSFT").unwrap();
        assert_eq!(
            (listening.publish_rate_per_s, listening.publishers),
            (0.0, 0)
        );
        assert_eq!(listening.latency_from, LatencyFrom::Server);
        assert_eq!(plan("--topic AAPL --publish-rate 5").unwrap().publishers, 1);
    }

    #[test]
    fn publishers_grow_with_the_rate() {
        for (rate, expected) in [(1, 1), (5000, 1), (5001, 2), (100_000, 20)] {
            assert_eq!(
                plan(&format!("--publish-rate {rate}")).unwrap().publishers,
                expected,
                "{rate}"
            );
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_sentence() {
        for (arguments, sentence) in [
            ("--payload-bytes 10", "--payload-bytes must be at least"),
            (
                "--subscriptions 2",
                "--subscriptions 2 is more than the 1 topics",
            ),
            ("--topic-prefix a..", "is no topic"),
            ("--topic px.*", "is no topic"),
            ("--compress --protocol fanfare-sse", "is for WebSockets"),
            ("--url https://x", "does not begin with ws:// or wss://"),
            (
                "--slow-percent 60 --half-open-percent 60",
                "together are more than all connections",
            ),
            (
                "--stalled-percent 1 --wake-after 20s",
                "--wake-after must be less than --duration",
            ),
            ("--wake-after 1s", "would wake nobody"),
            ("--resume --stalled-percent 100", "there are none"),
            ("--resume --cut-after 1m", "--cut-after must be less"),
            ("--publish-rate 0 --publishers 3", "would publish nothing"),
            (
                "--protocol fanfare-poll --topics 3 --subscriptions 2",
                "a poll is of one topic, not of --subscriptions 2",
            ),
            (
                "--protocol fanfare-poll --resume",
                "use fanfare or fanfare-sse",
            ),
            (
                "--protocol fanfare-poll --mode latest",
                "has no such options",
            ),
            ("--connections 1000000 --workers 4", "--workers 51 would do"),
            (
                "--connections 100000 --source-addresses 2",
                "4 source addresses would do",
            ),
        ] {
            let error = format!("{:#}", plan(arguments).unwrap_err());
            assert!(error.contains(sentence), "{arguments}: {error}");
        }
    }
}
