//! Why a link could not be opened, or ended; each with a short label under which it is counted.

use crate::http::HttpError;
use fanfare_wire::close::CloseCode;
use fanfare_wire::error::ProtocolError;
use fanfare_wire::handshake::ResponseError;
use std::borrow::Cow;
use std::io;

/// The label of attempts that found no free local port.
pub const NO_PORT: &str = "no local port left";

/// The end of a link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The kernel refused, or the peer went away without a word.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server did not answer the handshake with a WebSocket.
    #[error(transparent)]
    Refused(#[from] ResponseError),
    /// TLS failed, or the server is not believed.
    #[error("TLS: {0}")]
    Tls(#[from] fanfare_tls::Fault),
    /// What came over plain HTTP is not what was asked for.
    #[error("{0}")]
    Http(HttpError),
    /// The server does not compress, although that was demanded.
    #[error("the server does not agree to compression (fanfare: --compress)")]
    Uncompressed,
    /// The server broke RFC 6455.
    #[error("the server broke the WebSocket protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The server sent a close frame.
    #[error("closed by the server with {}", Code(*.0))]
    Closed(Option<CloseCode>),
    /// The stream ended without a close frame.
    #[error("ended by the server without a close frame")]
    Ended,
    /// Nothing came within the time that was allowed.
    #[error("timed out")]
    TimedOut,
}

impl From<HttpError> for LinkError {
    fn from(error: HttpError) -> LinkError {
        match error {
            HttpError::Head(error) => LinkError::Refused(error),
            error => LinkError::Http(error),
        }
    }
}

impl LinkError {
    /// The kind under which it is counted.
    pub fn label(&self) -> Cow<'static, str> {
        match self {
            LinkError::Io(error) => io_label(error),
            LinkError::Tls(fault) => format!("TLS: {fault}").into(),
            LinkError::Refused(ResponseError::Status { status }) => format!("http {status}").into(),
            LinkError::Refused(error) => format!("bad answer: {error}").into(),
            LinkError::Http(error) => format!("bad answer: {error}").into(),
            LinkError::Uncompressed => "no compression".into(),
            LinkError::Protocol(error) => format!("protocol broken: {error}").into(),
            LinkError::Closed(code) => format!("closed {}", Code(*code)).into(),
            LinkError::Ended => "ended without close".into(),
            LinkError::TimedOut => "timed out".into(),
        }
    }

    /// The source address has no port left for this destination; another one may.
    pub fn is_out_of_ports(&self) -> bool {
        matches!(self, LinkError::Io(error) if error.kind() == io::ErrorKind::AddrNotAvailable)
    }
}

fn io_label(error: &io::Error) -> Cow<'static, str> {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => NO_PORT.into(),
        Some(libc::EMFILE) => "too many open files".into(),
        Some(libc::ENFILE) => "too many open files in the system".into(),
        Some(libc::ECONNREFUSED) => "connection refused".into(),
        Some(libc::ECONNRESET) => "connection reset".into(),
        Some(libc::EPIPE) => "broken pipe".into(),
        Some(libc::ETIMEDOUT) => "timed out in the kernel".into(),
        _ => error.kind().to_string().into(),
    }
}

struct Code(Option<CloseCode>);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(code) => code.fmt(f),
            None => f.write_str("without code"),
        }
    }
}
