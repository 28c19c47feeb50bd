//! Who has got which update. Updates are numbered through the run, and go round the topics: number
//! `n` is the `n / topics`-th of topic `n % topics`. So each subscription expects one number after
//! the other, whatever the server is, and an update is under way until its last subscriber has it.

use super::plan::Plan;
use crate::latency::Latency;
use crate::payload;
use crate::verify::Examples;
use serde::Serialize;
use std::collections::VecDeque;

/// A subscription that nobody has acknowledged: what it begins with is what comes first.
const NOT_BEGUN: u32 = u32::MAX;

/// The books of a run.
#[derive(Debug)]
pub(super) struct Account {
    topics: u64,
    subscriptions: u64,
    /// By connection and place among its topics: which round of the topic comes next.
    next: Vec<u32>,
    /// By topic.
    subscribers: Vec<u32>,
    /// Subscriptions that have not begun.
    not_begun: u64,
    /// Updates that not everybody has: when each was due, and how many subscribers lack it.
    under_way: VecDeque<(u64, u32)>,
    /// Number of the first of them.
    oldest: u64,
    /// Sums.
    pub(super) sums: Sums,
    /// From the intended time to each arrival.
    pub(super) delivery: Latency,
    /// From the intended time to the arrival at the last subscriber.
    pub(super) time_to_last: Latency,
    /// The first faults in words.
    pub(super) examples: Examples,
}

/// What a payload of ours says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Update {
    /// Its number in the run.
    pub(super) number: u64,
    /// When it was to be published.
    pub(super) intended_ns: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Updates published.
    pub published: u64,
    /// Deliveries in their turn, or after a hole.
    pub delivered: u64,
    /// Numbers passed over where the protocol permits it.
    pub skipped: u64,
    /// Numbers left out.
    pub lost: u64,
    /// Numbers that came again, or late.
    pub behind: u64,
    /// Updates of topics that the connection has not subscribed to.
    pub strays: u64,
    /// Messages that are none of ours.
    pub not_ours: u64,
}

impl Account {
    /// Nothing published yet.
    pub(super) fn new(plan: &Plan) -> Account {
        let topics = plan.topics.len() as u64;
        let subscriptions = u64::from(plan.subscriptions);
        let all = u64::from(plan.connections) * subscriptions;
        let has_acks = plan.protocol.acks(1) > 0;
        let first = if has_acks { 0 } else { NOT_BEGUN };
        // Connections take the topics in turn, so they are spread evenly, the first ones get one
        // more.
        let share = |topic: u64| (all / topics + u64::from(topic < all % topics)) as u32;
        Account {
            topics,
            subscriptions,
            next: vec![first; all as usize],
            subscribers: (0..topics).map(share).collect(),
            not_begun: if has_acks { 0 } else { all },
            under_way: VecDeque::new(),
            oldest: 0,
            sums: Sums::default(),
            delivery: Latency::default(),
            time_to_last: Latency::default(),
            examples: Examples::default(),
        }
    }

    /// The next update is published; returns its number and its topic's.
    pub(super) fn publish(&mut self, intended_ns: u64) -> (u64, usize) {
        let number = self.sums.published;
        let topic = (number % self.topics) as usize;
        self.under_way
            .push_back((intended_ns, self.subscribers[topic]));
        self.sums.published += 1;
        (number, topic)
    }

    /// A connection has got a payload at `at_ns`. Returns the update that it carries, if it is one of
    /// ours.
    pub(super) fn on_delivery(&mut self, slot: u32, payload: &[u8], at_ns: u64) -> Option<Update> {
        let Some((intended_ns, number)) = payload::numbered(payload) else {
            self.sums.not_ours += 1;
            self.examples.add("not ours", || {
                let start = &payload[..payload.len().min(200)];
                format!("connection {slot}: {:?}", String::from_utf8_lossy(start))
            });
            return None;
        };
        let update = Update {
            number,
            intended_ns,
        };
        self.on_update(slot, update, at_ns);
        Some(update)
    }

    /// A connection has got an update at `at_ns`.
    pub(super) fn on_update(&mut self, slot: u32, update: Update, at_ns: u64) {
        let Update {
            number,
            intended_ns,
        } = update;
        let Some(index) = self.find(slot, number % self.topics) else {
            self.sums.strays += 1;
            self.examples.add("stray", || {
                format!(
                    "connection {slot}: update {number} of a topic that it has not subscribed to"
                )
            });
            return;
        };
        let round = (number / self.topics) as u32;
        let next = &mut self.next[index];
        if *next == NOT_BEGUN {
            *next = round;
            self.not_begun -= 1;
        }
        let expected = *next;
        if round < expected {
            self.sums.behind += 1;
            self.tell("behind", slot, number, expected);
            return;
        }
        *next = round + 1;
        if round > expected {
            self.sums.lost += u64::from(round - expected);
            self.tell("lost", slot, number, expected);
        }
        self.sums.delivered += 1;
        self.delivery.record_between(intended_ns, at_ns);
        self.land(number, at_ns);
    }

    /// A connection with a single topic is not to get its next `count` updates. Returns whether so many
    /// have been published.
    pub(super) fn on_skipped(&mut self, slot: u32, count: u64, at_ns: u64) -> bool {
        let topic = u64::from(slot) % self.topics;
        let Some(index) = self.find(slot, topic) else {
            return false;
        };
        let first = u64::from(self.next[index]);
        let rounds = (self.sums.published + self.topics - 1 - topic) / self.topics;
        if self.next[index] == NOT_BEGUN || count > rounds.saturating_sub(first) {
            return false;
        }
        for round in first..first + count {
            self.land(round * self.topics + topic, at_ns);
        }
        self.next[index] += count as u32;
        self.sums.skipped += count;
        true
    }

    /// Updates that not everybody has.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Deliveries that are still to come.
    pub(super) fn missing(&self) -> u64 {
        self.under_way
            .iter()
            .map(|(_, left)| u64::from(*left))
            .sum()
    }

    /// Whether every subscription has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.not_begun == 0
    }

    /// What was published before everybody had begun is nobody's debt.
    pub(super) fn forgive(&mut self) {
        self.oldest = self.sums.published;
        self.under_way.clear();
    }

    /// Begins to measure: latencies so far are forgotten.
    pub(super) fn begin_window(&mut self) {
        self.delivery = Latency::default();
        self.time_to_last = Latency::default();
    }

    fn find(&self, slot: u32, topic: u64) -> Option<usize> {
        let slot = u64::from(slot);
        let first = slot * self.subscriptions % self.topics;
        let place = (topic + self.topics - first) % self.topics;
        (place < self.subscriptions).then_some((slot * self.subscriptions + place) as usize)
    }

    fn land(&mut self, number: u64, at_ns: u64) {
        let Some(place) = number.checked_sub(self.oldest) else {
            return;
        };
        let Some((_, left)) = self.under_way.get_mut(place as usize) else {
            return;
        };
        *left = left.saturating_sub(1);
        while let Some((intended_ns, _)) = self.under_way.pop_front_if(|(_, left)| *left == 0) {
            self.time_to_last.record_between(intended_ns, at_ns);
            self.oldest += 1;
        }
    }

    fn tell(&mut self, kind: &'static str, slot: u32, number: u64, expected: u32) {
        let topics = self.topics;
        self.examples.add(kind, || {
            let expected = u64::from(expected) * topics + number % topics;
            format!("connection {slot}: expected update {expected}, got {number}")
        });
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
