//! Topics: who owns them, who listens to them, and what they said last.
//!
//! Every topic has one owner shard, chosen by a keyed hash of its name. The owner numbers the updates
//! ([`owner`]); every shard with listeners keeps the members and the last value ([`topics`]). The two sides
//! talk only by [`mail`], also when they are on the same shard, so there is one order of events and one code path.
//! Members of a filter get the topics that it covers (`coverage.rs`).
//!
//! The hub knows members by number ([`MemberId`]) and never sees a connection, a socket or a clock.

pub mod broken;
mod coverage;
pub mod deflate;
pub mod filters;
pub mod frames;
pub mod history;
pub mod keys;
pub mod mail;
pub mod members;
pub mod owner;
pub mod policy;
pub mod sets;
pub mod subs;
pub mod topics;
pub mod trie;
pub mod update;
mod watches;
#[cfg(test)]
pub(crate) mod witness;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fanfare_wire::topic;
use filters::Filters;
use mail::{Listing, Outgoing, Request, ShardId, TopicRef};
use owner::Owner;
use policy::{Policies, SubOptions};
use subs::{MemberId, Source, SubId, SubList, Subs};
use topics::{Stage, TopicId, Topics};
use update::Variant;

use crate::ledger::Ledger;

/// What all hubs of a server agree on.
#[derive(Clone, Debug)]
pub struct Charter {
    /// How many shards there are.
    pub shards: u16,
    /// Key of the hash that gives each topic its owner; random, so that no client can aim at one shard.
    pub seed: u64,
    /// The epoch of every topic of this run of the server.
    pub epoch: Arc<str>,
    /// Most topics one owner keeps.
    pub topics_per_owner_max: u32,
    /// Most bytes of values one owner keeps, last values and history together, as [`update::Update::charged_bytes`] counts.
    pub kept_bytes_per_owner_max: u64,
    /// Most topics of the whole server that a filter may cover when it is subscribed to.
    pub filter_topics_max: u32,
    /// Most different filters of one shard that may cover a topic which is known when they are subscribed to.
    pub filters_per_topic_max: u32,
    /// Which idempotency keys one owner remembers.
    pub keys: keys::Window,
    /// How much history is kept of which topic.
    pub history: Arc<history::Rules>,
    /// From which size on messages are compressed for those who have agreed to it.
    pub threshold: deflate::Threshold,
}

impl Charter {
    /// The shard that numbers the updates of `topic`.
    #[must_use]
    pub fn owner_of(&self, topic: &str) -> ShardId {
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        topic.hash(&mut hasher);
        ShardId((hasher.finish() % u64::from(self.shards)) as u16)
    }
}

/// One shard's part of all topics: those it owns and those it has listeners for.
#[derive(Debug)]
pub struct Hub {
    shard: ShardId,
    charter: Charter,
    /// The topics this shard numbers.
    pub owner: Owner,
    /// The topics this shard has listeners for.
    pub topics: Topics,
    /// The filters its members subscribe to.
    pub filters: Filters,
    /// All subscriptions of this shard's members.
    pub subs: Subs,
    /// What those subscriptions asked for beside the topic.
    pub policies: Policies,
    /// Mail written since it was last taken.
    pub outgoing: Outgoing,
}

impl Hub {
    /// A hub without topics. `subs_expected` reserves address space (not memory) so that the table need not be copied while it grows.
    #[must_use]
    pub fn new(shard: ShardId, charter: Charter, subs_expected: usize) -> Hub {
        Hub {
            shard,
            owner: Owner::new(shard, &charter),
            topics: Topics::default(),
            filters: Filters::new(charter.filters_per_topic_max),
            subs: Subs::with_capacity(subs_expected),
            policies: Policies::default(),
            outgoing: Outgoing::new(charter.shards),
            charter,
        }
    }

