//! What owners keep of the past, behind each topic's last value: so much of each topic as its rule says, and so much of all
//! topics together as there is room for.
//!
//! [`Rules`] say how much, by pattern. The [`Archive`] of an owner holds the superseded updates of all its topics in
//! two orders: each topic's own, which recovery walks, and the order in which they were superseded, in which they go when
//! room is needed. Nothing in here looks at a clock: ages are measured against the time that is passed in.

use std::sync::Arc;

use fanfare_wire::topic;
use slab::Slab;

use super::update::Update;

const NONE: u32 = u32::MAX;

/// How much of a topic's past is kept behind its last value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most updates; 0 = the last value alone.
    pub count: u32,
    /// Most bytes, counted as [`Update::charged_bytes`]; `None` = no limit of its own.
    pub bytes: Option<u64>,
    /// Greatest age, milliseconds; `None` = any.
    pub age_ms: Option<u32>,
}

/// The limits of all topics that a pattern covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A topic or a filter.
    pub topics: Box<str>,
    /// What holds for them.
    pub limits: Limits,
}

/// How much of which topic is kept. The first rule that covers a topic holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// In the order in which they are asked.
    pub rules: Vec<Rule>,
    /// What holds for all other topics.
    pub otherwise: Limits,
}

impl Rules {
    /// What holds for the topic `name`.
    #[must_use]
    pub fn limits(&self, name: &str) -> Limits {
        let rule = self
            .rules
            .iter()
            .find(|rule| topic::covers(&rule.topics, name));
        rule.map_or(self.otherwise, |rule| rule.limits)
    }
}

/// Neighbours in one of the two orders.
#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    newer: u32,
}

#[derive(Debug)]
struct Entry {
    update: Arc<Update>,
    /// The owner's number of its topic.
    topic: u32,
    /// Among the updates of its topic.
    own: Link,
    /// Among all.
    all: Link,
}

/// The past of one topic: its limits, and its part of the archive.
#[derive(Debug)]
pub struct Past {
    limits: Limits,
    oldest: u32,
    newest: u32,
    count: u32,
    bytes: u64,
}

impl Past {
    /// No past yet. `None`: the rules keep none.
    #[must_use]
    pub fn new(limits: Limits) -> Option<Box<Past>> {
        (limits.count > 0).then(|| {
            Box::new(Past {
                limits,
                oldest: NONE,
                newest: NONE,
                count: 0,
                bytes: 0,
            })
        })
    }

    /// How many updates are kept.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The superseded updates of all topics of one owner.
#[derive(Debug)]
pub struct Archive {
    entries: Slab<Entry>,
    oldest: u32,
    newest: u32,
    bytes: u64,
}

impl Default for Archive {
    fn default() -> Self {
        Archive {
            entries: Slab::new(),
            oldest: NONE,
            newest: NONE,
            bytes: 0,
        }
    }
}

impl Archive {
    /// How many updates are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What all of them hold, as [`Update::charged_bytes`] counts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What they hold by now, in all forms that were encoded, and what the archive's records take.
    #[must_use]
    pub fn held_bytes(&self) -> (u64, u64) {
        let updates = self.entries.iter().map(|(_, entry)| &entry.update);
        let values = updates.map(|update| update.held_bytes()).sum();
        let records = (self.entries.capacity() * size_of::<Entry>()) as u64;
        (values, records)
    }

    /// Takes in the update of `topic` that was superseded just now, and lets go of what its limits no longer cover.
    pub fn keep(&mut self, past: &mut Past, topic: u32, update: Arc<Update>, wall_us: i64) {
        let charge = update.charged_bytes();
        let own = Link {
            older: past.newest,
            newer: NONE,
        };
        let all = Link {
            older: self.newest,
            newer: NONE,
        };
        let at = self.entries.insert(Entry {
            update,
            topic,
            own,
            all,
        }) as u32;
        match self.entries.get_mut(past.newest as usize) {
            Some(before) => before.own.newer = at,
            None => past.oldest = at,
        }
        match self.entries.get_mut(self.newest as usize) {
            Some(before) => before.all.newer = at,
            None => self.oldest = at,
        }
        (past.newest, self.newest) = (at, at);
        past.count += 1;
        past.bytes += charge;
        self.bytes += charge;
        self.trim(past, wall_us);
    }

    /// Lets go of what the topic's limits no longer cover.
    pub fn trim(&mut self, past: &mut Past, wall_us: i64) {
        let Limits {
            count,
            bytes,
            age_ms,
        } = past.limits;
        let earliest_us = age_ms.map_or(i64::MIN, |age_ms| wall_us - i64::from(age_ms) * 1000);
        while let Some(oldest) = self.entries.get(past.oldest as usize) {
            let fits = past.count <= count
                && bytes.is_none_or(|bytes| past.bytes <= bytes)
                && oldest.update.ts_us >= earliest_us;
            if fits {
                return;
            }
            self.forget_oldest(past);
        }
    }

