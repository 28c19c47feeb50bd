//! Names of topics and filters.
//!
//! A topic is 1 to 255 bytes: up to 16 segments joined by `.`, each of `A-Z a-z 0-9 _ - @ : / ! %`.
//! A filter may also hold `*` (exactly one segment) and, last, `>` (one or more segments). A name
//! whose first byte is `$` belongs to the server. Called by the server for every name a client
//! gives, and by clients that want to know beforehand.

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

/// Whether `name` is a filter, and if it is, whether it holds wildcards; without any it names one
/// topic.
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
    // The server's topics are found by the name of their first segment alone.
    if name.starts_with("$*") || name.starts_with("$>") {
        return Err(TopicError::MisplacedWildcard);
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

/// Whether `filter` covers the topic `name`: `*` stands for exactly one segment, a last `>` for one or more. A topic of
/// the server (`$…`) is covered only by a filter that says its first segment. Both names must have passed their checks.
#[must_use]
pub fn covers(filter: &str, name: &str) -> bool {
    if is_reserved(name) && !is_reserved(filter) {
        return false;
    }
    let mut wanted = filter.split('.');
    let mut given = name.split('.');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some(want), Some(have)) if want == "*" || want == have => {}
            _ => return false,
        }
    }
}

/// Whether `wide` covers every topic that `narrow` covers; either may be one topic's name. Both must have passed
/// [`check_filter`].
///
/// It never says yes where a single topic is left out. That names end at [`SEGMENTS_MAX`] segments is not made use of.
#[must_use]
pub fn includes(wide: &str, narrow: &str) -> bool {
    if is_reserved(narrow) && !is_reserved(wide) {
        return false;
    }
    let mut wide = wide.split('.');
    let mut narrow = narrow.split('.');
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            // A star takes any one segment, whether it is named or not, but not the many of an arrow.
            (Some("*"), Some(part)) if part != ">" => {}
            (Some(same), Some(part)) if same == part => {}
            _ => return false,
        }
    }
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

#[cfg(test)]
mod tests {
    use TopicError::*;

    use super::*;

    #[test]
    fn topics_and_filters_are_judged_by_the_table() {
        let sixteen = ["s"; 16].join(".");
        let seventeen = ["s"; 17].join(".");
        let longest = "x".repeat(255);
        let too_long = "x".repeat(256);
        // Name, as a topic, as a filter.
        let table = [
            ("AAPL", Ok(()), Ok(false)),
            ("px.fx.EUR-USD", Ok(()), Ok(false)),
            ("Az09_-@:/!%", Ok(()), Ok(false)),
            ("$sys.stats", Ok(()), Ok(false)),
            ("$sys.>", Err(Wildcard), Ok(true)),
            (&sixteen, Ok(()), Ok(false)),
            (&longest, Ok(()), Ok(false)),
            ("", Err(Empty), Err(Empty)),
            (&too_long, Err(TooLong), Err(TooLong)),
            (&seventeen, Err(TooManySegments), Err(TooManySegments)),
            (".", Err(EmptySegment), Err(EmptySegment)),
            (".a", Err(EmptySegment), Err(EmptySegment)),
            ("a.", Err(EmptySegment), Err(EmptySegment)),
            ("a..b", Err(EmptySegment), Err(EmptySegment)),
            ("$", Err(EmptySegment), Err(EmptySegment)),
            ("a b", Err(BadByte(b' ')), Err(BadByte(b' '))),
            ("a$", Err(BadByte(b'$')), Err(BadByte(b'$'))),
            ("a.$b", Err(BadByte(b'$')), Err(BadByte(b'$'))),
            ("$$", Err(BadByte(b'$')), Err(BadByte(b'$'))),
            ("é", Err(BadByte(0xc3)), Err(BadByte(0xc3))),
            ("a\0", Err(BadByte(0)), Err(BadByte(0))),
            ("a,b", Err(BadByte(b',')), Err(BadByte(b','))),
            ("*", Err(Wildcard), Ok(true)),
            (">", Err(Wildcard), Ok(true)),
            ("px.*.EUR", Err(Wildcard), Ok(true)),
            ("px.>", Err(Wildcard), Ok(true)),
            ("*.*.>", Err(Wildcard), Ok(true)),
            (">.a", Err(MisplacedWildcard), Err(MisplacedWildcard)),
            ("a.>.b", Err(MisplacedWildcard), Err(MisplacedWildcard)),
            ("a*", Err(MisplacedWildcard), Err(MisplacedWildcard)),
            ("**", Err(MisplacedWildcard), Err(MisplacedWildcard)),
            ("a.b>", Err(MisplacedWildcard), Err(MisplacedWildcard)),
            ("$*", Err(MisplacedWildcard), Err(MisplacedWildcard)),
            ("$>", Err(MisplacedWildcard), Err(MisplacedWildcard)),
            ("$*.a", Err(MisplacedWildcard), Err(MisplacedWildcard)),
        ];
        for (name, topic, filter) in table {
            assert_eq!(check_topic(name), topic, "topic {name:?}");
            assert_eq!(check_filter(name), filter, "filter {name:?}");
        }
    }

