//! A client over plain HTTP: what it has asked on its connection, and whether the answers are true.
//!
//! Requests are answered in their order, each once. A poll is answered with what was published, and never with what the client has; an
//! answer without news comes only when the wait is over, and names what the client has.

use std::collections::{BTreeMap, VecDeque};

use fanfare_wire::event::{self, Event};

use super::subscriber::Scene;
use super::truth::value_of;

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Poll(Poll),
    /// One value.
    Post(Posted),
    /// Lines of values; `None`: one that is none.
    Many(Vec<Option<Posted>>),
    History {
        topic: String,
        since: u64,
    },
}

/// A `GET` of a topic.
#[derive(Clone, Debug)]
pub(super) struct Poll {
    pub(super) topic: String,
    /// What it says that it has, if that is of this epoch.
    pub(super) has: Option<u64>,
    /// What it really has.
    pub(super) knows: u64,
    pub(super) wait_ms: u64,
    /// It names what it has by the entity tag.
    pub(super) is_tagged: bool,
    /// When it was sent.
    pub(super) at_us: u64,
    /// All is at rest: nothing but the newest is an answer.
    pub(super) is_last: bool,
}

/// A value that was sent to a topic.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    pub(super) topic: String,
    pub(super) value: u64,
    pub(super) key: Option<String>,
}

/// One connection of requests and answers.
#[derive(Default)]
pub(super) struct Web {
    pub(super) asked: VecDeque<Asked>,
    /// The newest that it has of each topic.
    pub(super) known: BTreeMap<String, u64>,
    /// An answer has said that the connection ends.
    pub(super) is_over: bool,
}

/// An answer, its head taken apart.
pub(super) struct Reply<'a> {
    status: u16,
    head: &'a str,
    body: &'a str,
}

impl<'a> Reply<'a> {
    pub(super) fn new(head: &'a str, body: &'a str) -> Reply<'a> {
        let status = head.get(9..12).and_then(|text| text.parse().ok());
        let status = status.expect("a status");
        Reply { status, head, body }
    }

    /// Whether the connection ends behind it.
    pub(super) fn is_last(&self) -> bool {
        self.header("Connection") == Some("close")
    }

    /// A head or body did not come in time: it is the answer to none that was sent.
    pub(super) fn is_late_request(&self) -> bool {
        self.status == 408
    }

    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn number(&self, name: &str) -> u64 {
        let text = self.header(name).expect("it says so");
        text.parse().expect("a number")
    }
}

