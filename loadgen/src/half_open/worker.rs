//! A thread that holds some of the connections: opens them on a schedule, lets those that trickle say
//! another byte, and notes how each ends.

use super::plan::{Plan, Style};
use crate::clock;
use crate::counts::Counts;
use crate::latency::Latency;
use crate::link::{Framing, Link, LinkError, Message};
use crate::schedule::Schedule;
use crate::sys;
use fanfare_wire::reader::Item;
use mio::{Events, Poll, Token};
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

const EVENTS: usize = 1024;
const READ_BYTES: usize = 16 << 10;
/// How long a connection may take to be opened.
const CONNECT_TIMEOUT_NS: u64 = 10_000_000_000;
/// At most so long without a look at the time.
const LOOK: Duration = Duration::from_millis(50);
/// The part of an answer that tells the status: `HTTP/1.1 408`.
const STATUS_BYTES: usize = 12;

/// How the connections of one style fared.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) opened: u64,
    /// By status, or by what else ended them.
    pub(super) ended: Counts,
    /// From the first byte to the end.
    pub(super) after: Latency,
}

/// What one worker has seen.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// In the order of [`Style::ALL`].
    pub(super) tallies: [Tally; 3],
    /// Connections that were not opened, by kind.
    pub(super) failed: Counts,
}

struct Member {
    link: Option<Link>,
    style: Style,
    /// When its first bytes had been sent; `None` before.
    since_ns: Option<u64>,
    /// The beginning of what the server said.
    answer: Vec<u8>,
}

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    index: usize,
    poll: Poll,
    schedule: Schedule,
    /// Only those that have begun.
    members: Vec<Member>,
    count: usize,
    /// Neither opened nor failed.
    connecting: usize,
    /// Open at the moment.
    open: usize,
    /// When another byte is due, and on which slot; in the order of their times.
    trickle: VecDeque<(u64, usize)>,
    buffer: Box<[u8]>,
    outcome: Outcome,
}

