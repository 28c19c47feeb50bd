//! The client's half: asking for an upgrade, and judging the answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::accept::accept_value;
use super::answer::{Answer, parse_answer};
use super::http::{HeadLimits, Headers, RequestError};
use super::server::{put_header_line, put_line};
use crate::deflate::{Agreement, Offer, OfferError};

/// A key for the handshake from 16 random bytes.
#[must_use]
pub fn new_key(random: [u8; 16]) -> String {
    STANDARD.encode(random)
}

/// Appends the request for a WebSocket. `host` is what stands in the URL, with the port if it is
/// not the scheme's own; `target` is path and query; `key` comes from [`new_key`].
/// An [`Offer`] of compression goes under `extra`, as `Sec-WebSocket-Extensions`.
pub fn put_upgrade_request(
    out: &mut Vec<u8>,
    host: &str,
    target: &str,
    key: &str,
    protocols: &[&str],
    extra: &[(&str, &str)],
) {
    put_line(out, &format!("GET {target} HTTP/1.1"));
    put_header_line(out, "Host", host);
    put_header_line(out, "Upgrade", "websocket");
    put_header_line(out, "Connection", "Upgrade");
    put_header_line(out, "Sec-WebSocket-Version", "13");
    put_header_line(out, "Sec-WebSocket-Key", key);
    if !protocols.is_empty() {
        put_header_line(out, "Sec-WebSocket-Protocol", &protocols.join(", "));
    }
    for (name, value) in extra {
        put_header_line(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// The server's consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The subprotocol the server chose; whether it had been offered is for the caller to judge.
    pub protocol: Option<String>,
    /// What was agreed on about compression; `None`: messages are not compressed.
    pub deflate: Option<Agreement>,
    /// Length of the answer's head. What follows are frames.
    pub head_bytes: usize,
}

/// Why an answer opens no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResponseError {
    /// Not HTTP/1.1.
    #[error("malformed response")]
    Malformed,
    /// Larger than the limits allow.
    #[error("response head is too large")]
    HeadTooLarge,
    /// The server refused, or wants something first.
    #[error("the server answered {status}")]
    Status {
        /// The status of the answer, not 101.
        status: u16,
    },
    /// `Upgrade: websocket` or `Connection: Upgrade` is missing.
    #[error("the answer does not switch to a WebSocket")]
    NotUpgrade,
    /// `Sec-WebSocket-Accept` does not belong to the key.
    #[error("Sec-WebSocket-Accept is missing or wrong")]
    Accept,
    /// The answer about compression does not keep to the RFC or to the offer.
    #[error("the server's Sec-WebSocket-Extensions are malformed or exceed the offer")]
    Extensions,
    /// An extension or a second subprotocol, which nobody asked for.
    #[error("the server chose what was not offered")]
    NotOffered,
}

impl From<RequestError> for ResponseError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Malformed | RequestError::Version => Self::Malformed,
            _ => Self::HeadTooLarge,
        }
    }
}

/// Reads the server's answer off the front of `bytes` and judges it (RFC 6455, section 4.1).
/// `None`: it is not complete; call again with the same bytes and what has arrived since. `offered` is the compression
/// that the request offered; no other extension is accepted.
///
/// # Errors
/// See [`ResponseError`].
pub fn parse_response(
    bytes: &[u8],
    key: &str,
    limits: &HeadLimits,
    offered: Option<&Offer>,
) -> Result<Option<Accepted>, ResponseError> {
    let Some(Answer {
        status,
        version,
        headers,
        head_bytes,
    }) = parse_answer(bytes, limits)?
    else {
        return Ok(None);
    };
    if status != 101 {
        return Err(ResponseError::Status { status });
    }
    if version != 1
        || !headers.has_token("upgrade", "websocket")
        || !headers.has_token("connection", "upgrade")
    {
        return Err(ResponseError::NotUpgrade);
    }
    let accept = headers.only("sec-websocket-accept").ok().flatten();
    if accept.map(str::as_bytes) != Some(&accept_value(key)) {
        return Err(ResponseError::Accept);
    }
    let deflate = judge_extensions(&headers, offered)?;
    let protocol = headers
        .only("sec-websocket-protocol")
        .map_err(|_| ResponseError::NotOffered)?;
    Ok(Some(Accepted {
        protocol: protocol.map(str::to_owned),
        deflate,
        head_bytes,
    }))
}

/// At most one extension is chosen, as it was offered.
fn judge_extensions(
    headers: &Headers<'_>,
    offered: Option<&Offer>,
) -> Result<Option<Agreement>, ResponseError> {
    let chosen = headers
        .extensions()
        .map_err(|_| ResponseError::Extensions)?;
    match (&*chosen, offered) {
        ([], _) => Ok(None),
        ([extension], Some(offer)) => match Agreement::read(extension, offer) {
            Ok(agreement) => Ok(Some(agreement)),
            Err(OfferError::OtherExtension) => Err(ResponseError::NotOffered),
            Err(_) => Err(ResponseError::Extensions),
        },
        _ => Err(ResponseError::NotOffered),
    }
}
