//! Holds a subscriber's stream to the promise: every seq is delivered once, or named by exactly one skip.

use std::collections::HashMap;

use fanfare_wire::event::{self, DataKind, Event, SkipWhy};

/// What one client has been told of each topic.
#[derive(Default)]
pub(crate) struct Account {
    topics: HashMap<String, Standing>,
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
}

impl Account {
    /// Takes in what a client heard; whatever breaks the promise fails the test.
    pub(crate) fn hear(&mut self, texts: &[String]) {
        for text in texts {
            self.hear_one(text);
        }
    }

    /// What is known of a topic.
    pub(crate) fn of(&self, topic: &str) -> Standing {
        self.topics.get(topic).cloned().unwrap_or_default()
    }

    /// No skip stands at the end: the newest value has come.
    pub(crate) fn is_settled(&self) -> bool {
        self.topics.values().all(|standing| !standing.is_open)
    }

    fn hear_one(&mut self, text: &str) {
        match event::parse(text) {
            Ok(Event::Subscribed { topics, .. }) => {
                for topic in topics {
                    let standing = self.topics.entry(topic.topic.into()).or_default();
                    assert!(topic.seq >= standing.at, "no ack goes back: {text}");
                    (standing.at, standing.is_open) = (topic.seq, false);
                }
            }
            Ok(Event::Data(data)) => {
                let standing = self.topics.entry(data.topic.into()).or_default();
                if data.kind == DataKind::Snapshot {
                    assert_eq!(standing.at, data.seq, "of the ack's seq: {text}");
                    return;
                }
                assert_eq!(standing.at + 1, data.seq, "no hole, no repeat: {text}");
                (standing.at, standing.is_open) = (data.seq, false);
                standing.delivered.push(data.seq);
                standing.value = data.data.into();
            }
            Ok(Event::Skip {
                topic,
                from,
                to,
                why,
            }) => {
                let standing = self.topics.entry(topic.into()).or_default();
                assert_eq!(
                    standing.at + 1,
                    from,
                    "no hole, nothing named twice: {text}"
                );
                assert!(to >= from, "{text}");
                (standing.at, standing.is_open) = (to, true);
                standing.skips.push((from, to, why));
            }
            Ok(_) => {}
            Err(error) => assert_eq!(text, "pong", "{error}"),
        }
    }
}
