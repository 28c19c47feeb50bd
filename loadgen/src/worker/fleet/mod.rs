//! The connections of one worker and what happens to each: connecting, subscribing, listening,
//! closing. The table has one entry a connection, made once at its full size. [`Fleet::on_ready`]
//! is called for each socket event, [`Fleet::advance`] once a turn.
//!
//! `steps.rs` holds what one connection begins and how that ends; `shares.rs` what a share of them
//! does, in turn; `readers.rs` those that do not read as they should.

mod readers;
mod shares;
mod steps;

use super::drive::{Drive, Flight, Job};
use super::report::WorkerReport;
use super::subscriptions::{Answers, Client, Subscriptions};
use crate::class::Class;
use crate::clock;
use crate::link::{Framing, Link, Message, Read};
use crate::phase::{Order, Pace};
use crate::plan::Plan;
use crate::tally::Figures;
use fanfare_wire::binary::Aliases;
use fanfare_wire::handshake::ResponseError;
use mio::Registry;
use mio::event::Event;
use readers::Readers;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// All connections of a worker.
#[derive(Debug)]
pub struct Fleet {
    plan: Arc<Plan>,
    /// Which worker this is: the numbers of connections go round the workers.
    index: usize,
    members: Vec<Member>,
    subscriptions: Subscriptions,
    /// By target: the numbers that its server has given topics.
    aliases: Vec<Aliases>,
    drive: Option<Drive>,
    /// The batches of topics that the job at hand subscribes to.
    batches: Range<usize>,
    /// Batches that every connection has subscribed to, or is about to.
    batches_in_force: usize,
    /// When connections that are about to join began; empty unless something is under way.
    joining: HashMap<u32, u64>,
    /// Whose turn it is to leave.
    hand: u32,
    /// Slots whose sockets may still be readable although no event will say so.
    unread: Vec<u32>,
    /// How those read that do not read all there is.
    readers: Readers,
    /// Scratch for a command's text.
    command: Vec<u8>,
    report: WorkerReport,
    figures: Figures,
}

/// What one reading has brought of answers to polls.
#[derive(Debug, Default)]
struct Polls {
    answered: u32,
    /// The status of one that refuses.
    refused: Option<u16>,
}

/// A connection.
#[derive(Debug)]
struct Member {
    link: Option<Link>,
    /// When what it waits for began: the handshake, the subscribe command, the close.
    since_ns: u64,
    /// Subscriptions that are not answered yet.
    unanswered: u32,
    stage: Stage,
    attempts: u8,
    class: Class,
}

// A million of these are 32 MB. (Debug builds of mio keep a selector's id in each socket.)
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Member>() == 32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not begun, or between two attempts.
    Vacant,
    /// The handshake is under way.
    Connecting,
    /// The handshake is done.
    Open,
    /// The subscribe command is sent.
    Subscribing,
    /// All subscriptions are answered.
    Subscribed,
    /// Our close frame is sent.
    Closing,
    /// We have closed it.
    Closed,
    /// We have closed it, and it may come back.
    Away,
    /// All attempts failed.
    Failed,
    /// The server has ended it.
    Lost,
}

impl Stage {
    fn is_waiting(self) -> bool {
        matches!(
            self,
            Stage::Connecting | Stage::Subscribing | Stage::Closing
        )
    }
}

impl Fleet {
    /// The fleet of worker `index`, nothing opened yet.
    pub fn new(plan: Arc<Plan>, index: usize) -> Fleet {
        let workers = plan.workers as usize;
        let slots = (plan.connections as usize)
            .saturating_sub(index)
            .div_ceil(workers);
        let numbers = (0..slots).map(|slot| (slot * workers + index) as u64);
        let mut members = Vec::with_capacity(slots);
        members.extend(numbers.clone().map(|number| Member {
            link: None,
            since_ns: 0,
            unanswered: 0,
            stage: Stage::Vacant,
            attempts: 0,
            class: plan.readers.mix.class_of(number),
        }));
        Fleet {
            subscriptions: Subscriptions::new(plan.clone(), numbers),
            aliases: vec![Aliases::default(); plan.targets.len()],
            plan,
            index,
            members,
            drive: None,
            batches: 0..0,
            batches_in_force: 0,
            joining: HashMap::new(),
            hand: 0,
            unread: Vec::new(),
            readers: Readers::default(),
            command: Vec::new(),
            report: WorkerReport::default(),
            figures: Figures::default(),
        }
    }

