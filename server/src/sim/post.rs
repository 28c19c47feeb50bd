//! Mail between shards, as the mesh carries it: two lanes an addressee, bounded, in order from each writer, and delayed as
//! long as shards may be late. A full lane gives the batch back.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;

use crate::hub::mail::{Delivery, Mail, Request, ShardId};

/// A batch and when it may be taken, microseconds.
type Batch<T> = (u64, Vec<T>);

/// One lane: what each writer has put in, by its number.
struct Lane<T> {
    writers: BTreeMap<u16, VecDeque<Batch<T>>>,
    letters: usize,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Lane {
            writers: BTreeMap::new(),
            letters: 0,
        }
    }
}

impl<T> Lane<T> {
    /// Takes a batch in, or gives it back.
    fn put(&mut self, from: u16, batch: Vec<T>, at_us: u64, letters_max: usize) -> Vec<T> {
        if batch.is_empty() || self.letters >= letters_max {
            return batch;
        }
        self.letters += batch.len();
        let writer = self.writers.entry(from).or_default();
        let after_us = writer.back().map_or(0, |(before_us, _)| *before_us);
        writer.push_back((at_us.max(after_us), batch));
        Vec::new()
    }

    fn is_due(&self, now_us: u64) -> bool {
        let mut batches = self.writers.values().filter_map(VecDeque::front);
        batches.any(|(at_us, _)| *at_us <= now_us)
    }

    /// Takes what has arrived, writers in any order.
    fn take(&mut self, now_us: u64, rng: &mut Rng) -> Vec<Vec<T>> {
        let mut taken = Vec::new();
        loop {
            let ready: Vec<u16> = (self.writers.iter())
                .filter(|(_, batches)| batches.front().is_some_and(|(at_us, _)| *at_us <= now_us))
                .map(|(from, _)| *from)
                .collect();
            if ready.is_empty() {
                return taken;
            }
            let from = ready[rng.usize(..ready.len())];
            if let Some((_, batch)) = self.writers.get_mut(&from).and_then(VecDeque::pop_front) {
                self.letters -= batch.len();
                taken.push(batch);
            }
        }
    }
}

/// All mailboxes.
pub(super) struct Post {
    boxes: Vec<(Lane<Request>, Lane<Delivery>)>,
    /// What one shard writes to another arrives no earlier, microseconds.
    held: BTreeMap<(usize, usize), u64>,
    pub(super) letters_max: usize,
    pub(super) delay_us: u64,
}

impl Post {
    pub(super) fn new(shards: u16, letters_max: usize, delay_us: u64) -> Post {
        Post {
            boxes: (0..shards).map(|_| Default::default()).collect(),
            held: BTreeMap::new(),
            letters_max,
            delay_us,
        }
    }

    /// Hands mail over; returns what did not fit.
    pub(super) fn put(
        &mut self,
        (from, to): (usize, ShardId),
        mail: Mail,
        now_us: u64,
        rng: &mut Rng,
    ) -> Mail {
        let (requests, deliveries) = &mut self.boxes[usize::from(to.0)];
        let held_us = self.held.get(&(from, to.0.into())).copied().unwrap_or(0);
        let mut at_us = || held_us.max(now_us + rng.u64(..=self.delay_us));
        let (from, most) = (from as u16, self.letters_max);
        Mail {
            requests: requests.put(from, mail.requests, at_us(), most),
            deliveries: deliveries.put(from, mail.deliveries, at_us(), most),
        }
    }

    /// Holds back what the first writes to the second from now on.
    pub(super) fn hold(&mut self, lane: (usize, usize), until_us: u64) {
        self.held.insert(lane, until_us);
    }

    /// Holds nothing back any more, but for what was handed over.
    pub(super) fn release(&mut self) {
        self.held.clear();
    }

    /// Takes what has come for one shard, batch by batch; requests stay unless asked for.
    pub(super) fn take(
        &mut self,
        me: usize,
        with_requests: bool,
        now_us: u64,
        rng: &mut Rng,
    ) -> Vec<Mail> {
        let (requests, deliveries) = &mut self.boxes[me];
        let mut mail: Vec<Mail> = Vec::new();
        for deliveries in deliveries.take(now_us, rng) {
            mail.push(Mail {
                requests: Vec::new(),
                deliveries,
            });
        }
        if with_requests {
            for requests in requests.take(now_us, rng) {
                mail.push(Mail {
                    requests,
                    deliveries: Vec::new(),
                });
            }
        }
        mail
    }

    /// Whether some could be taken by now.
    pub(super) fn is_due(&self, now_us: u64) -> bool {
        (self.boxes.iter())
            .any(|(requests, deliveries)| requests.is_due(now_us) || deliveries.is_due(now_us))
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        let is_empty = |(requests, deliveries): &(Lane<_>, Lane<_>)| {
            requests.letters + deliveries.letters == 0
        };
        self.boxes.iter().all(is_empty)
    }
}
