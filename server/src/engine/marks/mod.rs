//! Marks: updates that wait without their payload.
//!
//! A mark says that one connection has still to hear of one topic, from which seq on. However many updates come, it stays one
//! mark; when it is served, the value is read from the topic, and the seqs before it are named by one skip. So
//! what a stalled reader costs depends on how many topics it listens to, never on how fast they change.
//!
//! A mark is *ready*, in the order in which its connection is to be served, or it *rests*: the subscriber asked for an interval between
//! updates, and the mark remembers when the next may go. The tables are shared by all connections of the shard, and a
//! connection that keeps up has nothing in them. They are bookkeeping alone: the engine's `conflate` decides what is held and
//! `serve` writes it. `lists.rs` chains the marks of a connection, `rests.rs` knows of intervals.

mod lists;
mod rests;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use fanfare_wire::event::SkipWhy;
use slab::Slab;

use super::hashing::ByNumber;
use super::timers::Timers;
use crate::hub::broken::{self, Break};
use crate::hub::subs::SubId;
use crate::hub::topics::TopicId;
use crate::ledger::Ledger;

const NONE: u32 = u32::MAX;

/// A mark's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MarkId(u32);

/// What one connection has still to hear of one topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) conn: u32,
    pub(super) topic: TopicId,
    /// The subscription that the latest update came by.
    pub(super) sub: SubId,
    /// Neighbours in the connection's list.
    prev: u32,
    next: u32,
    /// The first seq that has not been sent; 0 = nothing is held, the mark only rests.
    pub(super) first: u64,
    /// Milliseconds on the monotonic clock: since when a ready mark could have been sent, until when a resting one may not.
    at_ms: u64,
    /// What the skip will say.
    pub(super) why: SkipWhy,
    is_resting: bool,
}

/// Millions of these may exist.
const _: () = assert!(size_of::<Option<Mark>>() <= 40);

/// What a connection waits for: its marks, and since when its socket owes progress.
#[derive(Clone, Copy, Debug)]
struct Wait {
    conn: u32,
    /// Ready marks, the one to be served first at the head.
    ready_head: u32,
    ready_tail: u32,
    resting_head: u32,
    /// Of what was queued at `since_ms`, so much has not been written yet; as an outbox counts it.
    owed: u32,
    since_ms: u64,
}

/// Where a connection's [`Wait`] is, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaitId(u32);

impl WaitId {
    /// Nothing waits.
    pub(super) const NONE: WaitId = WaitId(NONE);

    pub(super) fn is_some(self) -> bool {
        self != WaitId::NONE
    }
}

/// An update that has come and is to be held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) conn: u32,
    pub(super) topic: TopicId,
    pub(super) sub: SubId,
    pub(super) seq: u64,
    pub(super) why: SkipWhy,
}

/// All marks of a shard.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: Slab<Mark>,
    by_key: HashMap<u64, u32, ByNumber>,
    waits: Slab<Wait>,
    timers: Timers,
    resting: usize,
}

impl Marks {
    pub(super) fn find(&self, conn: u32, topic: TopicId) -> Option<MarkId> {
        self.by_key.get(&key(conn, topic)).copied().map(MarkId)
    }

    pub(super) fn get(&self, id: MarkId) -> &Mark {
        &self.marks[id.0 as usize]
    }

    /// Notes an update. True: its mark is new, and ready to be served.
    pub(super) fn hold(&mut self, wait: &mut WaitId, held: Held, now_ms: u64) -> bool {
        if wait.is_some()
            && let Some(id) = self.find(held.conn, held.topic)
        {
            let mark = &mut self.marks[id.0 as usize];
            mark.sub = held.sub;
            if mark.first == 0 {
                mark.first = held.seq;
                mark.why = SkipWhy::Rate;
            } else if !mark.is_resting && held.why == SkipWhy::Slow {
                mark.why = SkipWhy::Slow;
            }
            return false;
        }
        let id = self.marks.insert(Mark {
            conn: held.conn,
            topic: held.topic,
            sub: held.sub,
            prev: NONE,
            next: NONE,
            first: held.seq,
            at_ms: now_ms,
            why: held.why,
            is_resting: false,
        }) as u32;
        self.by_key.insert(key(held.conn, held.topic), id);
        let wait = self.wait(held.conn, wait);
        self.link_ready(wait, id);
        true
    }

    /// What a mark holds came by this subscription, as things stand now.
    pub(super) fn set_sub(&mut self, id: MarkId, sub: SubId) {
        self.marks[id.0 as usize].sub = sub;
    }