    #[test]
    fn each_byte_is_allowed_as_the_protocol_lists_it() {
        let allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-@:/!%";
        for char in (0..=127u8)
            .map(char::from)
            .filter(|char| !".*>".contains(*char))
        {
            let is_topic = check_topic(&format!("a{char}b")).is_ok();
            assert_eq!(is_topic, allowed.contains(char), "{char:?}");
        }
    }

    #[test]
    fn only_names_that_begin_with_a_dollar_are_the_servers() {
        assert!(is_reserved("$sys.stats"));
        assert!(!is_reserved("sys$"));
        assert!(!is_reserved(""));
    }

    #[test]
    fn a_star_covers_one_segment_and_an_arrow_the_rest() {
        for (filter, name, covered) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("*", "a", true),
            ("*", "a.b", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c", true),
            ("*.*", "$sys.stats", false),
            (">", "$sys.stats", false),
            ("$sys.*", "$sys.stats", true),
            ("$sys.>", "$sys.a.b", true),
        ] {
            assert_eq!(covers(filter, name), covered, "{filter} over {name}");
        }
    }

    /// Every name of 1 to `most` of these segments.
    fn names(segments: &[&str], most: usize) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut longest = vec![String::new()];
        for _ in 0..most {
            longest = (longest.iter())
                .flat_map(|name| segments.iter().map(move |part| format!("{name}.{part}")))
                .collect();
            all.extend(longest.iter().map(|name| name[1..].to_owned()));
        }
        all
    }

    #[test]
    fn a_filter_includes_another_exactly_if_it_covers_all_of_its_topics() {
        // "c" and a segment more than any filter has stand for whatever a filter does not name.
        let plain = names(&["a", "b", "c"], 5);
        let reserved = plain.iter().map(|name| format!("${name}"));
        let topics: Vec<String> = plain.iter().cloned().chain(reserved).collect();
        let plain = names(&["a", "b", "*", ">"], 3);
        let reserved = plain.iter().map(|name| format!("${name}"));
        let filters: Vec<String> = (plain.iter().cloned().chain(reserved))
            .filter(|name| check_filter(name).is_ok())
            .collect();
        let covered = |filter: &String| -> Vec<bool> {
            topics.iter().map(|topic| covers(filter, topic)).collect()
        };
        let tables: Vec<Vec<bool>> = filters.iter().map(covered).collect();
        for (wide, by_wide) in filters.iter().zip(&tables) {
            for (narrow, by_narrow) in filters.iter().zip(&tables) {
                let whole = by_narrow.iter().zip(by_wide).all(|(n, w)| *w || !*n);
                assert_eq!(includes(wide, narrow), whole, "{wide} over {narrow}");
            }
        }
    }

    #[test]
    fn a_fault_is_told_in_words() {
        let told = |name| check_topic(name).unwrap_err().to_string();
        assert_eq!(told("a..b"), "empty segment");
        assert_eq!(told("a b"), "byte ' ' is not allowed");
        assert_eq!(told("a\n"), "byte 0x0a is not allowed");
    }
}
