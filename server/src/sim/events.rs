//! What concerns streams of events alone: where their ids say that they stand, and when one for a single answer ends.

use std::collections::BTreeMap;

use fanfare_wire::sse;

use super::subscriber::{Subscriber, Tongue};
use super::tally::Tally;

/// A stream of events, beside what a [`Subscriber`] knows of it.
#[derive(Default)]
pub(super) struct Events {
    /// The last id that was heard, which a client would resume from.
    pub(super) last_id: String,
    /// The last value that was delivered, by topic.
    pub(super) delivered: BTreeMap<String, u64>,
    /// It has several topics, or filters.
    pub(super) is_mixed: bool,
    /// It ends with its first events, or then.
    pub(super) until_us: Option<u64>,
    /// Some have come.
    pub(super) has_first: bool,
}

impl Subscriber {
    /// A value of a topic was delivered to a stream.
    pub(super) fn note_delivered(&mut self, name: &str, seq: u64) {
        if self.tongue == Tongue::Events {
            self.events.delivered.insert(name.into(), seq);
            self.events.has_first = true;
        }
    }

    /// An id says where the stream stands, behind the event that it came with.
    pub(super) fn hear_id(&mut self, id: &str, epoch: &str, tally: &mut Tally) {
        assert_eq!(self.tongue, Tongue::Events, "only streams have ids: {id}");
        let events = &mut self.events;
        events.last_id = id.into();
        let plain = |source: &&String| !source.contains(['*', '>']);
        let mut named: Vec<&str> = Vec::new();
        for position in sse::positions(id) {
            assert_eq!(position.epoch, epoch, "{id}");
            let name = position.topic;
            named.push(name);
            let at = self.account.at(name).expect("the topic has opened");
            assert!(
                position.seq <= at,
                "the id claims {name} {} and it has got {at}: {id}",
                position.seq
            );
            let delivered = events.delivered.get(name).copied().unwrap_or(0);
            assert!(
                position.seq >= delivered,
                "{name} {delivered} was delivered and would be again: {id}"
            );
        }
        named.sort_unstable();
        let sources = self.sources.keys().filter(plain);
        assert!(
            sources.eq(named.iter()),
            "an id names each topic of the stream: {id}, {:?}",
            self.sources.keys()
        );
        tally.add("position of one topic", named.len() == 1);
        tally.add("position of several topics", named.len() > 1);
    }

    /// A stream for one answer has ended.
    pub(super) fn hear_end(&self, now_us: u64, tally: &mut Tally) {
        let has_first = self.events.has_first;
        let Some(until_us) = self.events.until_us else {
            return;
        };
        tally.add("stream ended with its first events", has_first);
        tally.add("stream ended without events", !has_first);
        assert!(
            has_first || now_us + 1000 >= until_us,
            "a stream that waits ended without events {} µs early",
            until_us - now_us
        );
    }

    /// Whether it should have ended by now.
    pub(super) fn should_have_ended(&self) -> bool {
        self.events.until_us.is_some() && self.events.has_first
    }
}
