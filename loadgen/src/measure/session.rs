//! The connections of a measurement and the one loop that serves them all: it opens and subscribes
//! them, publishes what may be published after every single event, and hands what arrives to the
//! books. One thread, so that "everybody has it" is known the moment it is true.

use super::account::Account;
use super::echo::Echo;
use super::pacing::{Pacing, Shape};
use super::plan::Plan;
use super::recent::Recent;
use crate::clock;
use crate::counts::Counts;
use crate::latency::Latency;
use crate::link::{Framing, Link, LinkError, Message};
use crate::payload;
use crate::protocol::{self, Said};
use crate::sys::Timer;
use crate::target::Target;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::borrow::Cow;
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

const PUBLISHER: Token = Token(usize::MAX - 1);
const ALARM: Token = Token(usize::MAX - 2);
const READ_BYTES: usize = 256 << 10;
/// Events of one turn: few, so that the schedule is looked at often.
const EVENTS: usize = 256;
/// Bytes that may wait for the publisher's socket; beyond that it is the server that is late.
const UNSENT_BYTES_MAX: usize = 4 << 20;

/// Everything of a measurement that is alive.
pub(super) struct Session<'a> {
    plan: &'a Plan,
    poll: Poll,
    timer: Timer,
    members: Vec<Member>,
    publisher: Option<Link>,
    /// Slots whose sockets may hold more although no event will say so.
    unread: Vec<u32>,
    buffer: Box<[u8]>,
    payload: Vec<u8>,
    command: Vec<u8>,
    /// Connections begun so far.
    begun: u32,
    /// The connection that has stood longest, when they are to come again.
    oldest: Option<u32>,
    /// What is published, and when.
    pub(super) pacing: Pacing,
    /// What messages have brought.
    recent: Recent,
    /// The books of updates.
    pub(super) account: Account,
    /// The books of an echo load.
    pub(super) echo: Option<Echo>,
    /// What went well and what went wrong with the connections.
    pub(super) tally: Tally,
}

/// What is known about the connections as such.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Connections that became connected, and subscribed where they should be; each time they came.
    pub(super) joined: u64,
    /// From connecting to the end of the handshake.
    pub(super) handshake: Latency,
    /// From connecting to the last ack, or to the handshake's end where there is none.
    pub(super) join: Latency,
    /// How late updates of a schedule were queued.
    pub(super) slip: Latency,
    /// Updates that were late because the server took nothing for a while.
    pub(super) held_back: u64,
    /// Connections that ended, by kind.
    pub(super) ends: Counts,
    /// Refusals and messages that were not understood, by kind.
    pub(super) refusals: Counts,
    /// Bytes received by the subscribers.
    pub(super) bytes_in: u64,
}

struct Member {
    link: Option<Link>,
    since_ns: u64,
    acks_left: u32,
    has_joined: bool,
}

