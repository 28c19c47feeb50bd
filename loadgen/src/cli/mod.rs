//! The command line as it is typed; [`crate::plan`] makes sense of it.

mod amount;
mod half_open;
mod measure;
mod readers;
mod scenario;
mod tls;

pub use amount::{parse_duration, parse_rate};
pub use half_open::{HalfOpenArgs, HalfOpenStyle};
pub use measure::{FloorArgs, MeasureArgs, ProtocolName};
pub use readers::{ModeName, OnSlowName, ReaderArgs};
pub use scenario::{ChartArgs, ScenarioArgs};
pub use tls::TlsArgs;

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Opens massive numbers of WebSocket clients against a push server, checks every sequence number
/// that each of them receives, and records latencies.
#[derive(Debug, Parser)]
#[command(name = "fanfare-loadgen", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connect, subscribe, publish on a schedule, and prove that every update reached every
    /// subscriber
    Run(Box<RunArgs>),

    /// Hold a population of subscribers through the phases of a file, and prove in each of them that
    /// every update reached every subscriber
    Scenario(Box<ScenarioArgs>),

    /// Draw charts of what a scenario has written
    Chart(ChartArgs),

    /// Be the client that Autobahn's fuzzing server puts its cases to, all of them (scripts/autobahn)
    Autobahn(AutobahnArgs),

    /// Put one shape of load on any push server, from one thread, and measure the server by its CPU
    Measure(Box<MeasureArgs>),

    /// Open many requests that begin and never end, and report when and how the server ends them
    HalfOpen(Box<HalfOpenArgs>),

    /// Serve what `measure` needs with nothing but the system calls that nobody can do without: the
    /// floor that other servers are compared with
    Floor(FloorArgs),
}

const EXAMPLES: &str = "\
Examples:
  # 10,000 subscribers of one topic, 100 updates a second for 10 seconds
  fanfare-loadgen run

  # a million connections to four ports of one server, each on one of 1,000 topics
  fanfare-loadgen run --connections 1000000 --topics 1000 --publish-rate 50 --duration 30s \\
      --url ws://127.0.0.1:9001/ws --url ws://127.0.0.1:9002/ws \\
      --url ws://127.0.0.1:9003/ws --url ws://127.0.0.1:9004/ws --json report.json

  # one of a hundred clients reads 1 KB/s, the others must not notice; all is accounted for
  fanfare-loadgen run --slow-percent 1 --publish-rate 500 --duration 30s

  # cut everybody, who then resumes (the server: --history 'load.>,count=1000')
  fanfare-loadgen run --topics 100 --publish-rate 500 --resume

  # the same over plain HTTP: a stream of events each, or a long poll each
  fanfare-loadgen run --protocol fanfare-sse
  fanfare-loadgen run --protocol fanfare-poll

  # over TLS, every handshake a full one
  fanfare-loadgen run --url wss://localhost:9443/ws --ca .certs/ca.pem --tls-resume false

  # listen to feeds that somebody else publishes
  fanfare-loadgen run --connections 500 --topic AAPL --topic MSFT --subscriptions 2

Exit codes: 0 all verified, 1 something was lost, repeated, reordered, refused or cut off,
2 wrong use. A run whose figures are limited by the generator itself says INVALID.";

/// Arguments of `autobahn`.
#[derive(Debug, clap::Args)]
pub struct AutobahnArgs {
    /// Address of the fuzzing server
    #[arg(value_name = "URL")]
    pub url: String,

    /// Under which name it is to report
    #[arg(long, value_name = "NAME", default_value = "fanfare-loadgen")]
    pub agent: String,
}

