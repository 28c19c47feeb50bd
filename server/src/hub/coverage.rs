//! How filters come to cover topics on a shard.
//!
//! The first member of a filter makes it known to all owners. Each of them tells of every topic of its own that the filter covers
//! (*born*, with its last value) and then answers, all in one FIFO lane; and of each that is first published to later,
//! ahead of its first update. So when all have answered, the shard has every topic that the filter covers, and none can come
//! into being behind its back. Until an owner knows what the shard calls a topic, its updates come by name.
//!
//! Which filters cover a topic is found when the topic or the filter is born here ([`Hub::settle`]), and kept as the
//! number of a set: a publish looks at no filter that does not cover its topic.

use std::sync::Arc;

use fanfare_wire::topic;

use super::Hub;
use super::broken::{self, Break};
use super::filters::{Fault, FilterId, Stage};
use super::mail::{Request, ShardId, TopicRef};
use super::sets::SetId;
use super::subs::Source;
use super::topics::{Stage as TopicStage, Topic, TopicId};
use super::update::Update;

/// So many topics are compared with filters in the time that one letter takes.
pub(super) const COMPARED_A_LETTER: usize = 8;

/// For so few new filters a topic's name is compared with each; for more it is walked through all filters at once.
const COMPARED_MAX: usize = 4;

impl Hub {
    /// The topic or filter of this text that somebody on this shard has, or waits for.
    #[must_use]
    pub fn find_source(&self, text: &str) -> Option<Source> {
        match self.topics.find(text) {
            Some(id) => Some(Source::Topic(id)),
            None => self.filters.find(text).map(Source::Filter),
        }
    }

    /// The text of a source.
    #[must_use]
    pub fn source_name(&self, source: Source) -> &Arc<str> {
        match source {
            Source::Topic(id) => &self.topics[id].name,
            Source::Filter(id) => &self.filters[id].name,
        }
    }

    /// Finds or makes the filter `text` and holds it with a pin; [`Hub::settle`] lets the owners know of a new one.
    pub fn pin_filter(&mut self, text: &str) -> FilterId {
        let watching = Stage::Watching {
            missing: self.charter.shards,
            matched: 0,
            fault: None,
        };
        let id = match self.filters.find(text) {
            Some(id) if self.filters[id].stage == Stage::Refused => {
                self.filters[id].stage = watching;
                self.filters.fresh.push(id);
                id
            }
            Some(id) => id,
            None => {
                let id = self.filters.insert(text.into(), watching);
                self.filters.fresh.push(id);
                id
            }
        };
        self.filters[id].pins += 1;
        id
    }

    /// Lets go of a pin; [`Hub::settle`] takes a filter without pins and members away.
    pub fn unpin_filter(&mut self, id: FilterId) {
        let filter = &mut self.filters[id];
        debug_assert!(filter.pins > 0, "every unpin follows a pin");
        filter.pins -= 1;
        self.note_idle(id);
    }

    pub(super) fn note_idle(&mut self, id: FilterId) {
        if self.filters[id].is_unused() {
            self.filters.idle.push(id);
        }
    }

    /// An owner knows of a filter now, and has told of `matched` topics that it covers, or has too many to tell. If it
    /// was the last, the filter waits no longer: it is live, or cannot be had.
    pub fn on_watched(&mut self, id: FilterId, matched: Option<u32>) -> Option<Result<(), Fault>> {
        let topics_max = self.charter.filter_topics_max;
        let Stage::Watching {
            missing,
            matched: sum,
            fault,
        } = &mut self.filters[id].stage
        else {
            debug_assert!(false, "no more answers than questions");
            return None;
        };
        *missing -= 1;
        *sum = sum.saturating_add(matched.unwrap_or(0));
        if matched.is_none() || *sum > topics_max {
            *fault = Some(Fault::TooWide);
        }
        if *missing > 0 {
            return None;
        }
        let outcome = fault.map_or(Ok(()), Err);
        let refused = outcome.is_err();
        self.filters[id].stage = if refused { Stage::Refused } else { Stage::Live };
        Some(outcome)
    }

    /// A topic that some filter covers is at `seq` at its owner, whose updates come by name from now on. Returns it, if
    /// anybody here still has such a filter, or waits for the topic itself.
    pub fn on_born(
        &mut self,
        name: Arc<str>,
        alias: u32,
        seq: u64,
        last: Option<Arc<Update>>,
    ) -> Option<TopicId> {
        let id = match self.topics.find(&name) {
            Some(id) => id,
            None => {
                let set = self.filters.enter_set(&name);
                if set == SetId::NONE {
                    let from = self.shard;
                    self.ask_owner(Request::Leave { topic: name, from });
                    return None;
                }
                let id = self.topics.insert(name);
                self.topics[id].set = set;
                id
            }
        };
        let topic = &mut self.topics[id];
        debug_assert!(
            topic.stage != TopicStage::Live,
            "an owner tells of a topic to those who do not have it"
        );
        (topic.stage, topic.alias) = (TopicStage::Live, alias);
        (topic.seq, topic.last) = (seq, last);
        Some(id)
    }

    /// A topic that never said anything and that nobody but filters wants any more is not kept for them: it will be born. Until the
    /// owner has agreed, its first update may be on its way.
    pub(super) fn fade_if_silent(&mut self, id: TopicId) {
        let topic = &mut self.topics[id];
        let is_wanted = topic.pins > 0 || !topic.members.is_empty();
        if is_wanted || topic.stage != TopicStage::Live || topic.seq > 0 {
            return;
        }
        topic.stage = TopicStage::Fading;
        let fade = Request::Fade {
            topic: topic.name.clone(),
            from: self.shard,
            listener: topic.reference(id),
        };
        self.ask_owner(fade);
    }

