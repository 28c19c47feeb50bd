//! What one client has said and been told, held to the promises of docs/PROTOCOL.md with every message that comes.
//!
//! [`Account`] checks the order of seqs; here stands what needs to know the commands, the time and the truth: that each
//! command is answered once, how a topic opens, whose options count, intervals, and whether a value is the one published.

use std::collections::BTreeMap;

use fanfare_wire::event::{self, Data, DataKind, Event, GapWhy, SkipWhy};
use fanfare_wire::topic;

use super::events::Events;
use super::said::Said;
use super::stream::{Expect, Stream, opening};
use super::tally::Tally;
use super::truth::{Truth, value_of};
use super::web::Web;
use crate::engine::account::Account;
use crate::hub::policy::SubOptions;

/// A value of so many bytes or more is queued before it is written, so when its interval begins cannot be seen.
const QUEUED_BYTES: usize = 15_000;

/// One subscription, as the client knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) options: SubOptions,
}

/// What a client hears in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tongue {
    /// The JSON protocol.
    Json,
    /// Commands, and bare payloads back.
    Raw,
    /// Bare payloads of one topic.
    Room,
    /// The JSON protocol's events, as Server-Sent Events, and no commands.
    Events,
    /// Answers to HTTP requests.
    Web,
}

impl Tongue {
    /// Whether it hears of positions, skips and gaps.
    pub(super) fn has_receipts(self) -> bool {
        matches!(self, Tongue::Json | Tongue::Events)
    }
}

/// What is known while a message is heard.
pub(super) struct Scene<'a> {
    pub(super) truth: &'a Truth,
    /// All topics that are spoken of.
    pub(super) topics: &'a [String],
    pub(super) epoch: &'a str,
    pub(super) step: usize,
    /// The latest that any wall clock has shown.
    pub(super) wall_us: i64,
    pub(super) tally: &'a mut Tally,
}

/// One client's view.
pub(super) struct Subscriber {
    pub(super) tongue: Tongue,
    pub(super) account: Account,
    pub(super) said: BTreeMap<u64, Said>,
    pub(super) sources: BTreeMap<String, Source>,
    pub(super) streams: BTreeMap<String, Stream>,
    /// By source, the latest `unsubscribe` that was answered: it also took what was asked for before and still pending.
    pub(super) ended: BTreeMap<String, u64>,
    /// Topics that a filter has begun to cover and nothing has come of yet: in which step that was heard, and whether a value
    /// must come that was there before.
    pub(super) owed: BTreeMap<String, (usize, bool)>,
    /// It has ever asked for an interval, and the shortest greatest age.
    has_interval: bool,
    stale_ms: Option<u32>,
    room: Option<String>,
    hellos: usize,
    /// What it knows as a stream of events.
    pub(super) events: Events,
    /// What it has asked over plain HTTP.
    pub(super) web: Web,
}

impl Subscriber {
    pub(super) fn new(tongue: Tongue, room: Option<&str>) -> Subscriber {
        Subscriber {
            tongue,
            account: Account::default(),
            said: BTreeMap::new(),
            sources: BTreeMap::new(),
            streams: BTreeMap::new(),
            ended: BTreeMap::new(),
            owed: BTreeMap::new(),
            has_interval: false,
            stale_ms: None,
            room: room.map(Into::into),
            hellos: 0,
            events: Events::default(),
            web: Web::default(),
        }
    }

    /// The client gives a command.
    pub(super) fn say(&mut self, id: u64, said: Said) {
        match &said {
            Said::Unsubscribe(source) => self.account.will_end(id, source),
            Said::Subscribe { change, .. } | Said::Set(_, change) => {
                self.has_interval |= change.min_interval_ms.is_some_and(|ms| ms > 0);
                if let Some(ms) = change.max_stale_ms.filter(|ms| *ms > 0) {
                    self.stale_ms = Some(self.stale_ms.unwrap_or(u32::MAX).min(ms));
                }
            }
            _ => {}
        }
        self.said.insert(id, said);
    }

    /// What it is subscribed to.
    pub(super) fn sources(&self) -> impl Iterator<Item = &String> {
        self.sources.keys()
    }

    /// The options that count for a topic, if any subscription covers it: its own, else the most specific filter's.
    pub(super) fn options_for(&self, name: &str) -> Option<SubOptions> {
        let covering = self
            .sources
            .iter()
            .filter(|(source, _)| topic::covers(source, name));
        covering
            .min_by_key(|(source, _)| rank(source))
            .map(|(_, one)| one.options)
    }

    /// Where it stands in a topic, if its stream has begun.
    pub(super) fn at(&self, name: &str) -> Option<u64> {
        match self.tongue {
            tongue if tongue.has_receipts() => self.account.at(name),
            _ => self.streams.get(name)?.at,
        }
    }

