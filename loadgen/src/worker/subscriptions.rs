//! The subscriptions of one worker's connections: finds the cursor that a frame belongs to, books
//! what it says, and times deliveries. Called with every message of every connection; knows no
//! sockets.

mod http;

use super::recovery::Recovery;
use super::waking::Waking;
use crate::class::{Class, Classes};
use crate::cli::LatencyFrom;
use crate::clock;
use crate::counts::Counts;
use crate::dialect::{DataKind, Heard};
use crate::latency::Latency;
use crate::payload;
use crate::plan::Plan;
use crate::verify::{Cursor, Fault, Ledger, Step, Subscriber};
use fanfare_wire::command::Since;
use std::ops::Range;
use std::sync::Arc;

/// The cursors of all connections, in one table: those of slot `s` are `s·k..(s+1)·k`, sorted by
/// topic.
#[derive(Debug)]
pub struct Subscriptions {
    plan: Arc<Plan>,
    cursors: Vec<Cursor>,
    /// The topic of the last frame: a fan-out comes as a run of frames of one topic.
    hint: u32,
    /// Added to a monotonic time to compare it with a server's `ts`.
    wall_offset_ns: i64,
    drain: Option<Drain>,
    /// The books.
    pub ledger: Ledger,
    /// Latencies of deliveries.
    pub delivery: Classes<Latency>,
    /// Subscriptions that were cut off and go on.
    pub recovery: Recovery,
    /// What stalled clients get when they wake up in the drain.
    pub waking: Waking,
    /// Updates without the intended time that was looked for in them.
    pub untimed: u64,
    /// Refusals and messages that were not understood, by kind.
    pub errors: Counts,
    /// What connections over plain HTTP must remember.
    memory: http::Memory,
}

/// The wait for the final seqs.
#[derive(Debug)]
struct Drain {
    /// By topic.
    finals: Arc<[u64]>,
    /// Acknowledged subscriptions that have not reached theirs.
    behind: u64,
}

impl Drain {
    fn is_behind(&self, cursor: &Cursor) -> bool {
        cursor.is_acked() && !cursor.has_reached(self.finals[cursor.topic as usize])
    }

    fn on_step(&mut self, before: &Cursor, after: &Cursor) {
        self.behind -= u64::from(self.is_behind(before));
        self.behind += u64::from(self.is_behind(after));
    }
}

/// One connection: its place in the worker, and its number in the run.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Place in the worker's tables.
    pub slot: u32,
    /// Number in the run, for people.
    pub number: u64,
    /// How it reads.
    pub class: Class,
}

/// What a message answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Subscriptions acknowledged.
    pub acked: u32,
    /// Subscriptions refused.
    pub refused: u32,
    /// A whole command was refused.
    pub command_refused: bool,
}

impl Subscriptions {
    /// Chooses the topics of the connections with these numbers in the run; the first is slot 0.
    pub fn new(plan: Arc<Plan>, numbers: impl ExactSizeIterator<Item = u64>) -> Subscriptions {
        let slots = numbers.len();
        // Exactly as large as it will ever be: growing would double the peak.
        let mut cursors = Vec::with_capacity(numbers.len() * plan.subscriptions);
        let mut chosen = Vec::with_capacity(plan.subscriptions);
        for number in numbers {
            for batch in &plan.batches {
                batch
                    .popularity
                    .choose(plan.seed, number, batch.count, &mut chosen);
                chosen.sort_unstable();
                // Ranges of batches follow each other, so the whole is sorted too.
                let topics = chosen.iter().map(|topic| batch.first_topic + *topic);
                cursors.extend(topics.map(Cursor::new));
            }
        }
        Subscriptions {
            memory: http::Memory::new(&plan, slots),
            plan,
            cursors,
            hint: 0,
            wall_offset_ns: 0,
            drain: None,
            ledger: Ledger::default(),
            delivery: Classes::default(),
            recovery: Recovery::default(),
            waking: Waking::default(),
            untimed: 0,
            errors: Counts::default(),
        }
    }

    /// How many topics these batches are.
    pub fn count(&self, batches: &Range<usize>) -> usize {
        self.plan.batches[batches.clone()]
            .iter()
            .map(|batch| batch.count)
            .sum()
    }

    /// The topics of a slot in these batches, and where those that were cut off go on.
    pub fn topics(
        &self,
        slot: u32,
        batches: &Range<usize>,
    ) -> impl Iterator<Item = (&str, Option<Since<'_>>)> {
        let start = self.range(slot).start + self.count(&(0..batches.start));
        self.cursors[start..start + self.count(batches)]
            .iter()
            .map(|cursor| {
                let name = self.plan.topics.name(cursor.topic);
                (name, self.recovery.since(cursor))
            })
    }

