//! The payload of our own updates: JSON that carries the intended time of its publication.
//! `{"t":123456789012345,"p":"xxxx"}`, filled with `x` to the size that was asked for. Where the
//! server does not number the updates itself, it carries our own number too:
//! `{"t":123456789012345,"n":42,"p":"xxxx"}`. Those may be filled with a text instead, so that they
//! compress as real ones do.

use anyhow::{Context as _, ensure};
use std::path::Path;

/// The least size: a time of 19 digits and an empty filling.
pub const PAYLOAD_BYTES_MIN: usize = BEFORE_TIME.len() + 19 + BEFORE_FILLING.len() + END.len();

/// The least size with a number: one more of 19 digits.
pub const NUMBERED_BYTES_MIN: usize = PAYLOAD_BYTES_MIN + BEFORE_NUMBER.len() + 19;

const BEFORE_TIME: &str = r#"{"t":"#;
const BEFORE_NUMBER: &str = r#","n":"#;
const BEFORE_FILLING: &str = r#","p":""#;
const END: &str = r#""}"#;

/// Writes a payload of exactly `payload_bytes` bytes into `out`, which is cleared first.
pub fn write(out: &mut Vec<u8>, intended_ns: u64, payload_bytes: usize) {
    debug_assert!(payload_bytes >= PAYLOAD_BYTES_MIN);
    begin(out, intended_ns);
    fill(out, payload_bytes);
}

/// Writes a payload with a number of its own; at least [`NUMBERED_BYTES_MIN`] bytes.
pub fn write_numbered(
    out: &mut Vec<u8>,
    intended_ns: u64,
    number: u64,
    payload_bytes: usize,
    filling: &Filling,
) {
    use std::io::Write as _;
    debug_assert!(payload_bytes >= NUMBERED_BYTES_MIN);
    begin(out, intended_ns);
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{BEFORE_NUMBER}{number}");
    match filling {
        Filling::Letter => fill(out, payload_bytes),
        Filling::Text(text) => fill_from(out, number, payload_bytes, text),
    }
}

/// What fills a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filling {
    /// One letter over and over.
    #[default]
    Letter,
    /// This text, from another place for each number; nothing in it needs an escape in JSON.
    Text(Vec<u8>),
}

impl Filling {
    /// The text of a file. An error is for the operator.
    pub fn from_file(path: &Path) -> anyhow::Result<Filling> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        ensure!(!text.is_empty(), "{} is empty", path.display());
        Ok(Filling::of(text))
    }

    /// A text that is not empty; bytes that JSON would have to escape, and those beyond ASCII, become
    /// spaces.
    fn of(mut text: Vec<u8>) -> Filling {
        for byte in &mut text {
            if !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\') {
                *byte = b' ';
            }
        }
        Filling::Text(text)
    }
}

fn begin(out: &mut Vec<u8>, intended_ns: u64) {
    use std::io::Write as _;
    out.clear();
    // As above.
    let _ = write!(out, "{BEFORE_TIME}{intended_ns}");
}

fn fill(out: &mut Vec<u8>, payload_bytes: usize) {
    out.extend_from_slice(BEFORE_FILLING.as_bytes());
    out.resize(payload_bytes.saturating_sub(END.len()).max(out.len()), b'x');
    out.extend_from_slice(END.as_bytes());
}

fn fill_from(out: &mut Vec<u8>, number: u64, payload_bytes: usize, text: &[u8]) {
    out.extend_from_slice(BEFORE_FILLING.as_bytes());
    let filled_bytes = payload_bytes.saturating_sub(END.len());
    // A step that is prime to nearly every length: it takes long until the same place comes again.
    let mut at = (number.wrapping_mul(7919) % text.len() as u64) as usize;
    while out.len() < filled_bytes {
        let piece = &text[at..text.len().min(at + filled_bytes - out.len())];
        out.extend_from_slice(piece);
        at = 0;
    }
    out.extend_from_slice(END.as_bytes());
}

