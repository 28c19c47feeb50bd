//! Records read back, for clients.

use super::{Data, GAP_WHYS, HEAD_BYTES, JSON, Kind, Record, SKIP_WHYS, at_number};
use crate::topic::{self, TopicError};

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BinaryError {
    /// Shorter than what its kind has at least.
    #[error("the record is cut off")]
    Truncated,
    /// Longer than a record of its kind.
    #[error("the record goes on behind its end")]
    TooLong,
    /// A kind that version 1 does not have.
    #[error("record of unknown kind {0}")]
    UnknownKind(u8),
    /// A flag that version 1 does not have, or that a record of this kind has not.
    #[error("record with unknown flags 0x{0:02x}")]
    UnknownFlags(u8),
    /// A field that is zero in records of this kind is not.
    #[error("a field of the record that must be zero is not")]
    NotZero,
    /// A reason that version 1 does not have.
    #[error("skip or gap with unknown reason {0}")]
    UnknownWhy(u8),
    /// A skip that names no seq.
    #[error("skip from {from} to {to}")]
    EmptySkip {
        /// The first seq, as it says.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A name or an epoch is not UTF-8.
    #[error("text of the record is not UTF-8")]
    NotUtf8,
    /// The name of an alias is none of a topic.
    #[error("alias of no topic: {0}")]
    BadTopic(#[from] TopicError),
    /// A gap without an epoch.
    #[error("gap without an epoch")]
    NoEpoch,
}

/// Reads one binary message, borrowing from it.
///
/// # Errors
/// The first thing that is not as `fanfare.v1.bin` has it; see [`BinaryError`].
pub fn parse(bytes: &[u8]) -> Result<Record<'_>, BinaryError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(BinaryError::Truncated);
    };
    let [kind, flags, zero_0, zero_1, a0, a1, a2, a3, numbers @ ..] = *head;
    let kind = Kind::from_number(kind).ok_or(BinaryError::UnknownKind(kind))?;
    let known_flags = if matches!(kind, Kind::Data(_)) {
        JSON
    } else {
        0
    };
    if flags & !known_flags != 0 {
        return Err(BinaryError::UnknownFlags(flags));
    }
    let alias = u32::from_le_bytes([a0, a1, a2, a3]);
    let [s0, s1, s2, s3, s4, s5, s6, s7, ts @ ..] = numbers;
    let seq = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let ts_us = i64::from_le_bytes(ts);
    let is_unused_zero = match kind {
        Kind::Data(_) => true,
        Kind::Skip | Kind::Gap => ts_us == 0,
        Kind::Alias => ts_us == 0 && seq == 0,
    };
    if [zero_0, zero_1] != [0, 0] || !is_unused_zero {
        return Err(BinaryError::NotZero);
    }
    match kind {
        Kind::Data(kind) => Ok(Record::Data(Data {
            kind,
            is_json: flags & JSON != 0,
            alias,
            seq,
            ts_us,
            payload: rest,
        })),
        Kind::Skip => skip(alias, seq, rest),
        Kind::Gap => gap(alias, seq, rest),
        Kind::Alias => {
            let topic = text(rest)?;
            topic::check_topic(topic)?;
            Ok(Record::Alias { alias, topic })
        }
    }
}

fn skip(alias: u32, from: u64, rest: &[u8]) -> Result<Record<'_>, BinaryError> {
    let (to, why) = match rest.split_first_chunk() {
        Some((to, [why])) => (u64::from_le_bytes(*to), *why),
        Some((_, [_, _, ..])) => return Err(BinaryError::TooLong),
        _ => return Err(BinaryError::Truncated),
    };
    let why = at_number(&SKIP_WHYS, why).ok_or(BinaryError::UnknownWhy(why))?;
    if from == 0 || to < from {
        return Err(BinaryError::EmptySkip { from, to });
    }
    Ok(Record::Skip {
        alias,
        from,
        to,
        why,
    })
}

fn gap(alias: u32, from: u64, rest: &[u8]) -> Result<Record<'_>, BinaryError> {
    let (why, epoch) = rest.split_first().ok_or(BinaryError::Truncated)?;
    let why = at_number(&GAP_WHYS, *why).ok_or(BinaryError::UnknownWhy(*why))?;
    let epoch = text(epoch)?;
    if epoch.is_empty() {
        return Err(BinaryError::NoEpoch);
    }
    Ok(Record::Gap {
        alias,
        from,
        why,
        epoch,
    })
}

fn text(bytes: &[u8]) -> Result<&str, BinaryError> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| BinaryError::NotUtf8)
}