impl Web {
    /// An answer has come whose first byte was taken at `first_us`.
    pub(super) fn hear(&mut self, reply: &Reply<'_>, first_us: u64, scene: &mut Scene<'_>) {
        assert!(!self.is_over, "nothing comes behind the last answer");
        self.is_over = reply.is_last();
        if reply.is_late_request() {
            scene.tally.add("request timeout", true);
            return assert!(self.is_over, "{}", reply.head);
        }
        let asked = self.asked.pop_front().expect("one answer a request");
        if reply.status == 503 && self.is_over {
            // The owner was not heard of in time.
            return scene.tally.add("no answer in time", true);
        }
        match asked {
            Asked::Poll(poll) => self.hear_poll(&poll, reply, first_us, scene),
            Asked::Post(posted) => check_published(&posted, reply.body, scene),
            Asked::Many(posted) => {
                assert_eq!(reply.status, 200, "{}", reply.body);
                let lines: Vec<&str> = reply.body.lines().collect();
                assert_eq!(lines.len(), posted.len(), "a line for each: {}", reply.body);
                for (posted, line) in posted.iter().zip(lines) {
                    match posted {
                        Some(posted) => check_published(posted, line, scene),
                        None => assert!(line.contains(r#""code":1000"#), "{line}"),
                    }
                }
                scene.tally.add("many posted", true);
            }
            Asked::History { topic, since } => check_history(&topic, since, reply, scene),
        }
    }

    fn hear_poll(&mut self, poll: &Poll, reply: &Reply<'_>, first_us: u64, scene: &mut Scene<'_>) {
        let (topic, head) = (&*poll.topic, reply.head);
        let newest = scene.truth.newest(topic);
        match reply.status {
            200 => {
                let seq = reply.number("Fanfare-Seq");
                let entry = scene.truth.get(topic, seq).expect("it was published");
                assert_eq!(reply.header("Fanfare-Epoch"), Some(scene.epoch), "{head}");
                assert_eq!(reply.number("Fanfare-Ts"), entry.ts_us as u64, "{head}");
                let tag = format!("\"{}:{seq}\"", scene.epoch);
                assert_eq!(reply.header("ETag"), Some(&*tag), "{head}");
                assert_eq!(value_of(reply.body), Some(entry.value), "{head}");
                // Who claims more than there was may be told it when it comes.
                let is_claim = poll.has.is_some_and(|has| has > poll.knows);
                let is_news = poll.has != Some(seq) || is_claim;
                assert!(is_news, "it has that already: {poll:?} {head}");
                assert!(seq >= poll.knows, "{topic} goes back: {poll:?} {head}");
                assert!(
                    !poll.is_last || seq == newest,
                    "the newest of {topic} is {newest}: {head}"
                );
                scene.tally.add(
                    "poll answered at once",
                    poll.wait_ms > 0 && first_us == poll.at_us,
                );
                scene.tally.add(
                    "poll answered later",
                    poll.wait_ms > 0 && first_us > poll.at_us,
                );
                let known = self.known.entry(topic.into()).or_default();
                *known = seq.max(*known);
            }
            204 | 304 => {
                assert_eq!(reply.status == 304, poll.is_tagged, "{head}");
                let tag = |has| format!("\"{}:{has}\"", scene.epoch);
                let is_so = match (reply.header("ETag"), poll.has) {
                    (Some(told), has) => has.is_some_and(|has| told == tag(has)),
                    // The topic has no value yet, whatever the client said.
                    (None, has) => poll.knows == 0 || has.is_some_and(|has| has > poll.knows),
                };
                assert!(is_so, "no news is what it has: {poll:?} {head}");
                assert!(!poll.is_last || poll.has == Some(newest), "{poll:?} {head}");
                let waited_us = first_us - poll.at_us;
                assert!(
                    waited_us + 1000 >= poll.wait_ms * 1000,
                    "it waited {waited_us} µs: {poll:?}"
                );
                scene.tally.add("poll without news", true);
            }
            404 => {
                assert!(poll.wait_ms == 0, "it would wait: {poll:?}");
                assert!(
                    !poll.is_last || newest == 0,
                    "{topic} has a value: {poll:?}"
                );
            }
            503 => assert!(reply.body.contains(r#""code":3001"#), "{head}"),
            status => panic!("{status} for {poll:?}: {head}"),
        }
    }

    /// The one that is being carried out now, if it is known which.
    pub(super) fn waiting_poll(&self) -> Option<&Poll> {
        match (self.asked.len(), self.asked.front()) {
            (1, Some(Asked::Poll(poll))) => Some(poll),
            _ => None,
        }
    }
}

/// What a publisher is told is so.
fn check_published(posted: &Posted, text: &str, scene: &mut Scene<'_>) {
    match event::parse(text.trim_end()).expect("an event") {
        Event::Published {
            topic, epoch, seq, ..
        } => {
            assert_eq!((&*topic, &*epoch), (&*posted.topic, scene.epoch), "{text}");
            let entry = scene.truth.get(&topic, seq);
            let value = entry.expect("what is answered was numbered").value;
            let key = (posted.key.clone()).map(|key| (posted.topic.clone(), key));
            let same = key.and_then(|key| scene.truth.keyed.get(&key));
            let is_its = value == posted.value || same.is_some_and(|all| all.contains(&value));
            assert!(is_its, "the seq of another's value: {text}");
            scene.tally.add("posted", true);
            scene
                .tally
                .add("key repeated by post", value != posted.value);
        }
        Event::Error { code, .. } => {
            assert!(matches!(code, 3001 | 3004), "{text}");
            scene.tally.add(&format!("post error {code}"), true);
        }
        _ => panic!("no answer to a publish: {text}"),
    }
}

/// What is kept is told without a hole, and what is not is named.
fn check_history(topic: &str, since: u64, reply: &Reply<'_>, scene: &mut Scene<'_>) {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let page: serde_json::Value = serde_json::from_str(reply.body).expect("JSON");
    let seq = page["seq"].as_u64().expect("where it stands");
    assert!(seq <= scene.truth.newest(topic), "{}", reply.body);
    let mut next = since + 1;
    if let Some(gap) = page["gap"].as_object() {
        assert_eq!(gap["from"], next, "{}", reply.body);
        next = gap["to"].as_u64().expect("a seq") + 1;
    }
    for update in page["updates"].as_array().expect("a list") {
        assert_eq!(update["seq"], next, "no hole: {}", reply.body);
        let entry = scene.truth.get(topic, next).expect("it was published");
        assert_eq!(update["data"]["v"], entry.value, "{}", reply.body);
        next += 1;
    }
    assert!(next <= seq.max(since) + 1, "{}", reply.body);
    scene.tally.add("history page", next > since + 1);
}
