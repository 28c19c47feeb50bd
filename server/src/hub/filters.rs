//! The listening side of filters: members, which of them cover which topics of this shard, and whether the owners know them.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use slab::Slab;

use super::members::Members;
use super::sets::{SetId, Sets};
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
        /// One of them had more of them than it may tell of.
        too_many: bool,
    },
    /// All topics that it covers are here, and those that are born will come.
    Live,
    /// It covers too many topics; whoever wants it next asks again.
    Refused,
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
#[derive(Debug, Default)]
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

    /// The filters that cover the topics of a set, the most specific first.
    #[must_use]
    pub fn of(&self, set: SetId) -> &[FilterId] {
        self.sets.filters(set)
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

    /// The set for one topic more of this name.
    pub(super) fn enter_set(&mut self, name: &str) -> SetId {
        if self.filters.is_empty() {
            return SetId::NONE;
        }
        let mut covering = Vec::new();
        self.trie.covering(name, &mut covering);
        self.sets.enter(&covering)
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