    /// The owner of a fading topic has forgotten it. Whoever has asked for it meanwhile waits until it is joined again.
    pub fn on_faded(&mut self, listener: TopicRef) {
        let Some(id) = self.addressee(listener) else {
            return;
        };
        let topic = &self.topics[id];
        debug_assert!(
            topic.stage == TopicStage::Fading && topic.members.is_empty(),
            "a fading topic has no members, and was not heard of"
        );
        if topic.pins > 0 {
            return self.ask_to_join(id);
        }
        let topic = self.topics.remove(id);
        self.filters.sets.leave(topic.set);
    }

    /// As listener: the topic that an update is for. Those that come by name are for one whose stream has begun here, or for nobody.
    /// One that fades is such a one: what comes by name of an earlier stream came ahead of the answer to its join, and what comes of a
    /// later one comes behind the answer to its fade.
    #[must_use]
    pub fn recipient(&self, listener: Option<TopicRef>, update: &Update) -> Option<TopicId> {
        match listener {
            Some(listener) => self.addressee(listener),
            None => self
                .topics
                .find(&update.topic)
                .filter(|id| match self.topics[*id].stage {
                    TopicStage::Live => true,
                    TopicStage::Fading => !broken::is(Break::FadingDeaf),
                    TopicStage::New | TopicStage::Joining | TopicStage::Refused => false,
                }),
        }
    }

    /// Whether [`Hub::settle`] has nothing to do.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.filters.fresh.is_empty() && self.filters.idle.is_empty()
    }

    /// Carries out what pins and members, gained and lost, have come to: new filters cover the topics that are here and are made
    /// known to the owners, unused ones go, and with them the topics that nobody else has. Once a tick: it is one walk over
    /// the shard's topics, however many filters came and went, and none at all if those that went covered nothing. The
    /// walk is weighed as work of the tick.
    pub fn settle(&mut self) {
        if self.is_settled() {
            return;
        }
        let dead = self.take_unused();
        let mut fresh = std::mem::take(&mut self.filters.fresh);
        fresh.retain(|id| dead.binary_search_by_key(id, |(dead, _)| *dead).is_err());
        let hit_sets = self.sets_with(&dead);
        let is_crowd_hit = |topic: &Topic| {
            topic.set == SetId::CROWDED
                && dead
                    .iter()
                    .any(|(_, name)| topic::covers(name, &topic.name))
        };
        let fresh_names: Vec<Arc<str>> = fresh
            .iter()
            .map(|id| self.filters[*id].name.clone())
            .collect();
        let is_fresh = |name: &str| match fresh_names.len() {
            0 => false,
            1..=COMPARED_MAX => fresh_names.iter().any(|one| topic::covers(one, name)),
            _ => true,
        };
        let mut unused = Vec::new();
        let may_change = !fresh.is_empty()
            || hit_sets.contains(&true)
            || (!dead.is_empty() && self.filters.sets.has_crowds());
        let topics = if may_change { self.topics.len() } else { 0 };
        self.outgoing.weigh(topics / COMPARED_A_LETTER);
        for (id, topic) in self.topics.iter_mut().take(topics) {
            let is_hit = hit_sets.get(topic.set.index()).is_some_and(|hit| *hit);
            if is_hit || is_crowd_hit(topic) || is_fresh(&topic.name) {
                let set = self.filters.enter_set(&topic.name);
                self.filters.sets.leave(topic.set);
                topic.set = set;
                if topic.is_unused() {
                    unused.push(id);
                }
            }
        }
        self.tell_owners(fresh, dead);
        for id in unused {
            self.leave_if_unused(id);
        }
    }

    /// Takes the filters away that have neither pin nor member any more.
    fn take_unused(&mut self) -> Vec<(FilterId, Arc<str>)> {
        let mut idle = std::mem::take(&mut self.filters.idle);
        idle.sort_unstable();
        idle.dedup();
        idle.retain(|id| self.filters[*id].is_unused());
        idle.into_iter()
            .map(|id| (id, self.filters.remove(id).name))
            .collect()
    }

    /// Whether a set holds one of `filters`, by its place.
    fn sets_with(&self, filters: &[(FilterId, Arc<str>)]) -> Vec<bool> {
        if filters.is_empty() {
            return Vec::new();
        }
        let sets = &self.filters.sets;
        let mut hit = vec![false; sets.index_end()];
        for (set, content) in sets.iter() {
            let gone = |id: &FilterId| filters.binary_search_by_key(id, |(gone, _)| *gone).is_ok();
            hit[set.index()] = content.iter().any(gone);
        }
        hit
    }

    fn tell_owners(&mut self, fresh: Vec<FilterId>, dead: Vec<(FilterId, Arc<str>)>) {
        let from = self.shard;
        let fresh: Arc<[(FilterId, Arc<str>)]> = fresh
            .into_iter()
            .map(|id| (id, self.filters[id].name.clone()))
            .collect();
        let dead: Arc<[Arc<str>]> = dead.into_iter().map(|(_, name)| name).collect();
        for shard in 0..self.charter.shards {
            if !dead.is_empty() {
                let filters = dead.clone();
                let unwatch = Request::Unwatch { filters, from };
                self.outgoing.request(ShardId(shard), unwatch);
            }
            if !fresh.is_empty() {
                let filters = fresh.clone();
                let watch = Request::Watch { filters, from };
                self.outgoing.request(ShardId(shard), watch);
            }
        }
    }
}
