//! The body of an HTTP/1.1 request, by its length or in chunks (RFC 9112, sections 6 and 7).
//!
//! A body is read as strictly as a head: where it ends must be beyond doubt, or the next request on the connection begins
//! at another place for us than for a proxy before us. So chunk sizes are plain hexadecimal, lines end with CR LF, and
//! extensions and trailers, which nobody here understands, are bounded and left out.

use super::http::Request;

/// Longest line of a chunk's size with its extensions, and longest trailer section, bytes.
const CHUNK_LINE_BYTES_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 4096;
/// More hexadecimal digits than this are no size of anything.
const SIZE_DIGITS_MAX: usize = 15;

/// Why a request's body cannot be taken. The connection cannot go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyError {
    /// 400: a chunk is not framed as it must be.
    #[error("malformed chunk")]
    Malformed,
    /// 413: longer than the limit.
    #[error("body is too large")]
    TooLarge,
    /// 501: a transfer coding other than chunked.
    #[error("transfer coding is not supported")]
    Coding,
}

impl BodyError {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLarge => 413,
            Self::Coding => 501,
        }
    }
}

/// How a request says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// In chunks.
    Chunked,
}

impl Request<'_> {
    /// How the body is framed. A head with both a length and a coding was refused before
    /// ([`parse_request`](super::parse_request)).
    ///
    /// # Errors
    /// A coding that is not just `chunked`, or any in HTTP/1.0, which has none.
    pub fn framing(&self) -> Result<Framing, BodyError> {
        let mut codings = self.headers.tokens("transfer-encoding");
        match (codings.next(), codings.next(), self.version) {
            // An empty header still says that there is a coding.
            (None, ..) if self.headers.get("transfer-encoding").is_some() => {
                Err(BodyError::Malformed)
            }
            (None, ..) => Ok(match self.content_length {
                None | Some(0) => Framing::None,
                Some(bytes) => Framing::Length(bytes),
            }),
            (Some(_), _, 0) => Err(BodyError::Malformed),
            (Some(coding), None, _) if coding.eq_ignore_ascii_case("chunked") => {
                Ok(Framing::Chunked)
            }
            _ => Err(BodyError::Coding),
        }
    }
}

/// Where a chunked body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are still to come, and then that was all.
    Rest(u64),
    /// A chunk's size line; its digits so far, how many, and how long the line is.
    Size {
        size: u64,
        digits: u8,
        line: u16,
        in_extension: bool,
        cr: bool,
    },
    /// So many bytes of a chunk are still to come.
    Data(u64),
    /// The line end behind a chunk.
    DataEnd {
        cr: bool,
    },
    /// Trailers: bytes of the section so far, bytes of its present line, and whether CR was last.
    Trailer {
        section: u16,
        line: u16,
        cr: bool,
    },
    Done,
}

/// Takes a body off a stream of bytes, however it is cut.
#[derive(Clone, Debug)]
pub struct BodyReader {
    state: State,
    bytes_max: usize,
    bytes: Vec<u8>,
}

const SIZE_LINE: State = State::Size {
    size: 0,
    digits: 0,
    line: 0,
    in_extension: false,
    cr: false,
};

impl BodyReader {
    /// A reader for a body of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// The length that was announced is larger.
    pub fn new(framing: Framing, bytes_max: usize) -> Result<Self, BodyError> {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) if length > bytes_max as u64 => {
                return Err(BodyError::TooLarge);
            }
            Framing::Length(length) => State::Rest(length),
            Framing::Chunked => SIZE_LINE,
        };
        Ok(Self {
            state,
            bytes_max,
            bytes: Vec::new(),
        })
    }

    /// Takes as much of `input` as belongs to the body. True: that was all of it, and what is left of `input` is the next request.
    ///
    /// # Errors
    /// See [`BodyError`].
    pub fn read(&mut self, input: &mut &[u8]) -> Result<bool, BodyError> {
        while self.state != State::Done && !input.is_empty() {
            match self.state {
                State::Rest(left) => {
                    let left = self.take(input, left)?;
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Rest(left)
                    };
                }
                State::Data(left) => {
                    let left = self.take(input, left)?;
                    self.state = if left == 0 {
                        State::DataEnd { cr: false }
                    } else {
                        State::Data(left)
                    };
                }
                _ => {
                    let byte = input[0];
                    *input = &input[1..];
                    self.state = self.step(byte)?;
                }
            }
        }
        Ok(self.state == State::Done)
    }

    /// What has been read; all of it once [`BodyReader::read`] has said so.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How much memory what has been read takes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Moves up to `left` bytes; returns how many are still to come.
    fn take(&mut self, input: &mut &[u8], left: u64) -> Result<u64, BodyError> {
        let count = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if self.bytes.len() + count > self.bytes_max {
            return Err(BodyError::TooLarge);
        }
        let (taken, rest) = input.split_at(count);
        self.bytes.extend_from_slice(taken);
        *input = rest;
        Ok(left - count as u64)
    }

    /// One byte of what stands between the chunks.
    fn step(&self, byte: u8) -> Result<State, BodyError> {
        match self.state {
            State::Size {
                size,
                digits,
                line,
                in_extension,
                cr,
            } => self.size_step(byte, size, digits, line, in_extension, cr),
            State::DataEnd { cr: false } if byte == b'\r' => Ok(State::DataEnd { cr: true }),
            State::DataEnd { cr: true } if byte == b'\n' => Ok(SIZE_LINE),
            State::Trailer { section, line, cr } => trailer_step(byte, section, line, cr),
            _ => Err(BodyError::Malformed),
        }
    }

    fn size_step(
        &self,
        byte: u8,
        size: u64,
        digits: u8,
        line: u16,
        in_extension: bool,
        cr: bool,
    ) -> Result<State, BodyError> {
        if cr {
            return match (byte, size) {
                (b'\n', 0) => Ok(State::Trailer {
                    section: 0,
                    line: 0,
                    cr: false,
                }),
                (b'\n', size) if size > (self.bytes_max - self.bytes.len()) as u64 => {
                    Err(BodyError::TooLarge)
                }
                (b'\n', size) => Ok(State::Data(size)),
                _ => Err(BodyError::Malformed),
            };
        }
        let line = line + 1;
        if usize::from(line) > CHUNK_LINE_BYTES_MAX {
            return Err(BodyError::Malformed);
        }
        let next = |size, digits, in_extension, cr| State::Size {
            size,
            digits,
            line,
            in_extension,
            cr,
        };
        match byte {
            b'\r' if digits > 0 => Ok(next(size, digits, in_extension, true)),
            b';' if digits > 0 => Ok(next(size, digits, true, false)),
            _ if in_extension => match byte {
                b'\t' | b' '..=b'~' | 0x80.. => Ok(next(size, digits, true, false)),
                _ => Err(BodyError::Malformed),
            },
            _ => {
                let digit = char::from(byte).to_digit(16).ok_or(BodyError::Malformed)?;
                if usize::from(digits) >= SIZE_DIGITS_MAX {
                    return Err(BodyError::Malformed);
                }
                Ok(next(size * 16 + u64::from(digit), digits + 1, false, false))
            }
        }
    }
}

