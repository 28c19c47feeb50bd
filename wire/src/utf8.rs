//! UTF-8 checked while it arrives, in pieces cut anywhere.
//!
//! A piece is validated as soon as it is there, so that a fault is reported at the first byte that
//! cannot be right, not at the end of the message (what Autobahn's cases 6.4 call failing fast).
//! Only a character that is cut in two, at most three bytes, is kept until its rest arrives. Called
//! by [`crate::reader`] for text that does not come in one piece.

use crate::error::ProtocolError;

/// The beginning of a character whose end has not arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CutChar {
    bytes: [u8; 4],
    length: u8,
}

impl CutChar {
    /// Whether the text so far ends with a whole character.
    pub(crate) fn is_empty(self) -> bool {
        self.length == 0
    }

    /// Bytes kept, 0 to 3.
    pub(crate) fn bytes(self) -> usize {
        usize::from(self.length)
    }

    /// Appends to `text` all whole characters of what was kept and `piece`, and keeps the cut one
    /// at the end.
    pub(crate) fn push(&mut self, piece: &[u8], text: &mut String) -> Result<(), ProtocolError> {
        let piece = self.complete(piece, text)?;
        let (whole, cut) = piece.split_at(piece.len() - cut_bytes(piece));
        let whole = simdutf8::basic::from_utf8(whole).map_err(|_| ProtocolError::InvalidUtf8)?;
        text.push_str(whole);
        for &byte in cut {
            self.push_byte(byte)?;
        }
        Ok(())
    }

    /// Feeds the kept character from `piece` until it is whole; returns what is left of `piece`.
    fn complete<'p>(
        &mut self,
        piece: &'p [u8],
        text: &mut String,
    ) -> Result<&'p [u8], ProtocolError> {
        let mut left = piece;
        while !self.is_empty() {
            let Some((&byte, rest)) = left.split_first() else {
                break;
            };
            left = rest;
            if let Some(whole) = self.push_byte(byte)? {
                text.push(whole);
            }
        }
        Ok(left)
    }

    /// Adds a byte to the kept character; returns the character once it is whole.
    fn push_byte(&mut self, byte: u8) -> Result<Option<char>, ProtocolError> {
        self.bytes[usize::from(self.length)] = byte;
        self.length += 1;
        match std::str::from_utf8(&self.bytes[..usize::from(self.length)]) {
            Ok(whole) => {
                self.length = 0;
                Ok(whole.chars().next())
            }
            // No length: what is there is right, and more is expected.
            Err(fault) if fault.error_len().is_none() => Ok(None),
            Err(_) => {
                self.length = 0;
                Err(ProtocolError::InvalidUtf8)
            }
        }
    }
}

/// How many bytes at the end of `piece` are the beginning of a character that needs more. Does not
/// validate.
fn cut_bytes(piece: &[u8]) -> usize {
    for (back, &byte) in piece.iter().rev().take(3).enumerate() {
        let width = match byte {
            0x00..=0x7f => 1,
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
        };
        return if width > back + 1 { back + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in pieces of at most `piece_bytes`; the text, or the number of the piece that
    /// was refused.
    fn feed(bytes: &[u8], piece_bytes: usize) -> Result<(String, CutChar), usize> {
        let mut cut = CutChar::default();
        let mut text = String::new();
        for (at, piece) in bytes.chunks(piece_bytes).enumerate() {
            cut.push(piece, &mut text).map_err(|_| at)?;
        }
        Ok((text, cut))
    }

    /// How many bytes it takes to see that `bytes` is no text, by the standard library; `None` if
    /// it may be one.
    fn shortest_fault(bytes: &[u8]) -> Option<usize> {
        (1..=bytes.len()).find(|&end| {
            std::str::from_utf8(&bytes[..end]).is_err_and(|fault| fault.error_len().is_some())
        })
    }

    fn check(bytes: &[u8]) {
        for piece_bytes in 1..=bytes.len().max(1) {
            match (shortest_fault(bytes), feed(bytes, piece_bytes)) {
                (Some(end), Err(piece)) => assert_eq!(piece, (end - 1) / piece_bytes),
                (None, Ok((text, cut))) => {
                    let whole = bytes.len() - cut.bytes();
                    assert_eq!(text.as_bytes(), &bytes[..whole]);
                    assert_eq!(cut.is_empty(), std::str::from_utf8(bytes).is_ok());
                }
                (expected, got) => panic!("{bytes:02x?} by {piece_bytes}: {expected:?}, {got:?}"),
            }
        }
    }

    #[test]
    fn a_fault_is_found_at_its_first_byte_however_the_text_is_cut() {
        let table: &[&[u8]] = &[
            b"",
            "κόσμε".as_bytes(),
            "aé€😀z".as_bytes(),
            b"\xce\xba\xf4\x90\x80\x80edited",
            b"ab\xed\xa0\x80",
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xf8\x88\x80\x80\x80",
            b"\xff",
            b"\x80",
            b"ok\xe2\x82",
            b"ok\xf0\x9f\x98",
            b"\xe2\x82\x41",
            b"\xf0\x9f\x98\x80\x80",
        ];
        for bytes in table {
            check(bytes);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_the_standard_library_judges_them(
            parts in prop::collection::vec(
                prop_oneof![
                    4 => any::<char>().prop_map(|char| char.to_string().into_bytes()),
                    1 => prop::collection::vec(any::<u8>(), 0..3),
                ],
                0..20,
            ),
        ) {
            check(&parts.concat());
        }
    }
}
