//! Subscriptions: a flat table of 20-byte records, chained into one list a member.

use std::ops::{Index, IndexMut};

use super::filters::FilterId;
use super::members::{Member, Members};
use super::policy::PolicyId;
use super::topics::TopicId;
use super::update::{VARIANTS, Variant};
use crate::ledger::Ledger;

const NONE: u32 = u32::MAX;

/// A subscriber's number; the engine's index of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberId(pub u32);

/// A subscription's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubId(pub u32);

/// One subscription.
#[derive(Clone, Copy, Debug)]
pub struct Sub {
    /// To what. In a free record: unused.
    source: Packed,
    /// By whom.
    pub member: MemberId,
    /// What it gets, and how.
    terms: Terms,
    /// Place in the source's column.
    slot: u32,
    /// Next of the same member; in a free record, the next free one.
    next: u32,
}

const _: () = assert!(size_of::<Sub>() <= 24);

/// The variant in the top four bits, the policy in the others: together they are 4 bytes, apart they would be 8.
#[derive(Clone, Copy, Debug)]
struct Terms(u32);

const _: () = assert!(VARIANTS <= 1 << (32 - Terms::POLICY_BITS));

impl Terms {
    const POLICY_BITS: u32 = 28;

    fn new(variant: Variant, policy: PolicyId) -> Terms {
        debug_assert!(
            policy.0 >> Self::POLICY_BITS == 0,
            "there are no more policies than subscriptions, and far fewer than 2^28 of those"
        );
        Terms((variant as u32) << Self::POLICY_BITS | policy.0)
    }
}

/// What a subscription is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// One topic.
    Topic(TopicId),
    /// All topics that a filter covers, now and later.
    Filter(FilterId),
}

/// A source in 4 bytes: the top bit says that it is a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed(u32);

impl Packed {
    const FILTER: u32 = 1 << 31;
}

impl From<Source> for Packed {
    fn from(source: Source) -> Packed {
        match source {
            Source::Topic(id) => {
                debug_assert!(id.0 & Packed::FILTER == 0, "topics are fewer than 2^31");
                Packed(id.0)
            }
            Source::Filter(id) => Packed(id.0 | Packed::FILTER),
        }
    }
}

impl Sub {
    /// To what it is.
    #[must_use]
    pub fn source(&self) -> Source {
        let Packed(packed) = self.source;
        if packed & Packed::FILTER == 0 {
            Source::Topic(TopicId(packed))
        } else {
            Source::Filter(FilterId(packed & !Packed::FILTER))
        }
    }

    /// What the subscriber gets around a payload.
    #[must_use]
    pub fn variant(&self) -> Variant {
        Variant::ALL[(self.terms.0 >> Terms::POLICY_BITS) as usize]
    }

    /// What else it asked for.
    #[must_use]
    pub fn policy(&self) -> PolicyId {
        PolicyId(self.terms.0 & ((1 << Terms::POLICY_BITS) - 1))
    }
}

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

    /// The member's subscription to `source`, if it has one. Walks the member's list.
    #[must_use]
    pub fn find(&self, list: SubList, source: Source) -> Option<SubId> {
        let packed = Packed::from(source);
        self.of(list).find(|sub| self[*sub].source == packed)
    }

    pub(super) fn join(
        &mut self,
        members: &mut Members,
        list: &mut SubList,
        member: MemberId,
        source: Source,
        variant: Variant,
        policy: PolicyId,
    ) -> SubId {
        let sub = SubId(if self.free == NONE {
            self.records.len() as u32
        } else {
            self.free
        });
        let slot = members.add(variant, Member::new(member, sub, false));
        let record = Sub {
            source: source.into(),
            member,
            terms: Terms::new(variant, policy),
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

    pub(super) fn leave(&mut self, members: &mut Members, list: &mut SubList, sub: SubId) {
        let record = self[sub];
        if let Some(moved) = members.remove(record.variant(), record.slot, sub) {
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

    /// Changes a subscription's policy; the caller holds and releases.
    pub(super) fn set_policy(&mut self, sub: SubId, policy: PolicyId) {
        let record = &mut self[sub];
        record.terms = Terms::new(record.variant(), policy);
    }

    /// Makes fan-outs look at the subscription before they queue to it, or not.
    pub(super) fn set_special(&self, members: &mut Members, sub: SubId, is_special: bool) {
        let record = &self[sub];
        members.set_special(record.variant(), record.slot, sub, is_special);
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
