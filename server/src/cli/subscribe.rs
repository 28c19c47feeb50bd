//! `fanfare sub`: prints what is published, one line an update.

use std::io::{self, StdoutLock};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use fanfare_wire::binary::Aliases;
use fanfare_wire::command::{Since, put_subscribe};
use fanfare_wire::event::{self, Event};
use fanfare_wire::topic;

use super::trust::TrustArgs;
use crate::client::{Client, Received, Url};

const EXAMPLES: &str = "\
Examples:
  fanfare sub ws://127.0.0.1:9001/ws AAPL MSFT        whole events, snapshots first
  fanfare sub --raw ws://127.0.0.1:9001/ws AAPL       the payloads alone
  fanfare sub --count 1 --raw ws://127.0.0.1:9001/ws AAPL   the last value, then exit
  fanfare sub --bin ws://127.0.0.1:9001/ws 'px.>'     the same lines, but data come as binary records
  fanfare sub --since k3f:88100 ws://127.0.0.1:9001/ws AAPL   what was missed since, then the stream
  fanfare sub --ca ca.pem wss://localhost:9443/ws AAPL          over TLS

Exits 0 after --count updates, 1 when the connection is lost or every topic was refused.";

/// Subscribe to topics and print their updates
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where the server listens, for example ws://127.0.0.1:9001/ws
    url: Url,

    /// Topics, or filters such as px.* and px.>
    #[arg(required = true, value_name = "TOPIC", value_parser = parse_filter)]
    topics: Vec<String>,

    /// Exit after so many updates, snapshots included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print payloads instead of whole events
    #[arg(long)]
    raw: bool,

    /// Do not ask for each topic's last value first
    #[arg(long)]
    no_snapshot: bool,

    /// Speak fanfare.v1.bin: data come as binary records, and are printed as the same events
    #[arg(long)]
    bin: bool,

    /// Resume behind this update, in every topic; not for filters
    #[arg(long, value_name = "EPOCH:SEQ", value_parser = parse_since)]
    since: Option<Since<'static>>,

    #[command(flatten)]
    trust: TrustArgs,
}

fn parse_filter(text: &str) -> Result<String, topic::TopicError> {
    topic::check_filter(text).map(|_| text.to_owned())
}

fn parse_since(text: &str) -> Result<Since<'static>, &'static str> {
    let form = "it is the epoch and the last seq that was seen, such as k3f:88100";
    let (epoch, seq) = text.rsplit_once(':').ok_or(form)?;
    Ok(Since {
        epoch: epoch.to_owned().into(),
        seq: seq.parse().map_err(|_| form)?,
    })
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let protocol = args.bin.then_some("fanfare.v1.bin");
    let mut client = Client::connect_speaking(&args.url, &args.trust.trust(), protocol)?;
    let topics: Vec<&str> = args.topics.iter().map(String::as_str).collect();
    let mut command = Vec::new();
    put_subscribe(
        &mut command,
        Some(1),
        &topics,
        args.no_snapshot.then_some(false),
        args.since.as_ref(),
    );
    client.send_text(&command)?;
    let mut printer = Printer {
        out: io::stdout().lock(),
        raw: args.raw,
        left: args.count,
    };
    let mut aliases = Aliases::default();
    loop {
        let text = match client.receive(None)? {
            Received::Text(text) => {
                if args.bin {
                    aliases.learn_from(&text);
                }
                text
            }
            Received::Binary(record) if args.bin => {
                let mut event = Vec::new();
                aliases
                    .put_event(&mut event, &record)
                    .context("the server broke fanfare.v1.bin")?;
                if event.is_empty() {
                    continue;
                }
                String::from_utf8(event).context("the server sent JSON that is not UTF-8")?
            }
            Received::Binary(_) => {
                bail!("the server sent a binary message; subscribe at a path that speaks JSON")
            }
            Received::Timeout => unreachable!("there is no deadline"),
        };
        let printed = printer.take(&text)?;
        // A reader that went away, such as `head`, has seen enough.
        if printed.is_err() || printer.left == Some(0) {
            client.close();
            return Ok(ExitCode::SUCCESS);
        }
    }
}

struct Printer<'a> {
    out: StdoutLock<'a>,
    raw: bool,
    left: Option<u64>,
}

impl Printer<'_> {
    /// Prints what `text` says. The outer error is the server's refusal, the inner one that of standard output.
    fn take(&mut self, text: &str) -> anyhow::Result<io::Result<()>> {
        match event::parse(text) {
            Ok(Event::Data(data)) => Ok(self.update(if self.raw { data.data } else { text })),
            Ok(Event::Skip { .. } | Event::Gap { .. }) if !self.raw => {
                Ok(print_line(&mut self.out, text))
            }
            Ok(Event::Subscribed { topics, errors, .. }) => {
                for fault in &errors {
                    eprintln!(
                        "fanfare: {:?} was refused: {} (error {})",
                        fault.topic, fault.message, fault.code
                    );
                }
                ensure!(!topics.is_empty(), "no topic is subscribed to");
                Ok(Ok(()))
            }
            Ok(Event::Error { code, message, .. }) => {
                bail!("the server refused: {message} (error {code})")
            }
            Ok(_) => Ok(Ok(())),
            // A bare payload, as /raw sends them.
            Err(_) => Ok(self.update(text)),
        }
    }

    fn update(&mut self, text: &str) -> io::Result<()> {
        self.left = self.left.map(|left| left - 1);
        print_line(&mut self.out, text)
    }
}

/// One line, whatever the publisher put into its JSON: a line break there can only be white space.
fn print_line(out: &mut impl io::Write, text: &str) -> io::Result<()> {
    if text.contains(['\n', '\r']) {
        return writeln!(out, "{}", text.replace(['\n', '\r'], " "));
    }
    writeln!(out, "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_one_line_whatever_white_space_it_holds() {
        let mut out = Vec::new();
        print_line(&mut out, "{\n  \"price\": 1\r\n}").unwrap();
        print_line(&mut out, "{}").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{   \"price\": 1  }\n{}\n");
    }
}
