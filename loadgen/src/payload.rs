//! The payload of our own updates: JSON that carries the intended time of its publication.
//! `{"t":123456789012345,"p":"xxxx"}`, filled with `x` to the size that was asked for.

/// The least size: a time of 19 digits and an empty filling.
pub const PAYLOAD_BYTES_MIN: usize = BEFORE_TIME.len() + 19 + BEFORE_FILLING.len() + END.len();

const BEFORE_TIME: &str = r#"{"t":"#;
const BEFORE_FILLING: &str = r#","p":""#;
const END: &str = r#""}"#;

/// Writes a payload of exactly `payload_bytes` bytes into `out`, which is cleared first.
pub fn write(out: &mut Vec<u8>, intended_ns: u64, payload_bytes: usize) {
    use std::io::Write as _;
    debug_assert!(payload_bytes >= PAYLOAD_BYTES_MIN);
    out.clear();
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{BEFORE_TIME}{intended_ns}{BEFORE_FILLING}");
    out.resize(payload_bytes.saturating_sub(END.len()).max(out.len()), b'x');
    out.extend_from_slice(END.as_bytes());
}

/// The intended time in a payload; `None` if it is not one of ours.
pub fn intended_ns(payload: &[u8]) -> Option<u64> {
    let rest = payload.strip_prefix(BEFORE_TIME.as_bytes())?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 19 || !rest[digits..].starts_with(BEFORE_FILLING.as_bytes()) {
        return None;
    }
    Some(
        rest[..digits]
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0')),
    )
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
