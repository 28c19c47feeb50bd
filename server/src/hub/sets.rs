//! Which filters cover a topic, kept once for all topics that the same filters cover.
//!
//! Thousands of topics are covered by the same few filters, so a topic holds the number of its set and not the set. A set knows how
//! many topics have it, and goes with the last of them. Only short sets are kept: which filters cover a topic that has more is found by a walk
//! through the filters whenever it is asked for, so that filters and topics together cannot take more memory than their sum.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::filters::FilterId;

/// A set's number; most topics have [`SetId::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetId(u32);

impl SetId {
    /// No filter covers the topic.
    pub const NONE: SetId = SetId(u32::MAX);
    /// More filters cover the topic than are kept in a set.
    pub const CROWDED: SetId = SetId(u32::MAX - 1);

    /// The place of a set in a table that has one for each.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Set {
    /// The most specific first.
    filters: Arc<[FilterId]>,
    topics: u32,
}

/// All sets of one shard.
#[derive(Debug)]
pub struct Sets {
    /// Most filters of one.
    filters_max: usize,
    sets: Slab<Set>,
    by_content: HashMap<Arc<[FilterId]>, SetId>,
    /// How many topics more filters cover.
    crowded: u32,
}

impl Sets {
    /// No sets yet, and none of more than `filters_max` filters ever.
    #[must_use]
    pub fn new(filters_max: u32) -> Sets {
        Sets {
            filters_max: filters_max as usize,
            sets: Slab::new(),
            by_content: HashMap::new(),
            crowded: 0,
        }
    }

    /// The filters of a set, the most specific first.
    #[must_use]
    pub fn filters(&self, id: SetId) -> &[FilterId] {
        self.sets
            .get(id.index())
            .map_or(&[][..], |set| &set.filters)
    }

    /// All sets.
    pub fn iter(&self) -> impl Iterator<Item = (SetId, &[FilterId])> {
        (self.sets.iter()).map(|(index, set)| (SetId(index as u32), &*set.filters))
    }

    /// One above the greatest number of a set.
    #[must_use]
    pub fn index_end(&self) -> usize {
        self.sets
            .iter()
            .next_back()
            .map_or(0, |(index, _)| index + 1)
    }

    /// Whether more filters cover some topic than are kept in a set.
    #[must_use]
    pub fn has_crowds(&self) -> bool {
        self.crowded > 0
    }

    /// How many sets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The set of these filters, with one topic more.
    pub fn enter(&mut self, filters: &[FilterId]) -> SetId {
        if filters.is_empty() {
            return SetId::NONE;
        }
        if filters.len() > self.filters_max {
            self.crowded += 1;
            return SetId::CROWDED;
        }
        let id = match self.by_content.get(filters) {
            Some(&id) => id,
            None => {
                let filters: Arc<[FilterId]> = filters.into();
                let set = Set {
                    filters: filters.clone(),
                    topics: 0,
                };
                let id = SetId(self.sets.insert(set) as u32);
                self.by_content.insert(filters, id);
                id
            }
        };
        self.sets[id.index()].topics += 1;
        id
    }

    /// A topic less has this set.
    pub fn leave(&mut self, id: SetId) {
        if id == SetId::CROWDED {
            self.crowded -= 1;
        }
        let Some(set) = self.sets.get_mut(id.index()) else {
            return;
        };
        set.topics -= 1;
        if set.topics == 0 {
            let set = self.sets.remove(id.index());
            self.by_content.remove(&set.filters);
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let record = size_of::<Set>() + size_of::<(Arc<[FilterId]>, SetId)>() + 17;
        let contents: usize = (self.sets.iter())
            .map(|(_, set)| size_of_val(&*set.filters))
            .sum();
        (self.sets.len() * record + contents) as u64
    }
}
