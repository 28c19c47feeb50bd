//! Subscriptions: a flat table of 20-byte records, chained into one list a member.

use std::ops::{Index, IndexMut};

use fanfare_wire::command::{Mode, OnSlow};

use super::topics::{Member, Topic, TopicId};
use super::update::Variant;
use crate::ledger::Ledger;

const NONE: u32 = u32::MAX;

/// A subscriber's number; the engine's index of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberId(pub u32);

/// A subscription's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubId(pub u32);

/// What a subscriber asked for beside the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubOptions {
    /// Every update, or the latest.
    pub mode: Mode,
    /// What becomes of a subscriber that reads too slowly.
    pub on_slow: OnSlow,
}

impl Default for SubOptions {
    fn default() -> Self {
        SubOptions {
            mode: Mode::All,
            on_slow: OnSlow::Conflate,
        }
    }
}

/// One subscription.
#[derive(Clone, Copy, Debug)]
pub struct Sub {
    /// To what. In a free record: unused.
    pub topic: TopicId,
    /// By whom.
    pub member: MemberId,
    /// What the subscriber gets around a payload.
    pub variant: Variant,
    /// What else it asked for.
    pub options: SubOptions,
    /// Place in the topic's column.
    slot: u32,
    /// Next of the same member; in a free record, the next free one.
    next: u32,
}

const _: () = assert!(size_of::<Sub>() <= 24);

/// The subscriptions of one member: the head of a chain, 8 bytes.
#[derive(Clone, Copy, Debug)]
pub struct SubList {
    first: u32,
    count: u32,
}

impl Default for SubList {
    fn default() -> Self {
        SubList {
            first: NONE,
            count: 0,
        }
    }
}

impl SubList {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> u32 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The newest.
    #[must_use]
    pub fn first(self) -> Option<SubId> {
        (self.first != NONE).then_some(SubId(self.first))
    }
}

/// All subscriptions of one shard.
#[derive(Debug)]
pub struct Subs {
    records: Vec<Sub>,
    free: u32,
    live: u32,
}

impl Subs {
    /// Room for `expected` records; the memory behind it is taken only when it is used.
    #[must_use]
    pub fn with_capacity(expected: usize) -> Subs {
        Subs {
            records: Vec::with_capacity(expected),
            free: NONE,
            live: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        let record = size_of::<Sub>() as u64;
        ledger.subscriptions += u64::from(self.live);
        ledger.subscription_bytes += u64::from(self.live) * record;
        ledger.spare_bytes += (self.records.len() as u64 - u64::from(self.live)) * record;
    }

    /// The subscriptions of one member, newest first.
    pub fn of(&self, list: SubList) -> impl Iterator<Item = SubId> + '_ {
        std::iter::successors(list.first(), |sub| {
            let next = self[*sub].next;
            (next != NONE).then_some(SubId(next))
        })
    }

    /// The member's subscription to `topic`, if it has one. Walks the member's list.
    #[must_use]
    pub fn find(&self, list: SubList, topic: TopicId) -> Option<SubId> {
        self.of(list).find(|sub| self[*sub].topic == topic)
    }

    pub(super) fn join(
        &mut self,
        topic: &mut Topic,
        list: &mut SubList,
        member: MemberId,
        id: TopicId,
        variant: Variant,
        options: SubOptions,
    ) -> SubId {
        let sub = SubId(if self.free == NONE {
            self.records.len() as u32
        } else {
            self.free
        });
        let slot = topic.add(variant, Member { member, sub });
        let record = Sub {
            topic: id,
            member,
            variant,
            options,
            slot,
            next: list.first,
        };
        if self.free == NONE {
            self.records.push(record);
        } else {
            self.free = std::mem::replace(&mut self[sub], record).next;
        }
        list.first = sub.0;
        list.count += 1;
        self.live += 1;
        sub
    }

    pub(super) fn leave(&mut self, topic: &mut Topic, list: &mut SubList, sub: SubId) {
        let record = self[sub];
        if let Some(moved) = topic.remove(record.variant, record.slot, sub) {
            self[moved].slot = record.slot;
        }
        self.unchain(list, sub, record.next);
        self[sub].next = self.free;
        self.free = sub.0;
        self.live -= 1;
        if self.live == 0 {
            // Nothing points into the table: start again at its front, so that what lay behind can be reused in order.
            self.records.clear();
            self.free = NONE;
        }
    }

    fn unchain(&mut self, list: &mut SubList, sub: SubId, next: u32) {
        list.count -= 1;
        if list.first == sub.0 {
            list.first = next;
            return;
        }
        let mut at = list.first;
        while self[SubId(at)].next != sub.0 {
            at = self[SubId(at)].next;
        }
        self[SubId(at)].next = next;
    }
}

impl Index<SubId> for Subs {
    type Output = Sub;
    fn index(&self, sub: SubId) -> &Sub {
        &self.records[sub.0 as usize]
    }
}

impl IndexMut<SubId> for Subs {
    fn index_mut(&mut self, sub: SubId) -> &mut Sub {
        &mut self.records[sub.0 as usize]
    }
}
