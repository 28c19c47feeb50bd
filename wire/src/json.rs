//! JSON text appended to a buffer: strings, numbers, and the keys of an object.
//!
//! The few shapes the protocol needs, without a serializer between them and the bytes. Called by
//! [`crate::event`] and [`crate::command`].

/// Appends `text` as a JSON string, quoted and escaped.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    put_escaped(out, text);
    out.push(b'"');
}

/// Appends `text` as the inside of a JSON string.
pub(crate) fn put_escaped(out: &mut Vec<u8>, text: &str) {
    let mut plain = text.as_bytes();
    // Runs without an escape are copied whole; almost always that is all of the text.
    while let Some(at) = plain.iter().position(|&byte| needs_escape(byte)) {
        out.extend_from_slice(&plain[..at]);
        put_escape(out, plain[at]);
        plain = &plain[at + 1..];
    }
    out.extend_from_slice(plain);
}

/// Whether a byte cannot stand for itself in a JSON string.
pub(crate) fn needs_escape(byte: u8) -> bool {
    matches!(byte, 0x00..=0x1f | b'"' | b'\\')
}

fn put_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0x0f)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends a number in decimal.
pub(crate) fn put_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a number in decimal.
pub(crate) fn put_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    put_u64(out, number.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        put_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_must_be_escaped_is() {
        assert_eq!(written("a/é\u{7f}😀"), "\"a/é\u{7f}😀\"");
        assert_eq!(
            written("\"\\\n\r\t\x08\x0c\x00\x1f"),
            r#""\"\\\n\r\t\b\f\u0000\u001f""#
        );
    }

    proptest! {
        #[test]
        fn any_string_is_read_back(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }

        #[test]
        fn any_number_is_written_as_the_standard_library_writes_it(number in any::<i64>()) {
            let mut out = Vec::new();
            put_i64(&mut out, number);
            out.push(b' ');
            put_u64(&mut out, number as u64);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{number} {}", number as u64));
        }
    }

    #[test]
    fn the_ends_of_the_number_line_are_written() {
        let mut out = Vec::new();
        put_i64(&mut out, i64::MIN);
        put_u64(&mut out, u64::MAX);
        put_u64(&mut out, 0);
        assert_eq!(out, b"-9223372036854775808184467440737095516150");
    }
}
