//! Any event as JSON, its keys in any order.
//!
//! The type is read first, then the shape that belongs to it. Unknown keys are ignored, an unknown
//! type is [`Event::Other`], so that a newer server can say more than this client knows.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

use super::read::{Data, Event, EventError, Fault, HelloRead, RecoveredRead, SubscribedTopicRead};
use super::{DataKind, Encoding, GapWhy, SkipWhy};
use crate::command::Id;

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

pub(super) fn parse(text: &str) -> Result<Event<'_>, EventError> {
    let Kind { kind } = shape(text)?;
    if let Some(kind) = DataKind::from_name(&kind) {
        return data(kind, shape(text)?).map(Event::Data);
    }
    Ok(match &*kind {
        "hello" => Event::Hello(shape::<Hello<'_>>(text)?.into()),
        "ok" => {
            let Plain { id } = shape(text)?;
            Event::Ok { id }
        }
        "subscribed" => {
            let Topics { id, topics, errors } = shape(text)?;
            Event::Subscribed { id, topics, errors }
        }
        "state" => {
            let Topics { id, topics, errors } = shape(text)?;
            Event::State { id, topics, errors }
        }
        "unsubscribed" => {
            let Unsubscribed { id, count } = shape(text)?;
            Event::Unsubscribed { id, count }
        }
        "subscriptions" => {
            let Subscriptions { id, topics } = shape(text)?;
            let topics = topics.get();
            Event::Subscriptions { id, topics }
        }
        "published" => {
            let Published {
                id,
                topic,
                epoch,
                seq,
            } = shape(text)?;
            Event::Published {
                id,
                topic,
                epoch,
                seq,
            }
        }
        "skip" => {
            let Skip {
                topic,
                from,
                to,
                why,
            } = shape(text)?;
            let why = SkipWhy::from_name(&why);
            Event::Skip {
                topic,
                from,
                to,
                why,
            }
        }
        "gap" => {
            let Gap {
                topic,
                from,
                why,
                epoch,
            } = shape(text)?;
            let why = GapWhy::from_name(&why);
            Event::Gap {
                topic,
                from,
                why,
                epoch,
            }
        }
        "error" => {
            let Error {
                id,
                code,
                name,
                message,
            } = shape(text)?;
            Event::Error {
                id,
                code,
                name,
                message,
            }
        }
        "heartbeat" => {
            let Heartbeat { time: time_us } = shape(text)?;
            Event::Heartbeat { time_us }
        }
        "pong" => {
            let Pong {
                id,
                ts,
                time: time_us,
            } = shape(text)?;
            let ts = ts.map(RawValue::get);
            Event::Pong { id, ts, time_us }
        }
        "notice" => {
            let Notice {
                kind,
                in_ms,
                reconnect_ms,
            } = shape(text)?;
            Event::Notice {
                kind,
                in_ms,
                reconnect_ms,
            }
        }
        _ => Event::Other(kind),
    })
}

fn shape<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, EventError> {
    Ok(serde_json::from_str(text)?)
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Id(raw.get()))
    }
}

#[derive(Deserialize)]
struct Hello<'a> {
    #[serde(borrow)]
    conn: Cow<'a, str>,
    time: i64,
    heartbeat_s: u32,
    #[serde(borrow)]
    auth: Cow<'a, str>,
    limits: Limits,
}

#[derive(Deserialize)]
struct Limits {
    subscriptions: u32,
    frame_bytes: u64,
    commands_per_s: u32,
}

impl<'a> From<Hello<'a>> for HelloRead<'a> {
    fn from(hello: Hello<'a>) -> Self {
        Self {
            conn: hello.conn,
            time_us: hello.time,
            heartbeat_s: hello.heartbeat_s,
            auth: hello.auth,
            subscriptions: hello.limits.subscriptions,
            frame_bytes: hello.limits.frame_bytes,
            commands_per_s: hello.limits.commands_per_s,
        }
    }
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    seq: u64,
    ts: i64,
    encoding: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn data(kind: DataKind, raw: RawData<'_>) -> Result<Data<'_>, EventError> {
    let encoding = match raw.encoding.as_deref() {
        None => Encoding::Json,
        Some(name) => Encoding::from_name(name)
            .ok_or_else(|| serde_json::Error::custom("unknown encoding"))?,
    };
    Ok(Data {
        kind,
        topic: raw.topic,
        seq: raw.seq,
        ts_us: raw.ts,
        encoding,
        data: raw.data.get(),
    })
}

/// A line of `subscribed`: a topic, or with `matched` a filter.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    epoch: Option<Cow<'a, str>>,
    seq: Option<u64>,
    alias: Option<u32>,
    recovered: Option<RecoveredRead>,
    count: Option<u64>,
    matched: Option<u64>,
}

impl<'de: 'a, 'a> Deserialize<'de> for SubscribedTopicRead<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = Line::deserialize(deserializer)?;
        if line.matched.is_none() && line.epoch.is_none() {
            return Err(D::Error::missing_field("epoch"));
        }
        if line.matched.is_none() && line.seq.is_none() {
            return Err(D::Error::missing_field("seq"));
        }
        Ok(Self {
            topic: line.topic,
            epoch: line.epoch.unwrap_or_default(),
            seq: line.seq.unwrap_or_default(),
            alias: line.alias,
            recovered: line.recovered,
            count: line.count,
            matched: line.matched,
        })
    }
}

/// `ok`, which says nothing but whose answer it is.
#[derive(Deserialize)]
struct Plain<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
}

/// `subscribed` and `state`.
#[derive(Deserialize)]
struct Topics<'a, T> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    topics: Vec<T>,
    #[serde(borrow, default)]
    errors: Vec<Fault<'a>>,
}

#[derive(Deserialize)]
struct Unsubscribed<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    count: u64,
}

#[derive(Deserialize)]
struct Subscriptions<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    topics: &'a RawValue,
}

#[derive(Deserialize)]
struct Published<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    seq: u64,
}

#[derive(Deserialize)]
struct Skip<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    from: u64,
    to: u64,
    why: String,
}

#[derive(Deserialize)]
struct Gap<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    from: u64,
    why: String,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    code: u16,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Heartbeat {
    time: i64,
}

#[derive(Deserialize)]
struct Pong<'a> {
    #[serde(borrow)]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    time: i64,
}

#[derive(Deserialize)]
struct Notice<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    in_ms: u32,
    reconnect_ms: (u32, u32),
}
