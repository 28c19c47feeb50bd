//! The owner's side of a topic: its sequence, its last value, what is kept of its past, and which shards listen.
//!
//! An owner is bounded in topics and in bytes of values. What was superseded goes first, the oldest of all topics before
//! newer; last values never go: a publish that would need the room of one is refused.
//!
//! Requests come in here. Values are numbered and kept in `values.rs`; who listens, to topics and to filters, is in
//! `listeners.rs`.

mod listeners;
mod values;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::topic;
use slab::Slab;

use super::Charter;
use super::deflate::Threshold;
use super::history::{Archive, Past, Rules};
use super::keys::Keys;
use super::mail::{Delivery, Outgoing, Reply, Request, ShardId, TopicRef};
use super::update::Update;
use super::watches::Watches;
use crate::ledger::Ledger;

const FULL: (ErrorCode, &str) = (
    ErrorCode::SubscriptionLimit,
    "the server holds no more topics",
);

/// All topics that one shard owns.
#[derive(Debug)]
pub struct Owner {
    shard: ShardId,
    shards: u16,
    epoch: Arc<str>,
    topics_max: usize,
    kept_bytes_max: u64,
    threshold: Threshold,
    /// Most topics of this owner that one filter may cover when it is subscribed to.
    filter_topics_max: u32,
    rules: Arc<Rules>,
    /// What the last values of all topics are charged.
    last_bytes: u64,
    archive: Archive,
    watches: Watches,
    topics: Slab<Topic>,
    by_name: HashMap<Arc<str>, usize>,
    keys: Keys,
    /// Updates numbered since the start.
    published: u64,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    /// Its number on the whole server; another topic's only after this one is forgotten without ever having had a value.
    alias: u32,
    seq: u64,
    last: Option<Arc<Update>>,
    /// Each shard once, and what it calls the topic; `None` = it has it by a filter, and is written to by name.
    listeners: Vec<(ShardId, Option<TopicRef>)>,
    /// What is kept behind `last`; `None` where the rules keep nothing.
    past: Option<Box<Past>>,
}

const _: () = assert!(size_of::<Topic>() <= 72);
const _: () = assert!(size_of::<(ShardId, Option<TopicRef>)>() <= 12);

impl Owner {
    /// An owner without topics.
    #[must_use]
    pub fn new(shard: ShardId, charter: &Charter) -> Owner {
        Owner {
            shard,
            shards: charter.shards,
            epoch: charter.epoch.clone(),
            topics_max: charter.topics_per_owner_max as usize,
            kept_bytes_max: charter.kept_bytes_per_owner_max,
            threshold: charter.threshold,
            rules: charter.history.clone(),
            last_bytes: 0,
            archive: Archive::default(),
            watches: Watches::default(),
            // Names are spread evenly, but not exactly.
            filter_topics_max: (charter.filter_topics_max.div_ceil(charter.shards.into()))
                .saturating_mul(2)
                .saturating_add(32),
            topics: Slab::new(),
            by_name: HashMap::new(),
            keys: Keys::new(charter.keys),
            published: 0,
        }
    }

    /// How many topics it keeps.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many updates it has numbered since the start.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// How many updates it keeps behind last values.
    #[must_use]
    pub fn history_count(&self) -> usize {
        self.archive.len()
    }