    /// Takes the clocks' distance anew; a message's times are compared with it until the next call.
    pub fn set_clock(&mut self) {
        if self.plan.latency_from == LatencyFrom::Server {
            self.wall_offset_ns = clock::wall_offset_ns();
        }
    }

    /// Books what a connection heard at `at_ns`.
    pub fn on_heard(
        &mut self,
        client: Client,
        heard: Heard<'_>,
        at_ns: u64,
        answers: &mut Answers,
    ) {
        match heard {
            Heard::Data {
                kind,
                topic,
                seq,
                ts_us,
                payload,
            } => {
                let in_turn = self.step(client, &topic, at_ns, |cursor| match kind {
                    DataKind::Snapshot => cursor.on_snapshot(seq),
                    DataKind::Update => cursor.on_update(seq),
                    DataKind::History => cursor.on_history(seq),
                });
                if in_turn && kind == DataKind::Update {
                    self.time(client.class, payload, ts_us, at_ns);
                }
                if client.class == Class::Stalled {
                    self.on_woken(client, seq, payload, &topic);
                }
            }
            Heard::Subscribed { topics, refused } => {
                for ack in topics {
                    if self.plan.readers.cut_after.is_some() {
                        let topic = self.plan.topics.find(&ack.topic, self.hint);
                        self.recovery.on_epoch(topic, &ack.epoch);
                    }
                    let is_acked = self.step_ack(client, &ack.topic, at_ns, |cursor| {
                        cursor.on_ack(ack.seq, ack.recovered)
                    });
                    answers.acked += u32::from(is_acked);
                }
                answers.refused += refused.len() as u32;
                refused.iter().for_each(|(_, label)| self.errors.add(label));
            }
            Heard::Skip { topic, from, to } => {
                self.step(client, &topic, at_ns, |cursor| cursor.on_skip(from, to));
            }
            Heard::Gap {
                topic,
                from,
                new_epoch,
            } => {
                self.step(client, &topic, at_ns, |cursor| {
                    cursor.on_gap(from, new_epoch)
                });
            }
            Heard::Refused { label, .. } => {
                self.errors.add(&label);
                answers.command_refused = true;
            }
            Heard::Published { .. } | Heard::State(_) | Heard::Aside => {}
        }
    }

    /// A message that is no part of the protocol.
    pub fn on_garbled(&mut self, client: Client, why: &str) {
        self.errors.add("not understood");
        self.ledger.totals[client.class].broken += 1;
        self.ledger
            .examples
            .add("message", || format!("connection {}: {why}", client.number));
    }

    /// Begins to wait for the final seqs, given by topic; `is_live` says of a slot whether it still
    /// counts.
    pub fn drain(&mut self, finals: Arc<[u64]>, slots: u32, is_live: impl Fn(u32) -> bool) {
        self.drain = Some(Drain { finals, behind: 0 });
        let behind = (0..slots)
            .filter(|slot| is_live(*slot))
            .map(|slot| self.behind(slot))
            .sum();
        if let Some(drain) = &mut self.drain {
            drain.behind = behind;
        }
    }

    /// Whether all have reached their final seqs.
    pub fn is_drained(&self) -> bool {
        self.drain.as_ref().is_none_or(|drain| drain.behind == 0)
    }

    /// The connection was cut off and will come back: its subscriptions go on from where they stand.
    pub fn suspend(&mut self, client: Client, at_ns: u64) {
        for index in self.range(client.slot) {
            let cursor = &mut self.cursors[index];
            self.recovery.on_cut(cursor, at_ns);
            if !cursor.suspend() {
                self.close_one(client, index, true);
                self.cursors[index] = Cursor::new(self.cursors[index].topic);
            }
            self.ledger.forget(index);
        }
    }

    /// The connection is gone: nobody waits for it any more.
    pub fn on_lost(&mut self, slot: u32) {
        let behind = self.behind(slot);
        if let Some(drain) = &mut self.drain {
            drain.behind -= behind;
        }
        for index in self.range(slot) {
            self.recovery.on_lost(&mut self.cursors[index]);
        }
    }

    /// Nobody waits for final seqs any more.
    pub fn stop_drain(&mut self) {
        self.drain = None;
    }

    /// The connection has ended as it should, and its subscriptions with it. Those that it makes
    /// when it comes back begin anew: what it misses meanwhile is no loss.
    pub fn forget(&mut self, client: Client) {
        self.close(client, true);
        self.memory.forget(client.slot);
        for index in self.range(client.slot) {
            self.ledger.forget(index);
            self.cursors[index] = Cursor::new(self.cursors[index].topic);
        }
    }

