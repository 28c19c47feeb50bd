//! Who gets what comes from a topic or by a filter: one flat column of members for each variant. Most topics have members of
//! one or two of them; the columns of the others are made when they are needed.

use super::subs::{MemberId, SubId};
use super::update::{VARIANTS, Variant};
use crate::ledger::Ledger;

/// One member, 8 bytes: the fan-out reads only this column and the members' records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub member: MemberId,
    /// By which subscription, and in the top bit whether it must be looked at.
    tagged: u32,
}

const SPECIAL: u32 = 1 << 31;

impl Member {
    /// A member by a subscription; a special one is not served without looking at its options.
    #[must_use]
    pub fn new(member: MemberId, sub: SubId, is_special: bool) -> Member {
        debug_assert!(sub.0 & SPECIAL == 0, "subscriptions are fewer than 2^31");
        Member {
            member,
            tagged: sub.0 | if is_special { SPECIAL } else { 0 },
        }
    }

    /// By which subscription.
    #[must_use]
    pub fn sub(self) -> SubId {
        SubId(self.tagged & !SPECIAL)
    }

    /// Whether the subscription's options must be looked at before it is served.
    #[must_use]
    pub fn is_special(self) -> bool {
        self.tagged & SPECIAL != 0
    }
}

/// A column has room for so many more when it grows, at least.
const MEMBERS_MIN: usize = 4;

/// Variants whose columns every topic has, the first ones.
const USUAL: usize = 2;

type Column = Vec<Member>;

/// The members of one topic or filter.
#[derive(Debug, Default)]
pub struct Members {
    usual: [Column; USUAL],
    rare: Option<Box<[Column; VARIANTS - USUAL]>>,
}

impl Members {
    /// Those that get `variant`.
    #[must_use]
    pub fn of(&self, variant: Variant) -> &[Member] {
        match (variant as usize).checked_sub(USUAL) {
            None => &self.usual[variant as usize],
            Some(place) => self.rare.as_ref().map_or(&[], |rare| &rare[place]),
        }
    }

    fn column_mut(&mut self, variant: Variant) -> &mut Column {
        match (variant as usize).checked_sub(USUAL) {
            None => &mut self.usual[variant as usize],
            Some(place) => &mut self.rare.get_or_insert_default()[place],
        }
    }

    fn columns(&self) -> impl Iterator<Item = &Column> {
        let rare = self.rare.iter().flat_map(|rare| rare.iter());
        self.usual.iter().chain(rare)
    }

    /// How many there are, of all variants.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns().all(Vec::is_empty)
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        let used = self.len();
        let held: usize = self.columns().map(Vec::capacity).sum();
        let rare = self.rare.as_ref().map_or(0, |rare| size_of_val(&**rare));
        ledger.topic_bytes += rare as u64;
        ledger.subscription_bytes += (used * size_of::<Member>()) as u64;
        ledger.spare_bytes += ((held - used) * size_of::<Member>()) as u64;
    }

    /// Adds a member and returns its place in the column.
    pub(super) fn add(&mut self, variant: Variant, member: Member) -> u32 {
        let column = self.column_mut(variant);
        if column.len() == column.capacity() {
            // By an eighth: doubled, as a vector grows by itself, columns are a third air on average, which with ten topics a
            // connection is more than its record takes.
            column.reserve_exact((column.len() / 8).max(MEMBERS_MIN));
        }
        column.push(member);
        (column.len() - 1) as u32
    }

    /// Removes the member at `slot`; returns the subscription that took its place, if one had to move.
    pub(super) fn remove(&mut self, variant: Variant, slot: u32, sub: SubId) -> Option<SubId> {
        let column = self.column_mut(variant);
        let gone = column.swap_remove(slot as usize);
        debug_assert_eq!(
            gone.sub(),
            sub,
            "the member we remove is where its back-pointer says"
        );
        // What was once large gives its column back when it has become small.
        if column.capacity() > 64 && column.len() * 4 < column.capacity() {
            column.shrink_to(column.len() * 2);
        }
        let moved = column.get(slot as usize).map(|moved| moved.sub());
        if let Some(rare) = &self.rare
            && rare.iter().all(Vec::is_empty)
        {
            self.rare = None;
        }
        moved
    }

    pub(super) fn set_special(
        &mut self,
        variant: Variant,
        slot: u32,
        sub: SubId,
        is_special: bool,
    ) {
        let entry = &mut self.column_mut(variant)[slot as usize];
        debug_assert_eq!(entry.sub(), sub, "the back-pointer names the member");
        *entry = Member::new(entry.member, sub, is_special);
    }
}
