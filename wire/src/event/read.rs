//! Events read back, for clients: what they hold, and the path that most of them take.
//!
//! Nearly every frame a subscriber gets is a data frame in the one order the server writes.
//! [`parse`] only compares its fixed keys; anything else is left to [`super::slow`], which parses
//! JSON.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Deserialize;

use super::{DataKind, Encoding, GapWhy, SkipWhy, slow};
use crate::command::Id;
use crate::json::needs_escape;

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

/// One topic or filter in the answer to a `subscribe`. Fields as in [`super::SubscribedTopic`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SubscribedTopicRead<'a> {
    pub topic: Cow<'a, str>,
    /// Empty for a filter.
    pub epoch: Cow<'a, str>,
    /// 0 for a filter.
    pub seq: u64,
    pub alias: Option<u32>,
    pub recovered: Option<RecoveredRead>,
    /// History frames that follow, if `recovered` is full.
    pub count: Option<u64>,
    /// For a filter, and for no topic: how many topics it covers.
    pub matched: Option<u64>,
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
/// A data frame in the order the server writes it is only compared with the fixed keys, and its
/// payload is whatever stands between `"data":` and the last `}`. Anything else is parsed as JSON.
///
/// # Errors
/// The text is not JSON, has no `type`, or a field of its type is missing or wrong.
pub fn parse(text: &str) -> Result<Event<'_>, EventError> {
    if let Some(data) = fast_data(text) {
        return Ok(Event::Data(data));
    }
    slow::parse(text)
}

/// A data frame with its keys in the fixed order and nothing escaped in its topic.
fn fast_data(text: &str) -> Option<Data<'_>> {
    let rest = text.strip_prefix(r#"{"type":""#)?;
    let (kind, rest) = rest.split_once('"')?;
    let kind = DataKind::from_name(kind)?;
    let rest = rest.strip_prefix(r#","topic":""#)?;
    let (topic, rest) = rest.split_at(rest.bytes().position(needs_escape)?);
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
fn number<T: FromStr>(text: &str) -> Option<(T, &str)> {
    let (digits, rest) = text.split_at(memchr::memchr(b',', text.as_bytes())?);
    let bare = digits.strip_prefix('-').unwrap_or(digits).as_bytes();
    let is_json = bare.first()?.is_ascii_digit() && (bare[0] != b'0' || bare.len() == 1);
    if !is_json {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}
