//! The listening side of topics: members by variant, the last value, and where the stream stands here.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use slab::Slab;

use super::mail::Most;
use super::subs::{MemberId, SubId};
use super::update::{Update, VARIANTS, Variant};
use crate::ledger::Ledger;

/// A topic's place on its listening shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(pub u32);

/// One member of a topic, 8 bytes: the fan-out reads only this column and the members' records.
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

/// Whether the owner's stream has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Just made: its owner does not know yet.
    New,
    /// Asked, not yet answered.
    Joining,
    /// Every update arrives here, in order.
    Live,
    /// The owner would not have it; whoever wants it next asks again.
    Refused,
}

/// What one shard knows of a topic that it listens to.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Tells it from earlier topics in the same place.
    pub generation: u32,
    /// Whether the stream has begun.
    pub stage: Stage,
    /// The last seq that passed here.
    pub seq: u64,
    /// The value of that seq.
    pub last: Option<Arc<Update>>,
    /// Pending work that holds the topic although it may have no member.
    pub pins: u32,
    /// What only a topic with unfinished subscribe commands has.
    pending: Option<Box<Pending>>,
    members: [Vec<Member>; VARIANTS],
}

/// What unfinished subscribe commands need of a topic.
#[derive(Debug, Default)]
struct Pending {
    /// Those that wait for the stream to begin.
    waiting: Vec<u32>,
    /// How many recoveries are not delivered yet.
    recoveries: u32,
    /// What came since the first of them was begun, without a hole.
    tail: Vec<Arc<Update>>,
    /// Bytes of the payloads in it.
    tail_bytes: u64,
}

const _: () = assert!(size_of::<Topic>() <= 104);

impl Topic {
    /// A subscribe command waits for the stream to begin.
    pub fn wait(&mut self, command: u32) {
        let pending = self.pending.get_or_insert_default();
        pending.waiting.push(command);
    }

    /// The stream has begun, or will not: takes the commands that wait for it.
    pub fn take_waiting(&mut self) -> Vec<u32> {
        let Some(pending) = &mut self.pending else {
            return Vec::new();
        };
        let waiting = std::mem::take(&mut pending.waiting);
        self.pending.take_if(|pending| pending.recoveries == 0);
        waiting
    }

    /// A subscriber that resumes will need what comes from now on.
    pub fn begin_recovery(&mut self) {
        self.pending.get_or_insert_default().recoveries += 1;
    }

    /// It has got what it needed.
    pub fn end_recovery(&mut self) {
        let Some(pending) = &mut self.pending else {
            debug_assert!(false, "every end follows a begin");
            return;
        };
        pending.recoveries -= 1;
        if pending.recoveries == 0 {
            (pending.tail, pending.tail_bytes) = (Vec::new(), 0);
        }
        self.pending
            .take_if(|pending| pending.recoveries == 0 && pending.waiting.is_empty());
    }

    /// Takes in the next updates. They are also kept for recoveries under way; more than `most` of them is too much
    /// for any, and is forgotten.
    pub fn advance(&mut self, run: &[Arc<Update>], most: Most) {
        let Some(last) = run.last() else {
            return;
        };
        self.seq = last.seq;
        self.last = Some(last.clone());
        let Some(pending) = self.pending.as_mut().filter(|one| one.recoveries > 0) else {
            return;
        };
        let bytes: usize = run.iter().map(|update| update.payload_bytes()).sum();
        pending.tail_bytes += bytes as u64;
        pending.tail.extend_from_slice(run);
        if pending.tail.len() > most.count as usize || pending.tail_bytes > most.bytes {
            (pending.tail, pending.tail_bytes) = (Vec::new(), 0);
        }
    }

    /// What came after `seq`, up to now. `None`: not all of it was kept.
    #[must_use]
    pub fn since(&self, seq: u64) -> Option<&[Arc<Update>]> {
        let tail = self.pending.as_ref().map_or(&[][..], |one| &one.tail);
        let wanted = usize::try_from(self.seq.checked_sub(seq)?).ok()?;
        tail.len().checked_sub(wanted).map(|from| &tail[from..])
    }

    /// The members that get `variant`.
    #[must_use]
    pub fn members(&self, variant: Variant) -> &[Member] {
        &self.members[variant as usize]
    }

    /// How many members there are, of all variants.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.iter().map(Vec::len).sum()
    }

    /// Adds a member and returns its place in the column.
    pub(super) fn add(&mut self, variant: Variant, member: Member) -> u32 {
        let column = &mut self.members[variant as usize];
        column.push(member);
        (column.len() - 1) as u32
    }

    /// Removes the member at `slot`; returns the subscription that took its place, if one had to move.
    pub(super) fn remove(&mut self, variant: Variant, slot: u32, sub: SubId) -> Option<SubId> {
        let column = &mut self.members[variant as usize];
        let gone = column.swap_remove(slot as usize);
        debug_assert_eq!(
            gone.sub(),
            sub,
            "the member we remove is where its back-pointer says"
        );
        // A topic that was once large gives its column back when it has become small.
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
        let entry = &mut self.members[variant as usize][slot as usize];
        debug_assert_eq!(entry.sub(), sub, "the back-pointer names the member");
        *entry = Member::new(entry.member, sub, is_special);
    }
}

/// All topics that one shard listens to.
#[derive(Debug, Default)]
pub struct Topics {
    topics: Slab<Topic>,
    by_name: HashMap<Arc<str>, TopicId>,
    generation: u32,
}

impl Topics {
    /// Looks a name up.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// The topic in a place, if there is one.
    #[must_use]
    pub fn get(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(id.0 as usize)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        ledger.topics += self.topics.len() as u64;
        for (_, topic) in &self.topics {
            let used: usize = topic.members.iter().map(Vec::len).sum();
            let held: usize = topic.members.iter().map(Vec::capacity).sum();
            ledger.subscription_bytes += (used * size_of::<Member>()) as u64;
            ledger.spare_bytes += ((held - used) * size_of::<Member>()) as u64;
            // Twice in the table by name: the key's pointer, and the entry.
            let entry = size_of::<Topic>() + size_of::<(Arc<str>, TopicId)>() + topic.name.len();
            let pending = topic.pending.as_ref().map_or(0, |pending| {
                let lists = pending.waiting.capacity() * size_of::<u32>()
                    + pending.tail.capacity() * size_of::<Arc<Update>>();
                size_of::<Pending>() + lists
            });
            ledger.topic_bytes += (entry + pending) as u64;
        }
    }

    /// Makes the listening side of a topic that has none.
    pub fn insert(&mut self, name: Arc<str>) -> TopicId {
        self.generation = self.generation.wrapping_add(1);
        let topic = Topic {
            name: name.clone(),
            generation: self.generation,
            stage: Stage::New,
            seq: 0,
            last: None,
            pins: 0,
            pending: None,
            members: Default::default(),
        };
        let id = TopicId(self.topics.insert(topic) as u32);
        self.by_name.insert(name, id);
        id
    }

    pub(super) fn remove(&mut self, id: TopicId) -> Topic {
        let topic = self.topics.remove(id.0 as usize);
        self.by_name.remove(&topic.name);
        topic
    }
}

impl Index<TopicId> for Topics {
    type Output = Topic;
    fn index(&self, id: TopicId) -> &Topic {
        &self.topics[id.0 as usize]
    }
}

impl IndexMut<TopicId> for Topics {
    fn index_mut(&mut self, id: TopicId) -> &mut Topic {
        &mut self.topics[id.0 as usize]
    }
}
