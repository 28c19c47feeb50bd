//! Names of topics and filters.
//!
//! A topic is 1 to 255 bytes: up to 16 segments joined by `.`, each of `A-Z a-z 0-9 _ - @ : / ! %`. A filter may also hold `*`
//! (exactly one segment) and, last, `>` (one or more segments). A name whose first byte is `$` belongs to the server. Called by
//! the server for every name a client gives, and by clients that want to know beforehand.

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// The most segments in a name.
pub const SEGMENTS_MAX: usize = 16;

/// Why a name is no topic or no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TopicError {
    /// The name has no bytes.
    #[error("empty name")]
    Empty,
    /// The name has more than 255 bytes.
    #[error("longer than 255 bytes")]
    TooLong,
    /// The name has more than 16 segments.
    #[error("more than 16 segments")]
    TooManySegments,
    /// Two dots in a row, or a dot at either end.
    #[error("empty segment")]
    EmptySegment,
    /// A byte that no name may hold, or a `$` that is not the first byte.
    #[error("byte {} is not allowed", Shown(*.0))]
    BadByte(u8),
    /// A wildcard that is a part of a segment, or a `>` that is not the last segment.
    #[error("wildcard must be a whole segment, and '>' the last")]
    MisplacedWildcard,
    /// A wildcard where one topic is meant.
    #[error("wildcard in a topic")]
    Wildcard,
}

/// A byte as a person would name it.
struct Shown(u8);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            byte @ 0x20..=0x7e => write!(f, "'{}'", char::from(byte)),
            byte => write!(f, "0x{byte:02x}"),
        }
    }
}

/// Whether `name` names one topic. Names of the server (`$…`) pass: see [`is_reserved`].
///
/// # Errors
/// The first rule that is broken.
pub fn check_topic(name: &str) -> Result<(), TopicError> {
    if check_filter(name)? {
        return Err(TopicError::Wildcard);
    }
    Ok(())
}

/// Whether `name` is a filter, and if it is, whether it holds wildcards; without any it names one topic.
///
/// # Errors
/// The first rule that is broken.
pub fn check_filter(name: &str) -> Result<bool, TopicError> {
    if name.is_empty() {
        return Err(TopicError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(TopicError::TooLong);
    }
    let mut has_wildcards = false;
    let mut segments = 0;
    let mut rest = Some(name.strip_prefix('$').unwrap_or(name).as_bytes());
    while let Some(bytes) = rest {
        let (segment, behind) = match memchr::memchr(b'.', bytes) {
            Some(dot) => (&bytes[..dot], Some(&bytes[dot + 1..])),
            None => (bytes, None),
        };
        segments += 1;
        if segments > SEGMENTS_MAX {
            return Err(TopicError::TooManySegments);
        }
        has_wildcards |= check_segment(segment, behind.is_none())?;
        rest = behind;
    }
    Ok(has_wildcards)
}

/// Whether `name` belongs to the server: clients may subscribe to it, but not publish.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with('$')
}

/// Whether a segment is a wildcard.
fn check_segment(segment: &[u8], is_last: bool) -> Result<bool, TopicError> {
    match segment {
        [] => return Err(TopicError::EmptySegment),
        b"*" => return Ok(true),
        b">" if is_last => return Ok(true),
        _ => {}
    }
    match segment.iter().find(|&&byte| !is_plain(byte)) {
        None => Ok(false),
        Some(b'*' | b'>') => Err(TopicError::MisplacedWildcard),
        Some(&byte) => Err(TopicError::BadByte(byte)),
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9'
        | b'_' | b'-' | b'@' | b':' | b'/' | b'!' | b'%')
}
