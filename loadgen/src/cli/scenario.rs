//! Arguments of `scenario` and of `chart`.

use super::{SourceAddresses, TlsArgs, parse_duration, parse_rate};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
A phase file is a list of [[phase]] tables; `kind` decides, `name` labels it in the output:

  connect    topics = [\"all\"], rate = 0, in_flight = 2000
  idle       duration = \"30s\"
  broadcast  topic, publishes = 20, payload_bytes = 100, pause = \"1s\", timeout = \"60s\"
  subscribe  prefix = \"t.\", count = 10000, per_connection = 3, zipf = 1.0, rate = 0
  publish    prefix = \"t.\", count, zipf, rate = 500, duration = \"30s\", payload_bytes,
             or, to find the rate: target_server_cpu = 0.7, calibrate = \"5s\"
  churn      percent_per_s = 1, duration = \"30s\", topic, rate = 1, payload_bytes
  storm      percent = 20, timeout = \"120s\", topic, rate = 1, payload_bytes
  leave      percent = 50, rate = 0
  return     rate = 0
  verify

Example:
  fanfare-loadgen scenario --url ws://127.0.0.1:9001/ws --connections 20000 \\
      --phases phases.toml --out results --server-pid \"$(pidof fanfare)\"

Exit codes: 0 all verified, 1 something was lost, repeated, reordered, refused or cut off, or a
phase did not come to its end, 2 wrong use.";

/// Arguments of `scenario`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub struct ScenarioArgs {
    /// Address of the server; given several times, connections take turns
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9001/ws")]
    pub url: Vec<String>,

    /// Subscriber connections
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub connections: u32,

    /// How `wss://` is spoken.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// The phases (see below)
    #[arg(long, value_name = "FILE")]
    pub phases: PathBuf,

    /// Folder for summary.json, curve.csv and raw histograms
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Process of the server on this host, to sample its CPU time and memory
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// New connections a second, unless the phase says otherwise; 0: as fast as --in-flight allows
    #[arg(long, value_name = "PER_S", default_value = "0", value_parser = parse_rate)]
    pub connect_rate: f64,

    /// Handshakes, or subscribe commands, that may wait for their answer at a time
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: u32,

    /// Threads that hold the connections [default: one a core, or more if the limit on open files
    /// demands it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub workers: Option<u32>,

    /// Local addresses to connect from: auto, a number of 127.0.0.x addresses, or a list
    #[arg(long, value_name = "auto|N|LIST", default_value = "auto")]
    pub source_addresses: SourceAddresses,

    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Tries for each connection
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub attempts: u8,

    /// How long one handshake, subscribe command or close frame may wait for its answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub answer_timeout: Duration,

    /// How long to wait, when publishing has ended, until everything has arrived
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub drain_timeout: Duration,

    /// End a phase in which nothing has succeeded for so long
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub stall_timeout: Duration,

    /// End the whole scenario, with a report, after so long
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = parse_duration)]
    pub deadline: Duration,

    /// No progress on stderr
    #[arg(long)]
    pub quiet: bool,
}

/// Arguments of `chart`.
#[derive(Debug, clap::Args)]
pub struct ChartArgs {
    /// Folder that `scenario` has written
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
