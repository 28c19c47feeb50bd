//! What is said on a link, apart from how it is spelled: the seam for other protocols (raw
//! payloads, binary frames, NATS, MQTT). A dialect writes commands and reads what the server says
//! as a [`Heard`]; everything else in this program knows only that.

use fanfare_wire::binary::{self, Aliases, Record};
use fanfare_wire::command::{self, Options, Since};
use fanfare_wire::event::{self, Event, GapWhy};
use fanfare_wire::reader::Item;
use std::borrow::Cow;

pub use fanfare_wire::event::DataKind;

/// A protocol that the load generator can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `fanfare.v1.json`: JSON both ways.
    Json,
    /// `fanfare.v1.bin`: commands and answers in JSON, data as binary records.
    Binary,
}

/// What a server said.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Subscriptions were taken, or some of them refused.
    Subscribed {
        /// Those that were taken.
        topics: Vec<Subscribed<'a>>,
        /// Those that were refused: name and label of the reason.
        refused: Vec<(Cow<'a, str>, String)>,
    },
    /// A value of a topic.
    Data {
        /// Snapshot, history or update.
        kind: DataKind,
        /// The topic's name.
        topic: Cow<'a, str>,
        /// Its seq.
        seq: u64,
        /// When the server took it, microseconds since 1970.
        ts_us: i64,
        /// The publisher's bytes.
        payload: &'a [u8],
    },
    /// The server leaves out `from..=to`.
    Skip {
        /// The topic's name.
        topic: Cow<'a, str>,
        /// First seq left out.
        from: u64,
        /// Last seq left out.
        to: u64,
    },
    /// The server lost what begins at `from`.
    Gap {
        /// The topic's name.
        topic: Cow<'a, str>,
        /// First seq lost.
        from: u64,
        /// It counts anew.
        new_epoch: bool,
    },
    /// A publish was taken.
    Published {
        /// The command's id.
        id: Option<u64>,
        /// The seq it was given.
        seq: u64,
    },
    /// Where topics stand: name and last seq. Topics that the server does not know are left out.
    State(Vec<(Cow<'a, str>, u64)>),
    /// A command was refused.
    Refused {
        /// The command's id, if it had one.
        id: Option<u64>,
        /// Code and name, under which it is counted.
        label: String,
    },
    /// Nothing that concerns us (greetings, heartbeats).
    Aside,
}

/// A subscription that was taken.
#[derive(Debug)]
pub struct Subscribed<'a> {
    /// The topic's name.
    pub topic: Cow<'a, str>,
    /// The epoch in which it counts.
    pub epoch: Cow<'a, str>,
    /// Its seq at that moment.
    pub seq: u64,
    /// How many history frames follow, if all that was missed does.
    pub recovered: Option<u64>,
}

impl Dialect {
    /// The WebSocket subprotocol to offer.
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Dialect::Json => Some("fanfare.v1.json"),
            Dialect::Binary => Some("fanfare.v1.bin"),
        }
    }

    /// Writes a subscribe command into `out`, which is cleared first. So do the others. Topics with a
    /// position resume from there.
    pub fn subscribe<'t>(
        self,
        out: &mut Vec<u8>,
        id: u64,
        topics: impl Iterator<Item = (&'t str, Option<Since<'t>>)>,
        options: &Options,
    ) {
        out.clear();
        match self {
            Dialect::Json | Dialect::Binary => {
                command::put_subscribe_each(out, Some(id), topics, options);
            }
        }
    }

    /// Writes a publish command; `payload` is JSON.
    pub fn publish(self, out: &mut Vec<u8>, id: u64, topic: &str, payload: &[u8]) {
        out.clear();
        match self {
            Dialect::Json | Dialect::Binary => {
                command::put_publish(out, Some(id), topic, payload, None)
            }
        }
    }

    /// Writes a command that asks where topics stand.
    pub fn check(self, out: &mut Vec<u8>, id: u64, topics: &[&str]) {
        out.clear();
        match self {
            Dialect::Json | Dialect::Binary => command::put_check(out, Some(id), topics),
        }
    }

    /// Reads a message. The error is a sentence. `aliases` are those of the server, which gives all connections the same: what
    /// is told of them is noted there.
    pub fn hear<'a>(
        self,
        message: Item<'a>,
        aliases: &'a mut Aliases,
    ) -> Result<Heard<'a>, String> {
        match (self, message) {
            (Dialect::Binary, Item::Binary(bytes)) => record(bytes, aliases),
            (_, Item::Text(text)) => {
                let event = event::parse(text).map_err(|error| error.to_string())?;
                match (self, &event) {
                    (Dialect::Json, _) => {}
                    (_, Event::Subscribed { topics, .. }) => {
                        for topic in topics {
                            match topic.alias {
                                Some(alias) => aliases.learn(alias, &topic.topic),
                                None if topic.matched.is_some() => {}
                                None => return Err("a subscription without its alias".to_owned()),
                            }
                        }
                    }
                    (_, Event::Data(_) | Event::Skip { .. } | Event::Gap { .. }) => {
                        return Err("data as text where records were agreed on".to_owned());
                    }
                    _ => {}
                }
                Ok(heard(event))
            }
            _ => Err("a binary message where JSON was agreed on".to_owned()),
        }
    }
}

