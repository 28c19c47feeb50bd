//! The connections of a measurement and the one loop that serves them all: it opens and subscribes
//! them, publishes what may be published after every single event, and hands what arrives to the
//! books. One thread, so that "everybody has it" is known the moment it is true.

mod publishing;

use super::account::Account;
use super::echo::Echo;
use super::pacing::{Pacing, Shape};
use super::plan::Plan;
use super::recent::Recent;
use crate::clock;
use crate::counts::Counts;
use crate::latency::Latency;
use crate::link::{Framing, Link, LinkError, Message};
use crate::protocol::{self, Poller, Said};
use crate::sys::Timer;
use crate::target::Target;
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
    /// Handshakes of TLS: full ones, and sessions that were resumed.
    pub(super) tls: [u64; 2],
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
    /// Where it stands, if it polls.
    poller: Poller,
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
            poller: Poller::default(),
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
        let member = &mut self.members[slot as usize];
        member.since_ns = clock::monotonic_ns();
        member.poller = Poller::default();
        let link = match self.plan.protocol.framing() {
            Framing::WebSocket => self.connect(&self.target_of(slot), source),
            framing => {
                let topics: Vec<&str> = self.plan.topics_of(slot).collect();
                let (target, mut request) = (&self.plan.target, Vec::new());
                self.plan
                    .protocol
                    .put_request(&mut request, target, &topics);
                Link::connect_plainly(target, source, None, framing, request)
            }
        };
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
        let Member {
            link: Some(link),
            poller,
            ..
        } = &mut members[slot as usize]
        else {
            return;
        };
        let (mut acked, mut echoed, mut asked) = (0, 0, None);
        let (mut answers, mut is_refused) = (0, false);
        let mut read = link.read(buffer, to_the_end, |message, at_ns| {
            let message = match message {
                Message::Item(message) => message,
                // Only who resumes needs it.
                Message::Id(_) => return,
                Message::Answer(answer) => {
                    answers += 1;
                    let mut are_ours = true;
                    let heard = poller.hear(answer, |said| match said {
                        Said::Skipped(count) => {
                            let is_ours = account.on_skipped(slot, count, at_ns);
                            are_ours &= is_ours;
                        }
                        Said::Delivery(payload) => {
                            let _ = account.on_delivery(slot, payload, at_ns);
                        }
                        Said::Acked(count) => acked += count,
                        _ => {}
                    });
                    if !are_ours {
                        tally.refusals.add("skipped more than was published");
                    }
                    if let Err(why) = heard {
                        tally.refusals.add(&why);
                        is_refused = true;
                    }
                    return;
                }
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
                    Said::Skipped(_) | Said::Aside => {}
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
        if is_refused {
            // To ask again would bring the same, and at once.
            read.ended = read.ended.or(Some(LinkError::Ended));
        } else if answers > 0 {
            if answers > 1 {
                tally.refusals.add("an answer that nobody asked for");
            }
            if let Some(topic) = plan.topics_of(slot).next() {
                self.command.clear();
                poller.ask(&mut self.command, &plan.target, topic);
                link.queue_made(&self.command);
            }
        }
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
        if let Some(resumed) = link.is_resumed() {
            self.tally.tls[usize::from(resumed)] += 1;
        }
        self.tally.handshake.record_between(member.since_ns, now_ns);
        if self.echo.is_none() {
            // Over plain HTTP the request was the subscribe command.
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
