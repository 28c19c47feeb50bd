//! The owner's side of a topic: its sequence, its last value, and which shards listen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use slab::Slab;

use super::mail::{Delivery, Outgoing, Request, ShardId, TopicRef};
use super::update::{Payload, Update};
use crate::ledger::Ledger;

const FULL: (ErrorCode, &str) = (
    ErrorCode::SubscriptionLimit,
    "the server holds no more topics",
);

/// All topics that one shard owns.
#[derive(Debug)]
pub struct Owner {
    epoch: Arc<str>,
    topics_max: usize,
    topics: Slab<Topic>,
    by_name: HashMap<Arc<str>, usize>,
    keys: Keys,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    seq: u64,
    last: Option<Arc<Update>>,
    listeners: Vec<(ShardId, TopicRef)>,
}

impl Owner {
    /// An owner without topics that keeps at most `topics_max`.
    #[must_use]
    pub fn new(epoch: Arc<str>, topics_max: u32) -> Owner {
        Owner {
            epoch,
            topics_max: topics_max as usize,
            topics: Slab::new(),
            by_name: HashMap::new(),
            keys: Keys::default(),
        }
    }

    /// How many topics it keeps.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The epoch of its topics.
    #[must_use]
    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        for (_, topic) in &self.topics {
            let listeners = topic.listeners.capacity() * size_of::<(ShardId, TopicRef)>();
            let entry = size_of::<Topic>() + size_of::<(Arc<str>, usize)>() + topic.name.len();
            ledger.topic_bytes += (entry + listeners) as u64;
            ledger.history_bytes += topic.last.as_ref().map_or(0, |update| update.held_bytes());
        }
        ledger.topic_bytes += self.keys.held_bytes();
    }

    /// Carries out one request; answers and updates are written to `out`.
    pub fn on_request(&mut self, request: Request, wall_us: i64, out: &mut Outgoing) {
        match request {
            Request::Join {
                topic,
                from,
                listener,
            } => self.join(topic, from, listener, out),
            Request::Leave {
                topic,
                from,
                listener,
            } => self.leave(&topic, from, listener),
            Request::Publish {
                topic,
                payload,
                key,
                answer,
            } => {
                let outcome = self.publish(topic, payload, key, wall_us, out);
                if let Some(ticket) = answer {
                    out.deliver(ticket.shard, Delivery::Answer { ticket, outcome });
                }
            }
            // The engine answers it before it comes here.
            Request::Census { .. } => {}
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

    fn join(&mut self, name: Arc<str>, from: ShardId, listener: TopicRef, out: &mut Outgoing) {
        let Some(topic) = self.find_or_make(name) else {
            let (code, message) = FULL;
            return out.deliver(
                from,
                Delivery::Refused {
                    listener,
                    code,
                    message,
                },
            );
        };
        topic.listeners.push((from, listener));
        out.deliver(
            from,
            Delivery::Joined {
                listener,
                seq: topic.seq,
                last: topic.last.clone(),
            },
        );
    }

    fn leave(&mut self, name: &str, from: ShardId, listener: TopicRef) {
        // A join that was refused is left too; then there is nothing to do.
        let Some(&index) = self.by_name.get(name) else {
            return;
        };
        let topic = &mut self.topics[index];
        topic.listeners.retain(|entry| *entry != (from, listener));
        // A topic that never said anything has no sequence to remember.
        if topic.listeners.is_empty() && topic.seq == 0 {
            let topic = self.topics.remove(index);
            self.by_name.remove(&topic.name);
        }
    }

    fn publish(
        &mut self,
        name: Arc<str>,
        payload: Payload,
        key: Option<Box<str>>,
        wall_us: i64,
        out: &mut Outgoing,
    ) -> Result<u64, (ErrorCode, &'static str)> {
        if let Some(seq) = key.as_deref().and_then(|key| self.keys.find(&name, key)) {
            return Ok(seq);
        }
        let topic = self.find_or_make(name).ok_or(FULL)?;
        topic.seq += 1;
        let seq = topic.seq;
        let update = Arc::new(Update::new(topic.name.clone(), seq, wall_us, payload));
        for &(shard, listener) in &topic.listeners {
            out.deliver(
                shard,
                Delivery::Update {
                    listener,
                    update: update.clone(),
                },
            );
        }
        let name = topic.name.clone();
        topic.last = Some(update);
        if let Some(key) = key {
            self.keys.remember(name, key, seq);
        }
        Ok(seq)
    }

    fn find_or_make(&mut self, name: Arc<str>) -> Option<&mut Topic> {
        if let Some(&index) = self.by_name.get(&*name) {
            return Some(&mut self.topics[index]);
        }
        if self.topics.len() >= self.topics_max {
            return None;
        }
        let topic = Topic {
            name: name.clone(),
            seq: 0,
            last: None,
            listeners: Vec::new(),
        };
        let index = self.topics.insert(topic);
        self.by_name.insert(name, index);
        Some(&mut self.topics[index])
    }
}

/// The idempotency keys of the latest publishes, the oldest forgotten first.
#[derive(Debug, Default)]
struct Keys {
    seqs: HashMap<(Arc<str>, Box<str>), u64>,
    order: VecDeque<(Arc<str>, Box<str>)>,
}

impl Keys {
    /// How many keys an owner remembers.
    const MAX: usize = 4096;

    fn held_bytes(&self) -> u64 {
        let entry = 2 * size_of::<(Arc<str>, Box<str>)>() + size_of::<u64>();
        let text: usize = self.order.iter().map(|(_, key)| 2 * key.len()).sum();
        (self.order.len() * entry + text) as u64
    }

    fn find(&self, topic: &Arc<str>, key: &str) -> Option<u64> {
        self.seqs.get(&(topic.clone(), key.into())).copied()
    }

    fn remember(&mut self, topic: Arc<str>, key: Box<str>, seq: u64) {
        if self.order.len() >= Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seqs.remove(&oldest);
        }
        self.order.push_back((topic.clone(), key.clone()));
        self.seqs.insert((topic, key), seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::update::Form;

    fn publish(
        owner: &mut Owner,
        out: &mut Outgoing,
        topic: &str,
        key: Option<&str>,
    ) -> Result<u64, ErrorCode> {
        let payload = Payload::new(Form::Json, b"1");
        owner
            .publish(topic.into(), payload, key.map(Into::into), 0, out)
            .map_err(|(code, _)| code)
    }

    #[test]
    fn a_key_gets_its_first_answer_again_until_the_window_has_passed() {
        let (mut owner, mut out) = (Owner::new("e".into(), 10), Outgoing::new(1));
        assert_eq!(publish(&mut owner, &mut out, "A", Some("k")), Ok(1));
        assert_eq!(publish(&mut owner, &mut out, "A", Some("k")), Ok(1));
        assert_eq!(publish(&mut owner, &mut out, "B", Some("k")), Ok(1));
        assert_eq!(publish(&mut owner, &mut out, "A", None), Ok(2));
        for n in 0..Keys::MAX {
            publish(&mut owner, &mut out, "A", Some(&n.to_string())).unwrap();
        }
        assert_eq!(
            publish(&mut owner, &mut out, "A", Some("k")),
            Ok(3 + Keys::MAX as u64)
        );
    }

    #[test]
    fn a_full_owner_refuses_new_topics_and_serves_the_old() {
        let (mut owner, mut out) = (Owner::new("e".into(), 1), Outgoing::new(1));
        assert_eq!(publish(&mut owner, &mut out, "A", None), Ok(1));
        assert_eq!(
            publish(&mut owner, &mut out, "B", None),
            Err(ErrorCode::SubscriptionLimit)
        );
        assert_eq!(publish(&mut owner, &mut out, "A", None), Ok(2));
    }
}
