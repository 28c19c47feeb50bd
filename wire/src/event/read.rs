//! Events read back, for clients.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DataKind, Encoding, GapWhy, SkipWhy};
use crate::command::Id;

/// What the server said.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The first frame.
    Hello(HelloRead<'a>),
    /// A value of a topic.
    Data(Data<'a>),
    /// The answer to a `subscribe`.
    Subscribed {
        /// Of the command.
        id: Option<Id<'a>>,
        /// What is subscribed to now.
        topics: Vec<SubscribedTopicRead<'a>>,
        /// What was refused.
        errors: Vec<Fault<'a>>,
    },
    /// The answer to an `unsubscribe`.
    Unsubscribed {
        /// Of the command.
        id: Option<Id<'a>>,
        /// How many subscriptions ended.
        count: u64,
    },
    /// The answer to a `publish`.
    Published {
        /// Of the command.
        id: Option<Id<'a>>,
        /// The topic.
        topic: Cow<'a, str>,
        /// The epoch `seq` is counted in.
        epoch: Cow<'a, str>,
        /// The update's seq.
        seq: u64,
    },
    /// These updates were conflated away.
    Skip {
        /// The topic.
        topic: Cow<'a, str>,
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
        /// Why; `None` if the reason is new to this crate.
        why: Option<SkipWhy>,
    },
    /// These updates are lost.
    Gap {
        /// The topic.
        topic: Cow<'a, str>,
        /// The first of them.
        from: u64,
        /// Why; `None` if the reason is new to this crate.
        why: Option<GapWhy>,
        /// The epoch the topic goes on in.
        epoch: Cow<'a, str>,
    },
    /// The answer to a `check`.
    State {
        /// Of the command.
        id: Option<Id<'a>>,
        /// Where each topic stands.
        topics: Vec<StateTopic<'a>>,
        /// What was refused.
        errors: Vec<Fault<'a>>,
    },
    /// The answer to a `list`, its topics left raw.
    Subscriptions {
        /// Of the command.
        id: Option<Id<'a>>,
        /// A raw JSON array of objects.
        topics: &'a str,
    },
    /// A command was accepted.
    Ok {
        /// Of the command.
        id: Option<Id<'a>>,
    },
    /// A command was refused.
    Error {
        /// Of the command, if it could be read.
        id: Option<Id<'a>>,
        /// See [`crate::code::ErrorCode`].
        code: u16,
        /// The code's name.
        name: Cow<'a, str>,
        /// Why, in words.
        message: Cow<'a, str>,
    },
    /// Nothing else was to be said.
    Heartbeat {
        /// The server's time, microseconds since 1970.
        time_us: i64,
    },
    /// The answer to a `ping`.
    Pong {
        /// Of the command.
        id: Option<Id<'a>>,
        /// The ping's, raw.
        ts: Option<&'a str>,
        /// The server's time, microseconds since 1970.
        time_us: i64,
    },
    /// Something is about to happen to the connection.
    Notice {
        /// What: `drain`.
        kind: Cow<'a, str>,
        /// In so many milliseconds.
        in_ms: u32,
        /// Bounds for the wait before a reconnect, in milliseconds.
        reconnect_ms: (u32, u32),
    },
    /// A type that is new to this crate.
    Other(Cow<'a, str>),
}

/// A value of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// Why it is delivered.
    pub kind: DataKind,
    /// The topic.
    pub topic: Cow<'a, str>,
    /// Its seq.
    pub seq: u64,
    /// When the server took it, microseconds since 1970.
    pub ts_us: i64,
    /// How `data` stands here.
    pub encoding: Encoding,
    /// Raw JSON, not looked into: the value itself, or a string that holds it.
    pub data: &'a str,
}

/// The first frame on a connection. Fields as in [`super::Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HelloRead<'a> {
    pub conn: Cow<'a, str>,
    pub time_us: i64,
    pub heartbeat_s: u32,
    pub auth: Cow<'a, str>,
    pub subscriptions: u32,
    pub frame_bytes: u64,
    pub commands_per_s: u32,
}

/// One topic in the answer to a `subscribe`. Fields as in [`super::SubscribedTopic`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct SubscribedTopicRead<'a> {
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    pub seq: u64,
    pub alias: Option<u32>,
    pub recovered: Option<RecoveredRead>,
    /// History frames that follow, if `recovered` is full.
    pub count: Option<u64>,
}