fn record<'a>(bytes: &'a [u8], aliases: &'a mut Aliases) -> Result<Heard<'a>, String> {
    let record = binary::parse(bytes).map_err(|error| error.to_string())?;
    let topic = match record {
        Record::Alias { alias, topic } => {
            aliases.learn(alias, topic);
            return Ok(Heard::Aside);
        }
        Record::Data(binary::Data { alias, .. })
        | Record::Skip { alias, .. }
        | Record::Gap { alias, .. } => aliases.topic(alias),
    };
    let topic = Cow::Borrowed(topic.map_err(|error| error.to_string())?);
    Ok(match record {
        Record::Data(data) => Heard::Data {
            kind: data.kind,
            topic,
            seq: data.seq,
            ts_us: data.ts_us,
            payload: data.payload,
        },
        Record::Skip { from, to, .. } => Heard::Skip { topic, from, to },
        Record::Gap { from, why, .. } => Heard::Gap {
            topic,
            from,
            new_epoch: why == GapWhy::Epoch,
        },
        Record::Alias { .. } => Heard::Aside,
    })
}

fn heard(event: Event<'_>) -> Heard<'_> {
    match event {
        Event::Data(data) => Heard::Data {
            kind: data.kind,
            topic: data.topic,
            seq: data.seq,
            ts_us: data.ts_us,
            payload: data.data.as_bytes(),
        },
        Event::Published { id, seq, .. } => Heard::Published {
            id: number(id),
            seq,
        },
        Event::Subscribed { topics, errors, .. } => Heard::Subscribed {
            topics: topics.into_iter().map(subscribed).collect(),
            refused: errors
                .into_iter()
                .map(|fault| (fault.topic, label(fault.code)))
                .collect(),
        },
        Event::Skip {
            topic, from, to, ..
        } => Heard::Skip { topic, from, to },
        Event::Gap {
            topic, from, why, ..
        } => Heard::Gap {
            topic,
            from,
            new_epoch: why == Some(GapWhy::Epoch),
        },
        Event::State { topics, .. } => Heard::State(
            topics
                .into_iter()
                .map(|state| (state.topic, state.seq))
                .collect(),
        ),
        Event::Error { id, code, .. } => Heard::Refused {
            id: number(id),
            label: label(code),
        },
        _ => Heard::Aside,
    }
}

fn subscribed(read: event::SubscribedTopicRead<'_>) -> Subscribed<'_> {
    let recovered = match read.recovered {
        Some(event::RecoveredRead::Full) => Some(read.count.unwrap_or(0)),
        _ => None,
    };
    Subscribed {
        topic: read.topic,
        epoch: read.epoch,
        seq: read.seq,
        recovered,
    }
}

/// Our ids are numbers; an id of another shape is not ours.
fn number(id: Option<command::Id<'_>>) -> Option<u64> {
    id?.0.parse().ok()
}

fn label(code: u16) -> String {
    match fanfare_wire::code::ErrorCode::from_number(code) {
        Some(code) => code.to_string(),
        None => code.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_understood() {
        let stories = [
            (
                r#"{"type":"update","topic":"a","seq":7,"ts":5,"data":{"x":1}}"#,
                "Data { kind: Update, topic: \"a\", seq: 7, ts_us: 5",
            ),
            (
                r#"{"type":"published","id":7,"topic":"a","epoch":"e","seq":9}"#,
                "Published { id: Some(7), seq: 9 }",
            ),
            (
                r#"{"type":"skip","topic":"a","from":2,"to":5,"why":"slow"}"#,
                "Skip { topic: \"a\", from: 2, to: 5 }",
            ),
            (
                r#"{"type":"gap","topic":"a","from":2,"why":"epoch","epoch":"f"}"#,
                "new_epoch: true",
            ),
            (
                r#"{"type":"gap","topic":"a","from":2,"why":"overflow","epoch":"f"}"#,
                "new_epoch: false",
            ),
            (
                r#"{"type":"error","id":3,"code":3000,"name":"rate","message":"slow down"}"#,
                "label: \"3000 rate\"",
            ),
            (r#"{"type":"heartbeat","time":5}"#, "Aside"),
            (r#"{"type":"from the future"}"#, "Aside"),
        ];
        for (text, expected) in stories {
            let heard = format!(
                "{:?}",
                Dialect::Json
                    .hear(Item::Text(text), &mut Aliases::default())
                    .unwrap()
            );
            assert!(heard.contains(expected), "{text}: {heard}");
        }
    }

    #[test]
    fn an_ack_tells_seq_recovery_and_refusals() {
        let text = r#"{"type":"subscribed","id":0,"topics":[{"topic":"a","epoch":"e","seq":4},
            {"topic":"b","epoch":"e","seq":9,"recovered":"full","count":2},
            {"topic":"c","epoch":"e","seq":9,"recovered":"none"}],
            "errors":[{"topic":"d","code":2003,"message":"not allowed"}]}"#;
        let mut aliases = Aliases::default();
        let Ok(Heard::Subscribed { topics, refused }) =
            Dialect::Json.hear(Item::Text(text), &mut aliases)
        else {
            panic!("not understood");
        };
        let seen: Vec<_> = topics
            .iter()
            .map(|t| (&*t.topic, t.seq, t.recovered))
            .collect();
        assert_eq!(seen, [("a", 4, None), ("b", 9, Some(2)), ("c", 9, None)]);
        assert_eq!(refused, [("d".into(), "2003 forbidden".to_owned())]);
    }

    #[test]
    fn what_is_no_event_is_told() {
        assert!(
            Dialect::Json
                .hear(Item::Text("pong"), &mut Aliases::default())
                .is_err()
        );
        assert!(
            Dialect::Json
                .hear(Item::Binary(b"{}"), &mut Aliases::default())
                .is_err()
        );
    }

    #[test]
    fn records_are_of_the_topics_whose_numbers_were_told() {
        let mut aliases = Aliases::default();
        let ack = r#"{"type":"subscribed","topics":[{"topic":"a","epoch":"e","seq":0,"alias":9}]}"#;
        let heard = Dialect::Binary.hear(Item::Text(ack), &mut aliases);
        assert!(matches!(heard, Ok(Heard::Subscribed { .. })));
        let mut record = |alias| {
            let mut bytes = Vec::new();
            binary::put_skip(&mut bytes, alias, 3, 4, fanfare_wire::event::SkipWhy::Slow);
            match Dialect::Binary.hear(Item::Binary(&bytes), &mut aliases) {
                Ok(Heard::Skip { topic, from, to }) => Ok((topic.into_owned(), from, to)),
                Ok(other) => panic!("{other:?}"),
                Err(sentence) => Err(sentence),
            }
        };
        assert_eq!(record(9), Ok(("a".to_owned(), 3, 4)));
        assert_eq!(record(8), Err("alias 8 has not been told".to_owned()));
    }

    #[test]
    fn a_server_that_speaks_json_where_records_were_agreed_on_is_told() {
        let refused = |text| {
            let mut aliases = Aliases::default();
            Dialect::Binary
                .hear(Item::Text(text), &mut aliases)
                .is_err()
        };
        assert!(refused(
            r#"{"type":"update","topic":"a","seq":7,"ts":5,"data":1}"#
        ));
        assert!(refused(
            r#"{"type":"subscribed","topics":[{"topic":"a","epoch":"e","seq":0}]}"#
        ));
        assert!(!refused(r#"{"type":"heartbeat","time":5}"#));
    }
}
