//! The head of an HTTP/1.1 message.
//!
//! [`scan_head`] finds the end of a head and enforces limits and line ends while it arrives; only a
//! whole head is given to httparse. A fault is the same however the bytes are cut.

use std::mem::MaybeUninit;
use std::str::from_utf8;

use httparse::Status;

/// The most header lines in a head.
pub const HEADERS_MAX: usize = 64;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// All of it, with the empty line at its end.
    pub head_bytes_max: usize,
    /// One line, with its line end.
    pub line_bytes_max: usize,
}

/// Why bytes are not the head of a request that is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// 400: not HTTP, or HTTP that two readers could understand differently.
    #[error("malformed request")]
    Malformed,
    /// 414: the request line is too long.
    #[error("request line is too long")]
    LineTooLong,
    /// 431: the head, or one of its header lines, is too long.
    #[error("request head is too large")]
    HeadTooLarge,
    /// 431: more than 64 header lines.
    #[error("too many headers")]
    TooManyHeaders,
    /// 505: neither HTTP/1.1 nor HTTP/1.0.
    #[error("HTTP version is not supported")]
    Version,
}

impl RequestError {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::LineTooLong => 414,
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::Version => 505,
        }
    }
}

impl From<httparse::Error> for RequestError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::Version => Self::Version,
            _ => Self::Malformed,
        }
    }
}

/// A request's head, borrowed from the bytes it came in.
#[derive(Clone, Debug)]
pub struct Request<'b> {
    /// `GET`, as it came: methods are case-sensitive.
    pub method: &'b str,
    /// What is asked for, without the query: it begins with `/`, or is the `*` of an `OPTIONS`. Not
    /// percent-decoded.
    pub path: &'b str,
    /// What stands behind the `?`.
    pub query: Option<&'b str>,
    /// The header lines.
    pub headers: Headers<'b>,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub version: u8,
    /// Bytes of body that follow, if the request says; never together with `Transfer-Encoding`.
    pub content_length: Option<u64>,
}

impl<'b> Request<'b> {
    /// The value of the first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'b str> {
        self.headers.get(name)
    }

    /// Whether `token` stands, in any case, in the comma-separated list that all headers of this
    /// name make.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers.has_token(name, token)
    }

    /// Whether a WebSocket is asked for, rightly or not; [`Request::upgrade`] judges how.
    #[must_use]
    pub fn wants_upgrade(&self) -> bool {
        self.has_token("upgrade", "websocket")
    }
}

/// Header lines in the order they came, at most [`HEADERS_MAX`].
///
/// On the heap, for the few lines that there are: room for all that there may be is 2 KB, and would be filled and moved with
/// every request.
#[derive(Clone)]
pub struct Headers<'b>(Box<[(&'b str, &'b str)]>);

impl<'b> Headers<'b> {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b str)> {
        self.0.iter().copied()
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'b str> {
        self.all(name).next()
    }

    /// The values of all headers of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'b str> {
        self.iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The value of a header that must not stand twice; `Err` if it does.
    pub(super) fn only(&self, name: &str) -> Result<Option<&'b str>, Repeated> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Repeated),
        }
    }

    /// The elements of the comma-separated list that all headers of this name make (RFC 9110,
    /// section 5.6.1).
    pub fn tokens(&self, name: &str) -> impl Iterator<Item = &'b str> {
        self.all(name)
            .flat_map(|value| value.split(','))
            .map(|token| token.trim_matches([' ', '\t']))
            .filter(|token| !token.is_empty())
    }

    /// Whether `token` is one of [`Headers::tokens`], in any case.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name)
            .any(|other| other.eq_ignore_ascii_case(token))
    }

    /// Takes over what httparse found; `None` if a value is not UTF-8.
    pub(super) fn from_parsed(parsed: &[httparse::Header<'b>]) -> Option<Self> {
        let line = |header: &httparse::Header<'b>| {
            let value = from_utf8(header.value).ok()?;
            Some((header.name, value.trim_matches([' ', '\t'])))
        };
        let mut lines = Vec::with_capacity(parsed.len());
        for header in parsed {
            lines.push(line(header)?);
        }
        Some(Self(lines.into()))
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A header that stands twice.
pub(super) struct Repeated;

impl From<Repeated> for RequestError {
    fn from(_: Repeated) -> Self {
        Self::Malformed
    }
}

/// Reads a request's head and its length in bytes off the front of `bytes`. `None`: it is not
/// complete; call again with the same bytes and what has arrived since.
///
/// # Errors
/// As soon as the bytes cannot become a head any more; see [`RequestError`].
pub fn parse_request<'b>(
    bytes: &'b [u8],
    limits: &HeadLimits,
) -> Result<Option<(Request<'b>, usize)>, RequestError> {
    let Some(head_bytes) = scan_head(bytes, limits)? else {
        return Ok(None);
    };
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(&bytes[..head_bytes], &mut lines)?;
    let (Status::Complete(_), Some(method), Some(target), Some(version)) =
        (status, parsed.method, parsed.path, parsed.version)
    else {
        return Err(RequestError::Malformed);
    };
    let headers = Headers::from_parsed(parsed.headers).ok_or(RequestError::Malformed)?;
    let (path, query) = split_target(target).ok_or(RequestError::Malformed)?;
    let content_length = content_length(&headers)?;
    headers.only("host")?;
    let request = Request {
        method,
        path,
        query,
        headers,
        version,
        content_length,
    };
    Ok(Some((request, head_bytes)))
}

