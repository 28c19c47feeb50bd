//! The client that Autobahn's fuzzing server puts its cases to: it echoes what it hears, over the link that every client of the load
//! generator uses. The suite itself judges; here only what keeps a case from being put at all is an error.

use crate::link::{Link, LinkError, Message};
use crate::target::{Compression, Target};
use anyhow::{Context as _, ensure};
use fanfare_wire::frame::Opcode;
use fanfare_wire::reader::Item;
use mio::{Events, Poll, Token};
use std::time::{Duration, Instant};

/// For so long a conversation may say nothing. The suite gives up a case much sooner.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const BUFFER_BYTES: usize = 64 << 10;

/// Has every case put to it, and then the report written under the name `agent`.
///
/// # Errors
/// The server cannot be reached, or does not speak as Autobahn's does.
pub fn run(url: &str, agent: &str) -> anyhow::Result<()> {
    let mut base = Target::resolve(url, None)?;
    base.compression = Compression::Offered;
    let at = |path: String| Target {
        path: path.into(),
        ..base.clone()
    };
    let mut told = Vec::new();
    converse(&at("/getCaseCount".into()), |_, message| {
        told.extend_from_slice(message);
        None
    })?;
    let count: u32 = String::from_utf8_lossy(&told)
        .parse()
        .with_context(|| format!("{url} does not tell how many cases it has"))?;
    for case in 1..=count {
        let target = at(format!("/runCase?case={case}&agent={agent}"));
        converse(&target, |opcode, message| Some((opcode, message.to_vec())))
            .with_context(|| format!("case number {case}"))?;
    }
    converse(&at(format!("/updateReports?agent={agent}")), |_, _| None)
}

/// One connection to its end. `answer` says what to say to a message.
fn converse(
    target: &Target,
    mut answer: impl FnMut(Opcode, &[u8]) -> Option<(Opcode, Vec<u8>)>,
) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    let mut link = Link::connect(target, None, None)?;
    link.register(poll.registry(), Token(0))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut heard_at = Instant::now();
    loop {
        poll.poll(&mut events, Some(SILENCE_MAX))?;
        ensure!(
            heard_at.elapsed() < SILENCE_MAX,
            "{target} said nothing for {} s",
            SILENCE_MAX.as_secs()
        );
        let is_ending = events.iter().any(|event| event.is_read_closed());
        loop {
            let mut answers = Vec::new();
            let read = link.read(&mut buffer, is_ending, |message, _| {
                let (opcode, bytes) = match message {
                    Message::Item(Item::Text(text)) => (Opcode::Text, text.as_bytes()),
                    Message::Item(Item::Binary(bytes)) => (Opcode::Binary, bytes),
                    _ => return,
                };
                answers.extend(answer(opcode, bytes));
            });
            if read.bytes > 0 {
                heard_at = Instant::now();
            }
            for (opcode, bytes) in answers {
                link.queue_message(opcode, &bytes);
            }
            match read.ended {
                None => {}
                Some(error @ (LinkError::Refused(_) | LinkError::Http(_))) => {
                    return Err(error.into());
                }
                Some(LinkError::Protocol(fault)) => {
                    link.refuse(fault);
                    return Ok(());
                }
                // However it ended: whether that was right is not judged here.
                Some(_) if link.is_open() => return Ok(()),
                Some(error) => return Err(error.into()),
            }
            if !read.more {
                break;
            }
        }
        // What does not fit now goes when the socket is writable, which is an event.
        if link.flush().is_err() && link.is_open() {
            return Ok(());
        }
    }
}
