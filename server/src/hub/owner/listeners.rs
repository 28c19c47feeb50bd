//! Who listens: the shards that joined a topic, and those with filters that cover it.

use std::sync::Arc;

use super::{FULL, Owner, Topic};
use crate::hub::coverage::COMPARED_A_LETTER;
use crate::hub::filters::FilterId;
use crate::hub::mail::{Delivery, Outgoing, ShardId, TopicRef};
use crate::hub::trie::Trie;

impl Topic {
    /// Tells a shard of the topic, unless it has it.
    pub(super) fn tell_born(&mut self, to: ShardId, out: &mut Outgoing) {
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
    pub(super) fn join(
        &mut self,
        name: Arc<str>,
        from: ShardId,
        listener: TopicRef,
        out: &mut Outgoing,
    ) {
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

    pub(super) fn leave(&mut self, name: &str, from: ShardId) {
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

    /// Forgets that a shard listens to a topic that never said anything. False: it has by now.
    pub(super) fn fade(&mut self, name: &str, from: ShardId) -> bool {
        let index = self.by_name.get(name);
        if index.is_some_and(|&index| self.topics[index].seq > 0) {
            return false;
        }
        self.leave(name, from);
        true
    }

    /// Tells `from` of every topic that `filters` cover, as far as it does not have it, and of those to come.
    pub(super) fn watch(
        &mut self,
        filters: &[(FilterId, Arc<str>)],
        from: ShardId,
        out: &mut Outgoing,
    ) {
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
}
