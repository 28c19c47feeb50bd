//! The listening side of filters: members, which of them cover which topics of this shard, and whether the owners know them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use slab::Slab;

use super::members::Members;
use super::sets::{SetId, Sets};
use super::topics::Topic;
use super::trie::Trie;
use crate::ledger::Ledger;

/// A filter's place in its keeper's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilterId(pub u32);

/// Whether the owners know of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// So many owners have not answered yet, and those that have told of so many topics.
    Watching {
        /// Owners.
        missing: u16,
        /// Topics that the filter covers at those who have answered.
        matched: u32,
        /// Why nobody can have it.
        fault: Option<Fault>,
    },
    /// All topics that it covers are here, and those that are born will come.
    Live,
    /// It covers too many topics; whoever wants it next asks again.
    Refused,
}

/// Why nobody can have a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It covers more topics than one filter may.
    TooWide,
    /// It covers a topic that as many filters of this shard cover as may.
    Crowded,
}

/// What one shard knows of a filter that somebody on it subscribes to.
#[derive(Debug)]
pub struct Filter {
    /// Its text.
    pub name: Arc<str>,
    /// Whether the owners know.
    pub stage: Stage,
    /// Who is subscribed.
    pub members: Members,
    /// Pending work that holds it although it may have no member.
    pub(super) pins: u32,
    /// Subscribe commands that wait until it is live.
    waiting: Vec<u32>,
}

impl Filter {
    /// A subscribe command waits until all owners know of it.
    pub fn wait(&mut self, command: u32) {
        self.waiting.push(command);
    }

    /// Takes the commands that wait.
    pub fn take_waiting(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn is_unused(&self) -> bool {
        self.pins == 0 && self.members.is_empty()
    }
}

/// All filters of one shard's members.
#[derive(Debug)]
pub struct Filters {
    filters: Slab<Filter>,
    by_name: HashMap<Arc<str>, FilterId>,
    trie: Trie,
    /// Which filters cover a topic, by the number that the topic holds.
    pub sets: Sets,
    /// Made, or wanted again, since all was last settled: the owners are to be told.
    pub(super) fresh: Vec<FilterId>,
    /// Without pin and member, as far as was seen when each lost its last.
    pub(super) idle: Vec<FilterId>,
}

impl Filters {
    /// No filters yet. So many may cover one topic that somebody here has when they are subscribed to.
    #[must_use]
    pub fn new(per_topic_max: u32) -> Filters {
        Filters {
            filters: Slab::new(),
            by_name: HashMap::new(),
            trie: Trie::default(),
            sets: Sets::new(per_topic_max),
            fresh: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// Looks a text up.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<FilterId> {
        self.by_name.get(name).copied()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// The filters that cover a topic, the most specific first.
    #[must_use]
    pub fn of(&self, topic: &Topic) -> Cow<'_, [FilterId]> {
        if topic.set != SetId::CROWDED {
            return Cow::Borrowed(self.sets.filters(topic.set));
        }
        let mut covering = Vec::new();
        self.trie.covering(&topic.name, &mut covering);
        Cow::Owned(covering)
    }

    pub(super) fn insert(&mut self, name: Arc<str>, stage: Stage) -> FilterId {
        let id = FilterId(self.filters.insert(Filter {
            name: name.clone(),
            stage,
            members: Members::default(),
            pins: 0,
            waiting: Vec::new(),
        }) as u32);
        self.trie.insert(&name, id);
        self.by_name.insert(name, id);
        id
    }

    pub(super) fn remove(&mut self, id: FilterId) -> Filter {
        let filter = self.filters.remove(id.0 as usize);
        self.trie.remove(&filter.name);
        self.by_name.remove(&filter.name);
        filter
    }

    /// The set for one topic more of this name. If it makes too many filters cover one topic, those of them that are not
    /// live yet will not be.
    pub(super) fn enter_set(&mut self, name: &str) -> SetId {
        if self.filters.is_empty() {
            return SetId::NONE;
        }
        let mut covering = Vec::new();
        self.trie.covering(name, &mut covering);
        let set = self.sets.enter(&covering);
        if set == SetId::CROWDED {
            for id in covering {
                if let Stage::Watching { fault, .. } = &mut self[id].stage {
                    *fault = Some(Fault::Crowded);
                }
            }
        }
        set
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        let mut bytes = self.trie.held_bytes() + self.sets.held_bytes();
        for (_, filter) in &self.filters {
            filter.members.count_into(ledger);
            let entry = size_of::<Filter>() + size_of::<(Arc<str>, FilterId)>() + filter.name.len();
            bytes += (entry + filter.waiting.capacity() * size_of::<u32>()) as u64;
        }
        ledger.topic_bytes += bytes;
    }
}

impl Index<FilterId> for Filters {
    type Output = Filter;
    fn index(&self, id: FilterId) -> &Filter {
        &self.filters[id.0 as usize]
    }
}

impl IndexMut<FilterId> for Filters {
    fn index_mut(&mut self, id: FilterId) -> &mut Filter {
        &mut self.filters[id.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand filters of ten segments, and a thousand topics that each some others of them cover: as sets, 59,049 filters.
    #[test]
    fn topics_that_many_filters_cover_cost_no_more_than_others() {
        let mut filters = Filters::new(64);
        let name = |bits: u32, zero: &str, one: &str| {
            let segment = |n: u32| if bits >> n & 1 == 0 { zero } else { one };
            (0..10).map(segment).collect::<Vec<_>>().join(".")
        };
        for bits in 0..1024 {
            filters.insert(name(bits, "*", "a").into(), Stage::Live);
        }
        let empty = filters.sets.held_bytes();
        let sets: Vec<SetId> = (0..1024)
            .map(|bits| filters.enter_set(&name(bits, "b", "a")))
            .collect();
        let kept: usize = filters.sets.iter().map(|(_, content)| content.len()).sum();
        // Sets of 1, 2, 4 … 64 filters: C(10, n) topics have 2^n each.
        assert_eq!(
            kept,
            (0..=6)
                .map(|n| [1, 10, 45, 120, 210, 252, 210][n] << n)
                .sum::<usize>()
        );
        assert!(filters.sets.held_bytes() < 1024 * 64 * 4 + 1024 * 64);
        assert!(filters.sets.has_crowds());
        for set in sets {
            filters.sets.leave(set);
        }
        assert!(!filters.sets.has_crowds());
        assert_eq!(filters.sets.held_bytes(), empty);
    }
}
