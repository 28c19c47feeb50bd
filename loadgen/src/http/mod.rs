//! What a subscriber over plain HTTP says and hears: requests of an event stream and of a long poll,
//! and the bytes of their answers, cut anyhow, as whole events and whole answers. Knows no sockets;
//! [`crate::link`] feeds it.
//!
//! | module | holds |
//! |---|---|
//! | `request` | the requests, and what a name becomes in them |
//! | `events` | a stream of Server-Sent Events (HTML Standard, section 9.2.6) |
//! | `answers` | answers one after the other on a connection that is kept (RFC 9112) |
//! | `polled` | what an answer to a long poll means |

mod answers;
mod events;
mod polled;
mod request;

pub use answers::{Answer, AnswerReader};
pub use events::{Event, EventReader};
pub use polled::Polled;
pub use request::{id, put_event_request, put_poll_request};

use fanfare_wire::handshake::{HeadLimits, ResponseError};

/// How large the head of an answer may be.
pub const HEAD_LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16 << 10,
    line_bytes_max: 8 << 10,
};
/// The largest event, or body of an answer.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Why bytes are not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The head of an answer is no head, or the server refused.
    #[error(transparent)]
    Head(#[from] ResponseError),
    /// A stream of another type than `text/event-stream`.
    #[error("the answer is no event stream")]
    NotEvents,
    /// A transfer coding, which our servers have no need of.
    #[error("the answer comes in a transfer coding")]
    Coding,
    /// Nothing says where the answer ends.
    #[error("the answer has no Content-Length")]
    NoLength,
    /// An event or a body without an end.
    #[error("more than {BODY_BYTES_MAX} bytes in one event or answer")]
    TooLarge,
    /// An event that is not UTF-8.
    #[error("an event that is not UTF-8")]
    Utf8,
}
