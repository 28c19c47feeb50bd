//! Which filters cover a topic, kept once for all topics that the same filters cover.
//!
//! Thousands of topics are covered by the same few filters, so a topic holds the number of its set and not the set. A set knows how
//! many topics have it, and goes with the last of them.

use std::collections::HashMap;

use slab::Slab;

use super::filters::FilterId;

/// A set's number; most topics have [`SetId::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetId(u32);

impl SetId {
    /// No filter covers the topic.
    pub const NONE: SetId = SetId(u32::MAX);

    /// The place of a set in a table that has one for each.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Set {
    /// The most specific first.
    filters: Box<[FilterId]>,
    topics: u32,
}

/// All sets of one shard.
#[derive(Debug, Default)]
pub struct Sets {
    sets: Slab<Set>,
    by_content: HashMap<Box<[FilterId]>, SetId>,
}

impl Sets {
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
        let id = match self.by_content.get(filters) {
            Some(&id) => id,
            None => {
                let set = Set {
                    filters: filters.into(),
                    topics: 0,
                };
                let id = SetId(self.sets.insert(set) as u32);
                self.by_content.insert(filters.into(), id);
                id
            }
        };
        self.sets[id.index()].topics += 1;
        id
    }

    /// A topic less has this set.
    pub fn leave(&mut self, id: SetId) {
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
        let record = size_of::<Set>() + size_of::<(Box<[FilterId]>, SetId)>() + 1;
        let contents: usize = (self.sets.iter())
            .map(|(_, set)| 2 * size_of_val(&*set.filters))
            .sum();
        (self.sets.len() * record + contents) as u64
    }
}
