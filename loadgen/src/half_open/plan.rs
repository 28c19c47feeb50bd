//! From arguments to a plan: everything resolved and bounded before anything is opened.

use crate::cli::{HalfOpenArgs, HalfOpenStyle};
use crate::plan::{Host, fit};
use crate::target::Target;
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The body that is announced, and the part of it that is sent.
const BODY_BYTES: usize = 1000;
const BODY_BYTES_SENT: usize = BODY_BYTES / 2;

/// What a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Half of a head.
    Head,
    /// A whole head and half of the body that it announces.
    Body,
    /// Half of a head, and then a byte now and then.
    Trickle,
}

impl Style {
    /// All of them, in the order in which connections take turns.
    pub const ALL: [Style; 3] = [Style::Head, Style::Body, Style::Trickle];

    /// Its name, as in the report.
    pub fn name(self) -> &'static str {
        match self {
            Style::Head => "head",
            Style::Body => "body",
            Style::Trickle => "trickle",
        }
    }

    /// What it says first.
    pub fn beginning(self, target: &Target, topic: &str) -> Vec<u8> {
        let host = &target.host;
        let text = match self {
            Style::Head => {
                format!("GET /v1/topics/{topic} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fanf")
            }
            Style::Trickle => {
                format!("GET /v1/topics/{topic} HTTP/1.1\r\nHost: {host}\r\nX-Trickle: ")
            }
            Style::Body => format!(
                "POST /v1/topics/{topic} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n\
                 Content-Length: {BODY_BYTES}\r\n\r\n{}",
                "x".repeat(BODY_BYTES_SENT)
            ),
        };
        text.into_bytes()
    }
}

/// A run, ready to be carried out.
#[derive(Debug)]
pub struct Plan {
    /// Where to connect.
    pub target: Target,
    /// Where to connect from, in turn. `None`: the kernel chooses.
    pub sources: Vec<Option<IpAddr>>,
    /// Connections.
    pub connections: u32,
    /// Threads that hold them.
    pub workers: u32,
    /// What they say, in turn.
    pub styles: Vec<Style>,
    /// Between two bytes of one that trickles.
    pub every: Duration,
    /// The topic that requests name.
    pub topic: String,
    /// New connections a second; 0 for all at once.
    pub connect_rate_per_s: f64,
    /// How long the server may take once all are opened.
    pub duration: Duration,
    /// Where to write the report.
    pub json: Option<PathBuf>,
}

impl Plan {
    /// Checks the arguments. An error is for the operator.
    pub fn new(args: HalfOpenArgs, host: &Host) -> anyhow::Result<Plan> {
        if let Err(error) = fanfare_wire::topic::check_topic(&args.topic) {
            bail!("--topic {:?} is no topic: {error}", args.topic);
        }
        // One thread is enough for what hardly ever does anything.
        let one = Host { cores: 1, ..*host };
        let config = args.tls.config(std::iter::once(&args.url))?;
        let target = Target::resolve(&args.url, config.as_ref()).context("--url")?;
        let destinations = [target.address];
        Ok(Plan {
            sources: fit::sources(
                host,
                args.connections,
                &destinations,
                &args.source_addresses,
            )?,
            workers: fit::workers(&one, args.connections, args.workers)?,
            target,
            connections: args.connections,
            styles: match args.style {
                None => Style::ALL.to_vec(),
                Some(HalfOpenStyle::Head) => vec![Style::Head],
                Some(HalfOpenStyle::Body) => vec![Style::Body],
                Some(HalfOpenStyle::Trickle) => vec![Style::Trickle],
            },
            every: args.every,
            topic: args.topic,
            connect_rate_per_s: args.connect_rate,
            duration: args.duration,
            json: args.json,
        })
    }

    /// What the connection with this number says.
    pub fn style_of(&self, number: usize) -> Style {
        self.styles[number % self.styles.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_wire::handshake::{HeadLimits, parse_request};

    #[test]
    fn what_is_said_is_the_beginning_of_a_request_and_no_more() {
        let target = Target::resolve("ws://127.0.0.1:9001/ws", None).unwrap();
        let limits = HeadLimits {
            head_bytes_max: 16 << 10,
            line_bytes_max: 8 << 10,
        };
        for style in [Style::Head, Style::Trickle] {
            let bytes = style.beginning(&target, "half.open");
            assert!(
                matches!(parse_request(&bytes, &limits), Ok(None)),
                "{style:?}"
            );
            let ended = [&bytes, b"x\r\n\r\n".as_slice()].concat();
            assert!(
                matches!(parse_request(&ended, &limits), Ok(Some(_))),
                "{style:?}"
            );
        }
        let bytes = Style::Body.beginning(&target, "half.open");
        let (request, head_bytes) = parse_request(&bytes, &limits).unwrap().unwrap();
        assert_eq!(request.content_length, Some(BODY_BYTES as u64));
        assert_eq!(bytes.len() - head_bytes, BODY_BYTES_SENT);
    }
}