    /// What it keeps, last values and history, as [`Update::charged_bytes`] counts.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.last_bytes + self.archive.bytes()
    }

    /// How many listening sides its topics have, on all shards.
    #[must_use]
    pub fn listener_count(&self) -> usize {
        let listeners = self.topics.iter().map(|(_, topic)| topic.listeners.len());
        listeners.sum()
    }

    /// How many different filters it has been told of.
    #[must_use]
    pub fn filter_count(&self) -> usize {
        self.watches.len()
    }

    /// The epoch of its topics.
    #[must_use]
    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        for (_, topic) in &self.topics {
            let listeners = topic.listeners.capacity() * size_of::<(ShardId, Option<TopicRef>)>();
            let past = topic.past.as_ref().map_or(0, |_| size_of::<Past>());
            let entry =
                size_of::<Topic>() + past + size_of::<(Arc<str>, usize)>() + topic.name.len();
            ledger.topic_bytes += (entry + listeners) as u64;
            ledger.history_bytes += topic.last.as_ref().map_or(0, |update| update.held_bytes());
        }
        let (values, records) = self.archive.held_bytes();
        ledger.history_bytes += values;
        ledger.topic_bytes += records + self.keys.held_bytes() + self.watches.held_bytes();
    }

    /// Carries out one request; answers and updates are written to `out`.
    pub fn on_request(&mut self, request: Request, wall_us: i64, out: &mut Outgoing) {
        match request {
            Request::Join {
                topic,
                from,
                listener,
            } => self.join(topic, from, listener, out),
            Request::Leave { topic, from } => self.leave(&topic, from),
            Request::Fade {
                topic,
                from,
                listener,
            } => {
                if self.fade(&topic, from) {
                    out.deliver(from, Delivery::Faded { listener });
                }
            }
            Request::Watch { filters, from } => self.watch(&filters, from, out),
            Request::Unwatch { filters, from } => {
                for name in filters.iter() {
                    self.watches.remove(name, from);
                }
            }
            Request::Publish {
                topic,
                payload,
                key,
                reply,
            } => {
                let outcome = self.publish(topic, payload, key, wall_us, out);
                match reply {
                    Reply::Always(ticket) => {
                        out.deliver(ticket.shard, Delivery::Answer { ticket, outcome });
                    }
                    Reply::Failure(ticket) if outcome.is_err() => {
                        out.deliver(ticket.shard, Delivery::Failed { ticket });
                    }
                    Reply::Failure(_) | Reply::None => {}
                }
            }
            Request::Recover {
                topic,
                since,
                most,
                answer: ticket,
            } => {
                let missed = self.missed(&topic, since, most, wall_us);
                out.weigh(missed.as_ref().map_or(0, Vec::len));
                out.deliver(ticket.shard, Delivery::Recovered { ticket, missed });
            }
            Request::History {
                topic,
                since,
                most,
                answer: ticket,
            } => {
                let page = Box::new(self.page(&topic, since, most, wall_us));
                out.weigh(page.updates.len());
                out.deliver(ticket.shard, Delivery::History { ticket, page });
            }
            // The engine answers them before they come here.
            Request::Census { .. } | Request::Topics { .. } => {}
            Request::Check { topic, answer } => {
                let seq = self
                    .by_name
                    .get(&*topic)
                    .map_or(0, |&index| self.topics[index].seq);
                out.deliver(
                    answer.shard,
                    Delivery::Answer {
                        ticket: answer,
                        outcome: Ok(seq),
                    },
                );
            }
        }
    }

    /// The topics with a value that `filter` covers, and where they stand. Walks all topics.
    #[must_use]
    pub fn covered_by(&self, filter: &str) -> Vec<(Arc<str>, u64)> {
        let spoken = self.topics.iter().filter(|(_, topic)| topic.seq > 0);
        spoken
            .filter(|(_, topic)| topic::covers(filter, &topic.name))
            .map(|(_, topic)| (topic.name.clone(), topic.seq))
            .collect()
    }

    fn find_or_make(&mut self, name: Arc<str>) -> Option<usize> {
        if let Some(&index) = self.by_name.get(&*name) {
            return Some(index);
        }
        if self.topics.len() >= self.topics_max {
            return None;
        }
        // Interleaved with those of other owners, and never 0.
        let number = (self.topics.vacant_key() as u64 + 1) * u64::from(self.shards);
        let alias = u32::try_from(number + u64::from(self.shard.0)).ok()?;
        let topic = Topic {
            name: name.clone(),
            alias,
            seq: 0,
            last: None,
            listeners: Vec::new(),
            past: Past::new(self.rules.limits(&name)),
        };
        let index = self.topics.insert(topic);
        self.by_name.insert(name, index);
        Some(index)
    }
}
