//! Why a connection ended: every end has exactly one reason, which is also its metric label.

use fanfare_wire::close::CloseCode;
use fanfare_wire::error::ProtocolError;

use crate::metrics::counters::REASONS_MAX;

/// The typed reason of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// The peer began the close handshake.
    PeerClosed,
    /// The peer ended the stream without a close handshake.
    PeerGone,
    /// The socket failed.
    Reset,
    /// The peer broke the WebSocket protocol.
    Protocol(ProtocolError),
    /// An HTTP request was answered and that was all; the status.
    Http(u16),
    /// No whole request head in time.
    HandshakeTimeout,
    /// Not a byte for the idle timeout.
    Idle,
    /// It did not read what was sent to it.
    Slow,
    /// The server was full.
    Capacity,
    /// The room's topic could not be opened, or took no more.
    Refused,
    /// The server stops.
    Shutdown,
    /// It spoke in a room without the right to.
    Forbidden,
    /// It asked for far more than its rate allows, or spoke in a room above it.
    Rate,
    /// Its token has expired.
    Expired,
    /// It did not say in time who it is.
    AuthTimeout,
    /// Its address has as much as it may, or is not one that may come.
    Address,
}

/// How many labels there are.
pub const LABELS: usize = 16;
const _: () = assert!(LABELS <= REASONS_MAX);

impl Disconnect {
    /// The label's number, for counters.
    #[must_use]
    pub fn ordinal(self) -> usize {
        match self {
            Disconnect::PeerClosed => 0,
            Disconnect::PeerGone => 1,
            Disconnect::Reset => 2,
            Disconnect::Protocol(_) => 3,
            Disconnect::Http(_) => 4,
            Disconnect::HandshakeTimeout => 5,
            Disconnect::Idle => 6,
            Disconnect::Slow => 7,
            Disconnect::Capacity => 8,
            Disconnect::Refused => 9,
            Disconnect::Shutdown => 10,
            Disconnect::Forbidden => 11,
            Disconnect::Rate => 12,
            Disconnect::Expired => 13,
            Disconnect::AuthTimeout => 14,
            Disconnect::Address => 15,
        }
    }

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        LABEL_NAMES[self.ordinal()]
    }

    /// The close code and text the peer is told, when there is a WebSocket to tell it on.
    #[must_use]
    pub fn close(self) -> (CloseCode, &'static str) {
        match self {
            Disconnect::Protocol(error) => (error.close_code(), protocol_text(error)),
            Disconnect::Idle => (CloseCode::NO_SIGN_OF_LIFE, "no sign of life"),
            Disconnect::Slow => (CloseCode::SLOW, "reads too slowly"),
            Disconnect::Capacity => (CloseCode::CAPACITY, "the server is full"),
            Disconnect::Refused => (CloseCode::TRY_LATER, "the room takes no more"),
            Disconnect::Shutdown => (CloseCode::GOING_AWAY, "the server stops"),
            Disconnect::Rate => (CloseCode::RATE, "too many messages"),
            Disconnect::Forbidden => (CloseCode::POLICY, "not allowed to publish to this room"),
            Disconnect::Expired => (CloseCode::AUTH, "the token has expired"),
            Disconnect::AuthTimeout => (CloseCode::AUTH_TIMEOUT, "no token in time"),
            Disconnect::Address
            | Disconnect::PeerClosed
            | Disconnect::PeerGone
            | Disconnect::Reset
            | Disconnect::Http(_)
            | Disconnect::HandshakeTimeout => (CloseCode::NORMAL, ""),
        }
    }
}

/// The labels, by ordinal.
pub const LABEL_NAMES: [&str; LABELS] = [
    "peer_closed",
    "peer_gone",
    "reset",
    "protocol",
    "http",
    "handshake_timeout",
    "idle",
    "slow",
    "capacity",
    "refused",
    "shutdown",
    "forbidden",
    "rate",
    "expired",
    "auth_timeout",
    "address",
];

fn protocol_text(error: ProtocolError) -> &'static str {
    match error {
        ProtocolError::InvalidUtf8 => "text is not UTF-8",
        ProtocolError::FrameTooLarge => "frame too large",
        ProtocolError::MessageTooLarge => "message too large",
        ProtocolError::TooManyFragments => "too many fragments",
        ProtocolError::Unmasked => "frame is not masked",
        ProtocolError::BadClosePayload | ProtocolError::BadCloseCode(_) => "malformed close",
        _ => "malformed frame",
    }
}