fn trailer_step(byte: u8, section: u16, line: u16, cr: bool) -> Result<State, BodyError> {
    let section = section + 1;
    if usize::from(section) > TRAILER_BYTES_MAX {
        return Err(BodyError::Malformed);
    }
    match (byte, cr, line) {
        (b'\n', true, 0) => Ok(State::Done),
        (b'\n', true, _) => Ok(State::Trailer {
            section,
            line: 0,
            cr: false,
        }),
        (_, true, _) | (b'\n', false, _) => Err(BodyError::Malformed),
        (b'\r', false, line) => Ok(State::Trailer {
            section,
            line,
            cr: true,
        }),
        (_, false, line) => Ok(State::Trailer {
            section,
            line: line + 1,
            cr: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        framing: Framing,
        bytes_max: usize,
        bytes: &[u8],
    ) -> Result<(Vec<u8>, usize), BodyError> {
        let whole = read_cut(framing, bytes_max, bytes, bytes.len());
        for size in 1..bytes.len().min(7) {
            assert_eq!(
                read_cut(framing, bytes_max, bytes, size),
                whole,
                "cut by {size}"
            );
        }
        whole
    }

    /// The body, and how many bytes are left behind it; reads in pieces of `size`.
    fn read_cut(
        framing: Framing,
        bytes_max: usize,
        bytes: &[u8],
        size: usize,
    ) -> Result<(Vec<u8>, usize), BodyError> {
        let mut reader = BodyReader::new(framing, bytes_max)?;
        let mut left = bytes.len();
        for piece in bytes.chunks(size.max(1)) {
            let mut input = piece;
            let is_done = reader.read(&mut input)?;
            left -= piece.len() - input.len();
            if is_done {
                return Ok((reader.into_bytes(), left));
            }
        }
        Ok((reader.into_bytes(), usize::MAX))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let chunked = Framing::Chunked;
        for (framing, bytes, body, left) in [
            (Framing::Length(3), &b"abcGET"[..], &b"abc"[..], 3),
            (chunked, b"3\r\nabc\r\n0\r\n\r\nGET", b"abc", 3),
            (
                chunked,
                b"1;x=y\r\na\r\nA\r\n0123456789\r\n000\r\nT: v\r\n\r\n",
                b"a0123456789",
                0,
            ),
            (chunked, b"0\r\n\r\n", b"", 0),
        ] {
            assert_eq!(read(framing, 100, bytes), Ok((body.to_vec(), left)));
        }
        assert_eq!(
            read(chunked, 100, b"3\r\nab"),
            Ok((b"ab".to_vec(), usize::MAX))
        );
    }

    #[test]
    fn what_two_readers_could_cut_differently_is_refused() {
        for bytes in [
            &b"3\nabc\r\n0\r\n\r\n"[..],
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n",
            b"3 \r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b"0x3\r\nabc\r\n",
            b"\r\n",
            b";x\r\n",
            b"3;a\nb\r\nabc\r\n",
            b"0000000000000003\r\nabc\r\n",
            b"3\rabc",
            b"0\r\n\n",
            b"0\r\nT: v\n\r\n",
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(
                read(Framing::Chunked, 100, bytes),
                Err(BodyError::Malformed),
                "{text:?}"
            );
        }
        let long = [b"1;".as_slice(), &[b'x'; 300], b"\r\n"].concat();
        assert_eq!(
            read(Framing::Chunked, 100, &long),
            Err(BodyError::Malformed)
        );
        let trailers = [b"0\r\n".as_slice(), &b"T: v\r\n".repeat(1000)].concat();
        assert_eq!(
            read(Framing::Chunked, 100, &trailers),
            Err(BodyError::Malformed)
        );
    }

    #[test]
    fn a_body_is_refused_as_soon_as_it_is_known_to_be_too_large() {
        assert_eq!(read(Framing::Length(11), 10, b""), Err(BodyError::TooLarge));
        assert_eq!(
            read(Framing::Chunked, 10, b"b\r\n"),
            Err(BodyError::TooLarge)
        );
        let two = b"6\r\n012345\r\n6\r\n";
        assert_eq!(read(Framing::Chunked, 10, two), Err(BodyError::TooLarge));
        let huge = b"fffffffffffffff\r\n";
        assert_eq!(read(Framing::Chunked, 10, huge), Err(BodyError::TooLarge));
    }
}
