//! The coordinator's own connection, for one question: where do the topics stand? Asked before the
//! run, which also shows that the server is there and speaks the protocol, and after it, for the
//! final seqs. It is kept open in between, because a server that is full would not take it again.

use crate::clock;
use crate::dialect::{Dialect, Heard};
use crate::link::{Link, Message};
use crate::plan::Plan;
use anyhow::{Context as _, bail};
use fanfare_wire::binary::Aliases;
use fanfare_wire::frame::Opcode;
use mio::{Events, Poll, Token};
use std::io;
use std::time::Duration;

/// Bytes of topic names in one command.
const COMMAND_BYTES_MAX: usize = 16 << 10;
/// Topics in one command: servers take no more than a connection may subscribe to.
const COMMAND_TOPICS_MAX: usize = 512;
const READ_BYTES: usize = 64 << 10;

/// The connection to the first target of a plan.
#[derive(Debug)]
pub struct Control<'a> {
    plan: &'a Plan,
    /// `None` when the server has ended it.
    talk: Option<Talk>,
}

impl<'a> Control<'a> {
    /// Connects, within the plan's time for an answer.
    pub fn open(plan: &'a Plan) -> anyhow::Result<Control<'a>> {
        let talk = Talk::open(plan)?;
        Ok(Control {
            plan,
            talk: Some(talk),
        })
    }

    /// The last seq of every topic of the plan, by topic number; 0 for a topic that the server does
    /// not know. Connects again if it must.
    pub fn check_topics(&mut self) -> anyhow::Result<Vec<u64>> {
        self.tend();
        let talk = match &mut self.talk {
            Some(talk) => talk,
            None => self.talk.insert(Talk::open(self.plan)?),
        };
        let mut seqs = vec![0; self.plan.topics.len()];
        let mut names: Vec<&str> = Vec::new();
        let mut names_bytes = 0;
        for name in self.plan.topics.names() {
            let is_full = names.len() == COMMAND_TOPICS_MAX;
            if is_full || names_bytes + name.len() > COMMAND_BYTES_MAX {
                talk.check(self.plan, &names, &mut seqs)?;
                names.clear();
                names_bytes = 0;
            }
            names.push(name);
            names_bytes += name.len();
        }
        talk.check(self.plan, &names, &mut seqs)?;
        Ok(seqs)
    }

    /// Answers the server's pings. Called now and then while nothing is asked.
    pub fn tend(&mut self) {
        if let Some(talk) = &mut self.talk
            && talk.listen(Duration::ZERO, |_| {}).is_err()
        {
            self.talk = None;
        }
    }

    /// Takes leave.
    pub fn close(self) {
        if let Some(mut talk) = self.talk {
            talk.link.queue_close();
            // The answers are in; whether the server takes our leave changes nothing.
            let _ = talk.link.flush();
        }
    }
}

/// The link, and what it takes to wait for it.
#[derive(Debug)]
struct Talk {
    poll: Poll,
    events: Events,
    link: Link,
    dialect: Dialect,
    answer_timeout: Duration,
    buffer: Box<[u8]>,
    next_id: u64,
}

impl Talk {
    fn open(plan: &Plan) -> anyhow::Result<Talk> {
        let target = &plan.targets[0];
        let open = || -> anyhow::Result<Talk> {
            let mut link = Link::connect(target, plan.sources[0], plan.dialect.subprotocol())?;
            let poll = Poll::new()?;
            link.register(poll.registry(), Token(0))?;
            let mut talk = Talk {
                poll,
                events: Events::with_capacity(16),
                link,
                dialect: plan.dialect,
                answer_timeout: plan.answer_timeout,
                buffer: vec![0; READ_BYTES].into_boxed_slice(),
                next_id: 1,
            };
            talk.listen_until(|link| link.is_open(), |_| false)?;
            Ok(talk)
        };
        open().with_context(|| format!("cannot connect to {target}"))
    }

    fn check(&mut self, plan: &Plan, names: &[&str], seqs: &mut [u64]) -> anyhow::Result<()> {
        let mut command = Vec::new();
        self.dialect.check(&mut command, self.next_id, names);
        self.link.queue(Opcode::Text, &command);
        self.next_id += 1;
        let mut refusal = None;
        let is_answer = |heard: Heard<'_>| match heard {
            Heard::State(states) => {
                for (name, seq) in states {
                    if let Some(topic) = plan.topics.find(&name, 0) {
                        seqs[topic as usize] = seq;
                    }
                }
                true
            }
            Heard::Refused { label, .. } => {
                refusal = Some(label);
                true
            }
            _ => false,
        };
        self.listen_until(|_| false, is_answer).context("check")?;
        refusal.map_or(Ok(()), |label| bail!("check refused: {label}"))
    }

    /// Listens until one of the two says that it is enough, or the time for an answer is over.
    fn listen_until(
        &mut self,
        is_there: impl Fn(&Link) -> bool,
        mut is_answer: impl FnMut(Heard<'_>) -> bool,
    ) -> anyhow::Result<()> {
        let deadline_ns = clock::monotonic_ns() + self.answer_timeout.as_nanos() as u64;
        let mut is_answered = false;
        while !is_answered && !is_there(&self.link) {
            let left_ns = deadline_ns.saturating_sub(clock::monotonic_ns());
            if left_ns == 0 {
                bail!("no answer within {:?}", self.answer_timeout);
            }
            self.listen(Duration::from_nanos(left_ns), |heard| {
                is_answered |= is_answer(heard)
            })?;
        }
        Ok(())
    }

    /// Sends what waits, and takes what comes within this time.
    fn listen(&mut self, timeout: Duration, mut hear: impl FnMut(Heard<'_>)) -> anyhow::Result<()> {
        self.link.flush()?;
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        if !self
            .events
            .iter()
            .any(|event| event.is_readable() || event.is_error())
        {
            return Ok(());
        }
        let mut garbled = None;
        let dialect = self.dialect;
        let read = loop {
            let read = self.link.read(&mut self.buffer, true, |message, _| {
                let Message::Item(message) = message else {
                    return;
                };
                match dialect.hear(message, &mut Aliases::default()) {
                    Ok(heard) => hear(heard),
                    Err(why) => garbled = Some(why),
                }
            });
            if !read.more || read.ended.is_some() {
                break read;
            }
        };
        if let Some(why) = garbled {
            bail!("{why}");
        }
        self.link.flush()?;
        read.ended.map_or(Ok(()), |error| Err(error.into()))
    }
}
