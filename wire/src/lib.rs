//! Bytes to meaning and back: WebSocket frames, masking, the upgrade, and the fanfare protocol.
//!
//! The promise of this crate: **no I/O, no clock, no threads, no randomness, no `unsafe`.** Bytes
//! come in as slices and go out by being appended to a `Vec<u8>`; what is random or depends on time
//! (mask keys, the handshake's nonce, timestamps) is passed in. So everything here is deterministic
//! and is tested, fuzzed and benched without a socket. Nothing a peer sends can make it panic, and
//! no length a peer *announces* makes it allocate: buffers grow with what has arrived.
//!
//! | module | turns |
//! |---|---|
//! | [`handshake`] | an HTTP/1.1 head into a request or an upgrade, for both roles |
//! | [`frame`], [`mask`] | frame headers and payloads of RFC 6455 into bytes and back |
//! | [`reader`] | a stream of bytes, however it is cut, into messages |
//! | [`deflate`] | messages into their compressed forms and back, and the negotiation of that |
//! | [`close`], [`error`] | close frames; a fault of the peer into the code that answers it |
//! | [`command`] | a client's text message into a command |
//! | [`event`] | what the server says into JSON text, and back for clients |
//! | [`binary`] | the same of data, skips and gaps as binary records, and back |
//! | [`sse`] | the same text as Server-Sent Events, and the positions in their ids |
//! | [`proxy`] | the header by which a proxy says whose a connection is |
//! | [`topic`], [`code`] | names of topics and filters; the protocol's error codes |

#![forbid(unsafe_code)]

pub mod binary;
pub mod close;
pub mod code;
pub mod command;
pub mod deflate;
pub mod error;
pub mod event;
pub mod frame;
pub mod handshake;
mod json;
pub mod mask;
mod message;
pub mod proxy;
pub mod reader;
pub mod sse;
pub mod topic;
mod utf8;