/// Whether what was missed will be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveredRead {
    /// All of it.
    Full,
    /// None of it.
    None,
}

/// One topic that was refused. Fields as in [`super::TopicFault`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct Fault<'a> {
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    pub code: u16,
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

/// Where a topic stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StateTopic<'a> {
    /// Its name.
    #[serde(borrow)]
    pub topic: Cow<'a, str>,
    /// Its epoch.
    #[serde(borrow)]
    pub epoch: Cow<'a, str>,
    /// The seq of its last update.
    pub seq: u64,
}

/// The text is no event: not JSON, no `type`, or a field is missing or of the wrong type.
#[derive(Debug, thiserror::Error)]
#[error("not an event: {0}")]
pub struct EventError(#[from] serde_json::Error);

/// Reads one of the server's text messages, borrowing from it wherever nothing is escaped.
///
/// A data frame in the order the server writes it is only compared with the fixed keys, and its payload is
/// whatever stands between `"data":` and the last `}`. Anything else is parsed as JSON.
///
/// # Errors
/// The text is not JSON, has no `type`, or a field of its type is missing or wrong.
pub fn parse(text: &str) -> Result<Event<'_>, EventError> {
    if let Some(data) = fast_data(text) {
        return Ok(Event::Data(data));
    }
    slow(text)
}

/// A data frame with its keys in the fixed order and nothing escaped in its topic.
fn fast_data(text: &str) -> Option<Data<'_>> {
    let rest = text.strip_prefix(r#"{"type":""#)?;
    let (kind, rest) = rest.split_at_checked(memchr::memchr(b'"', rest.as_bytes())?)?;
    let kind = DataKind::from_name(kind)?;
    let rest = rest.strip_prefix(r#"","topic":""#)?;
    let (topic, rest) = rest.split_at(memchr::memchr2(b'"', b'\\', rest.as_bytes())?);
    let rest = rest.strip_prefix(r#"","seq":"#)?;
    let (seq, rest) = number(rest)?;
    let rest = rest.strip_prefix(r#","ts":"#)?;
    let (ts_us, rest) = number(rest)?;
    let (encoding, rest) = match rest.strip_prefix(r#","encoding":""#) {
        None => (Encoding::Json, rest),
        Some(rest) => {
            let (name, rest) = rest.split_once('"')?;
            (Encoding::from_name(name)?, rest)
        }
    };
    let data = rest.strip_prefix(r#","data":"#)?.strip_suffix('}')?;
    Some(Data {
        kind,
        topic: Cow::Borrowed(topic),
        seq,
        ts_us,
        encoding,
        data,
    })
}

/// A decimal number as JSON writes it, up to the next comma.
fn number<T: std::str::FromStr>(text: &str) -> Option<(T, &str)> {
    let (digits, rest) = text.split_at(memchr::memchr(b',', text.as_bytes())?);
    let bare = digits.strip_prefix('-').unwrap_or(digits).as_bytes();
    let is_json = bare.first()?.is_ascii_digit() && (bare[0] != b'0' || bare.len() == 1);
    if !is_json {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// A string behind an `Option`, borrowed where possible.
type RawId<'a> = Option<&'a RawValue>;

#[derive(Deserialize)]
struct RawHello<'a> {
    #[serde(borrow)]
    conn: Cow<'a, str>,
    time: i64,
    heartbeat_s: u32,
    #[serde(borrow)]
    auth: Cow<'a, str>,
    limits: RawLimits,
}

#[derive(Deserialize)]
struct RawLimits {
    subscriptions: u32,
    frame_bytes: u64,
    commands_per_s: u32,
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    seq: u64,
    ts: i64,
    #[serde(borrow)]
    encoding: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct RawList<'a, T> {
    #[serde(borrow)]
    id: RawId<'a>,
    topics: Vec<T>,
    #[serde(borrow, default)]
    errors: Vec<Fault<'a>>,
}

#[derive(Deserialize)]
struct RawAnswer<'a> {
    #[serde(borrow)]
    id: RawId<'a>,
    #[serde(default)]
    count: u64,
    #[serde(borrow)]
    topics: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(default)]
    time: i64,
}

#[derive(Deserialize)]
struct RawPublished<'a> {
    #[serde(borrow)]
    id: RawId<'a>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    seq: u64,
}

#[derive(Deserialize)]
struct RawHole<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    from: u64,
    #[serde(default)]
    to: u64,
    #[serde(borrow)]
    why: Cow<'a, str>,
    #[serde(borrow, default)]
    epoch: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawError<'a> {
    #[serde(borrow)]
    id: RawId<'a>,
    code: u16,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RawNotice<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    in_ms: u32,
    #[serde(default)]
    reconnect_ms: (u32, u32),
}

fn slow(text: &str) -> Result<Event<'_>, EventError> {
    let Kind { kind } = serde_json::from_str(text)?;
    if let Some(kind) = DataKind::from_name(&kind) {
        return slow_data(kind, text);
    }
    Ok(match &*kind {
        "hello" => hello(serde_json::from_str(text)?),
        "subscribed" => {
            let list: RawList<'_, SubscribedTopicRead<'_>> = serde_json::from_str(text)?;
            Event::Subscribed {
                id: id(list.id),
                topics: list.topics,
                errors: list.errors,
            }
        }
        "state" => {
            let list: RawList<'_, StateTopic<'_>> = serde_json::from_str(text)?;
            Event::State {
                id: id(list.id),
                topics: list.topics,
                errors: list.errors,
            }
        }
        "published" => {
            let RawPublished {
                id: raw,
                topic,
                epoch,
                seq,
            } = serde_json::from_str(text)?;
            Event::Published {
                id: id(raw),
                topic,
                epoch,
                seq,
            }
        }
        "skip" => {
            let RawHole {
                topic,
                from,
                to,
                why,
                ..
            } = serde_json::from_str(text)?;
            Event::Skip {
                topic,
                from,
                to,
                why: SkipWhy::from_name(&why),
            }
        }
        "gap" => {
            let RawHole {
                topic,
                from,
                why,
                epoch,
                ..
            } = serde_json::from_str(text)?;
            Event::Gap {
                topic,
                from,
                why: GapWhy::from_name(&why),
                epoch,
            }
        }
        "error" => {
            let RawError {
                id: raw,
                code,
                name,
                message,
            } = serde_json::from_str(text)?;
            Event::Error {
                id: id(raw),
                code,
                name,
                message,
            }
        }
        "notice" => {
            let RawNotice {
                kind,
                in_ms,
                reconnect_ms,
            } = serde_json::from_str(text)?;
            Event::Notice {
                kind,
                in_ms,
                reconnect_ms,
            }
        }
        "ok" | "unsubscribed" | "subscriptions" | "heartbeat" | "pong" => {
            answer(&kind, &serde_json::from_str(text)?)
        }
        _ => Event::Other(kind),
    })
}