    /// Whether an interval of the topic may still be under way.
    pub(super) fn may_rest(&self, name: &str, now_us: u64) -> bool {
        let Some(options) = self
            .options_for(name)
            .filter(|options| options.min_interval_ms > 0)
        else {
            return false;
        };
        let last_us = self.streams.get(name).and_then(|stream| stream.last_us);
        last_us.is_none_or(|last_us| {
            now_us / 1000 < last_us.div_ceil(1000) + u64::from(options.min_interval_ms)
        })
    }

    /// Whether the topic is the client's, by whatever subscription.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.room.as_deref() == Some(name) || self.options_for(name).is_some()
    }

    /// Takes in a text message whose first byte came at `first_us`.
    pub(super) fn hear(&mut self, text: &str, first_us: u64, scene: &mut Scene<'_>) {
        if text == "pong" {
            return;
        }
        if !self.tongue.has_receipts()
            && let Some(value) = value_of(text)
        {
            return self.hear_payload(value, first_us, text.len(), scene);
        }
        assert!(self.tongue != Tongue::Room, "a room says payloads: {text}");
        let event = event::parse(text).expect("an event");
        self.check(&event, text, first_us, scene);
        let texts = [text.to_owned()];
        match (&event, self.tongue) {
            (Event::Data(_) | Event::Skip { .. }, Tongue::Raw) => panic!("no payload: {text}"),
            (Event::Data(_) | Event::Skip { .. }, _) => self.account.hear(&texts),
            (Event::Subscribed { .. } | Event::Unsubscribed { .. }, tongue)
                if tongue.has_receipts() =>
            {
                self.account.hear(&texts);
            }
            _ => {}
        }
        self.change(event, text, scene);
    }

    /// What a message must be as things stand.
    fn check(&mut self, event: &Event<'_>, text: &str, first_us: u64, scene: &mut Scene<'_>) {
        match event {
            Event::Hello(_) => self.hellos += 1,
            Event::Data(data) => self.check_data(data, text, first_us, scene),
            Event::Skip {
                topic,
                from,
                to,
                why,
            } => {
                scene
                    .tally
                    .add(&format!("skip {}", why.map_or("?", SkipWhy::name)), true);
                assert!(
                    self.covers(topic),
                    "a skip of what is not subscribed: {text}"
                );
                let stream = self.streams.entry(topic.to_string()).or_default();
                assert_eq!(
                    stream.expect,
                    Expect::Stream,
                    "the topic has not opened: {text}"
                );
                assert!(
                    *to < scene.truth.newest(topic),
                    "a newer value follows: {text}"
                );
                match why {
                    Some(SkipWhy::Rate) => assert!(self.has_interval, "no interval: {text}"),
                    Some(SkipWhy::Stale) => self.check_stale(topic, (*from, *to), text, scene),
                    Some(SkipWhy::Slow) => {}
                    None => panic!("a skip says why: {text}"),
                }
                self.note_first(topic, *from, scene);
            }
            Event::Gap {
                topic,
                from,
                why,
                epoch,
            } => {
                scene
                    .tally
                    .add(&format!("gap {}", why.map_or("?", GapWhy::name)), true);
                assert_eq!(*epoch, scene.epoch, "{text}");
                let stream = self.streams.entry(topic.to_string()).or_default();
                let Expect::Gap {
                    from: wanted,
                    snapshot,
                } = stream.expect
                else {
                    panic!("no gap is due: {text}");
                };
                assert_eq!(
                    *from, wanted,
                    "what is lost begins behind what it has: {text}"
                );
                stream.expect = opening(snapshot);
                self.events.has_first = true;
            }
            _ => assert!(
                self.hellos == 1 || matches!(self.tongue, Tongue::Raw | Tongue::Events),
                "hello is first: {text}"
            ),
        }
    }

    fn check_stale(&self, name: &str, (from, to): (u64, u64), text: &str, scene: &Scene<'_>) {
        let least_ms = self.stale_ms.expect("a greatest age was asked for");
        for seq in from..=to {
            let entry = scene.truth.get(name, seq).expect("it was published");
            let age_us = scene.wall_us - entry.ts_us;
            assert!(
                age_us > i64::from(least_ms) * 1000,
                "{age_us} µs is not stale: {text}"
            );
        }
    }

    fn check_data(&mut self, data: &Data<'_>, text: &str, first_us: u64, scene: &mut Scene<'_>) {
        let name = &*data.topic;
        assert!(self.covers(name), "data of what is not subscribed: {text}");
        let entry = scene.truth.get(name, data.seq).expect("it was published");
        assert_eq!(
            value_of(data.data),
            Some(entry.value),
            "the value of its seq: {text}"
        );
        assert_eq!(data.ts_us, entry.ts_us, "{text}");
        let is_begun = self.account.at(name).is_some();
        let interval_ms = self
            .options_for(name)
            .map_or(0, |options| options.min_interval_ms);
        let stream = self.streams.entry(name.into()).or_default();
        stream.expect = match (stream.expect, data.kind) {
            (Expect::Snapshot(seq), DataKind::Snapshot) => {
                assert_eq!(data.seq, seq, "the snapshot is of the ack's seq: {text}");
                Expect::Stream
            }
            (Expect::History { left }, DataKind::History) if left > 0 => match left {
                1 => Expect::Stream,
                left => Expect::History { left: left - 1 },
            },
            (Expect::Stream, DataKind::Update) => Expect::Stream,
            (Expect::Stream, DataKind::Snapshot) if !is_begun => Expect::Stream,
            (expect, kind) => panic!("{expect:?} is due, not {kind:?}: {text}"),
        };
        self.note_delivered(name, data.seq);
        let stream = self.streams.entry(name.into()).or_default();
        if data.kind == DataKind::Update {
            stream.note_update(first_us, interval_ms, text);
            if data.data.len() > QUEUED_BYTES {
                stream.last_us = None;
            }
        }
        self.note_first(name, data.seq, scene);
    }

    /// A stream under a filter begins somewhere: not behind what was published after the filter was acked.
    fn note_first(&mut self, name: &str, seq: u64, scene: &mut Scene<'_>) {
        if let Some((step, _)) = self.owed.remove(name) {
            scene.tally.add("topic born under a filter", seq == 1);
            // Without receipts what was left out before the first value cannot be told from what was missed.
            let earlier = if self.tongue.has_receipts() {
                1..seq
            } else {
                0..0
            };
            for earlier in earlier {
                let entry = scene.truth.get(name, earlier).expect("it was published");
                assert!(
                    entry.step <= step,
                    "{name} {earlier} was published behind the filter's ack"
                );
            }
        }
    }

    /// A payload without anything around it.
    fn hear_payload(&mut self, value: u64, first_us: u64, length: usize, scene: &mut Scene<'_>) {
        let (name, seq) = scene.truth.place_of(value).expect("it was published");
        assert!(
            self.covers(name),
            "a payload of what is not subscribed: {name} {seq}"
        );
        let options = self.options_for(name);
        let is_room = self.tongue == Tongue::Room;
        let stream = self.streams.entry(name.into()).or_default();
        match (stream.expect, stream.at) {
            (Expect::Snapshot(due), _) => {
                assert_eq!(seq, due, "the snapshot of the ack's seq: {name}");
                stream.expect = Expect::Stream;
            }
            (Expect::History { left }, Some(at)) => {
                assert_eq!(seq, at + 1, "history has no hole: {name}");
                stream.expect = match left {
                    1 => Expect::Stream,
                    left => Expect::History { left: left - 1 },
                };
            }
            (_, Some(at)) => {
                assert!(seq > at, "{name} goes back from {at} to {seq}");
                assert!(
                    !is_room || seq == at + 1,
                    "a room leaves nothing out: {name} {at} {seq}"
                );
                if length < QUEUED_BYTES && !self.owed.contains_key(name) {
                    let interval_ms = options.map_or(0, |options| options.min_interval_ms);
                    stream.note_update(first_us, interval_ms, name);
                } else {
                    stream.last_us = None;
                }
            }
            (_, None) => {}
        }
        stream.at = Some(seq);
        let name = name.to_owned();
        self.note_first(&name, seq, scene);
    }

    /// At rest: everything was answered, and the newest value of every topic of its own has come.
    pub(super) fn check_rest(&self, truth: &Truth) {
        assert!(self.said.is_empty(), "unanswered: {:?}", self.said);
        let asked = &self.web.asked;
        assert!(asked.is_empty(), "unanswered: {asked:?}");
        assert!(self.events.until_us.is_none(), "its wait is over");
        for (name, entries) in truth.topics() {
            if !self.covers(name) {
                continue;
            }
            let newest = entries.len() as u64;
            if let Some(stream) = self.streams.get(name) {
                assert_eq!(stream.expect, Expect::Stream, "{name} has not opened");
            }
            match self.at(name) {
                Some(at) => assert_eq!(at, newest, "the newest of {name} has come"),
                None => {
                    let newest_step = entries.last().map_or(0, |entry| entry.step);
                    let is_owed = |(step, must): &(usize, bool)| *must || newest_step > *step;
                    assert!(
                        !self.owed.get(name).is_some_and(is_owed),
                        "nothing of {name} has come, of {newest}"
                    );
                }
            }
        }
    }
}

/// The smaller, the more specific: a topic, then filters segment by segment.
fn rank(source: &str) -> Vec<u8> {
    let rank = |segment| match segment {
        "*" => 1,
        ">" => 2,
        _ => 0,
    };
    source.split('.').map(rank).collect()
}
