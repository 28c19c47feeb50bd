//! Topics whose long polls were answered, held for the next ones.
//!
//! Between an update and the polls that come back for the next one nobody has the topic. Left at once, it would have to be joined
//! again for each update, and every poll would wait for its owner.

use std::collections::VecDeque;

use super::super::Engine;
use crate::hub::subs::{Source, SubList};
use crate::hub::topics::TopicId;

/// For so long: the way of an answer to a client and back is shorter, and whoever thinks that long before it asks again is none of many.
const LINGER_US: u64 = 1_000_000;
/// So many at a time, a shard. Beyond that topics are left at once.
const TOPICS_MAX: usize = 1024;

/// The topics that are held, with the time until when: those that end first stand in front.
#[derive(Debug, Default)]
pub(in crate::engine) struct Lingering(VecDeque<(TopicId, u64)>);

impl Lingering {
    /// When the next one is let go; `None`: none is held.
    pub(in crate::engine) fn next_us(&self) -> Option<u64> {
        self.0.front().map(|(_, until_us)| *until_us)
    }
}

impl Engine {
    /// The subscription of an answered poll is about to end. If it is all that there is of its topic here, the topic is held.
    pub(super) fn linger(&mut self, subs: SubList) {
        let Some(sub) = self.hub.subs.of(subs).next() else {
            return;
        };
        let Source::Topic(topic) = self.hub.subs[sub].source() else {
            return;
        };
        let lingering = &mut self.lingering.0;
        if self.hub.topics[topic].has_one_use() && lingering.len() < TOPICS_MAX {
            self.hub.hold(topic);
            lingering.push_back((topic, self.now.mono_us + LINGER_US));
        }
    }

    /// Lets go of those whose time is over; with the last connection, of all: nothing would wake the shard for them.
    pub(in crate::engine) fn end_lingering(&mut self) {
        let is_last = self.outlet.conns.is_empty();
        while let Some((topic, until_us)) = self.lingering.0.front().copied()
            && (is_last || until_us <= self.now.mono_us)
        {
            self.lingering.0.pop_front();
            self.hub.unpin(topic);
        }
    }
}
