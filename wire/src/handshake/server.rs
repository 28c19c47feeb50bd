//! The server's half: judging an upgrade, and writing answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::accept::accept_value;
use super::extensions::Extension;
use super::http::{Headers, Request};
use crate::deflate::Agreement;

/// The version of the protocol in RFC 6455, the only one spoken.
const VERSION: &str = "13";

/// Why a request is not upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum UpgradeError {
    /// 405: the method is not GET.
    #[error("a WebSocket is asked for with GET")]
    Method,
    /// 426: no `Upgrade: websocket`, or not HTTP/1.1.
    #[error("this path speaks WebSocket: send Upgrade: websocket over HTTP/1.1")]
    NotUpgrade,
    /// 426: `Sec-WebSocket-Version` is not 13.
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// 400: `Sec-WebSocket-Key` is not the base64 of 16 bytes, or stands twice.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
    /// 400: `Connection` does not list `upgrade`.
    #[error("Connection must list Upgrade")]
    Connection,
    /// 400: no `Host`.
    #[error("Host is missing")]
    Host,
    /// 400: `Sec-WebSocket-Extensions` is not of the form that the RFC gives it (section 9.1).
    #[error("malformed Sec-WebSocket-Extensions")]
    Extensions,
    /// 400: the request says that it has a body.
    #[error("an upgrade has no body")]
    BodyNotAllowed,
}

impl UpgradeError {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NotUpgrade | Self::Version => 426,
            Self::Key | Self::Connection | Self::Host | Self::Extensions | Self::BodyNotAllowed => {
                400
            }
        }
    }
}

/// A request that may be answered by [`put_switching`].
#[derive(Clone, Debug)]
pub struct Upgrade<'r> {
    /// What the accept value is made from.
    pub key: &'r str,
    headers: &'r Headers<'r>,
    /// The extensions offered, the client's favourite first.
    pub extensions: Vec<Extension<'r>>,
}

impl<'r> Upgrade<'r> {
    /// The subprotocols offered, the client's favourite first.
    pub fn protocols(&self) -> impl Iterator<Item = &'r str> {
        self.headers.tokens("sec-websocket-protocol")
    }
}

impl Request<'_> {
    /// Judges the request as the beginning of a WebSocket (RFC 6455, section 4.2.1).
    ///
    /// # Errors
    /// The first demand that is not met; see [`UpgradeError`].
    pub fn upgrade(&self) -> Result<Upgrade<'_>, UpgradeError> {
        let headers = &self.headers;
        if self.method != "GET" {
            return Err(UpgradeError::Method);
        }
        if self.version != 1 || !self.wants_upgrade() {
            return Err(UpgradeError::NotUpgrade);
        }
        if headers.get("host").is_none_or(str::is_empty) {
            return Err(UpgradeError::Host);
        }
        if !headers.has_token("connection", "upgrade") {
            return Err(UpgradeError::Connection);
        }
        let version = headers.only("sec-websocket-version").ok().flatten();
        if version != Some(VERSION) {
            return Err(UpgradeError::Version);
        }
        let key = headers.only("sec-websocket-key").ok().flatten();
        let key = key.filter(|key| is_key(key)).ok_or(UpgradeError::Key)?;
        let has_body = self.content_length.is_some_and(|bytes| bytes > 0)
            || headers.get("transfer-encoding").is_some();
        if has_body {
            return Err(UpgradeError::BodyNotAllowed);
        }
        let extensions = headers.extensions().map_err(|_| UpgradeError::Extensions)?;
        Ok(Upgrade {
            key,
            headers,
            extensions,
        })
    }
}

/// Whether `key` is the base64 of 16 bytes.
fn is_key(key: &str) -> bool {
    /// 24 characters of base64, two of them padding.
    const KEY_CHARS: usize = 24;
    let mut nonce = [0; KEY_CHARS / 4 * 3];
    key.len() == KEY_CHARS && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

/// Appends the answer that turns the connection into a WebSocket. `protocol` must be one that was
/// offered, `deflate` what was agreed on about compression.
pub fn put_switching(
    out: &mut Vec<u8>,
    key: &str,
    protocol: Option<&str>,
    deflate: Option<&Agreement>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_value(key));
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        put_header_line(out, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(agreement) = deflate {
        put_header_line(out, "Sec-WebSocket-Extensions", &agreement.to_string());
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: u16,
    /// Headers beside those below, in their order.
    pub extra: &'a [(&'a str, &'a str)],
    /// The body's type; `None` where there is no body.
    pub content_type: Option<&'a str>,
    /// Bytes of body; `None`: it ends with the connection, or there can be none (1xx, 204, 304).
    pub content_length: Option<usize>,
    /// Whether the connection goes on behind it. It is what HTTP/1.1 takes for granted, and said to nobody.
    pub keep_alive: bool,
}

/// Appends a response's head. A 405 without an `Allow` of its own says that GET is allowed, a 426 that a WebSocket of
/// version 13 is wanted.
pub fn put_response_head(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    let status = head.status;
    put_line(out, &format!("HTTP/1.1 {status} {}", reason_phrase(status)));
    // 426 must say what to upgrade to, and `Upgrade` must be listed by `Connection` (RFC 9110,
    // section 7.8).
    match (head.keep_alive, status) {
        (false, 426) => put_header_line(out, "Connection", "close, Upgrade"),
        (true, 426) => put_header_line(out, "Connection", "Upgrade"),
        (false, _) => put_header_line(out, "Connection", "close"),
        (true, _) => {}
    }
    let has_allow = || head.extra.iter().any(|(name, _)| *name == "Allow");
    match status {
        405 if !has_allow() => put_header_line(out, "Allow", "GET"),
        426 => {
            put_header_line(out, "Upgrade", "websocket");
            put_header_line(out, "Sec-WebSocket-Version", VERSION);
        }
        _ => {}
    }
    for (name, value) in head.extra {
        put_header_line(out, name, value);
    }
    if let Some(content_type) = head.content_type {
        put_header_line(out, "Content-Type", content_type);
    }
    if let Some(bytes) = head.content_length {
        put_header_line(out, "Content-Length", &bytes.to_string());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole response after which the connection is closed.
pub fn put_response(
    out: &mut Vec<u8>,
    status: u16,
    extra: &[(&str, &str)],
    content_type: &str,
    body: &[u8],
) {
    put_response_head(
        out,
        &ResponseHead {
            status,
            extra,
            content_type: Some(content_type),
            content_length: Some(body.len()),
            keep_alive: false,
        },
    );
    out.extend_from_slice(body);
}

/// Appends the interim answer to `Expect: 100-continue`.
pub fn put_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

pub(super) fn put_header_line(out: &mut Vec<u8>, name: &str, value: &str) {
    put_line(out, &format!("{name}: {value}"));
}

/// Appends a line and its end. Control bytes are left out, so that no value can begin a line of its
/// own.
pub(super) fn put_line(out: &mut Vec<u8>, line: &str) {
    out.extend(line.bytes().filter(|byte| !byte.is_ascii_control()));
    out.extend_from_slice(b"\r\n");
}

/// The words behind a status; empty for one that is not used here.
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
