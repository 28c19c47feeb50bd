//! What the server says: one JSON object in a text message.
//!
//! The `put_*` functions append JSON text (no frame header) with its keys in the protocol's order;
//! a publisher's payload is spliced into it byte for byte. [`parse`] reads the same back, for
//! clients, and data frames take a path that only compares fixed keys.

mod read;
mod slow;
mod write;

pub use read::{
    Data, Event, EventError, Fault, HelloRead, RecoveredRead, StateTopic, SubscribedTopicRead,
    parse,
};
pub use write::{
    put_closed, put_data, put_error, put_gap, put_heartbeat, put_hello, put_notice_drain,
    put_notice_expiry, put_ok, put_pong, put_published, put_retry_error, put_skip, put_state,
    put_subscribed, put_subscriptions, put_unsubscribed,
};

use crate::code::ErrorCode;

/// Why a value is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// The topic's last value, at the beginning of a subscription.
    Snapshot,
    /// A retained update that was missed.
    History,
    /// A new value.
    Update,
}

/// How `data` stands in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The payload is JSON and stands as it is.
    Json,
    /// The payload is text and stands as a JSON string.
    Text,
    /// The payload is bytes and stands as a JSON string of base64 (standard alphabet, padded).
    Base64,
}

/// Why updates were conflated away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipWhy {
    /// The subscriber read too slowly.
    Slow,
    /// The subscriber asked for fewer.
    Rate,
    /// They were too old.
    Stale,
}

/// Why updates are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapWhy {
    /// The count began again.
    Epoch,
    /// They are no longer retained.
    History,
    /// A buffer was full.
    Overflow,
}

/// The first frame on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The connection's name.
    pub conn: &'a str,
    /// The server's time, microseconds since 1970.
    pub time_us: i64,
    /// A heartbeat is sent after so many seconds without other output.
    pub heartbeat_s: u32,
    /// What kind of authentication is wanted; `none` if none.
    pub auth: &'a str,
    /// The most subscriptions of a connection.
    pub subscriptions: u32,
    /// The largest frame a client may send.
    pub frame_bytes: u64,
    /// The most commands in a second.
    pub commands_per_s: u32,
}

/// One line of the answer to a `subscribe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted<'a> {
    /// A topic, and where it stands.
    Topic(SubscribedTopic<'a>),
    /// A filter.
    Filter {
        /// Its text.
        filter: &'a str,
        /// How many topics it covers now.
        matched: u64,
    },
}

/// One topic in the answer to a `subscribe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribedTopic<'a> {
    /// Its name.
    pub topic: &'a str,
    /// The epoch its seq is counted in.
    pub epoch: &'a str,
    /// The seq of its last update; the next one has one more.
    pub seq: u64,
    /// Its number in binary frames.
    pub alias: Option<u32>,
    /// The outcome, if the client asked to resume.
    pub recovered: Option<Recovered>,
}

/// Whether what was missed will be delivered. All or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovered {
    /// So many history frames follow, with no hole.
    Full(u64),
    /// A gap and a snapshot follow.
    None,
}

/// One topic that was refused while others of the same command were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFault<'a> {
    /// The name as it was given.
    pub topic: &'a str,
    /// Why, as a number.
    pub code: ErrorCode,
    /// Why, in words.
    pub message: &'a str,
}

/// Pairs of a value and its spelling, in both directions.
macro_rules! spelled {
    ($type:ident: $($variant:ident $name:literal)*) => {
        impl $type {
            /// As the protocol spells it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

spelled! { DataKind: Snapshot "snapshot" History "history" Update "update" }
spelled! { Encoding: Json "json" Text "text" Base64 "base64" }
spelled! { SkipWhy: Slow "slow" Rate "rate" Stale "stale" }
spelled! { GapWhy: Epoch "epoch" History "history" Overflow "overflow" }
