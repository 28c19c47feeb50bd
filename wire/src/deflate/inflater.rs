//! Inflating the payload of a message, within a bound.

use flate2::{Decompress, FlushDecompress, Status};

use super::TAIL;
use crate::error::ProtocolError;

/// A final empty block. A whole message ends between two blocks, so this is understood there; where a
/// message was cut short, it is taken for something else.
const PROOF: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// Room for the inflated message that is made at once, and kept between messages.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Inflates messages: each for itself, or all of one peer that keeps its context.
///
/// Its tables and window, some 50 KB, are made at the first message.
#[derive(Debug)]
pub struct Inflater {
    stream: Option<Decompress>,
    /// The peer goes on with what it said in earlier messages.
    keeps_context: bool,
    message: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// For messages that stand for themselves, of as many peers as there are.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stream: None,
            keeps_context: false,
            message: Vec::new(),
        }
    }

    /// For all messages of one peer that keeps its context.
    #[must_use]
    pub fn with_context() -> Self {
        Self {
            keeps_context: true,
            ..Self::new()
        }
    }

    /// The message whose compressed form, as it stood in its frames, is `deflated`. Memory grows with what is inflated, to
    /// `bytes_max` and no further.
    ///
    /// # Errors
    /// [`ProtocolError::MessageTooLarge`] for a message of more than `bytes_max` bytes,
    /// [`ProtocolError::BadDeflate`] for what is no compressed message. An inflater with a context must not be used again
    /// afterwards.
    pub fn inflate(&mut self, deflated: &[u8], bytes_max: usize) -> Result<&[u8], ProtocolError> {
        self.relax();
        self.message.clear();
        // Nothing stands for nothing, though an empty block would have been right.
        if deflated.is_empty() {
            return Ok(&self.message);
        }
        // With the largest window, whatever was agreed on: a smaller one would take as much memory.
        let stream = (self.stream).get_or_insert_with(|| Decompress::new(false));
        if !self.keeps_context {
            stream.reset(false);
        }
        for piece in [deflated, &TAIL] {
            inflate_piece(stream, piece, &mut self.message, bytes_max)?;
        }
        if !self.keeps_context && !is_between_blocks(stream) {
            return Err(ProtocolError::BadDeflate);
        }
        Ok(&self.message)
    }

    /// Room held for messages, bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.message.capacity()
    }

    /// Gives back the room of a message that was unusually long.
    pub fn relax(&mut self) {
        let most = if self.keeps_context {
            0
        } else {
            KEPT_BYTES_MAX
        };
        if self.message.capacity() > most {
            self.message = Vec::new();
        }
    }
}

/// Appends to `message` what `piece` says.
fn inflate_piece(
    stream: &mut Decompress,
    mut piece: &[u8],
    message: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), ProtocolError> {
    loop {
        if message.len() == message.capacity() {
            // One byte beyond the limit, to see whether there is one.
            let room = bytes_max.saturating_add(1) - message.len();
            let growth = message.len().max(4 * piece.len()).max(256);
            message.reserve_exact(growth.min(room));
        }
        let taken_before = stream.total_in();
        let status = stream
            .decompress_vec(piece, message, FlushDecompress::Sync)
            .map_err(|_| ProtocolError::BadDeflate)?;
        piece = &piece[(stream.total_in() - taken_before) as usize..];
        if message.len() > bytes_max {
            return Err(ProtocolError::MessageTooLarge);
        }
        if status == Status::StreamEnd {
            // A final block ends a stream and not the message: what follows begins anew (section 7.2.3.5).
            stream.reset(false);
            if piece.is_empty() {
                return Ok(());
            }
        } else if message.len() < message.capacity() {
            // What is left of its input it will never take.
            return match piece {
                [] => Ok(()),
                _ => Err(ProtocolError::BadDeflate),
            };
        }
    }
}

fn is_between_blocks(stream: &mut Decompress) -> bool {
    let before = (stream.total_in(), stream.total_out());
    let mut nothing = [0; 1];
    let status = stream.decompress(&PROOF, &mut nothing, FlushDecompress::Sync);
    matches!(status, Ok(Status::StreamEnd))
        && stream.total_in() - before.0 == PROOF.len() as u64
        && stream.total_out() == before.1
}