    /// Of a slot's subscriptions in the first batches: how many are not acknowledged, and how many
    /// have reached the final seq with their books balanced.
    pub fn audit(&self, slot: u32, batches: usize) -> (u64, u64) {
        let start = self.range(slot).start;
        let cursors = &self.cursors[start..start + self.count(&(0..batches))];
        let missing = cursors.iter().filter(|cursor| !cursor.is_acked());
        let verified = cursors.iter().filter(|cursor| {
            let drain = self.drain.as_ref();
            cursor.is_acked()
                && cursor.balances()
                && drain.is_some_and(|drain| !drain.is_behind(cursor))
        });
        (missing.count() as u64, verified.count() as u64)
    }

    /// Closes the books of a slot. One that ended early need not have reached the final seqs.
    pub fn close(&mut self, client: Client, ended_early: bool) {
        for index in self.range(client.slot) {
            self.close_one(client, index, ended_early);
        }
    }

    fn close_one(&mut self, client: Client, index: usize, ended_early: bool) {
        let cursor = &mut self.cursors[index];
        if !cursor.has_begun() {
            return;
        }
        self.recovery.on_lost(cursor);
        let finals = self.drain.as_ref().filter(|_| !ended_early);
        let end = finals.map(|drain| drain.finals[cursor.topic as usize]);
        let topic = self.plan.topics.name(cursor.topic);
        let who = Subscriber {
            class: client.class,
            connection: client.number,
            subscription: index,
            topic,
        };
        self.ledger.close(who, cursor, end);
    }

    /// Acknowledged subscriptions.
    pub fn acked(&self) -> u64 {
        self.cursors
            .iter()
            .filter(|cursor| cursor.is_acked())
            .count() as u64
    }

    fn range(&self, slot: u32) -> Range<usize> {
        let count = self.plan.subscriptions;
        slot as usize * count..(slot as usize + 1) * count
    }

    /// Where the cursor of a topic stands in the table.
    fn find(&mut self, slot: u32, topic: &str) -> Option<usize> {
        let topic = self.plan.topics.find(topic, self.hint)?;
        self.hint = topic;
        let range = self.range(slot);
        let at = self.cursors[range.clone()]
            .binary_search_by_key(&topic, |cursor| cursor.topic)
            .ok()?;
        Some(range.start + at)
    }

    /// Lets the cursor judge a frame and books the answer. Returns whether an update was delivered
    /// in its turn.
    fn step(
        &mut self,
        client: Client,
        topic: &str,
        at_ns: u64,
        judge: impl FnOnce(&mut Cursor) -> Result<Step, Fault>,
    ) -> bool {
        let Some(index) = self.find(client.slot, topic) else {
            self.ledger.book_stray(client.class, client.number, topic);
            return false;
        };
        let cursor = &mut self.cursors[index];
        let before = *cursor;
        let said = judge(cursor);
        let who = Subscriber {
            class: client.class,
            connection: client.number,
            subscription: index,
            topic,
        };
        self.recovery.on_step(&before, cursor, at_ns);
        let in_turn = self.ledger.book(who, cursor, said);
        if let Some(drain) = &mut self.drain {
            drain.on_step(&before, cursor);
        }
        in_turn
    }

    /// The same for an ack. Returns whether the subscription is acknowledged by it.
    fn step_ack(
        &mut self,
        client: Client,
        topic: &str,
        at_ns: u64,
        judge: impl FnOnce(&mut Cursor) -> Result<Step, Fault>,
    ) -> bool {
        let mut is_acked = false;
        self.step(client, topic, at_ns, |cursor| {
            let was_acked = cursor.is_acked();
            let said = judge(cursor);
            is_acked = !was_acked && cursor.is_acked();
            said
        });
        is_acked
    }

    /// A value for a client that has stalled: once everything is published, it is the newest or it
    /// had been on its way when the client stalled.
    fn on_woken(&mut self, client: Client, seq: u64, payload: &[u8], topic: &str) {
        let Some(drain) = &self.drain else { return };
        let Some(topic) = self.plan.topics.find(topic, self.hint) else {
            return;
        };
        let is_newest = seq == drain.finals[topic as usize];
        self.waking
            .on_value(client.slot, is_newest, payload::intended_ns(payload));
    }

    fn time(&mut self, class: Class, payload: &[u8], ts_us: i64, at_ns: u64) {
        let delivery = &mut self.delivery[class];
        match self.plan.latency_from {
            LatencyFrom::Server => {
                let arrived_ns = at_ns as i64 + self.wall_offset_ns;
                delivery.record(arrived_ns.saturating_sub(ts_us.saturating_mul(1000)));
            }
            LatencyFrom::Schedule => match payload::intended_ns(payload) {
                Some(intended_ns) => delivery.record_between(intended_ns, at_ns),
                None => self.untimed += 1,
            },
        }
    }

    fn behind(&self, slot: u32) -> u64 {
        let Some(drain) = &self.drain else { return 0 };
        self.cursors[self.range(slot)]
            .iter()
            .filter(|cursor| drain.is_behind(cursor))
            .count() as u64
    }
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
