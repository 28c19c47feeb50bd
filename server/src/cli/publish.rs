//! `fanfare pub`: publishes one value, or one a line from standard input, and waits for the server to take each.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fanfare_wire::command::put_publish;
use fanfare_wire::event::{self, Event};
use fanfare_wire::topic;
use serde::de::IgnoredAny;

use super::trust::TrustArgs;
use crate::client::{Client, Received, Url};

const EXAMPLES: &str = "\
Examples:
  fanfare pub ws://127.0.0.1:9001/ws AAPL '{\"price\":187.2}'
  fanfare pub ws://127.0.0.1:9001/ws greetings '\"hello\"'          text is JSON in quotes
  tail -f prices.ndjson | fanfare pub ws://127.0.0.1:9001/ws AAPL -

Prints the server's answer to each publish. Exits 1 when one was refused or the connection is lost.";

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// While standard input is silent the connection is looked after this often, so that pings are answered.
const SERVICE_INTERVAL: Duration = Duration::from_millis(500);
/// Lines read ahead of the server.
const LINES_WAITING_MAX: usize = 64;

/// Publish to a topic and print the answers
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where the server listens, for example ws://127.0.0.1:9001/ws
    url: Url,

    /// The topic
    #[arg(value_parser = parse_topic)]
    topic: String,

    /// One JSON value, or '-' for one a line from standard input
    #[arg(value_name = "DATA|-", value_parser = parse_data, allow_hyphen_values = true)]
    data: Data,

    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Value(String),
    Stdin,
}

fn parse_topic(text: &str) -> Result<String, topic::TopicError> {
    topic::check_topic(text).map(|()| text.to_owned())
}

fn parse_data(text: &str) -> Result<Data, String> {
    if text == "-" {
        return Ok(Data::Stdin);
    }
    check_json(text)?;
    Ok(Data::Value(text.to_owned()))
}

fn check_json(text: &str) -> Result<(), String> {
    let checked = serde_json::from_str::<IgnoredAny>(text);
    checked.map(drop).map_err(|error| {
        format!("it is not JSON ({error}); text needs quotes of its own, as in '\"hello\"'")
    })
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut publisher = Publisher {
        client: Client::connect(&args.url, &args.trust.trust())?,
        topic: &args.topic,
        id: 0,
    };
    match &args.data {
        Data::Value(value) => publisher.publish(value)?,
        Data::Stdin => publisher.publish_lines(&lines_of_stdin())?,
    }
    publisher.client.close();
    Ok(ExitCode::SUCCESS)
}

/// Standard input is read on a thread of its own, because a read of it cannot be given up to answer a ping.
fn lines_of_stdin() -> Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::sync_channel(LINES_WAITING_MAX);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Publisher<'a> {
    client: Client,
    topic: &'a str,
    id: u64,
}

impl Publisher<'_> {
    fn publish_lines(&mut self, lines: &Receiver<io::Result<String>>) -> anyhow::Result<()> {
        let mut number = 0_u64;
        loop {
            match lines.recv_timeout(SERVICE_INTERVAL) {
                Ok(line) => {
                    number += 1;
                    let line = line.context("standard input cannot be read")?;
                    if line.trim().is_empty() {
                        continue;
                    }
                    let published = check_json(&line)
                        .map_err(anyhow::Error::msg)
                        .and_then(|()| self.publish(&line));
                    published.with_context(|| format!("line {number}"))?;
                }
                Err(RecvTimeoutError::Timeout) => self.look_after()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Publishes one value and prints the answer.
    fn publish(&mut self, data: &str) -> anyhow::Result<()> {
        self.id += 1;
        let mut command = Vec::with_capacity(data.len() + 64);
        put_publish(
            &mut command,
            Some(self.id),
            self.topic,
            data.as_bytes(),
            None,
        );
        self.client.send_text(&command)?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let id = self.id.to_string();
        loop {
            let text = match self.client.receive(Some(deadline))? {
                Received::Text(text) => text,
                Received::Binary(_) => continue,
                Received::Timeout => bail!(
                    "the server did not answer within {} s",
                    ANSWER_TIMEOUT.as_secs()
                ),
            };
            match event::parse(&text) {
                Ok(Event::Published {
                    id: Some(answered), ..
                }) if answered.0 == id => {
                    // The publish counts, whether or not somebody reads that it does.
                    let _ = writeln!(io::stdout(), "{text}");
                    return Ok(());
                }
                Ok(Event::Error { code, message, .. }) => {
                    bail!("the server refused: {message} (error {code})")
                }
                _ => {}
            }
        }
    }

    /// Answers pings that have come meanwhile, and notices a close.
    fn look_after(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_millis(1);
        while self.client.receive(Some(deadline))? != Received::Timeout {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_must_be_json_or_a_dash() {
        assert_eq!(parse_data("-"), Ok(Data::Stdin));
        assert_eq!(parse_data("-1.5"), Ok(Data::Value("-1.5".into())));
        assert_eq!(parse_data("\"hello\""), Ok(Data::Value("\"hello\"".into())));
        for text in ["", "hello", "{", "1 2"] {
            assert!(
                parse_data(text).unwrap_err().contains("it is not JSON"),
                "{text}"
            );
        }
    }
}
