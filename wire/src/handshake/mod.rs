//! The opening handshake (RFC 6455, section 4) and as much of HTTP/1.1 as goes with it.
//!
//! For a server: [`parse_request`] reads any request's head, [`BodyReader`] its body, [`Request::upgrade`] judges whether it
//! asks for a WebSocket as it must, and [`put_switching`] or [`put_response_head`] answer it. For a
//! client: [`put_upgrade_request`] asks and [`parse_response`] judges the answer.
//!
//! Heads are read strictly, because a server may stand behind a proxy that reads them differently:
//! every line ends with CR LF, no line is folded, no header that says who is asked or where a body
//! ends stands twice.

mod accept;
mod answer;
mod body;
mod client;
mod extensions;
mod http;
mod server;

pub use accept::{ACCEPT_BYTES, accept_value};
pub use answer::{Answer, parse_answer};
pub use body::{BodyError, BodyReader, Framing};
pub use client::{Accepted, ResponseError, new_key, parse_response, put_upgrade_request};
pub use extensions::{Extension, MalformedExtensions, Param};
pub use http::{HEADERS_MAX, HeadLimits, Headers, Request, RequestError, parse_request};
pub use server::{
    ResponseHead, Upgrade, UpgradeError, put_continue, put_response, put_response_head,
    put_switching, reason_phrase,
};
