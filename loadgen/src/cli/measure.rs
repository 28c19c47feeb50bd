//! Arguments of `measure` and of `floor`.

use super::{TlsArgs, parse_duration, parse_rate};
use clap::ValueEnum;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  # one topic, 5,000 subscribers, eight updates under way at a time
  fanfare-loadgen measure --connections 5000 --in-flight 8 --server-pid \"$(pidof fanfare)\"

  # a server that is told what to do in JSON of its own and delivers bare payloads
  fanfare-loadgen measure --url ws://127.0.0.1:9001/raw --protocol raw-json \\
      --subscribe-template '{\"action\":\"subscribe\",\"id\":1,\"topics\":[{topics}]}' \\
      --publish-template '{\"action\":\"publish\",\"topic\":{topic},\"data\":{payload}}' \\
      --ack-text '\"subscribed\"' --topics 1000 --subscriptions 10 --rate 5000

  # the same load for subscribers by Server-Sent Events, and by long poll
  fanfare-loadgen measure --connections 5000 --in-flight 8 --protocol fanfare-sse
  fanfare-loadgen measure --connections 5000 --in-flight 8 --protocol fanfare-poll

Everything happens in one thread: pin it to one core and the server to another (taskset), and the
report says which of the two was the bottleneck.

Exit codes: 0 every delivery verified, 1 something was lost, repeated, reordered or cut off, 2 wrong
use. A run whose figures are limited by the generator itself says INVALID.";

/// Arguments of `measure`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub struct MeasureArgs {
    /// Address of the server
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9001/ws")]
    pub url: String,

    /// How `wss://` is spoken.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// Offer compression (permessage-deflate) and inflate what comes compressed; bytes in are those on the wire
    #[arg(long)]
    pub compress: bool,

    /// What the server speaks
    #[arg(long, value_name = "WHICH", default_value = "fanfare")]
    pub protocol: ProtocolName,

    /// raw-json: what subscribes; {topics} is the list of topics in quotes, {names} without quotes
    #[arg(long, value_name = "TEXT")]
    pub subscribe_template: Option<String>,

    /// raw-json: what publishes; {topic} is a topic in quotes, {name} without, {payload} a JSON value
    #[arg(long, value_name = "TEXT")]
    pub publish_template: Option<String>,

    /// raw-json: a message that holds this text acknowledges a subscribe command; without it nothing
    /// is waited for, and updates are published until everybody has had one of each topic
    #[arg(long, value_name = "TEXT")]
    pub ack_text: Option<String>,

    /// Subscriber connections
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,

    /// Handshakes and subscribe commands that may wait for their answer at a time
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub connecting: u32,

    /// Number of topics, named t0, t1 …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub topics: u32,

    /// Topics of each connection, in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub subscriptions: u32,

    /// Size of an update's payload
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    pub payload_bytes: usize,

    /// Fill payloads with the text of this file, from another place for each, instead of one letter: they
    /// compress as that text does
    #[arg(long, value_name = "FILE")]
    pub payload_from: Option<PathBuf>,

    /// Closed loop: the next update is published when all subscribers have the oldest of N
    #[arg(long, value_name = "N", group = "shape", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub in_flight: Option<u32>,

    /// Open loop: so many updates a second on a schedule, whatever the server does
    #[arg(long, value_name = "PER_S", group = "shape", value_parser = parse_rate)]
    pub rate: Option<f64>,

    /// Closed loop: N updates at once, the next N when all subscribers have them
    #[arg(long, value_name = "N", group = "shape", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub burst: Option<u32>,

    /// Each connection sends a message of so many bytes and waits until it comes back; no topics
    #[arg(long, value_name = "BYTES", group = "shape")]
    pub echo: Option<usize>,

    /// The oldest connection is cut and comes again with its subscriptions, --connecting of them at a
    /// time; nothing is published
    #[arg(long, group = "shape")]
    pub rejoin: bool,

    /// How long the load goes on before it is measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub warm_up: Duration,

    /// How long it is measured. Without a load: how long the connections are held
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    pub duration: Duration,

    /// How long to wait for what is still under way at the end
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub drain_timeout: Duration,

    /// Process of the server on this host: its CPU time and memory are measured, and its children's
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// A schedule that is later than this at its 99th percentile makes the run invalid
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_duration)]
    pub slip_limit: Duration,

    /// Write the whole report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `--protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolName {
    /// fanfare.v1.json
    Fanfare,
    /// fanfare.v1.bin
    FanfareBin,
    /// Subscribers by Server-Sent Events, GET /v1/sse?topics=… on the same port; publishes go over the
    /// WebSocket
    FanfareSse,
    /// Subscribers by long poll, GET /v1/topics/TOPIC?wait=30s&after=… on the same port, one topic each;
    /// what a poll passes over counts as skipped. Publishes go over the WebSocket
    FanfarePoll,
    /// Commands by template, deliveries are bare payloads
    RawJson,
    /// NATS over WebSocket
    Nats,
    /// MQTT 3.1.1 over WebSocket, quality of service 0
    Mqtt,
    /// nginx with nchan: subscribers at /sub/TOPIC,TOPIC…, publishes are POSTed to /pub/TOPIC
    Nchan,
}

/// Arguments of `floor`.
#[derive(Debug, clap::Args)]
pub struct FloorArgs {
    /// Address to listen on; port 0 for a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}
