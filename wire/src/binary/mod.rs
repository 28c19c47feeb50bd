//! Data as binary messages: the frames of `fanfare.v1.bin` that are not JSON text.
//!
//! A message is one record: a head of [`HEAD_BYTES`], little endian, and what belongs to its kind. The `put_*` functions
//! append one record (no frame header). [`parse`] reads it back and is strict: what it accepts is just what the
//! functions write, so a record has one spelling and nothing can hide in it. [`Aliases`] puts records into the words of the
//! JSON protocol, for clients that print or compare.
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | u8 | kind: 1 snapshot, 2 history, 3 update, 5 skip, 6 gap, 7 alias |
//! | 1 | u8 | flags: bit 0 payload is JSON |
//! | 2 | u16 | zero |
//! | 4 | u32 | alias: the topic's number |
//! | 8 | u64 | seq; of a skip or gap the first that is left out or lost; of an alias zero |
//! | 16 | i64 | ts, microseconds; zero where there is no payload |
//! | 24 | … | payload. alias: the topic's name. skip: `u64 to, u8 why`. gap: `u8 why`, then the epoch's text |
//!
//! `why` counts from 1 in the order of [`SkipWhy`] and [`GapWhy`].

mod aliases;
mod read;
mod write;

pub use aliases::{AliasError, Aliases};
pub use read::{BinaryError, parse};
pub use write::{put_alias, put_data, put_gap, put_skip};

use crate::event::{DataKind, GapWhy, SkipWhy};

/// Length of what every record begins with.
pub const HEAD_BYTES: usize = 24;
/// Length of a skip.
pub const SKIP_BYTES: usize = HEAD_BYTES + 9;
/// Length of a gap without the epoch's text.
pub const GAP_BYTES: usize = HEAD_BYTES + 1;

/// Bit 0 of the flags: the payload is JSON.
const JSON: u8 = 1;

/// What a binary message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A value of a topic.
    Data(Data<'a>),
    /// These updates were conflated away.
    Skip {
        /// The topic's number.
        alias: u32,
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
        /// Why.
        why: SkipWhy,
    },
    /// These updates are lost.
    Gap {
        /// The topic's number.
        alias: u32,
        /// The first of them.
        from: u64,
        /// Why.
        why: GapWhy,
        /// The epoch the topic goes on in.
        epoch: &'a str,
    },
    /// From now on this number means this topic.
    Alias {
        /// The number.
        alias: u32,
        /// The topic's name.
        topic: &'a str,
    },
}

/// A value of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// Why it is delivered.
    pub kind: DataKind,
    /// Whether the payload is JSON.
    pub is_json: bool,
    /// The topic's number.
    pub alias: u32,
    /// Its seq.
    pub seq: u64,
    /// When the server took it, microseconds since 1970.
    pub ts_us: i64,
    /// The publisher's bytes.
    pub payload: &'a [u8],
}

/// Byte 0 of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data(DataKind),
    Skip,
    Gap,
    Alias,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Kind::Data(DataKind::Snapshot) => 1,
            Kind::Data(DataKind::History) => 2,
            Kind::Data(DataKind::Update) => 3,
            Kind::Skip => 5,
            Kind::Gap => 6,
            Kind::Alias => 7,
        }
    }

    fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Data(DataKind::Snapshot),
            2 => Kind::Data(DataKind::History),
            3 => Kind::Data(DataKind::Update),
            5 => Kind::Skip,
            6 => Kind::Gap,
            7 => Kind::Alias,
            _ => return None,
        })
    }
}

const SKIP_WHYS: [SkipWhy; 3] = [SkipWhy::Slow, SkipWhy::Rate, SkipWhy::Stale];
const GAP_WHYS: [GapWhy; 3] = [GapWhy::Epoch, GapWhy::History, GapWhy::Overflow];

/// Numbers from 1 for a list of reasons, in both directions.
fn number_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let place = all.iter().position(|other| other == one);
    place.map_or(0, |place| place as u8 + 1)
}

fn at_number<T: Copy>(all: &[T], number: u8) -> Option<T> {
    all.get(usize::from(number).checked_sub(1)?).copied()
}