    /// Takes up an order; whatever was under way is given up.
    pub fn on_order(&mut self, order: &Order) {
        self.give_up();
        match order {
            Order::Connect(pace) => {
                if self.plan.framing != Framing::WebSocket {
                    // To connect is to subscribe.
                    self.set_batches(self.plan.batches.len());
                }
                self.begin_job(Job::Connect, pace);
            }
            Order::Close(pace) => self.begin_job(Job::Close, pace),
            Order::Subscribe { pace, batch } => {
                self.subscriptions.stop_drain();
                self.batches = *batch..batch + 1;
                self.batches_in_force = batch + 1;
                if self.plan.framing == Framing::WebSocket {
                    self.begin_job(Job::Subscribe, pace);
                }
            }
            Order::Join { pace, batches } => self.begin_joining(pace, *batches),
            Order::Leave { pace, percent } => self.begin_leaving(pace, *percent),
            Order::Churn { pace, end_ns } => self.begin_churn(pace, *end_ns),
            Order::Storm { pace, percent } => self.begin_storm(pace, *percent),
            Order::Publish(load) => self.begin_trouble(load.start_ns),
            Order::Drain(finals) => {
                let live: Vec<bool> = (0..self.members.len() as u32)
                    .map(|slot| self.is_there(slot))
                    .collect();
                self.subscriptions
                    .drain(finals.clone(), live.len() as u32, |slot| {
                        live[slot as usize]
                    });
                self.end_trouble();
            }
            Order::Account { .. } | Order::Quiet | Order::Finish => {}
        }
    }

    /// Whether this worker has done its part of the last order.
    pub fn is_settled(&self) -> bool {
        match &self.drive {
            Some(drive) => drive.is_done() && self.subscriptions.recovery.is_done(),
            None => self.subscriptions.is_drained(),
        }
    }

    /// A socket has become ready.
    pub fn on_ready(&mut self, slot: u32, event: &Event, buffer: &mut [u8]) {
        if !self.readers.read_freely(self.members[slot as usize].class) {
            return;
        }
        let ended = event.is_read_closed() || event.is_error();
        if event.is_readable() || ended {
            self.read(slot, ended, buffer);
        }
        self.flush(slot);
    }

    /// Reads on where a turn ended before a socket was empty. Returns whether there is still more.
    pub fn read_on(&mut self, buffer: &mut [u8]) -> bool {
        self.read_slowly(buffer);
        self.unread.sort_unstable();
        self.unread.dedup();
        for slot in std::mem::take(&mut self.unread) {
            self.read(slot, true, buffer);
            self.flush(slot);
        }
        !self.unread.is_empty()
    }

    /// Begins what is due and gives up what has waited too long.
    pub fn advance(&mut self, registry: &Registry) {
        let now_ns = clock::monotonic_ns();
        self.subscriptions.set_clock();
        self.wake_due(now_ns);
        while let Some(drive) = &mut self.drive {
            let Some(slot) = drive.due(now_ns) else { break };
            match drive.job {
                Job::Connect => self.connect(slot, registry),
                Job::Subscribe => self.subscribe(slot),
                Job::Close | Job::Leave => self.close(slot),
                Job::Join => self.join(slot, registry),
                Job::Churn => self.churn(slot, registry),
            }
        }
        while let Some(drive) = &mut self.drive {
            let members = &self.members;
            let is_current = |flight: &Flight| {
                let member = &members[flight.slot as usize];
                member.stage.is_waiting() && member.since_ns == flight.since_ns
            };
            let Some(flight) = drive.overdue(now_ns, is_current) else {
                break;
            };
            self.on_overdue(flight.slot);
        }
    }