impl<'a> Worker<'a> {
    /// Called first thing in its thread, which has a file table of its own from now on.
    pub(super) fn new(plan: &'a Plan, index: usize, start_ns: u64) -> io::Result<Worker<'a>> {
        sys::unshare_files()?;
        let workers = plan.workers as usize;
        let count = (plan.connections as usize)
            .saturating_sub(index)
            .div_ceil(workers);
        Ok(Worker {
            plan,
            index,
            poll: Poll::new()?,
            schedule: Schedule::interleaved(start_ns, plan.connect_rate_per_s, index, workers),
            members: Vec::with_capacity(count),
            count,
            connecting: 0,
            open: 0,
            trickle: VecDeque::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            outcome: Outcome::default(),
        })
    }

    /// Holds the connections until the server has ended all, or time is over. `notes` is told once how
    /// many were opened.
    pub(super) fn run(mut self, notes: &Sender<u64>) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(EVENTS);
        let mut end_ns = None;
        loop {
            let now_ns = clock::monotonic_ns();
            self.begin_due(now_ns);
            self.say_due(now_ns);
            if end_ns.is_none() {
                self.give_up_connecting(now_ns);
                if self.members.len() == self.count && self.connecting == 0 {
                    end_ns = Some(now_ns + self.plan.duration.as_nanos() as u64);
                    let opened = self.outcome.tallies.iter().map(|tally| tally.opened).sum();
                    // Whoever started us may have given up.
                    let _ = notes.send(opened);
                }
            }
            if end_ns.is_some_and(|end_ns| self.open == 0 || now_ns >= end_ns) {
                break;
            }
            match self.poll.poll(&mut events, Some(self.timeout(now_ns))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                let slot = event.token().0;
                self.flush(slot);
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(slot);
                }
            }
        }
        let links = self.members.into_iter().filter_map(|member| member.link);
        links.for_each(Link::cut);
        Ok(self.outcome)
    }

    fn timeout(&self, now_ns: u64) -> Duration {
        let connect_ns = (self.members.len() < self.count).then(|| self.schedule.next_ns());
        let byte_ns = self.trickle.front().map(|(at_ns, _)| *at_ns);
        let due_ns = connect_ns.into_iter().chain(byte_ns).min();
        let left = due_ns.map_or(LOOK, |due_ns| {
            Duration::from_nanos(due_ns.saturating_sub(now_ns))
        });
        left.min(LOOK)
    }

    fn begin_due(&mut self, now_ns: u64) {
        while self.members.len() < self.count && self.schedule.take(now_ns).is_some() {
            let slot = self.members.len();
            let Plan {
                target,
                sources,
                topic,
                workers,
                ..
            } = self.plan;
            let number = slot * *workers as usize + self.index;
            let style = self.plan.style_of(number);
            let source = sources[number % sources.len()];
            let beginning = style.beginning(target, topic);
            let link = Link::connect_plainly(target, source, None, Framing::Bytes, beginning);
            let registered = link.and_then(|mut link| {
                link.register(self.poll.registry(), Token(slot))?;
                Ok(link)
            });
            self.members.push(Member {
                link: None,
                style,
                since_ns: None,
                answer: Vec::new(),
            });
            match registered {
                Ok(link) => {
                    self.members[slot].link = Some(link);
                    self.connecting += 1;
                }
                Err(error) => self.outcome.failed.add(&LinkError::from(error).label()),
            }
        }
    }

    /// Lets those whose time has come say another byte.
    fn say_due(&mut self, now_ns: u64) {
        while let Some((at_ns, slot)) = self.trickle.pop_front_if(|(at_ns, _)| *at_ns <= now_ns) {
            let Some(link) = &mut self.members[slot].link else {
                continue;
            };
            link.queue_made(b"x");
            self.trickle
                .push_back((at_ns + self.plan.every.as_nanos() as u64, slot));
            self.flush(slot);
        }
    }

    fn give_up_connecting(&mut self, now_ns: u64) {
        let is_late = now_ns.saturating_sub(self.schedule.next_ns()) > CONNECT_TIMEOUT_NS;
        if self.members.len() < self.count || self.connecting == 0 || !is_late {
            return;
        }
        for slot in 0..self.members.len() {
            if self.members[slot].since_ns.is_none() && self.members[slot].link.is_some() {
                self.on_end(slot, &LinkError::TimedOut);
            }
        }
    }

    fn flush(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        let Some(link) = &mut member.link else { return };
        match link.flush() {
            Ok(true) if member.since_ns.is_none() => {
                let now_ns = clock::monotonic_ns();
                link.relax();
                member.since_ns = Some(now_ns);
                self.connecting -= 1;
                self.open += 1;
                self.outcome.tallies[member.style as usize].opened += 1;
                if member.style == Style::Trickle {
                    let every_ns = self.plan.every.as_nanos() as u64;
                    self.trickle.push_back((now_ns + every_ns, slot));
                }
            }
            Ok(_) => link.relax(),
            Err(error) => self.on_end(slot, &error.into()),
        }
    }

    fn read(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        let Some(link) = &mut member.link else { return };
        let answer = &mut member.answer;
        let ended = loop {
            let read = link.read(&mut self.buffer, true, |message, _| {
                if let Message::Item(Item::Binary(bytes)) = message {
                    let room = STATUS_BYTES - answer.len();
                    answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
            });
            if read.ended.is_some() || !read.more {
                break read.ended;
            }
        };
        if let Some(error) = ended {
            self.on_end(slot, &error);
        }
    }

    fn on_end(&mut self, slot: usize, error: &LinkError) {
        let member = &mut self.members[slot];
        member.link = None;
        let Some(since_ns) = member.since_ns else {
            self.connecting -= 1;
            return self.outcome.failed.add(&error.label());
        };
        self.open -= 1;
        let tally = &mut self.outcome.tallies[member.style as usize];
        tally.ended.add(&how(&member.answer, error));
        tally.after.record_between(since_ns, clock::monotonic_ns());
    }
}

/// The status with which a connection was ended, or how it was without one.
fn how(answer: &[u8], error: &LinkError) -> String {
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .filter(|status| status.len() == 3);
    match (status, error) {
        (Some(status), _) if status.iter().all(u8::is_ascii_digit) => {
            String::from_utf8_lossy(status).into_owned()
        }
        (_, LinkError::Ended) if answer.is_empty() => "without an answer".to_owned(),
        (_, LinkError::Ended) => "with something else".to_owned(),
        (_, error) => error.label().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_by_their_status() {
        let reset = || LinkError::from(io::Error::from_raw_os_error(libc::ECONNRESET));
        for (answer, error, expected) in [
            (&b"HTTP/1.1 408"[..], LinkError::Ended, "408"),
            (b"HTTP/1.1 413", reset(), "413"),
            (b"", LinkError::Ended, "without an answer"),
            (b"HTTP/1.1 4", LinkError::Ended, "with something else"),
            (b"SSH-2.0-hey!", LinkError::Ended, "with something else"),
            (b"", reset(), "connection reset"),
        ] {
            assert_eq!(how(answer, &error), expected);
        }
    }
}
