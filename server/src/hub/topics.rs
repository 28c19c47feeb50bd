//! The listening side of topics: members by variant, the last value, and where the stream stands here.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use slab::Slab;

use super::mail::{Most, TopicRef};
use super::members::Members;
use super::sets::SetId;
use super::update::Update;
use crate::ledger::Ledger;

/// A topic's place on its listening shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(pub u32);

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
    /// Live, but nothing was ever said and only filters want it: the owner is asked to forget it until it is born.
    Fading,
}

/// What one shard knows of a topic that it listens to.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Tells it from earlier topics in the same place.
    pub generation: NonZeroU32,
    /// Whether the stream has begun.
    pub stage: Stage,
    /// Its number, known from when it is live; never 0 then.
    pub alias: u32,
    /// The last seq that passed here.
    pub seq: u64,
    /// The value of that seq.
    pub last: Option<Arc<Update>>,
    /// Pending work that holds the topic although it may have no member.
    pub pins: u32,
    /// What only a topic with unfinished subscribe commands has.
    pending: Option<Box<Pending>>,
    /// Whom its updates go to by name; others have it by a filter.
    pub members: Members,
    /// The filters of this shard that cover it.
    pub set: SetId,
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

const _: () = assert!(size_of::<Topic>() <= 136);

impl Topic {
    /// Whether nothing holds it here.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.pins == 0 && self.members.is_empty() && self.set == SetId::NONE
    }

    /// Whether the stream has begun here and a single member is all that holds it.
    #[must_use]
    pub fn has_one_use(&self) -> bool {
        self.stage == Stage::Live
            && self.pins == 0
            && self.members.len() == 1
            && self.set == SetId::NONE
    }

    /// What this shard calls the topic, which is in the place `id`.
    #[must_use]
    pub fn reference(&self, id: TopicId) -> TopicRef {
        TopicRef {
            topic: id,
            generation: self.generation,
        }
    }

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

    /// All of them, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, &Topic)> {
        let place = |(index, topic)| (TopicId(index as u32), topic);
        self.topics.iter().map(place)
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (TopicId, &mut Topic)> {
        let place = |(index, topic)| (TopicId(index as u32), topic);
        self.topics.iter_mut().map(place)
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
            topic.members.count_into(ledger);
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
        self.generation = self.generation.wrapping_add(1).max(1);
        let topic = Topic {
            name: name.clone(),
            generation: NonZeroU32::new(self.generation).unwrap_or(NonZeroU32::MIN),
            stage: Stage::New,
            alias: 0,
            seq: 0,
            last: None,
            pins: 0,
            pending: None,
            members: Members::default(),
            set: SetId::NONE,
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