    /// When [`Fleet::advance`] should be called next, if nothing happens before. Monotonic.
    pub fn next_ns(&self) -> Option<u64> {
        if !self.unread.is_empty() {
            return Some(0);
        }
        let drive_ns = self.drive.as_ref().and_then(Drive::next_ns);
        [drive_ns, self.readers.next_ns()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The running figures.
    pub fn figures(&self) -> Figures {
        let totals = self.subscriptions.ledger.total();
        Figures {
            in_flight: self
                .drive
                .as_ref()
                .map_or(0, |drive| u64::from(drive.in_flight())),
            delivered: totals.delivered,
            left_out: totals.skipped.saturating_add(totals.gaps),
            ..self.figures
        }
    }

    /// Closes the books, and with them all connections that are still open.
    pub fn finish(mut self) -> WorkerReport {
        self.give_up();
        for slot in 0..self.members.len() as u32 {
            let is_out = matches!(
                self.members[slot as usize].stage,
                Stage::Vacant | Stage::Away | Stage::Failed | Stage::Lost
            );
            let ended_early = is_out || self.members[slot as usize].class == Class::HalfOpen;
            self.subscriptions.close(self.client(slot), ended_early);
            // Those that are still open would leave a TIME_WAIT each behind.
            if let Some(link) = self.members[slot as usize].link.take() {
                link.cut();
            }
        }
        let vacant = self
            .members
            .iter()
            .filter(|member| member.stage == Stage::Vacant);
        self.report.unfinished = vacant.count() as u64;
        self.report.conclude(self.subscriptions, &self.figures)
    }

    fn client(&self, slot: u32) -> Client {
        Client {
            slot,
            number: u64::from(slot) * u64::from(self.plan.workers) + self.index as u64,
            class: self.members[slot as usize].class,
        }
    }

    fn begin_job(&mut self, job: Job, pace: &Pace) {
        let slots = (0..self.members.len() as u32).collect();
        self.drive = Some(self.drive(job, slots, pace));
    }

    fn drive(&self, job: Job, slots: Vec<u32>, pace: &Pace) -> Drive {
        Drive::new(job, slots, pace, self.index, self.plan.workers as usize)
    }

    /// Ends the job under way. Connections that are not open by now never will be; what else waits
    /// has waited too long.
    fn give_up(&mut self) {
        let Some(drive) = self.drive.take() else {
            return;
        };
        if matches!(drive.job, Job::Connect | Job::Join) {
            self.report.connect_lag_max_ns = self.report.connect_lag_max_ns.max(drive.lag_max_ns());
        }
        self.joining.clear();
        if drive.is_done() {
            return;
        }
        for slot in 0..self.members.len() as u32 {
            let member = &mut self.members[slot as usize];
            match member.stage {
                Stage::Connecting => {
                    member.link = None;
                    member.stage = Stage::Vacant;
                }
                Stage::Subscribing | Stage::Closing => self.on_overdue(slot),
                _ => {}
            }
        }
    }

    fn read(&mut self, slot: u32, to_the_end: bool, buffer: &mut [u8]) {
        let read = self.hear(slot, |link, hear| link.read(buffer, to_the_end, hear));
        if read.is_some_and(|read| read.more && read.ended.is_none()) {
            self.unread.push(slot);
        }
    }

    /// Reads once, as much as the buffer takes.
    fn read_part(&mut self, slot: u32, buffer: &mut [u8]) {
        self.hear(slot, |link, hear| link.read_once(buffer, hear));
    }

    /// Takes in what a link reads, and what comes of it. `None` if there is no link.
    fn hear(
        &mut self,
        slot: u32,
        read: impl FnOnce(&mut Link, &mut dyn FnMut(Message<'_>, u64)) -> Read,
    ) -> Option<Read> {
        let client = self.client(slot);
        let Fleet {
            plan,
            members,
            subscriptions,
            aliases,
            ..
        } = self;
        let aliases = &mut aliases[client.number as usize % plan.targets.len()];
        let link = members[slot as usize].link.as_mut()?;
        let mut answers = Answers::default();
        let mut polls = Polls::default();
        let mut read = read(link, &mut |message, at_ns| match message {
            Message::Item(item) => match plan.dialect.hear(item, aliases) {
                Ok(heard) => subscriptions.on_heard(client, heard, at_ns, &mut answers),
                Err(why) => subscriptions.on_garbled(client, &why),
            },
            Message::Id(id) => subscriptions.on_id(client, id),
            Message::Answer(answer) => {
                polls.answered += 1;
                let refused = subscriptions.on_answer(client, answer, at_ns, &mut answers);
                polls.refused = polls.refused.or(refused);
            }
        });
        self.figures.bytes_in += read.bytes as u64;
        if polls.answered > 0 {
            self.ask_again(slot, &polls, &mut read);
        }
        if read.opened {
            self.on_opened(slot);
        }
        if answers != Answers::default() {
            self.on_answers(slot, answers);
        }
        if let Some(error) = &read.ended {
            self.on_end(slot, error);
        }
        Some(read)
    }

    /// A poll was answered: the next one is due, unless the server will not have it.
    fn ask_again(&mut self, slot: u32, polls: &Polls, read: &mut Read) {
        let client = self.client(slot);
        if polls.answered > 1 {
            self.subscriptions
                .on_garbled(client, "an answer that nobody asked for");
        }
        if let Some(status) = polls.refused {
            read.opened = false;
            read.ended = Some(ResponseError::Status { status }.into());
        }
        if read.ended.is_some() {
            return;
        }
        let target = self.plan.target_of(client.number);
        self.command.clear();
        self.subscriptions.put_poll(&mut self.command, target, slot);
        if let Some(link) = &mut self.members[slot as usize].link {
            link.queue_made(&self.command);
        }
    }

    /// Sends what waits. An idle link has nothing to send and costs nothing here.
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