/// `--protocol` of `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DialectName {
    /// fanfare.v1.json
    Fanfare,
    /// fanfare.v1.bin
    FanfareBin,
    /// Server-Sent Events: GET /v1/sse?topics=… on the same port; publishes go over the WebSocket
    FanfareSse,
    /// Long polls: GET /v1/topics/TOPIC?wait=30s&after=… on the same port, one topic a connection;
    /// what a poll passes over counts as skipped. Publishes go over the WebSocket
    FanfarePoll,
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub struct RunArgs {
    /// Address of the server; given several times, connections take turns
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9001/ws")]
    pub url: Vec<String>,

    /// Offer compression (permessage-deflate) and inflate what comes compressed; `bytes in` are those on the wire
    #[arg(long)]
    pub compress: bool,

    /// How the server's data come
    #[arg(long, value_enum, value_name = "NAME", default_value_t = DialectName::Fanfare)]
    pub protocol: DialectName,

    /// Subscriber connections
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub connections: u32,

    /// New connections a second; 0: as fast as --in-flight allows
    #[arg(long, value_name = "PER_S", default_value = "5000", value_parser = parse_rate)]
    pub connect_rate: f64,

    /// Subscribe commands a second, once all are connected; 0: as fast as --in-flight allows
    #[arg(long, value_name = "PER_S", default_value = "0", value_parser = parse_rate)]
    pub subscribe_rate: f64,

    /// Handshakes, or subscribe commands, that may wait for their answer at a time
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: u32,

    /// Number of topics, named load.0, load.1 …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub topics: u32,

    /// What stands before the number in a topic's name
    #[arg(long, value_name = "TEXT", default_value = "load.")]
    pub topic_prefix: String,

    /// An existing topic to listen to, instead of --topics; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with_all = ["topics", "topic_prefix"])]
    pub topic: Vec<String>,

    /// Topics that each connection subscribes to
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub subscriptions: u32,

    /// Choose topics by Zipf's law with this exponent, instead of in turn
    #[arg(long, value_name = "S", value_parser = parse_rate)]
    pub zipf: Option<f64>,

    /// Updates a second over all topics, in turn; 0: only listen [default: 100, or 0 with --topic]
    #[arg(long, value_name = "PER_S", value_parser = parse_rate)]
    pub publish_rate: Option<f64>,

    /// Publishing connections [default: one for each 5000 updates a second]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub publishers: Option<u32>,

    /// Size of an update's payload
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub payload_bytes: usize,

    /// How long to publish and listen (500ms, 10s, 1m)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,

    /// Threads that hold the connections [default: one a core, or more if the limit on open files
    /// demands it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub workers: Option<u32>,

    /// Local addresses to connect from: auto, a number of 127.0.0.x addresses, or a list
    #[arg(long, value_name = "auto|N|LIST", default_value = "auto")]
    pub source_addresses: SourceAddresses,

    /// Where the times of delivery are counted from [default: the schedule if we publish, else the
    /// server's `ts`]
    #[arg(long, value_name = "WHICH")]
    pub latency_from: Option<LatencyFrom>,

    /// Write the whole report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write raw histograms (HDR interval logs) into this folder
    #[arg(long, value_name = "DIR")]
    pub histograms: Option<PathBuf>,

    /// No progress on stderr
    #[arg(long)]
    pub quiet: bool,

    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Connections that the server ends do not fail the run
    #[arg(long)]
    pub allow_disconnects: bool,

    /// Tries for each connection
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub attempts: u8,

    /// How long one handshake, or one subscribe command, may wait for its answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub answer_timeout: Duration,

    /// How long to wait, after publishing has ended, until everything has arrived
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub drain_timeout: Duration,

    /// How long to wait for the server's close frames at the end; 0s: just drop the connections
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub close_timeout: Duration,

    /// Stop connecting or subscribing when nothing has succeeded for so long
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub stall_timeout: Duration,

    /// End the whole run, with a report, after so long [default: four times what it should take]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub deadline: Option<Duration>,

    /// A publishing schedule that is later than this at its 99th percentile makes the run invalid
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_duration)]
    pub slip_limit: Duration,

    /// How `wss://` is spoken.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// How clients subscribe and read.
    #[command(flatten)]
    pub readers: ReaderArgs,
}

/// Where a delivery's latency begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LatencyFrom {
    /// The intended time in the payload of our own updates, on the monotonic clock
    Schedule,
    /// The server's `ts`, wall clock against wall clock
    Server,
}

/// `--source-addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceAddresses {
    /// As many 127.0.0.x as are needed, if the target is on the loopback; otherwise the kernel
    /// chooses.
    Auto,
    /// So many 127.0.0.x.
    Count(u32),
    /// These.
    List(Vec<std::net::IpAddr>),
}

impl FromStr for SourceAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<SourceAddresses, String> {
        if text == "auto" {
            return Ok(SourceAddresses::Auto);
        }
        if let Ok(count) = text.parse() {
            return match count {
                1..=65_536 => Ok(SourceAddresses::Count(count)),
                _ => Err("the number of source addresses must be 1 to 65536".to_owned()),
            };
        }
        let address = |part: &str| {
            part.trim()
                .parse()
                .map_err(|_| format!("{part:?} is no IP address"))
        };
        text.split(',')
            .map(address)
            .collect::<Result<_, _>>()
            .map(SourceAddresses::List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn source_addresses_are_auto_a_number_or_a_list() {
        let list =
            SourceAddresses::List(vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]);
        for (text, expected) in [
            ("auto", Some(SourceAddresses::Auto)),
            ("40", Some(SourceAddresses::Count(40))),
            ("127.0.0.1, ::1", Some(list)),
            ("0", None),
            ("localhost", None),
            ("127.0.0.1,", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
