//! The owner's side of a topic: its sequence, its last value, what is kept of its past, and which shards listen.
//!
//! An owner is bounded in topics and in bytes of values. What was superseded goes first, the oldest of all topics before
//! newer; last values never go: a publish that would need the room of one is refused.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event::GapWhy;
use slab::Slab;

use super::Charter;
use super::filters::FilterId;
use super::history::{Archive, Past, Rules};
use super::keys::Keys;
use super::mail::{Delivery, Missed, Most, Outgoing, Reply, Request, ShardId, TopicRef};
use super::trie::Trie;
use super::update::{Payload, Update};
use super::watches::Watches;
use crate::ledger::Ledger;

const FULL: (ErrorCode, &str) = (
    ErrorCode::SubscriptionLimit,
    "the server holds no more topics",
);

const CROWDED: (ErrorCode, &str) = (
    ErrorCode::PayloadLimit,
    "the server has no room for more values (--max-kept-bytes)",
);

/// All topics that one shard owns.
#[derive(Debug)]
pub struct Owner {
    shard: ShardId,
    shards: u16,
    epoch: Arc<str>,
    topics_max: usize,
    kept_bytes_max: u64,
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

/// So many topics are compared with filters in the time that one letter takes.
const COMPARED_A_LETTER: usize = 8;

impl Topic {
    /// Tells a shard of the topic, unless it has it.
    fn tell_born(&mut self, to: ShardId, out: &mut Outgoing) {
        if self.listeners.iter().any(|(shard, _)| *shard == to) {
            return;
        }
        self.listeners.push((to, None));
        let born = Delivery::Born {
            topic: self.name.clone(),
            alias: self.alias,
            seq: self.seq,
            last: self.last.clone(),
        };
        out.deliver(to, born);
    }
}

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
            keys: Keys::default(),
        }
    }

    /// How many topics it keeps.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
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
        let Some(index) = self.find_or_make(name) else {
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
        let topic = &mut self.topics[index];
        // It may have the topic by a filter already; then it will know that it does.
        match topic.listeners.iter_mut().find(|(shard, _)| *shard == from) {
            Some((_, by_name)) => *by_name = Some(listener),
            None => topic.listeners.push((from, Some(listener))),
        }
        out.deliver(
            from,
            Delivery::Joined {
                listener,
                alias: topic.alias,
                seq: topic.seq,
                last: topic.last.clone(),
            },
        );
    }

    fn leave(&mut self, name: &str, from: ShardId) {
        // A join that was refused is left too; then there is nothing to do.
        let Some(&index) = self.by_name.get(name) else {
            return;
        };
        let topic = &mut self.topics[index];
        topic.listeners.retain(|(shard, _)| *shard != from);
        if topic.listeners.is_empty() {
            topic.listeners = Vec::new();
        }
        // A topic that never said anything has no sequence to remember.
        if topic.listeners.is_empty() && topic.seq == 0 {
            let topic = self.topics.remove(index);
            self.by_name.remove(&topic.name);
        }
    }

    /// Tells `from` of every topic that `filters` cover, as far as it does not have it, and of those to come.
    fn watch(&mut self, filters: &[(FilterId, Arc<str>)], from: ShardId, out: &mut Outgoing) {
        let trie_of = |is_in: &dyn Fn(usize) -> bool| {
            let mut trie = Trie::default();
            for (place, (_, name)) in filters
                .iter()
                .enumerate()
                .filter(|(place, _)| is_in(*place))
            {
                trie.insert(name, FilterId(place as u32));
            }
            trie
        };
        let (trie, mut covering) = (trie_of(&|_| true), Vec::new());
        let mut counts = vec![0; filters.len()];
        // Each topic once, however many of the filters cover it.
        let mut covered = Vec::new();
        let mut compared = self.topics.len();
        for (index, topic) in self.topics.iter().filter(|(_, topic)| topic.seq > 0) {
            covering.clear();
            trie.covering(&topic.name, &mut covering);
            for FilterId(place) in &covering {
                counts[*place as usize] += 1;
            }
            compared += covering.len();
            if !covering.is_empty() {
                covered.push(index);
            }
        }
        out.weigh(compared / COMPARED_A_LETTER);
        let is_accepted = |place: usize| counts[place] <= self.filter_topics_max;
        let accepted = trie_of(&is_accepted);
        for (place, (_, name)) in filters.iter().enumerate() {
            if is_accepted(place) {
                self.watches.add(name, from);
            }
        }
        let are_all_accepted = (0..filters.len()).all(is_accepted);
        for index in covered {
            let topic = &mut self.topics[index];
            covering.clear();
            if !are_all_accepted {
                accepted.covering(&topic.name, &mut covering);
            }
            if are_all_accepted || !covering.is_empty() {
                topic.tell_born(from, out);
            }
        }
        let answers = filters.iter().zip(&counts);
        let answer = |((id, _), count): (&(FilterId, _), &u32)| {
            (*id, (*count <= self.filter_topics_max).then_some(*count))
        };
        let filters = answers.map(answer).collect();
        out.deliver(from, Delivery::Watched { filters });
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
        self.judge_room(&name, &payload)?;
        let index = self.find_or_make(name).ok_or(FULL)?;
        let topic = &mut self.topics[index];
        if topic.seq == 0 {
            for shard in self.watches.interested(&topic.name) {
                topic.tell_born(shard, out);
            }
        }
        topic.seq += 1;
        let seq = topic.seq;
        let (name, alias) = (topic.name.clone(), topic.alias);
        let update = Arc::new(Update::new(name, alias, seq, wall_us, payload));
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
        self.replace_last(index, update, wall_us);
        if let Some(key) = key {
            self.keys.remember(name, key, seq);
        }
        Ok(seq)
    }

    /// Whether there is room for `payload` as the last value of `name`, once all history is gone.
    fn judge_room(&self, name: &str, payload: &Payload) -> Result<(), (ErrorCode, &'static str)> {
        let topic = self.by_name.get(name).map(|&index| &self.topics[index]);
        let before = topic.and_then(|topic| topic.last.as_ref());
        let freed = before.map_or(0, |last| last.charged_bytes());
        let wanted = self.last_bytes - freed + payload.charged_bytes();
        if wanted > self.kept_bytes_max {
            return Err(CROWDED);
        }
        Ok(())
    }

    /// The topic has a new last value; the one before it becomes history, as far as rules and room allow.
    fn replace_last(&mut self, index: usize, update: Arc<Update>, wall_us: i64) {
        self.last_bytes += update.charged_bytes();
        let topic = &mut self.topics[index];
        if let Some(before) = topic.last.replace(update) {
            self.last_bytes -= before.charged_bytes();
            if let Some(past) = &mut topic.past {
                self.archive.keep(past, index as u32, before, wall_us);
            }
        }
        while self.last_bytes + self.archive.bytes() > self.kept_bytes_max
            && let Some(oldest) = self.archive.oldest_topic()
            && let Some(past) = &mut self.topics[oldest as usize].past
        {
            self.archive.forget_oldest(past);
        }
    }

    /// What was published to `name` after `since`.
    fn missed(&mut self, name: &str, since: u64, most: Most, wall_us: i64) -> Missed {
        let topic = self.by_name.get(name).map(|&index| &mut self.topics[index]);
        let seq = topic.as_ref().map_or(0, |topic| topic.seq);
        // A seq that was never given here is not of this epoch, whatever its name.
        let count = seq.checked_sub(since).ok_or(GapWhy::Epoch)?;
        let Some(topic) = topic.filter(|_| count > 0) else {
            return Ok(Vec::new());
        };
        if let Some(past) = &mut topic.past {
            self.archive.trim(past, wall_us);
        }
        let kept = topic.past.as_ref().map_or(0, |past| past.len());
        if count > u64::from(kept) + 1 {
            return Err(GapWhy::History);
        }
        if count > u64::from(most.count) {
            return Err(GapWhy::Overflow);
        }
        let past = topic.past.iter();
        let newest_first = topic
            .last
            .iter()
            .chain(past.flat_map(|past| self.archive.newest_first(past)));
        let mut bytes = 0;
        let mut missed = Vec::with_capacity(count as usize);
        for update in newest_first.take(count as usize) {
            bytes += update.payload_bytes() as u64;
            if bytes > most.bytes {
                return Err(GapWhy::Overflow);
            }
            missed.push(update.clone());
        }
        missed.reverse();
        Ok(missed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::history::Limits;
    use crate::hub::update::Form;

    fn owner(topics_max: u32, kept_bytes_max: u64, history_count: u32) -> (Owner, Outgoing) {
        let otherwise = Limits {
            count: history_count,
            ..Limits::default()
        };
        let rules = Rules {
            rules: Vec::new(),
            otherwise,
        };
        let charter = Charter {
            shards: 1,
            seed: 1,
            epoch: "e1".into(),
            topics_per_owner_max: topics_max,
            kept_bytes_per_owner_max: kept_bytes_max,
            filter_topics_max: 100,
            history: rules.into(),
        };
        (Owner::new(ShardId(0), &charter), Outgoing::new(1))
    }

    fn publish_bytes(
        (owner, out): &mut (Owner, Outgoing),
        topic: &str,
        bytes: usize,
    ) -> Result<u64, ErrorCode> {
        let payload = Payload::new(Form::Json, "1".repeat(bytes).as_bytes());
        owner
            .publish(topic.into(), payload, None, 0, out)
            .map_err(|(code, _)| code)
    }

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

    /// The seqs that a subscriber who stood at `since` would get.
    fn missed(
        (owner, _): &mut (Owner, Outgoing),
        topic: &str,
        since: u64,
    ) -> Result<Vec<u64>, GapWhy> {
        let most = Most {
            count: 50,
            bytes: 1000,
        };
        let missed = owner.missed(topic, since, most, 0)?;
        Ok(missed.iter().map(|update| update.seq).collect())
    }

    #[test]
    fn a_key_gets_its_first_answer_again_until_the_window_has_passed() {
        let (mut owner, mut out) = owner(10, 1 << 20, 0);
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
        let (mut owner, mut out) = owner(1, 1 << 20, 0);
        assert_eq!(publish(&mut owner, &mut out, "A", None), Ok(1));
        assert_eq!(
            publish(&mut owner, &mut out, "B", None),
            Err(ErrorCode::SubscriptionLimit)
        );
        assert_eq!(publish(&mut owner, &mut out, "A", None), Ok(2));
    }

    #[test]
    fn what_was_missed_is_told_whole_or_not_at_all() {
        let mut owner = owner(10, 1 << 20, 4);
        for _ in 1..=10 {
            publish_bytes(&mut owner, "A", 1).unwrap();
        }
        assert_eq!(missed(&mut owner, "A", 10), Ok(vec![]));
        assert_eq!(missed(&mut owner, "A", 9), Ok(vec![10]));
        assert_eq!(missed(&mut owner, "A", 5), Ok(vec![6, 7, 8, 9, 10]));
        assert_eq!(missed(&mut owner, "A", 4), Err(GapWhy::History));
        assert_eq!(missed(&mut owner, "A", 11), Err(GapWhy::Epoch));
        assert_eq!(missed(&mut owner, "B", 0), Ok(vec![]));
        assert_eq!(missed(&mut owner, "B", 1), Err(GapWhy::Epoch));
    }

    #[test]
    fn more_than_one_outbox_can_take_is_not_sent_at_all() {
        let mut by_bytes = owner(10, 1 << 20, 9);
        for _ in 1..=4 {
            publish_bytes(&mut by_bytes, "A", 400).unwrap();
        }
        assert_eq!(missed(&mut by_bytes, "A", 2), Ok(vec![3, 4]));
        assert_eq!(missed(&mut by_bytes, "A", 1), Err(GapWhy::Overflow));
        let mut by_count = owner(10, 1 << 20, 100);
        for _ in 1..=60 {
            publish_bytes(&mut by_count, "A", 1).unwrap();
        }
        assert_eq!(
            missed(&mut by_count, "A", 10).map(|seqs| seqs.len()),
            Ok(50)
        );
        assert_eq!(missed(&mut by_count, "A", 9), Err(GapWhy::Overflow));
    }

    #[test]
    fn without_room_the_oldest_history_goes_and_last_values_stay() {
        let each = Payload::new(Form::Json, &[b'1'; 100]).charged_bytes();
        let mut owner = owner(10, 6 * each, 100);
        for topic in ["A", "B", "B", "A", "B", "A", "A", "B"] {
            publish_bytes(&mut owner, topic, 100).unwrap();
        }
        // Six are left: A2 A3 A4 and B2 B3 B4.
        assert_eq!(missed(&mut owner, "A", 1), Ok(vec![2, 3, 4]));
        assert_eq!(missed(&mut owner, "A", 0), Err(GapWhy::History));
        assert_eq!(missed(&mut owner, "B", 1), Ok(vec![2, 3, 4]));
        assert_eq!(missed(&mut owner, "B", 0), Err(GapWhy::History));
        // Four more topics leave no room for any history, and a fifth has none for itself.
        for topic in ["C", "D", "E", "F"] {
            publish_bytes(&mut owner, topic, 100).unwrap();
        }
        assert_eq!(missed(&mut owner, "A", 3), Ok(vec![4]));
        assert_eq!(missed(&mut owner, "A", 2), Err(GapWhy::History));
        let refused = Err(ErrorCode::PayloadLimit);
        assert_eq!(publish_bytes(&mut owner, "G", 100), refused);
        assert_eq!(owner.0.topic_count(), 6);
        // A larger value of a topic that is there has none either; one of the same size replaces the last.
        assert_eq!(publish_bytes(&mut owner, "A", 200), refused);
        assert_eq!(publish_bytes(&mut owner, "A", 100), Ok(5));
    }
}
