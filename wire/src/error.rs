//! What a peer can do wrong on a WebSocket, and the close code that answers it.
//!
//! Called by [`crate::frame`], [`crate::reader`] and [`crate::close`]; the caller that meets one of
//! these sends a close frame with [`ProtocolError::close_code`] and gives the connection up. There
//! is no recovery from any of them.

use crate::close::CloseCode;

/// The peer broke RFC 6455, or a limit that was set for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProtocolError {
    /// A reserved bit is set and no extension that would give it a meaning was agreed on (section
    /// 5.2).
    #[error("reserved bits are set")]
    ReservedBits,
    /// The opcode is one of 3 to 7 or 11 to 15 (section 5.2).
    #[error("unknown opcode {0}")]
    UnknownOpcode(u8),
    /// A length was written in more bytes than it needs (section 5.2).
    #[error("payload length is not written in its shortest form")]
    NonMinimalLength,
    /// The top bit of a 64-bit length is set (section 5.2).
    #[error("top bit of the payload length is set")]
    LengthTopBit,
    /// A close, ping or pong without FIN (section 5.4).
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// A close, ping or pong of more than 125 bytes (section 5.5).
    #[error("control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A client sent a frame without a mask (section 5.1).
    #[error("frame of a client is not masked")]
    Unmasked,
    /// A server sent a frame with a mask (section 5.1).
    #[error("frame of a server is masked")]
    Masked,
    /// A continuation frame with no message to continue (section 5.4).
    #[error("continuation without a message")]
    UnexpectedContinuation,
    /// A new message began before the fragmented one was finished (section 5.4).
    #[error("new message inside a fragmented one")]
    ExpectedContinuation,
    /// The frame announces more bytes than [`crate::reader::Limits::frame_bytes_max`].
    #[error("frame is too large")]
    FrameTooLarge,
    /// The frame would take its message beyond [`crate::reader::Limits::message_bytes_max`].
    #[error("message is too large")]
    MessageTooLarge,
    /// The message has more frames than [`crate::reader::Limits::fragments_max`].
    #[error("message has too many fragments")]
    TooManyFragments,
    /// A text message or a close reason is not UTF-8 (section 8.1).
    #[error("text is not UTF-8")]
    InvalidUtf8,
    /// A compressed message cannot be inflated, or is cut short (RFC 7692, section 7.2.2).
    #[error("compressed message cannot be inflated")]
    BadDeflate,
    /// The payload of a close frame is one byte (section 5.5.1).
    #[error("close payload is cut short")]
    BadClosePayload,
    /// A close code that must not stand on the wire (section 7.4).
    #[error("close code {0} may not be sent")]
    BadCloseCode(u16),
}

impl ProtocolError {
    /// The code of the close frame that answers the fault: 1002, 1007 or 1009.
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::BadDeflate => CloseCode::INVALID_DATA,
            Self::FrameTooLarge | Self::MessageTooLarge | Self::TooManyFragments => {
                CloseCode::TOO_LARGE
            }
            _ => CloseCode::PROTOCOL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_answered_by_a_close_code_that_may_be_sent() {
        use ProtocolError::*;
        let table = [
            (ReservedBits, 1002),
            (UnknownOpcode(3), 1002),
            (NonMinimalLength, 1002),
            (LengthTopBit, 1002),
            (FragmentedControl, 1002),
            (ControlTooLong, 1002),
            (Unmasked, 1002),
            (Masked, 1002),
            (UnexpectedContinuation, 1002),
            (ExpectedContinuation, 1002),
            (FrameTooLarge, 1009),
            (MessageTooLarge, 1009),
            (TooManyFragments, 1009),
            (InvalidUtf8, 1007),
            (BadDeflate, 1007),
            (BadClosePayload, 1002),
            (BadCloseCode(1005), 1002),
        ];
        for (fault, code) in table {
            assert_eq!(fault.close_code().0, code, "{fault}");
            assert!(fault.close_code().may_be_sent());
        }
    }
}
