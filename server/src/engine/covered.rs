//! What a subscriber gets when it subscribes to filters: how many topics each covers, and the last value of every topic that
//! it did not have before.
//!
//! By then all owners have told of the topics that the filters cover, so both are found on this shard, in one walk over its topics for
//! all filters of a command. A last value that has no room in the outbox waits as a mark, like an update for a slow reader.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use fanfare_wire::command::OnSlow;
use fanfare_wire::event::DataKind;

use super::Engine;
use super::outbox::FRAME_CHARGE_BYTES;
use crate::hub::filters::FilterId;
use crate::hub::policy::SubOptions;
use crate::hub::sets::SetId;
use crate::hub::subs::{MemberId, Source, SubId};
use crate::hub::topics::{Topic, TopicId};
use crate::hub::update::{self, Variant};

/// How many topics with a value a filter covers.
pub(super) type Matched = HashMap<FilterId, u64>;

/// A filter that the connection did not have.
pub(super) struct NewFilter {
    pub(super) filter: FilterId,
    pub(super) options: SubOptions,
    pub(super) snapshot: bool,
}

/// A topic that the connection did not have, the subscription that it comes by, and whether its last value is wanted.
pub(super) struct Newcomer {
    topic: TopicId,
    sub: SubId,
    snapshot: bool,
}

impl Newcomer {
    /// Whether its last value is sent.
    pub(super) fn is_told(&self) -> bool {
        self.snapshot
    }
}

impl Engine {
    /// How many topics with a value each of `filters` covers.
    pub(super) fn count_matched(&self, filters: impl Iterator<Item = FilterId>) -> Matched {
        let mut matched: Matched = filters.map(|id| (id, 0)).collect();
        if matched.is_empty() {
            return matched;
        }
        let sets = &self.hub.filters.sets;
        let mut topics = vec![0; sets.index_end()];
        for (_, topic) in self.hub.topics.iter() {
            if let Some(count) = topics.get_mut(topic.set.index()) {
                *count += u64::from(topic.seq > 0);
            } else if topic.set == SetId::CROWDED && topic.seq > 0 {
                for id in &*self.hub.filters.of(topic) {
                    matched.entry(*id).and_modify(|count| *count += 1);
                }
            }
        }
        for (set, content) in sets.iter() {
            for id in content {
                if let Some(count) = matched.get_mut(id) {
                    *count += topics[set.index()];
                }
            }
        }
        matched
    }

    /// Makes the connection a member of new filters. Returns the topics with a value that it now has and did not have before.
    pub(super) fn join_filters(&mut self, index: u32, new: &[NewFilter]) -> Vec<Newcomer> {
        if new.is_empty() {
            return Vec::new();
        }
        let mut by_name = HashSet::new();
        let mut old = HashSet::new();
        for sub in self.hub.subs.of(self.outlet.conns[index as usize].subs) {
            match self.hub.subs[sub].source() {
                Source::Topic(id) => by_name.insert(id),
                Source::Filter(id) => old.insert(id),
            };
        }
        let mut subs = HashMap::new();
        for one in new {
            match subs.entry(one.filter) {
                Entry::Vacant(place) => {
                    let sub = self.join_filter(index, one);
                    place.insert((sub, one.snapshot));
                }
                // Named twice in one command: as if it had been had before.
                Entry::Occupied(had) => self.change_options(index, had.get().0, one.options),
            }
        }
        self.take_over_marks(index);
        let sets = &self.hub.filters.sets;
        let brought_by = |covering: &[FilterId]| {
            if covering.iter().any(|id| old.contains(id)) {
                return None;
            }
            // The most specific of the new ones decides whether a snapshot is wanted.
            covering.iter().find_map(|id| subs.get(id)).copied()
        };
        let mut by_set = vec![None; sets.index_end()];
        for (set, content) in sets.iter() {
            by_set[set.index()] = brought_by(content);
        }
        let newcomer = |(id, topic): (TopicId, &Topic)| {
            let (sub, snapshot) = match topic.set {
                SetId::CROWDED => brought_by(&self.hub.filters.of(topic)),
                set => by_set.get(set.index()).copied().flatten(),
            }?;
            (!by_name.contains(&id)).then_some(Newcomer {
                topic: id,
                sub,
                snapshot,
            })
        };
        (self.hub.topics.iter())
            .filter(|(_, topic)| topic.last.is_some())
            .filter_map(newcomer)
            .collect()
    }

    fn join_filter(&mut self, index: u32, new: &NewFilter) -> SubId {
        self.prepare_for(index, new.options);
        let conn = &mut self.outlet.conns[index as usize];
        let (member, variant) = (MemberId(index), conn.variant());
        let source = Source::Filter(new.filter);
        (self.hub).subscribe(&mut conn.subs, member, source, variant, new.options)
    }

    /// Tells the aliases of topics that came by filters, where they are needed, and sends the last values as far as there is
    /// room; the others wait.
    pub(super) fn open_filters(&mut self, index: u32, newcomers: &[Newcomer]) {
        let variant = self.outlet.conns[index as usize].variant();
        if variant.plain() == Variant::Binary {
            self.tell_aliases(index, newcomers);
        }
        let mut is_full = false;
        for Newcomer { topic, sub, .. } in newcomers.iter().filter(|one| one.snapshot) {
            let Some(last) = self.hub.topics[*topic].last.clone() else {
                continue;
            };
            let frame_bytes = last.frame(variant, DataKind::Snapshot).len() as u32;
            is_full |= self.outlet.room_bytes(index) < frame_bytes + FRAME_CHARGE_BYTES;
            if is_full && self.hub.options(*sub).on_slow == OnSlow::Conflate {
                self.hold_snapshot(index, *topic, *sub, last.seq);
            } else {
                let kind = DataKind::Snapshot;
                self.outlet.push_data(index, &last, variant, kind);
            }
        }
    }

    /// All in one frame of the queue. Those without a value need none: their first update brings it, see
    /// [`Update::frame`](crate::hub::update::Update::frame). So no connection keeps what it has been told.
    fn tell_aliases(&mut self, index: u32, newcomers: &[Newcomer]) {
        self.frame.clear();
        for one in newcomers {
            let topic = &self.hub.topics[one.topic];
            update::put_alias(&mut self.frame, topic.alias, &topic.name);
        }
        if !self.frame.is_empty() {
            self.outlet.push_own(index, &self.frame);
        }
    }
}
