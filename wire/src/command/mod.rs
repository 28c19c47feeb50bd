//! What a client says: one JSON object in a text message.
//!
//! [`parse`] borrows from the message wherever it can and never builds a tree: values are found as
//! raw JSON, and each is then read as the type its field has, so that an error names the field and
//! carries the command's `id`. Names of topics are not judged here, see [`crate::topic`]. The
//! `put_*` functions write commands, for clients.

mod fields;
mod read;
mod write;

use std::borrow::Cow;

use crate::code::ErrorCode;

pub use read::parse;
pub use write::{
    put_check, put_ping, put_publish, put_subscribe, put_subscribe_each, put_unsubscribe,
};

/// The longest `id`, `ts` and `epoch`, as raw JSON. They are kept or echoed, so they must not be as
/// large as a message.
pub const TOKEN_BYTES_MAX: usize = 256;
/// The most topics in one command.
pub const TOPICS_MAX: usize = 65_536;

/// The raw JSON of a command's `id` as it came: `7` or `"a1"`. Only a string or an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id<'a>(pub &'a str);

/// Which updates a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every one, in order.
    All,
    /// The newest; older ones that wait are replaced.
    Latest,
}

impl Mode {
    /// As the protocol spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
        }
    }
}

/// What happens to a subscriber that reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnSlow {
    /// Waiting updates are replaced by newer ones.
    Conflate,
    /// The connection is closed.
    Close,
}

impl OnSlow {
    /// As the protocol spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conflate => "conflate",
            Self::Close => "close",
        }
    }
}

/// Where a subscriber left off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since<'a> {
    /// The epoch in which `seq` was counted.
    pub epoch: Cow<'a, str>,
    /// The last update that was seen.
    pub seq: u64,
}

/// How topics are to be delivered. `None`: not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Begin with the last value.
    pub snapshot: Option<bool>,
    /// Which updates are wanted.
    pub mode: Option<Mode>,
    /// What happens to a slow reader.
    pub on_slow: Option<OnSlow>,
    /// The least time between two updates, in milliseconds.
    pub min_interval_ms: Option<u32>,
    /// How old a superseded value may be and still be sent, in milliseconds.
    pub max_stale_ms: Option<u32>,
}

impl Options {
    /// These options, and `wide` where these say nothing.
    #[must_use]
    pub fn or(self, wide: Self) -> Self {
        Self {
            snapshot: self.snapshot.or(wide.snapshot),
            mode: self.mode.or(wide.mode),
            on_slow: self.on_slow.or(wide.on_slow),
            min_interval_ms: self.min_interval_ms.or(wide.min_interval_ms),
            max_stale_ms: self.max_stale_ms.or(wide.max_stale_ms),
        }
    }
}

/// One topic or filter of a `subscribe` or `set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRequest<'a> {
    /// The name, not yet judged.
    pub topic: Cow<'a, str>,
    /// Its own options over those of the command.
    pub options: Options,
    /// Where to resume.
    pub since: Option<Since<'a>>,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Shows who it is.
    Auth {
        /// The token, as it came.
        token: Cow<'a, str>,
    },
    /// Wants these topics from now on.
    Subscribe {
        /// At least one.
        topics: Vec<TopicRequest<'a>>,
    },
    /// Wants other options for topics it has.
    Set {
        /// At least one.
        topics: Vec<TopicRequest<'a>>,
    },
    /// Wants these topics no longer.
    Unsubscribe {
        /// At least one, not yet judged.
        topics: Vec<Cow<'a, str>>,
    },
    /// Asks what it is subscribed to.
    List,
    /// Gives a topic a new value.
    Publish {
        /// The name, not yet judged.
        topic: Cow<'a, str>,
        /// Any JSON value, raw as it came.
        data: &'a str,
        /// Makes the publish idempotent.
        key: Option<Cow<'a, str>>,
    },
    /// Asks for the state of topics.
    Check {
        /// At least one, not yet judged.
        topics: Vec<Cow<'a, str>>,
    },
    /// Asks for a sign of life.
    Ping {
        /// Any JSON number, raw as it came, to be echoed.
        ts: Option<&'a str>,
    },
}

/// A command and the name its answer will carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// To be echoed in the answer.
    pub id: Option<Id<'a>>,
    /// What is wanted.
    pub command: Command<'a>,
}

/// Why a text message is no command. The connection lives on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CommandError<'a> {
    /// The command's id, whenever it could be read.
    pub id: Option<Id<'a>>,
    /// 1000, 1001 or 1004.
    pub code: ErrorCode,
    /// One sentence that names the field.
    pub message: String,
}