    /// The topic whose oldest update goes first when room is needed.
    #[must_use]
    pub fn oldest_topic(&self) -> Option<u32> {
        self.entries
            .get(self.oldest as usize)
            .map(|entry| entry.topic)
    }

    /// Lets go of the oldest update of one topic.
    pub fn forget_oldest(&mut self, past: &mut Past) {
        let Some(entry) = self.entries.try_remove(past.oldest as usize) else {
            return;
        };
        let charge = entry.update.charged_bytes();
        past.count -= 1;
        past.bytes -= charge;
        self.bytes -= charge;
        past.oldest = entry.own.newer;
        match self.entries.get_mut(entry.own.newer as usize) {
            Some(next) => next.own.older = NONE,
            None => past.newest = NONE,
        }
        match self.entries.get_mut(entry.all.older as usize) {
            Some(before) => before.all.newer = entry.all.newer,
            None => self.oldest = entry.all.newer,
        }
        match self.entries.get_mut(entry.all.newer as usize) {
            Some(next) => next.all.older = entry.all.older,
            None => self.newest = entry.all.older,
        }
    }

    /// The newest of one topic, the newest first.
    pub fn newest_first(&self, past: &Past) -> impl Iterator<Item = &Arc<Update>> {
        let entry = |at: u32| self.entries.get(at as usize);
        std::iter::successors(entry(past.newest), move |newer| entry(newer.own.older))
            .map(|entry| &entry.update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::update::{Form, Payload};

    fn update(seq: u64, ts_us: i64, bytes: usize) -> Arc<Update> {
        let payload = Payload::new(Form::Json, "1".repeat(bytes).as_bytes());
        Arc::new(Update::new("t".into(), "e".into(), 1, seq, ts_us, payload))
    }

    fn seqs(archive: &Archive, past: &Past) -> Vec<u64> {
        let mut seqs: Vec<u64> = archive.newest_first(past).map(|kept| kept.seq).collect();
        seqs.reverse();
        seqs
    }

    fn past(count: u32, bytes: Option<u64>, age_ms: Option<u32>) -> Box<Past> {
        let limits = Limits {
            count,
            bytes,
            age_ms,
        };
        Past::new(limits).unwrap()
    }

    #[test]
    fn the_first_rule_that_covers_a_topic_holds() {
        let limits = |count| Limits {
            count,
            ..Limits::default()
        };
        let rule = |topics: &str, count| Rule {
            topics: topics.into(),
            limits: limits(count),
        };
        let rules = Rules {
            rules: vec![rule("px.fx.*", 1), rule("px.>", 2), rule("news", 3)],
            otherwise: limits(4),
        };
        for (topic, count) in [("px.fx.eur", 1), ("px.fx", 2), ("news", 3), ("news.uk", 4)] {
            assert_eq!(rules.limits(topic), limits(count), "{topic}");
        }
        assert!(Past::new(limits(0)).is_none());
    }

    #[test]
    fn a_topic_keeps_no_more_than_its_count_bytes_and_age() {
        let mut archive = Archive::default();
        let mut by_count = past(3, None, None);
        for seq in 1..=5 {
            archive.keep(&mut by_count, 0, update(seq, 0, 1), 0);
        }
        assert_eq!(seqs(&archive, &by_count), [3, 4, 5]);

        let each = update(1, 0, 1000).charged_bytes();
        let mut by_bytes = past(100, Some(2 * each + each / 2), None);
        for seq in 1..=5 {
            archive.keep(&mut by_bytes, 1, update(seq, 0, 1000), 0);
        }
        assert_eq!(seqs(&archive, &by_bytes), [4, 5]);

        let mut by_age = past(100, None, Some(10));
        for seq in 1..=5 {
            let now_us = seq as i64 * 4_000;
            archive.keep(&mut by_age, 2, update(seq, now_us, 1), now_us);
        }
        assert_eq!(seqs(&archive, &by_age), [3, 4, 5]);
        archive.trim(&mut by_age, 26_000);
        assert_eq!(seqs(&archive, &by_age), [4, 5]);
        archive.trim(&mut by_age, 31_000);
        assert!(by_age.is_empty());
        assert_eq!(archive.bytes(), by_count.bytes + by_bytes.bytes);
    }

    #[test]
    fn room_is_made_in_the_order_of_age_whatever_the_topic() {
        let mut archive = Archive::default();
        let mut topics = [past(9, None, None), past(9, None, None)];
        for (seq, topic) in [(1, 0), (2, 1), (3, 1), (4, 0), (5, 1)] {
            archive.keep(&mut topics[topic], topic as u32, update(seq, 0, 1), 0);
        }
        // One from the middle, as limits of its topic would take it.
        archive.forget_oldest(&mut topics[1]);
        let mut order = Vec::new();
        while let Some(topic) = archive.oldest_topic() {
            let past = &mut topics[topic as usize];
            order.push(seqs(&archive, past)[0]);
            archive.forget_oldest(past);
        }
        assert_eq!(order, [1, 3, 4, 5]);
        assert_eq!((archive.bytes(), archive.entries.len()), (0, 0));
    }
}