    /// Everything up to `seq` has been sent or named by a skip; a later value is still to come.
    pub(super) fn shorten(&mut self, id: MarkId, first: u64) {
        self.marks[id.0 as usize].first = first;
    }

    /// Takes a mark out, unserved.
    pub(super) fn remove(&mut self, wait: WaitId, id: MarkId) {
        self.unlink(wait, id);
        let mark = self.marks.remove(id.0 as usize);
        self.by_key.remove(&key(mark.conn, mark.topic));
    }

    /// Takes out everything that a connection waits for.
    pub(super) fn clear(&mut self, wait: &mut WaitId) {
        if !wait.is_some() {
            return;
        }
        let Wait {
            ready_head,
            resting_head,
            ..
        } = self.waits[wait.0 as usize];
        for head in [ready_head, resting_head] {
            let mut at = head;
            while at != NONE {
                let mark = self.marks.remove(at as usize);
                self.by_key.remove(&key(mark.conn, mark.topic));
                self.resting -= usize::from(mark.is_resting);
                at = mark.next;
            }
        }
        self.waits.remove(wait.0 as usize);
        *wait = WaitId::NONE;
    }

    /// Forgets a connection that waits for nothing any more: no marks, and nothing queued.
    pub(super) fn release(&mut self, wait: &mut WaitId) {
        if wait.is_some() {
            let place = wait.0 as usize;
            let record = &self.waits[place];
            if record.ready_head == NONE && record.resting_head == NONE {
                self.waits.remove(place);
                *wait = WaitId::NONE;
            }
        }
    }

    /// The socket took something, or would take nothing: `gone` of the queue is out or dropped, `left` is still in it.
    ///
    /// What was queued at one moment is watched until all of it is out, then what is queued at that moment. So a frame
    /// is noticed when it has waited for the limit, or for twice the limit at the latest, and no frame needs a time of its own.
    pub(super) fn note_progress(
        &mut self,
        conn: u32,
        wait: &mut WaitId,
        gone: u32,
        left: u32,
        now_ms: u64,
    ) {
        let record = self.wait(conn, wait);
        let record = &mut self.waits[record.0 as usize];
        record.owed = record.owed.saturating_sub(gone);
        if record.owed == 0 || (gone > 0 && broken::is(Break::DeadlineReset)) {
            (record.owed, record.since_ms) = (left, now_ms);
        }
    }

    /// How long the oldest has waited of what is queued or ready, milliseconds; `None` when nothing is.
    pub(super) fn waited_ms(&self, wait: WaitId, now_ms: u64) -> Option<u64> {
        if !wait.is_some() {
            return None;
        }
        let record = &self.waits[wait.0 as usize];
        let queued = (record.owed > 0).then_some(record.since_ms);
        let ready = self.ready(wait).next().map(|id| self.get(id).at_ms);
        let oldest_ms = queued.into_iter().chain(ready).min()?;
        Some(now_ms.saturating_sub(oldest_ms))
    }

    /// Every connection that waits for something, by its place.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (u32, WaitId)> + '_ {
        self.waits
            .iter()
            .map(|(at, wait)| (wait.conn, WaitId(at as u32)))
    }

    /// How many marks there are.
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    /// How many connections wait for something.
    #[cfg(test)]
    pub(super) fn waits(&self) -> usize {
        self.waits.len()
    }

    /// How many timers are kept, stale ones included.
    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        let key = size_of::<(u64, u32)>() + 1;
        let record = size_of::<Mark>() + key;
        let used = self.marks.len() * record
            + self.waits.len() * size_of::<Wait>()
            + self.timers.used_bytes();
        let held = self.marks.capacity() * size_of::<Mark>()
            + self.by_key.capacity() * key
            + self.waits.capacity() * size_of::<Wait>()
            + self.timers.held_bytes();
        ledger.marks += self.marks.len() as u64;
        ledger.mark_bytes += used as u64;
        ledger.spare_bytes += held.saturating_sub(used) as u64;
    }

    /// The record of a connection, made if there is none.
    fn wait(&mut self, conn: u32, wait: &mut WaitId) -> WaitId {
        if !wait.is_some() {
            *wait = WaitId(self.waits.insert(Wait {
                conn,
                ready_head: NONE,
                ready_tail: NONE,
                resting_head: NONE,
                owed: 0,
                since_ms: 0,
            }) as u32);
        }
        *wait
    }
}

fn key(conn: u32, topic: TopicId) -> u64 {
    u64::from(conn) << 32 | u64::from(topic.0)
}