impl<'a> Session<'a> {
    /// Nothing opened yet.
    pub(super) fn new(plan: &'a Plan) -> io::Result<Session<'a>> {
        let poll = Poll::new()?;
        let timer = Timer::new()?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), ALARM, Interest::READABLE)?;
        let member = || Member {
            link: None,
            since_ns: 0,
            acks_left: 0,
            has_joined: false,
        };
        let echo = match plan.shape {
            Shape::Echo(bytes) => Some(Echo::new(bytes)),
            _ => None,
        };
        Ok(Session {
            plan,
            poll,
            timer,
            members: (0..plan.connections).map(|_| member()).collect(),
            publisher: None,
            unread: Vec::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            payload: Vec::new(),
            command: Vec::new(),
            begun: 0,
            oldest: None,
            pacing: Pacing::Paused,
            recent: Recent::new(),
            account: Account::new(plan),
            echo,
            tally: Tally::default(),
        })
    }

    /// Opens the connection that publishes.
    pub(super) fn open_publisher(&mut self) -> io::Result<()> {
        let protocol = &self.plan.protocol;
        let mut link = if protocol.publishes_over_websocket() {
            self.connect(&self.plan.target, None)?
        } else {
            Link::connect_plainly(&self.plan.target, None, None, Framing::Bytes, Vec::new())?
        };
        link.register(self.poll.registry(), PUBLISHER)?;
        self.publisher = Some(link);
        Ok(())
    }

    /// Whether the publisher may publish.
    pub(super) fn publisher_is_open(&self) -> bool {
        self.publisher.as_ref().is_some_and(Link::is_open)
    }

    /// What the publisher says first; it is sent with its first update.
    pub(super) fn greet(&mut self) {
        if let Some(link) = &mut self.publisher {
            self.plan.protocol.greet(link);
        }
    }

    /// Opens as many connections as may be waited for.
    pub(super) fn begin_joining(&mut self) {
        while self.begun < self.plan.connections
            && u64::from(self.begun) - self.tally.joined < u64::from(self.plan.connecting_max)
        {
            self.begun += 1;
            self.open(self.begun - 1);
        }
    }

    /// Lets the oldest connections leave and come again, as many at a time as may be waited for, until
    /// [`Session::end_rejoining`]. All must have joined.
    pub(super) fn begin_rejoining(&mut self) {
        self.oldest = Some(0);
        for _ in 0..self.plan.connecting_max {
            self.rejoin_oldest();
        }
    }

    /// No more connections leave.
    pub(super) fn end_rejoining(&mut self) {
        self.oldest = None;
    }

    fn rejoin_oldest(&mut self) {
        let all = self.plan.connections;
        let Some(oldest) = self.oldest else { return };
        // They do not always join in the order in which they came; one that is under way may stay.
        let mut turn = (0..all).map(|step| (oldest + step) % all);
        let Some(slot) = turn.find(|slot| self.members[*slot as usize].has_joined) else {
            return;
        };
        self.oldest = Some((slot + 1) % all);
        let member = &mut self.members[slot as usize];
        member.has_joined = false;
        if let Some(link) = member.link.take() {
            link.cut();
        }
        self.open(slot);
    }

    fn open(&mut self, slot: u32) {
        let source = self.plan.sources[slot as usize % self.plan.sources.len()];
        self.members[slot as usize].since_ns = clock::monotonic_ns();
        let target = self.target_of(slot);
        let link = self.connect(&target, source);
        let registered = link.and_then(|mut link| {
            link.register(self.poll.registry(), Token(slot as usize))?;
            Ok(link)
        });
        match registered {
            Ok(link) => self.members[slot as usize].link = Some(link),
            Err(error) => self.on_end(slot, &error.into()),
        }
    }

    /// Where a subscriber connects to.
    fn target_of(&self, slot: u32) -> Cow<'a, Target> {
        let topics: Vec<&str> = self.plan.topics_of(slot).collect();
        match self.plan.protocol.subscriber_path(&topics) {
            Some(path) => Cow::Owned(Target {
                path: path.into(),
                ..self.plan.target.clone()
            }),
            None => Cow::Borrowed(&self.plan.target),
        }
    }

    fn connect(&self, target: &Target, source: Option<std::net::IpAddr>) -> io::Result<Link> {
        let protocol = match self.echo {
            Some(_) => None,
            None => self.plan.protocol.subprotocol(),
        };
        Link::connect(target, source, protocol)
    }

    /// Waits for events, at most so long, and serves them.
    pub(super) fn turn(&mut self, at_most: Duration, events: &mut Events) -> io::Result<()> {
        self.publish_due();
        let timeout = if self.unread.is_empty() {
            self.arm()?;
            at_most
        } else {
            Duration::ZERO
        };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in events.iter() {
            match event.token() {
                ALARM => {}
                PUBLISHER => self.on_publisher(event),
                Token(slot) => {
                    let to_the_end = event.is_read_closed() || event.is_error();
                    self.read(slot as u32, to_the_end);
                    self.flush(slot as u32);
                }
            }
            self.publish_due();
        }
        for slot in std::mem::take(&mut self.unread) {
            self.read(slot, true);
            self.flush(slot);
            self.publish_due();
        }
        Ok(())
    }

    /// Room for the events of a turn.
    pub(super) fn events() -> Events {
        Events::with_capacity(EVENTS)
    }

    /// Begins to measure: latencies so far are forgotten.
    pub(super) fn begin_window(&mut self) {
        self.account.begin_window();
        self.tally.slip = Latency::default();
        self.tally.held_back = 0;
        if let Some(echo) = &mut self.echo {
            echo.round_trip = Latency::default();
        }
        if self.oldest.is_some() {
            self.tally.handshake = Latency::default();
            self.tally.join = Latency::default();
        }
    }

    /// Sends the first message of every connection.
    pub(super) fn begin_echo(&mut self) {
        for slot in 0..self.members.len() as u32 {
            self.say_again(slot);
        }
    }

    /// Ends all connections at once: what remains of them would be in the way of the next run.
    pub(super) fn cut(self) {
        let links = self.members.into_iter().filter_map(|member| member.link);
        links.chain(self.publisher).for_each(Link::cut);
    }

    /// Lets the schedule wake us: a poller counts whole milliseconds.
    fn arm(&self) -> io::Result<()> {
        match self.pacing.next_ns() {
            Some(next_ns) => self.timer.arm(next_ns),
            None => Ok(()),
        }
    }

    fn publish_due(&mut self) {
        let Some(link) = &mut self.publisher else {
            return;
        };
        if matches!(self.pacing, Pacing::Paused) || !link.is_open() {
            return;
        }
        let now_ns = clock::monotonic_ns();
        let mut is_held_back = link.unsent_bytes() > UNSENT_BYTES_MAX;
        while !is_held_back {
            let Some(intended_ns) = self.pacing.take(now_ns, self.account.under_way()) else {
                break;
            };
            let (number, topic) = self.account.publish(intended_ns);
            let payload_bytes = self.plan.payload_bytes;
            payload::write_numbered(&mut self.payload, intended_ns, number, payload_bytes);
            let topic = &self.plan.topics[topic];
            let (payload, command) = (&self.payload, &mut self.command);
            self.plan
                .protocol
                .publish(link, number, topic, payload, command);
            self.tally.slip.record_between(intended_ns, now_ns);
            is_held_back = link.unsent_bytes() > UNSENT_BYTES_MAX;
        }
        self.tally.held_back += u64::from(is_held_back);
        if let Err(error) = link.flush() {
            self.on_publisher_end(&error.into());
        }
    }

    fn on_publisher(&mut self, event: &Event) {
        let Some(link) = &mut self.publisher else {
            return;
        };
        let to_the_end = event.is_read_closed() || event.is_error();
        let (plan, refusals) = (self.plan, &mut self.tally.refusals);
        let ended = loop {
            let mut asked = None;
            let read = link.read(&mut self.buffer, to_the_end, |message, _| {
                let Message::Item(message) = message else {
                    return;
                };
                let heard = plan.protocol.hear_publisher(message, |said| match said {
                    Said::Refused(why) => refusals.add(&why),
                    Said::Asked(opcode, answer) => asked = Some((opcode, answer)),
                    Said::Delivery(_) | Said::Acked(_) | Said::Aside => {}
                });
                heard.unwrap_or_else(|why| refusals.add(&why));
            });
            if let Some((opcode, answer)) = asked {
                link.queue(opcode, answer);
            }
            if read.ended.is_some() || !read.more {
                break read.ended;
            }
        };
        // The upgrade request, answers to pings, what the socket did not take before.
        let ended = ended.or_else(|| link.flush().err().map(LinkError::from));
        if let Some(error) = ended {
            self.on_publisher_end(&error);
        }
    }

    fn on_publisher_end(&mut self, error: &LinkError) {
        self.publisher = None;
        self.tally
            .ends
            .add(&format!("publisher: {}", error.label()));
    }

    fn read(&mut self, slot: u32, to_the_end: bool) {
        let Session {
            plan,
            members,
            account,
            recent,
            echo,
            tally,
            buffer,
            ..
        } = self;
        let member = &mut members[slot as usize];
        let Some(link) = &mut member.link else {
            return;
        };
        let (mut acked, mut echoed, mut asked) = (0, 0, None);
        let read = link.read(buffer, to_the_end, |message, at_ns| {
            let Message::Item(message) = message else {
                return;
            };
            if let Some(echo) = echo {
                echoed += u32::from(echo.on_message(slot, message, at_ns));
                return;
            }
            let bytes = protocol::bytes_of(message);
            if let Some(update) = recent.find(bytes) {
                account.on_update(slot, update, at_ns);
                return;
            }
            let (mut count, mut update) = (0, None);
            let heard = plan.protocol.hear(message, |said| {
                count += 1;
                match said {
                    Said::Delivery(payload) => update = account.on_delivery(slot, payload, at_ns),
                    Said::Acked(count) => acked += count,
                    Said::Refused(why) => tally.refusals.add(&why),
                    Said::Asked(opcode, answer) => asked = Some((opcode, answer)),
                    Said::Aside => {}
                }
            });
            match (heard, update) {
                (Ok(()), Some(update)) if count == 1 => recent.keep(bytes, update),
                (Ok(()), _) => {}
                (Err(why), _) => tally.refusals.add(&why),
            }
        });
        if let Some((opcode, answer)) = asked {
            link.queue(opcode, answer);
        }
        tally.bytes_in += read.bytes as u64;
        if read.opened {
            self.on_opened(slot);
        }
        if acked > 0 {
            self.on_acked(slot, acked);
        }
        for _ in 0..echoed {
            self.say_again(slot);
        }
        match read.ended {
            Some(error) => self.on_end(slot, &error),
            None if read.more => self.unread.push(slot),
            None => {}
        }
    }

    fn on_opened(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        let Some(link) = &mut member.link else {
            return;
        };
        let now_ns = clock::monotonic_ns();
        self.tally.handshake.record_between(member.since_ns, now_ns);
        if self.echo.is_none() {
            let topics: Vec<&str> = self.plan.topics_of(slot).collect();
            let protocol = &self.plan.protocol;
            protocol.subscribe(link, &topics, &mut self.command);
            member.acks_left = protocol.acks(topics.len());
        }
        if member.acks_left == 0 {
            self.on_joined(slot);
        }
    }

    fn on_acked(&mut self, slot: u32, count: u32) {
        let member = &mut self.members[slot as usize];
        if member.has_joined {
            return;
        }
        member.acks_left = member.acks_left.saturating_sub(count);
        if member.acks_left == 0 {
            self.on_joined(slot);
        }
    }

    fn on_joined(&mut self, slot: u32) {
        let member = &mut self.members[slot as usize];
        member.has_joined = true;
        self.tally.joined += 1;
        let now_ns = clock::monotonic_ns();
        self.tally.join.record_between(member.since_ns, now_ns);
        // The next one at once: the server shall not wait for us.
        self.begin_joining();
        self.rejoin_oldest();
    }

    fn on_end(&mut self, slot: u32, error: &LinkError) {
        self.members[slot as usize].link = None;
        self.tally.ends.add(&error.label());
    }

    fn say_again(&mut self, slot: u32) {
        let Some(link) = &mut self.members[slot as usize].link else {
            return;
        };
        if let Some(echo) = &mut self.echo {
            echo.say(slot, link);
        }
        self.flush(slot);
    }

    fn flush(&mut self, slot: u32) {
        let Some(link) = &mut self.members[slot as usize].link else {
            return;
        };
        match link.flush() {
            Ok(_) => link.relax(),
            Err(error) => self.on_end(slot, &error.into()),
        }
    }
}
