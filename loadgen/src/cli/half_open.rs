//! Arguments of `half-open`.

use super::{SourceAddresses, TlsArgs, parse_duration, parse_rate};
use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  # 10,000 requests that never end, of all three styles in turn: when does the server end them?
  fanfare-loadgen half-open --connections 10000 --duration 60s

  # a third of a head, and then a byte every three seconds
  fanfare-loadgen half-open --style trickle --every 3s

It judges nothing: the report says how many the server ended, how and when. Exit codes: 0 all were
opened, 1 some could not be, 2 wrong use.";

/// Arguments of `half-open`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub struct HalfOpenArgs {
    /// Address of the server
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9001/ws")]
    pub url: String,

    /// How `wss://` is spoken.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// Connections
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,

    /// What they send [default: all of these in turn]
    #[arg(long, value_name = "WHICH")]
    pub style: Option<HalfOpenStyle>,

    /// Between two bytes of one that trickles
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_every)]
    pub every: Duration,

    /// The topic that the requests name
    #[arg(long, value_name = "NAME", default_value = "half.open")]
    pub topic: String,

    /// New connections a second; 0: all at once
    #[arg(long, value_name = "PER_S", default_value = "5000", value_parser = parse_rate)]
    pub connect_rate: f64,

    /// How long the server may take, once all are opened; it is over when all have ended
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub duration: Duration,

    /// Threads that hold the connections [default: one, or more if the limit on open files demands
    /// it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub workers: Option<u32>,

    /// Local addresses to connect from: auto, a number of 127.0.0.x addresses, or a list
    #[arg(long, value_name = "auto|N|LIST", default_value = "auto")]
    pub source_addresses: SourceAddresses,

    /// Write the whole report to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `--style`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HalfOpenStyle {
    /// Half of a request's head, and then nothing
    Head,
    /// A head that announces a body, half of the body, and then nothing
    Body,
    /// Half of a request's head, and then a byte now and then
    Trickle,
}

fn parse_every(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        every if every < Duration::from_millis(1) => Err("must be at least 1ms".to_owned()),
        every => Ok(every),
    }
}
