//! Holds a subscriber's streams to the promise: every seq is delivered once, or named by exactly one skip.
//!
//! A topic has a stream while some subscription of the client covers it. Where a stream begins, the client is told by an ack, or, under a filter, by
//! the first that comes; from there on nothing may be missing and nothing come twice.

use std::collections::{HashMap, HashSet};

use fanfare_wire::command::Id;
use fanfare_wire::event::{
    self, Data, DataKind, Event, RecoveredRead, SkipWhy, SubscribedTopicRead,
};
use fanfare_wire::topic;

/// What one client has been told of each topic.
#[derive(Default)]
pub(crate) struct Account {
    topics: HashMap<String, Standing>,
    /// Topics and filters that it is subscribed to, as far as it knows.
    sources: HashSet<String>,
    /// What each `unsubscribe` ends, by its id.
    ending: HashMap<u64, String>,
    /// By source, the id of the latest `unsubscribe` that was answered: it also took what was asked for before and still pending.
    ended: HashMap<String, u64>,
}

/// What it has been told of one topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// The seq of the last ack, and of the last update or skip after it.
    pub(crate) at: u64,
    /// The updates that came, by seq.
    pub(crate) delivered: Vec<u64>,
    /// The skips that came.
    pub(crate) skips: Vec<(u64, u64, Option<SkipWhy>)>,
    /// The value of the last update.
    pub(crate) value: String,
    /// The last thing said was a skip.
    is_open: bool,
    /// Where its stream begins has been told; only then is `at` to be gone on from.
    is_begun: bool,
    /// A snapshot of `at` may follow, but not after anything else.
    may_open: bool,
}

impl Account {
    /// Takes in what a client heard; whatever breaks the promise fails the test.
    pub(crate) fn hear(&mut self, texts: &[String]) {
        for text in texts {
            self.hear_one(text);
        }
    }

    /// The client says that it wants `source` no longer.
    pub(crate) fn will_end(&mut self, id: u64, source: &str) {
        self.ending.insert(id, source.into());
    }

    /// What is known of a topic.
    pub(crate) fn of(&self, topic: &str) -> Standing {
        self.topics.get(topic).cloned().unwrap_or_default()
    }

    /// No skip stands at the end: the newest value has come.
    pub(crate) fn is_settled(&self) -> bool {
        self.topics.values().all(|standing| !standing.is_open)
    }

    /// Whether some subscription covers the topic.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.sources
            .iter()
            .any(|source| topic::covers(source, name))
    }

    /// Where its stream of a topic stands, if that has been told.
    pub(crate) fn at(&self, topic: &str) -> Option<u64> {
        let standing = self.topics.get(topic)?;
        standing.is_begun.then_some(standing.at)
    }

    /// Whether a `subscribe` was overtaken by the `unsubscribe` of the same.
    fn is_cancelled(&self, id: u64, source: &str) -> bool {
        self.ended.get(source).is_some_and(|end| *end > id)
    }

    fn hear_one(&mut self, text: &str) {
        match event::parse(text) {
            Ok(Event::Subscribed { id, topics, .. }) => {
                // A filter begins behind the topics of its command, wherever it stands in it.
                let (filters, topics): (Vec<_>, Vec<_>) =
                    topics.iter().partition(|line| line.matched.is_some());
                for line in topics.into_iter().chain(filters) {
                    self.begin(id, line, text);
                }
            }
            Ok(Event::Unsubscribed { id, .. }) => self.end(id),
            Ok(Event::Data(data)) => {
                let standing = self.topics.entry(data.topic.to_string()).or_default();
                standing.take(&data, text);
            }
            Ok(Event::Skip {
                topic,
                from,
                to,
                why,
            }) => {
                let standing = self.topics.entry(topic.into()).or_default();
                if standing.is_begun {
                    assert_eq!(standing.at + 1, from, "no hole, no seq named twice: {text}");
                }
                assert!(to >= from && from >= standing.at, "{text}");
                (standing.at, standing.is_open) = (to, true);
                (standing.is_begun, standing.may_open) = (true, false);
                standing.skips.push((from, to, why));
            }
            Ok(_) => {}
            Err(error) => assert_eq!(text, "pong", "{error}"),
        }
    }

    fn begin(&mut self, id: Option<Id<'_>>, line: &SubscribedTopicRead<'_>, text: &str) {
        let id = id.and_then(|id| id.0.parse::<u64>().ok());
        let source = line.topic.to_string();
        let is_cancelled = id.is_some_and(|id| self.is_cancelled(id, &source));
        if line.matched.is_some() {
            if !is_cancelled {
                self.begin_filter(source);
            }
            return;
        }
        let had = self.has(&source) && id.is_some();
        let standing = self.topics.entry(source.clone()).or_default();
        // Under a filter a last value may still be on its way that an earlier subscription had brought.
        let goes_on = line.seq >= standing.at || (had && !standing.is_begun);
        assert!(goes_on, "no ack goes back: {text}");
        if had && standing.is_begun {
            assert_eq!(standing.at, line.seq, "the ack says what was sent: {text}");
        }
        let count = match line.recovered {
            Some(RecoveredRead::Full) => line.count.expect("so many frames of history"),
            _ => 0,
        };
        (standing.at, standing.is_open) = (line.seq - count, false);
        // Named twice in one command, a topic still opens once.
        (standing.is_begun, standing.may_open) = (true, standing.may_open || !had);
        if !is_cancelled {
            self.sources.insert(source);
        }
    }

    fn begin_filter(&mut self, filter: String) {
        let had: Vec<String> = (self.topics.keys())
            .filter(|name| self.has(name))
            .cloned()
            .collect();
        for (name, standing) in &mut self.topics {
            if topic::covers(&filter, name) && !had.contains(name) {
                standing.is_begun = false;
            }
        }
        self.sources.insert(filter);
    }

    fn end(&mut self, id: Option<Id<'_>>) {
        let Some(id) = id.and_then(|id| id.0.parse::<u64>().ok()) else {
            return;
        };
        let source = self.ending.remove(&id).expect("it was said");
        self.sources.remove(&source);
        self.ended.insert(source, id);
    }
}

impl Standing {
    fn take(&mut self, data: &Data<'_>, text: &str) {
        if data.kind == DataKind::Snapshot {
            if self.is_begun {
                assert!(self.may_open, "the stream is under way: {text}");
                assert_eq!(self.at, data.seq, "of the ack's seq: {text}");
            }
            assert!(data.seq >= self.at, "{text}");
        } else if self.is_begun {
            assert_eq!(self.at + 1, data.seq, "no hole, no repeat: {text}");
        } else {
            assert!(data.seq >= self.at.max(1), "{text}");
        }
        (self.at, self.is_open) = (data.seq, false);
        (self.is_begun, self.may_open) = (true, false);
        if data.kind != DataKind::Snapshot {
            self.delivered.push(data.seq);
        }
        self.value = data.data.into();
    }
}