    /// This shard's number.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// What all hubs of the server agree on.
    #[must_use]
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        self.charter.shards
    }

    /// What topics and subscriptions hold here.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        self.topics.count_into(&mut ledger);
        self.filters.count_into(&mut ledger);
        self.subs.count_into(&mut ledger);
        self.policies.count_into(&mut ledger);
        self.owner.count_into(&mut ledger);
        ledger
    }

    /// The epoch of every topic of this run.
    #[must_use]
    pub fn epoch(&self) -> &Arc<str> {
        &self.charter.epoch
    }

    /// Sends a request to the owner of its topic.
    pub fn ask_owner(&mut self, request: Request) {
        let owner = self.charter.owner_of(request.topic());
        self.outgoing.request(owner, request);
    }

    /// Finds or makes the listening side of `name` and holds it with a pin; a new one asks its owner for the stream.
    pub fn pin(&mut self, name: &str) -> TopicId {
        let id = match self.topics.find(name) {
            Some(id) => id,
            None => {
                let id = self.topics.insert(name.into());
                self.topics[id].set = self.filters.enter_set(name);
                id
            }
        };
        let topic = &mut self.topics[id];
        topic.pins += 1;
        if !matches!(topic.stage, Stage::New | Stage::Refused) {
            return id;
        }
        self.ask_to_join(id);
        id
    }

    fn ask_to_join(&mut self, id: TopicId) {
        let topic = &mut self.topics[id];
        topic.stage = Stage::Joining;
        let join = Request::Join {
            topic: topic.name.clone(),
            from: self.shard,
            listener: topic.reference(id),
        };
        self.ask_owner(join);
    }

    /// Holds a topic that is there with one more pin.
    pub fn hold(&mut self, id: TopicId) {
        self.topics[id].pins += 1;
    }

    /// Lets go of a pin; a topic without pins and members leaves its owner.
    pub fn unpin(&mut self, id: TopicId) {
        let topic = &mut self.topics[id];
        debug_assert!(topic.pins > 0, "every unpin follows a pin");
        topic.pins -= 1;
        self.leave_if_unused(id);
    }

    /// Makes `member` a member of a topic or filter that is live here, and adds it to the member's list.
    pub fn subscribe(
        &mut self,
        list: &mut SubList,
        member: MemberId,
        source: Source,
        variant: Variant,
        options: SubOptions,
    ) -> SubId {
        let policy = self.policies.hold(options);
        let members = match source {
            Source::Topic(id) => &mut self.topics[id].members,
            Source::Filter(id) => &mut self.filters[id].members,
        };
        let sub = (self.subs).join(members, list, member, source, variant, policy);
        if options.is_special() {
            self.set_special(sub, true);
        }
        sub
    }

    /// What a subscription asked for beside the topic.
    #[must_use]
    pub fn options(&self, sub: SubId) -> SubOptions {
        self.policies.options(self.subs[sub].policy())
    }

    /// Gives a subscription other options.
    pub fn set_options(&mut self, sub: SubId, options: SubOptions) {
        let policy = self.policies.hold(options);
        self.policies.release(self.subs[sub].policy());
        self.subs.set_policy(sub, policy);
        self.set_special(sub, options.is_special());
    }

    /// Makes fan-outs look at a subscription before they queue to it, or not.
    pub fn set_special(&mut self, sub: SubId, is_special: bool) {
        let members = match self.subs[sub].source() {
            Source::Topic(id) => &mut self.topics[id].members,
            Source::Filter(id) => &mut self.filters[id].members,
        };
        self.subs.set_special(members, sub, is_special);
    }

    /// Ends one subscription of the member that `list` belongs to; [`Hub::settle`] takes away what nobody has any more.
    pub fn unsubscribe(&mut self, list: &mut SubList, sub: SubId) {
        self.policies.release(self.subs[sub].policy());
        match self.subs[sub].source() {
            Source::Topic(id) => {
                self.subs.leave(&mut self.topics[id].members, list, sub);
                self.leave_if_unused(id);
            }
            Source::Filter(id) => {
                self.subs.leave(&mut self.filters[id].members, list, sub);
                self.note_idle(id);
            }
        }
    }

    /// Ends all subscriptions of a member that goes.
    pub fn unsubscribe_all(&mut self, list: &mut SubList) {
        while let Some(sub) = list.first() {
            self.unsubscribe(list, sub);
        }
    }

    /// What this shard knows of the topics that `filter` covers, as owner and as listener. Walks all topics.
    #[must_use]
    pub fn listing(&self, filter: &str) -> Listing {
        let covered = self
            .topics
            .iter()
            .filter(|(_, topic)| topic::covers(filter, &topic.name));
        let count = |topic: &topics::Topic| {
            let by_filter = self.filters.of(topic);
            let by_filter = by_filter.iter().map(|id| self.filters[*id].members.len());
            (topic.members.len() + by_filter.sum::<usize>()) as u64
        };
        Listing {
            owned: self.owner.covered_by(filter),
            listened: covered
                .map(|(_, topic)| (topic.name.clone(), count(topic)))
                .collect(),
        }
    }

    /// As owner: carries out a request, at `wall_us` microseconds since 1970.
    pub fn on_request(&mut self, request: Request, wall_us: i64) {
        self.owner.on_request(request, wall_us, &mut self.outgoing);
    }

    /// As listener: the topic a delivery is for, if it is still the one that was meant.
    #[must_use]
    pub fn addressee(&self, listener: TopicRef) -> Option<TopicId> {
        self.topics
            .get(listener.topic)
            .filter(|topic| topic.generation == listener.generation)
            .map(|_| listener.topic)
    }

    /// Leaves a topic that nobody here has any more. One that fades is kept until its owner has answered: it may have agreed and told of
    /// the topic's birth since, and a leave would take that birth away behind the back of who accepts it here.
    pub fn leave_if_unused(&mut self, id: TopicId) {
        if !self.topics[id].is_unused() {
            return self.fade_if_silent(id);
        }
        if self.topics[id].stage == Stage::Fading {
            return;
        }
        let topic = self.topics.remove(id);
        // A join that was refused has left nothing at the owner; a leave might take away what a later birth has put there.
        if topic.stage != Stage::Refused {
            let (topic, from) = (topic.name, self.shard);
            self.ask_owner(Request::Leave { topic, from });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::mail::{Delivery, Reply};
    use crate::hub::update::{Form, Payload};

    fn hub() -> Hub {
        let charter = Charter {
            shards: 1,
            seed: 1,
            epoch: "e1".into(),
            topics_per_owner_max: 10,
            kept_bytes_per_owner_max: 1 << 20,
            filter_topics_max: 100,
            filters_per_topic_max: 64,
            keys: keys::Window {
                count: 100,
                age_ms: 1000,
            },
            history: Arc::default(),
            threshold: deflate::Threshold::NEVER,
        };
        Hub::new(ShardId(0), charter, 0)
    }

    /// Carries the hub's mail to itself until none is left; returns what came for the listeners.
    fn settle(hub: &mut Hub) -> Vec<Delivery> {
        let mut seen = Vec::new();
        loop {
            let mail = hub.outgoing.take(ShardId(0));
            if mail.is_empty() {
                return seen;
            }
            for request in mail.requests {
                hub.on_request(request, 7);
            }
            seen.extend(mail.deliveries);
        }
    }

    #[test]
    fn a_topic_without_pins_and_members_leaves_its_owner() {
        let mut hub = hub();
        let id = hub.pin("AAPL");
        assert!(matches!(
            settle(&mut hub)[..],
            [Delivery::Joined { seq: 0, .. }]
        ));
        let mut list = SubList::default();
        hub.subscribe(
            &mut list,
            MemberId(3),
            Source::Topic(id),
            Variant::Json,
            SubOptions::default(),
        );
        hub.unpin(id);
        assert!(hub.topics.find("AAPL").is_some());
        hub.unsubscribe_all(&mut list);
        assert!(hub.topics.find("AAPL").is_none());
        settle(&mut hub);
        assert_eq!(hub.owner.topic_count(), 0);
        assert_eq!(hub.subs.len(), 0);
    }

    #[test]
    fn mail_for_a_topic_that_was_left_and_joined_anew_is_not_taken_for_the_new_one() {
        let mut hub = hub();
        let id = hub.pin("A");
        let old = TopicRef {
            topic: id,
            generation: hub.topics[id].generation,
        };
        hub.unpin(id);
        let new = hub.pin("A");
        assert_eq!(hub.addressee(old), None);
        let fresh = TopicRef {
            topic: new,
            generation: hub.topics[new].generation,
        };
        assert_eq!(hub.addressee(fresh), Some(new));
    }

    #[test]
    fn updates_are_numbered_from_one_without_a_hole() {
        let mut hub = hub();
        hub.pin("A");
        settle(&mut hub);
        for _ in 0..3 {
            let payload = Payload::new(Form::Json, b"1");
            hub.ask_owner(Request::Publish {
                topic: "A".into(),
                payload,
                key: None,
                reply: Reply::None,
            });
        }
        let seqs: Vec<u64> = settle(&mut hub)
            .iter()
            .filter_map(|delivery| match delivery {
                Delivery::Update { update, .. } => Some(update.seq),
                _ => None,
            })
            .collect();
        assert_eq!(seqs, [1, 2, 3]);
    }
}
