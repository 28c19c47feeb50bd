//! Marks: updates that wait without their payload.
//!
//! A mark says that one connection has still to hear of one topic, from which seq on. However many updates come, it stays one
//! mark; when it is served, the value is read from the topic, and the seqs before it are named by one skip. So
//! what a stalled reader costs depends on how many topics it listens to, never on how fast they change.
//!
//! A mark is *ready*, in the order in which its connection is to be served, or it *rests*: the subscriber asked for an interval between
//! updates, and the mark remembers when the next may go. The tables are shared by all connections of the shard, and a
//! connection that keeps up has nothing in them. They are bookkeeping alone: the engine's `conflate` decides what is held and
//! `serve` writes it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use fanfare_wire::event::SkipWhy;
use slab::Slab;

use super::timers::{Timer, Timers};
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
    by_key: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
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
        let wait = self.wait(wait);
        self.link_ready(wait, id);
        true
    }

    /// The ready marks of a connection, the next to be served first.
    pub(super) fn ready(&self, wait: WaitId) -> impl Iterator<Item = MarkId> + '_ {
        let mut at = if wait.is_some() {
            self.waits[wait.0 as usize].ready_head
        } else {
            NONE
        };
        std::iter::from_fn(move || {
            let id = (at != NONE).then_some(MarkId(at))?;
            at = self.get(id).next;
            Some(id)
        })
    }

    /// All marks of a connection, ready and resting.
    pub(super) fn of(&self, wait: WaitId) -> impl Iterator<Item = MarkId> + '_ {
        let mut at = if wait.is_some() {
            self.waits[wait.0 as usize].resting_head
        } else {
            NONE
        };
        let resting = std::iter::from_fn(move || {
            let id = (at != NONE).then_some(MarkId(at))?;
            at = self.get(id).next;
            Some(id)
        });
        self.ready(wait).chain(resting)
    }

    /// What a mark holds came by this subscription, as things stand now.
    pub(super) fn set_sub(&mut self, id: MarkId, sub: SubId) {
        self.marks[id.0 as usize].sub = sub;
    }

    /// Everything up to `seq` has been sent or named by a skip; a later value is still to come.
    pub(super) fn shorten(&mut self, id: MarkId, first: u64) {
        self.marks[id.0 as usize].first = first;
    }

    /// The value of a ready mark was sent. With an interval, the next may go when it has passed.
    pub(super) fn served(&mut self, wait: WaitId, id: MarkId, now_us: u64, min_interval_ms: u32) {
        if min_interval_ms == 0 {
            return self.remove(wait, id);
        }
        self.unlink(wait, id);
        // Rounded up: an interval may be a millisecond longer, never shorter.
        let due_ms = now_us.div_ceil(1000) + u64::from(min_interval_ms);
        let mark = &mut self.marks[id.0 as usize];
        (mark.first, mark.at_ms, mark.is_resting) = (0, due_ms, true);
        let (conn, topic) = (mark.conn, mark.topic.0);
        let wait = &mut self.waits[wait.0 as usize];
        let old_head = std::mem::replace(&mut wait.resting_head, id.0);
        self.join(NONE, id.0);
        self.join(id.0, old_head);
        self.resting += 1;
        self.set_timer(Timer {
            due_ms,
            conn,
            topic,
        });
    }

    /// When the next mark has rested long enough, milliseconds on the monotonic clock.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.timers.next_due_ms()
    }

    /// Takes the next mark that has rested long enough; [`Marks::end_rest`] it.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<MarkId> {
        while let Some(timer) = self.timers.pop_due(now_ms) {
            if let Some(id) = self.find(timer.conn, TopicId(timer.topic))
                && is_of(&timer, self.get(id))
            {
                return Some(id);
            }
        }
        None
    }

    /// A mark rests no longer: it becomes ready, or goes if it holds nothing. True: it is ready.
    pub(super) fn end_rest(&mut self, wait: WaitId, id: MarkId, now_ms: u64) -> bool {
        if self.get(id).first == 0 {
            self.remove(wait, id);
            return false;
        }
        self.unlink(wait, id);
        let mark = &mut self.marks[id.0 as usize];
        (mark.is_resting, mark.at_ms) = (false, now_ms);
        self.link_ready(wait, id.0);
        true
    }

    /// The interval of a mark's subscription has changed. True: the mark rests no longer, and is ready.
    pub(super) fn retune(
        &mut self,
        wait: WaitId,
        id: MarkId,
        (old_ms, new_ms): (u32, u32),
        now_ms: u64,
    ) -> bool {
        let mark = &mut self.marks[id.0 as usize];
        if !mark.is_resting {
            return false;
        }
        let due_ms = (mark.at_ms + u64::from(new_ms)).saturating_sub(u64::from(old_ms));
        if new_ms == 0 || due_ms <= now_ms {
            return self.end_rest(wait, id, now_ms);
        }
        mark.at_ms = due_ms;
        let (conn, topic) = (mark.conn, mark.topic.0);
        self.set_timer(Timer {
            due_ms,
            conn,
            topic,
        });
        false
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
    pub(super) fn note_progress(&mut self, wait: &mut WaitId, gone: u32, left: u32, now_ms: u64) {
        let record = self.wait(wait);
        let record = &mut self.waits[record.0 as usize];
        record.owed = record.owed.saturating_sub(gone);
        if record.owed == 0 {
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

    /// How many marks there are.
    #[cfg(test)]
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
    fn wait(&mut self, wait: &mut WaitId) -> WaitId {
        if !wait.is_some() {
            *wait = WaitId(self.waits.insert(Wait {
                ready_head: NONE,
                ready_tail: NONE,
                resting_head: NONE,
                owed: 0,
                since_ms: 0,
            }) as u32);
        }
        *wait
    }

    fn link_ready(&mut self, wait: WaitId, id: u32) {
        let wait = &mut self.waits[wait.0 as usize];
        let old_tail = std::mem::replace(&mut wait.ready_tail, id);
        if old_tail == NONE {
            wait.ready_head = id;
        }
        self.join(old_tail, id);
        self.join(id, NONE);
    }

    /// Takes a mark out of the list it is in.
    fn unlink(&mut self, wait: WaitId, id: MarkId) {
        let Mark {
            prev,
            next,
            is_resting,
            ..
        } = *self.get(id);
        let wait = &mut self.waits[wait.0 as usize];
        let head = if is_resting {
            &mut wait.resting_head
        } else {
            &mut wait.ready_head
        };
        debug_assert!(
            prev != NONE || *head == id.0,
            "a mark without a predecessor is its list's head"
        );
        if *head == id.0 {
            *head = next;
        }
        if !is_resting && wait.ready_tail == id.0 {
            wait.ready_tail = prev;
        }
        self.join(prev, next);
        self.resting -= usize::from(is_resting);
    }

    /// Makes two places neighbours; either may be the end of a list.
    fn join(&mut self, before: u32, after: u32) {
        if let Some(mark) = self.marks.get_mut(before as usize) {
            mark.next = after;
        }
        if let Some(mark) = self.marks.get_mut(after as usize) {
            mark.prev = before;
        }
    }

    fn set_timer(&mut self, timer: Timer) {
        let mut timers = std::mem::take(&mut self.timers);
        timers.set(timer, self.resting, |timer| {
            self.find(timer.conn, TopicId(timer.topic))
                .is_some_and(|id| is_of(timer, self.get(id)))
        });
        self.timers = timers;
    }
}

fn is_of(timer: &Timer, mark: &Mark) -> bool {
    mark.is_resting && mark.at_ms == timer.due_ms
}

fn key(conn: u32, topic: TopicId) -> u64 {
    u64::from(conn) << 32 | u64::from(topic.0)
}

/// A hash of two of the shard's own numbers, which no peer chooses: one multiplication, folded, in place of a keyed hash.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        let wide = u128::from(self.0 ^ key) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const TOPICS: u32 = 7;

    /// One connection's marks as a plain list: topic, first seq, and until when it rests.
    type Naive = Vec<(u32, u64, Option<u64>)>;

    fn held(topic: u32, seq: u64) -> Held {
        Held {
            conn: 3,
            topic: TopicId(topic),
            sub: SubId(0),
            seq,
            why: SkipWhy::Slow,
        }
    }

    fn ready(marks: &Marks, wait: WaitId) -> Vec<(u32, u64)> {
        let mark = |id| (marks.get(id).topic.0, marks.get(id).first);
        marks.ready(wait).map(mark).collect()
    }

    /// The table against a list, through many random steps: the same marks, in the same order, at the same times.
    #[test]
    fn marks_are_those_of_a_plain_list() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut marks, mut wait, mut naive) = (Marks::default(), WaitId::NONE, Naive::new());
        let mut seqs: BTreeMap<u32, u64> = BTreeMap::new();
        for now_ms in 0..20_000_u64 {
            let topic = random.u32(..TOPICS);
            let at = naive.iter().position(|entry| entry.0 == topic);
            match random.u32(..10) {
                0..5 => {
                    let seq = seqs.entry(topic).or_default();
                    *seq += 1;
                    marks.hold(&mut wait, held(topic, *seq), now_ms);
                    match at {
                        None => naive.push((topic, *seq, None)),
                        Some(at) if naive[at].1 == 0 => naive[at].1 = *seq,
                        Some(_) => {}
                    }
                }
                5..8 => {
                    let first = marks.ready(wait).next();
                    if let Some(id) = first {
                        let interval_ms = [0, 20][random.usize(..2)];
                        marks.served(wait, id, now_ms * 1000, interval_ms);
                        let at = naive.iter().position(|entry| entry.2.is_none()).unwrap();
                        let (topic, ..) = naive.remove(at);
                        if interval_ms > 0 {
                            naive.push((topic, 0, Some(now_ms + 20)));
                        }
                    }
                }
                8 => {
                    if let Some(at) = at {
                        let id = marks.find(3, TopicId(topic)).unwrap();
                        marks.remove(wait, id);
                        naive.remove(at);
                    }
                }
                _ => {
                    marks.release(&mut wait);
                    assert_eq!(wait.is_some(), !naive.is_empty());
                }
            }
            while let Some(id) = marks.pop_due(now_ms) {
                let topic = marks.get(id).topic.0;
                let at = naive.iter().position(|entry| entry.0 == topic).unwrap();
                let (_, first, due_ms) = naive.remove(at);
                assert!(due_ms.is_some_and(|due_ms| due_ms <= now_ms));
                assert_eq!(marks.end_rest(wait, id, now_ms), first > 0);
                if first > 0 {
                    naive.push((topic, first, None));
                }
            }
            assert!(
                naive.iter().all(|entry| entry.2 != Some(now_ms)),
                "none is late"
            );
            let expected: Vec<(u32, u64)> = (naive.iter())
                .filter(|entry| entry.2.is_none())
                .map(|entry| (entry.0, entry.1))
                .collect();
            assert_eq!(ready(&marks, wait), expected);
            assert_eq!(marks.len(), naive.len());
        }
        marks.clear(&mut wait);
        assert_eq!((marks.len(), marks.waits(), marks.resting), (0, 0, 0));
        assert!(marks.by_key.is_empty());
    }

    #[test]
    fn the_oldest_that_waits_is_what_the_deadline_looks_at() {
        let (mut marks, mut wait) = (Marks::default(), WaitId::NONE);
        assert_eq!(marks.waited_ms(wait, 5), None);
        marks.note_progress(&mut wait, 0, 300, 100);
        assert_eq!(marks.waited_ms(wait, 150), Some(50));
        // Another 300 were queued and 299 are out: the last of the first 300 still waits.
        marks.note_progress(&mut wait, 299, 301, 200);
        assert_eq!(marks.waited_ms(wait, 250), Some(150));
        marks.note_progress(&mut wait, 1, 300, 300);
        assert_eq!(marks.waited_ms(wait, 350), Some(50));
        marks.hold(&mut wait, held(1, 1), 310);
        marks.note_progress(&mut wait, 300, 0, 320);
        assert_eq!(marks.waited_ms(wait, 350), Some(40));
        let id = marks.find(3, TopicId(1)).unwrap();
        marks.served(wait, id, 360_000, 10);
        assert_eq!(marks.waited_ms(wait, 400), None, "to rest is not to wait");
    }
}