/// The intended time in a payload; `None` if it is not one of ours.
pub fn intended_ns(payload: &[u8]) -> Option<u64> {
    let rest = payload.strip_prefix(BEFORE_TIME.as_bytes())?;
    let (time_ns, rest) = digits(rest)?;
    rest.starts_with(BEFORE_FILLING.as_bytes())
        .then_some(time_ns)
}

/// The intended time and the number in a payload; `None` if it is not one of ours.
pub fn numbered(payload: &[u8]) -> Option<(u64, u64)> {
    let rest = payload.strip_prefix(BEFORE_TIME.as_bytes())?;
    let (time_ns, rest) = digits(rest)?;
    let rest = rest.strip_prefix(BEFORE_NUMBER.as_bytes())?;
    let (number, rest) = digits(rest)?;
    rest.starts_with(BEFORE_FILLING.as_bytes())
        .then_some((time_ns, number))
}

/// A number of at most 19 digits at the front, and what follows it.
fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let count = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 || count > 19 {
        return None;
    }
    let (digits, rest) = bytes.split_at(count);
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_size_is_json_and_carries_its_time() {
        let mut payload = Vec::new();
        for payload_bytes in [PAYLOAD_BYTES_MIN, 100, 4096] {
            for time_ns in [0, 1, 123_456_789_012_345, 9_999_999_999_999_999_999] {
                write(&mut payload, time_ns, payload_bytes);
                assert_eq!(payload.len(), payload_bytes);
                assert_eq!(intended_ns(&payload), Some(time_ns));
                serde_json::from_slice::<serde_json::Value>(&payload).unwrap();
            }
        }
    }

    #[test]
    fn a_numbered_payload_has_its_size_is_json_and_carries_both() {
        let mut payload = Vec::new();
        for payload_bytes in [NUMBERED_BYTES_MIN, 100, 4096] {
            for (time_ns, number) in [
                (0, 0),
                (123_456_789_012_345, 42),
                (9_999_999_999_999_999_999, 9_999_999_999_999_999_999),
            ] {
                for filling in [Filling::Letter, Filling::Text(b"AAPL,118.56 ".to_vec())] {
                    write_numbered(&mut payload, time_ns, number, payload_bytes, &filling);
                    assert_eq!(payload.len(), payload_bytes);
                    assert_eq!(numbered(&payload), Some((time_ns, number)));
                    assert_eq!(intended_ns(&payload), None);
                    serde_json::from_slice::<serde_json::Value>(&payload).unwrap();
                }
            }
        }
        for other in [
            "",
            "{}",
            r#"{"t":1,"p":""}"#,
            r#"{"t":1,"n":,"p":""}"#,
            r#"{"t":1,"n":2"#,
        ] {
            assert_eq!(numbered(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_text_fills_payloads_with_what_needs_no_escape() {
        let filling = Filling::of("a\"b\\c\nd\u{e9}".into());
        assert_eq!(filling, Filling::Text(b"a b c d  ".to_vec()));
        let mut payloads = [Vec::new(), Vec::new()];
        for (number, payload) in payloads.iter_mut().enumerate() {
            write_numbered(payload, 1, number as u64, 300, &filling);
            serde_json::from_slice::<serde_json::Value>(payload).unwrap();
        }
        assert_ne!(payloads[0][30..], payloads[1][30..]);
    }

    #[test]
    fn payloads_of_others_carry_no_time() {
        for payload in [
            "",
            "{}",
            r#"{"t":1}"#,
            r#"{"t":,"p":""}"#,
            r#"{"t":-1,"p":""}"#,
            "1",
        ] {
            assert_eq!(intended_ns(payload.as_bytes()), None, "{payload}");
        }
        assert_eq!(
            intended_ns(format!(r#"{{"t":{},"p":""}}"#, "9".repeat(30)).as_bytes()),
            None
        );
    }
}
