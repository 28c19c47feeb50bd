//! Who gets what comes from a topic or by a filter: one flat column of members for each variant.

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

/// The members of one topic or filter.
#[derive(Debug, Default)]
pub struct Members([Vec<Member>; VARIANTS]);

impl Members {
    /// Those that get `variant`.
    #[must_use]
    pub fn of(&self, variant: Variant) -> &[Member] {
        &self.0[variant as usize]
    }

    /// How many there are, of all variants.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        let used = self.len();
        let held: usize = self.0.iter().map(Vec::capacity).sum();
        ledger.subscription_bytes += (used * size_of::<Member>()) as u64;
        ledger.spare_bytes += ((held - used) * size_of::<Member>()) as u64;
    }

    /// Adds a member and returns its place in the column.
    pub(super) fn add(&mut self, variant: Variant, member: Member) -> u32 {
        let column = &mut self.0[variant as usize];
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
        let column = &mut self.0[variant as usize];
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
        column.get(slot as usize).map(|moved| moved.sub())
    }

    pub(super) fn set_special(
        &mut self,
        variant: Variant,
        slot: u32,
        sub: SubId,
        is_special: bool,
    ) {
        let entry = &mut self.0[variant as usize][slot as usize];
        debug_assert_eq!(entry.sub(), sub, "the back-pointer names the member");
        *entry = Member::new(entry.member, sub, is_special);
    }
}
