//! Subscriptions over plain HTTP: what a connection asks for, and what ids of events and answers to polls
//! say of its topics.
//!
//! A stream of events that was cut goes on where the last id that the server gave it says, as a browser
//! would have it: an id that says too much or too little is found by what comes then. A poll knows where
//! its topic stood and gets the newest value; what it passes over is skipped.

use super::{Answers, Client, Subscriptions};
use crate::http::{self, Answer, Polled};
use crate::link::Framing;
use crate::plan::Plan;
use crate::target::Target;
use crate::verify::Step;
use fanfare_wire::sse::{self, Position};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long a poll waits. Not more than servers grant.
const WAIT: Duration = Duration::from_secs(30);

/// What connections must remember beside their cursors, by slot. Empty unless it is needed.
#[derive(Debug)]
pub(super) struct Memory {
    /// The last id of a stream that is to be resumed.
    ids: Vec<String>,
    /// The epoch of a poll's topic.
    epochs: Vec<Option<Arc<str>>>,
}

impl Memory {
    pub(super) fn new(plan: &Plan, slots: usize) -> Memory {
        let are_resumed = plan.framing == Framing::Events && plan.readers.cut_after.is_some();
        let are_polled = plan.framing == Framing::Answers;
        Memory {
            ids: vec![String::new(); if are_resumed { slots } else { 0 }],
            epochs: vec![None; if are_polled { slots } else { 0 }],
        }
    }

    /// The connection begins anew.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(id) = self.ids.get_mut(slot as usize) {
            id.clear();
        }
        if let Some(epoch) = self.epochs.get_mut(slot as usize) {
            *epoch = None;
        }
    }
}

impl Subscriptions {
    /// Writes the request with which a connection begins.
    pub fn put_request(
        &self,
        out: &mut Vec<u8>,
        target: &Target,
        slot: u32,
        batches: &Range<usize>,
    ) {
        if self.plan.framing == Framing::Answers {
            return self.put_poll(out, target, slot);
        }
        let topics = self.topics(slot, batches).map(|(name, _)| name);
        let options = &self.plan.readers.options;
        let last_event_id = self.last_event_id(slot);
        http::put_event_request(out, target, topics, options, last_event_id.as_deref());
    }

    /// Writes a poll: for whatever there is if nothing is known yet, else for what comes next.
    pub fn put_poll(&self, out: &mut Vec<u8>, target: &Target, slot: u32) {
        let cursor = &self.cursors[self.range(slot).start];
        let topic = self.plan.topics.name(cursor.topic);
        let epoch = self.memory.epochs[slot as usize].as_deref();
        let wait = cursor.is_acked().then(|| (WAIT, cursor.last(), epoch));
        http::put_poll_request(out, target, topic, wait);
    }

    /// Where a stream that was cut goes on; `None` if it begins anew.
    fn last_event_id(&self, slot: u32) -> Option<String> {
        let id = self.memory.ids.get(slot as usize)?;
        let cursors = &self.cursors[self.range(slot)];
        let positions = sse::positions(id).filter_map(|position| {
            let topic = self.plan.topics.find(position.topic, self.hint)?;
            let at = cursors.binary_search_by_key(&topic, |cursor| cursor.topic);
            let cursor = cursors[at.ok()?];
            // A cut between an event and the id behind it leaves an id that says too little: whoever
            // counts himself knows better.
            let seq = position.seq.max(cursor.last());
            cursor.is_away().then_some(Position { seq, ..position })
        });
        let id = http::id(positions);
        (!id.is_empty()).then_some(id)
    }

    /// An event's id has named where the stream stands.
    pub fn on_id(&mut self, client: Client, id: &str) {
        let mut count = 0;
        for Position { topic, seq, .. } in sse::positions(id) {
            count += 1;
            let Some(index) = self.find(client.slot, topic) else {
                self.ledger.book_stray(client.class, client.number, topic);
                continue;
            };
            let last = self.cursors[index].last();
            if seq > last {
                let why =
                    format!("the id {id:?} stands at seq {seq} of {topic}, which is at {last}");
                self.on_broken_id(client, &why);
            }
        }
        if count == 0 {
            self.on_broken_id(client, &format!("the id {id:?} names no position"));
        }
        if let Some(kept) = self.memory.ids.get_mut(client.slot as usize) {
            kept.clear();
            kept.push_str(id);
        }
    }

    fn on_broken_id(&mut self, client: Client, why: &str) {
        self.ledger.totals[client.class].broken += 1;
        let sentence = || format!("connection {}: {why}", client.number);
        self.ledger.examples.add("id", sentence);
    }

    /// Books the answer to a poll. Returns its status if it is a refusal.
    pub fn on_answer(
        &mut self,
        client: Client,
        answer: &Answer<'_>,
        at_ns: u64,
        answers: &mut Answers,
    ) -> Option<u16> {
        let cursor = self.cursors[self.range(client.slot).start];
        let plan = self.plan.clone();
        let topic = plan.topics.name(cursor.topic);
        match Polled::read(answer) {
            Ok(Polled::Value {
                epoch,
                seq,
                ts_us,
                payload,
            }) => {
                let is_new_epoch = self.memory.learn(client.slot, epoch);
                if !cursor.is_acked() {
                    self.ack(client, topic, seq, at_ns, answers);
                    self.step(client, topic, at_ns, |cursor| cursor.on_snapshot(seq));
                    return None;
                }
                if is_new_epoch {
                    let from = cursor.last().saturating_add(1);
                    self.step(client, topic, at_ns, |cursor| cursor.on_gap(from, true));
                } else if seq > cursor.last().saturating_add(1) {
                    let (from, to) = (cursor.last() + 1, seq - 1);
                    self.step(client, topic, at_ns, |cursor| cursor.on_skip(from, to));
                }
                let in_turn = self.step(client, topic, at_ns, |cursor| cursor.on_update(seq));
                if in_turn {
                    self.time(client.class, payload, ts_us, at_ns);
                }
            }
            Ok(Polled::NoValue) if !cursor.is_acked() => {
                self.ack(client, topic, 0, at_ns, answers);
            }
            Ok(Polled::Nothing) if cursor.is_acked() => {}
            Ok(Polled::Refused(status)) => return Some(status),
            // A topic that had a value, or that is waited for, is there; and who does not wait is told.
            Ok(Polled::NoValue | Polled::Nothing) => return Some(answer.status),
            Err(why) => self.on_garbled(client, &why),
        }
        None
    }

    fn ack(&mut self, client: Client, topic: &str, seq: u64, at_ns: u64, answers: &mut Answers) {
        let on_ack =
            |cursor: &mut crate::verify::Cursor| -> Result<Step, _> { cursor.on_ack(seq, None) };
        answers.acked += u32::from(self.step_ack(client, topic, at_ns, on_ack));
    }
}

impl Memory {
    /// Notes a topic's epoch. Returns whether it is another one than before.
    fn learn(&mut self, slot: u32, epoch: &str) -> bool {
        let known = &mut self.epochs[slot as usize];
        match known {
            Some(known) if **known == *epoch => false,
            _ => known.replace(epoch.into()).is_some(),
        }
    }
}
