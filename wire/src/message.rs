//! The payload so far of a message that does not come in one piece.
//!
//! Text is validated once, on its way in, and is a `String` from then on. Memory grows with what
//! has arrived and never by more than can still come. Called by [`crate::reader`] only.

use crate::error::ProtocolError;
use crate::utf8::CutChar;

#[derive(Debug, Default)]
pub(crate) enum Message {
    /// No message has begun.
    #[default]
    None,
    /// Whole characters, and the one that is cut at their end.
    Text(String, CutChar),
    Binary(Vec<u8>),
    /// A compressed message, as it came.
    Deflated {
        is_text: bool,
        bytes: Vec<u8>,
    },
}

impl Message {
    pub(crate) fn text() -> Self {
        Self::Text(String::new(), CutChar::default())
    }

    pub(crate) fn binary() -> Self {
        Self::Binary(Vec::new())
    }

    pub(crate) fn deflated(is_text: bool) -> Self {
        Self::Deflated {
            is_text,
            bytes: Vec::new(),
        }
    }

    /// Bytes received.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Text(text, cut) => text.len() + cut.bytes(),
            Self::Binary(bytes) | Self::Deflated { bytes, .. } => bytes.len(),
        }
    }

    /// Bytes of heap held.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Text(text, _) => text.capacity(),
            Self::Binary(bytes) | Self::Deflated { bytes, .. } => bytes.capacity(),
        }
    }

    /// Appends a piece; `coming_bytes` is the most that can still come, the piece included.
    pub(crate) fn push(&mut self, piece: &[u8], coming_bytes: usize) -> Result<(), ProtocolError> {
        match self {
            Self::None => debug_assert!(false, "a piece of no message"),
            Self::Text(text, cut) => {
                let added = piece.len() + cut.bytes();
                text.reserve_exact(growth(text.len(), text.capacity(), added, coming_bytes));
                cut.push(piece, text)?;
            }
            Self::Binary(bytes) | Self::Deflated { bytes, .. } => {
                let added = piece.len();
                bytes.reserve_exact(growth(bytes.len(), bytes.capacity(), added, coming_bytes));
                bytes.extend_from_slice(piece);
            }
        }
        Ok(())
    }
}

/// How much to reserve beyond `length` for `added` bytes: as much again as is there, so that
/// growing is cheap, but no more than can still come, and never for an announcement alone.
fn growth(length: usize, capacity: usize, added: usize, coming_bytes: usize) -> usize {
    if capacity - length >= added {
        return 0;
    }
    added.max(coming_bytes.min(length))
}