fn slow_data(kind: DataKind, text: &str) -> Result<Event<'_>, EventError> {
    let raw: RawData<'_> = serde_json::from_str(text)?;
    let encoding = match raw.encoding.as_deref() {
        None => Encoding::Json,
        Some(name) => Encoding::from_name(name)
            .ok_or_else(|| <serde_json::Error as serde::de::Error>::custom("unknown encoding"))?,
    };
    Ok(Event::Data(Data {
        kind,
        topic: raw.topic,
        seq: raw.seq,
        ts_us: raw.ts,
        encoding,
        data: raw.data.get(),
    }))
}

fn hello(raw: RawHello<'_>) -> Event<'_> {
    Event::Hello(HelloRead {
        conn: raw.conn,
        time_us: raw.time,
        heartbeat_s: raw.heartbeat_s,
        auth: raw.auth,
        subscriptions: raw.limits.subscriptions,
        frame_bytes: raw.limits.frame_bytes,
        commands_per_s: raw.limits.commands_per_s,
    })
}

fn answer<'a>(kind: &str, raw: &RawAnswer<'a>) -> Event<'a> {
    let id = id(raw.id);
    match kind {
        "unsubscribed" => Event::Unsubscribed {
            id,
            count: raw.count,
        },
        "subscriptions" => Event::Subscriptions {
            id,
            topics: raw.topics.map_or("[]", RawValue::get),
        },
        "heartbeat" => Event::Heartbeat { time_us: raw.time },
        "pong" => Event::Pong {
            id,
            ts: raw.ts.map(RawValue::get),
            time_us: raw.time,
        },
        _ => Event::Ok { id },
    }
}

fn id<'a>(raw: RawId<'a>) -> Option<Id<'a>> {
    raw.map(|raw| Id(raw.get()))
}