/// The length of the head at the front of `bytes`, with its empty line. `None`: it is not complete.
pub(super) fn scan_head(bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, RequestError> {
    // What lies beyond the limit is not looked at, so that the fault found does not depend on how
    // much has arrived.
    let seen = &bytes[..bytes.len().min(limits.head_bytes_max)];
    if seen
        .first()
        .is_some_and(|first| !first.is_ascii_alphanumeric())
    {
        return Err(RequestError::Malformed);
    }
    let mut start = 0;
    loop {
        let line = &seen[start..];
        let line_end = memchr::memchr(b'\n', line);
        let line_bytes = line_end.map_or(line.len(), |end| end + 1);
        if line_bytes > limits.line_bytes_max {
            return Err(match start {
                0 => RequestError::LineTooLong,
                _ => RequestError::HeadTooLarge,
            });
        }
        match line_end {
            None if bytes.len() > seen.len() => return Err(RequestError::HeadTooLarge),
            None => return Ok(None),
            Some(1) if line[0] == b'\r' => return Ok(Some(start + 2)),
            Some(end) if end == 0 || line[end - 1] != b'\r' => return Err(RequestError::Malformed),
            // A line that begins with white space is folded into the one before it (RFC 9112,
            // section 5.2).
            Some(_) if matches!(line[0], b' ' | b'\t') => return Err(RequestError::Malformed),
            Some(_) => start += line_bytes,
        }
    }
}

/// Path and query of a target, which may be a whole URI (RFC 9112, section 3.2.2).
fn split_target(target: &str) -> Option<(&str, Option<&str>)> {
    if target == "*" {
        return Some((target, None));
    }
    // Nearly all begin with their path, and are not searched for what could stand before it.
    let parts = if target.starts_with('/') {
        None
    } else {
        target.split_once("://")
    };
    let (origin, empty_path) = match parts {
        Some((scheme, rest)) if is_scheme(scheme) => {
            (rest.find(['/', '?']).map_or("", |at| &rest[at..]), "/")
        }
        _ => (target, ""),
    };
    let (path, query) = match memchr::memchr(b'?', origin.as_bytes()) {
        Some(at) => (&origin[..at], Some(&origin[at + 1..])),
        None => (origin, None),
    };
    let path = if path.is_empty() { empty_path } else { path };
    let is_sound = path.starts_with('/') && memchr::memchr(b'#', target.as_bytes()).is_none();
    is_sound.then_some((path, query))
}

fn is_scheme(scheme: &str) -> bool {
    ["http", "https", "ws", "wss"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

/// The length of the body, of which no two readers may have a different idea (RFC 9112, section
/// 6.3).
fn content_length(headers: &Headers<'_>) -> Result<Option<u64>, RequestError> {
    let Some(value) = headers.only("content-length")? else {
        return Ok(None);
    };
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || headers.get("transfer-encoding").is_some() {
        return Err(RequestError::Malformed);
    }
    value.parse().map(Some).map_err(|_| RequestError::Malformed)
}
