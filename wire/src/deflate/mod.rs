//! permessage-deflate: messages that are compressed one by one (RFC 7692).
//!
//! [`Offer`], [`Agreement`] and [`Terms`] are the negotiation, for both sides. [`Deflater`] and
//! [`Inflater`] turn the payload of a whole message into its compressed form and back;
//! [`crate::reader::Reader::next_inflating`] uses the latter for what a peer sends.
//!
//! A [`Deflater`] begins every message anew (`server_no_context_takeover`, or the client's). So its output
//! depends on the message alone, and one compression serves every receiver. An [`Inflater`] does the
//! same unless the peer keeps its context, and then belongs to that peer alone.

mod deflater;
mod inflater;
mod negotiate;

pub use deflater::Deflater;
pub use inflater::Inflater;
pub use negotiate::{Agreement, ClientWindow, Offer, OfferError, Terms};

/// The largest window, as the logarithm of its size: 32 KiB. It is the one that holds when nothing
/// is said (RFC 7692, section 7.1.2).
pub const WINDOW_BITS_MAX: u8 = 15;

/// The smallest window that can be agreed on: 256 bytes.
pub const WINDOW_BITS_MIN: u8 = 8;

/// What a flush ends with, which does not stand on the wire (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The longest payload of a compressed message that stands for `message_bytes`: an honest compressor may make
/// a message a little longer. The bound is that of zlib with its smallest tables.
#[must_use]
pub(crate) fn deflated_bytes_max(message_bytes: usize) -> usize {
    message_bytes
        .saturating_add(message_bytes / 8)
        .saturating_add(message_bytes / 64)
        .saturating_add(64)
}
