//! A stream of Server-Sent Events, however it is cut.
//!
//! A block of lines ends with an empty one. Lines end with LF, CR LF or CR. What a server of ours
//! writes is one line of id, one of data, and the empty one: that is taken as it lies. Anything else
//! goes line by line through the rules of the HTML Standard, section 9.2.6.

use super::{BODY_BYTES_MAX, HttpError};

/// What a block of the stream brings; at least one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The id, if the block has one: from now on the stream is to be resumed from there.
    pub id: Option<&'a str>,
    /// The lines of data, joined.
    pub data: Option<&'a str>,
}

/// The reader of one stream, behind its head. Empty between two blocks.
#[derive(Clone, Debug, Default)]
pub struct EventReader {
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// A CR ended the last line; a LF that follows belongs to it.
    after_cr: bool,
    id: Option<Vec<u8>>,
    /// Lines of data, each with a LF behind it.
    data: Vec<u8>,
    has_data: bool,
}

impl EventReader {
    /// Takes the next bytes and says what they complete.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`] and [`HttpError::Utf8`].
    pub fn read(
        &mut self,
        mut bytes: &[u8],
        mut say: impl FnMut(Event<'_>),
    ) -> Result<(), HttpError> {
        loop {
            while self.is_idle()
                && let Some((id, data, rest)) = plain_block(bytes)
            {
                let id = id.map(text).transpose()?;
                let data = data.map(text).transpose()?;
                say(Event { id, data });
                bytes = rest;
            }
            if self.after_cr && !bytes.is_empty() {
                self.after_cr = false;
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let Some(end) = memchr2(bytes) else {
                self.line.extend_from_slice(bytes);
                return self.check_size();
            };
            self.after_cr = bytes[end] == b'\r';
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            if line.is_empty() {
                self.dispatch(&mut say)?;
            } else {
                self.on_line(&line);
                self.check_size()?;
            }
        }
    }

    /// Whether nothing is kept: the reader is as good as a new one.
    pub fn is_idle(&self) -> bool {
        self.line.is_empty() && !self.after_cr && self.id.is_none() && !self.has_data
    }

    fn on_line(&mut self, line: &[u8]) {
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                self.has_data = true;
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => self.id = Some(value.to_vec()),
            // A comment, a time to wait, the name of an event, or what nobody knows.
            _ => {}
        }
    }

    fn dispatch(&mut self, say: &mut impl FnMut(Event<'_>)) -> Result<(), HttpError> {
        let (id, data) = (self.id.take(), std::mem::take(&mut self.data));
        let has_data = std::mem::take(&mut self.has_data);
        let id = id.as_deref().map(text).transpose()?;
        let data = data.strip_suffix(b"\n").unwrap_or(&data);
        let data = has_data.then(|| text(data)).transpose()?;
        if id.is_some() || data.is_some() {
            say(Event { id, data });
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), HttpError> {
        let bytes = self.line.len() + self.data.len();
        if bytes > BODY_BYTES_MAX {
            return Err(HttpError::TooLarge);
        }
        Ok(())
    }
}

/// A whole block at the front that is an id, a line of data, or both, with LF for line ends: their
/// values and what follows.
#[expect(clippy::type_complexity, reason = "two values and the rest")]
fn plain_block(bytes: &[u8]) -> Option<(Option<&[u8]>, Option<&[u8]>, &[u8])> {
    let (id, rest) = take_line(bytes, b"id: ").map_or((None, bytes), |(id, rest)| (Some(id), rest));
    let (data, rest) =
        take_line(rest, b"data: ").map_or((None, rest), |(data, rest)| (Some(data), rest));
    let rest = rest.strip_prefix(b"\n")?;
    let has_any = id.is_some() || data.is_some();
    (has_any && !id.is_some_and(|id| id.contains(&0))).then_some((id, data, rest))
}

fn take_line<'a>(bytes: &'a [u8], field: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let rest = bytes.strip_prefix(field)?;
    let end = memchr2(rest)?;
    (rest[end] == b'\n').then_some((&rest[..end], &rest[end + 1..]))
}

/// Where the first line end is.
fn memchr2(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2(b'\n', b'\r', bytes)
}

fn text(bytes: &[u8]) -> Result<&str, HttpError> {
    std::str::from_utf8(bytes).map_err(|_| HttpError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream says in pieces of `size` bytes: `id|data`, `-` for what is not there.
    fn said(stream: &[u8], size: usize) -> Result<Vec<String>, HttpError> {
        let (mut reader, mut said) = (EventReader::default(), Vec::new());
        for piece in stream.chunks(size) {
            reader.read(piece, |event| {
                let [id, data] = [event.id, event.data].map(|part| part.unwrap_or("-").to_owned());
                said.push(format!("{id}|{data}"));
            })?;
        }
        Ok(said)
    }

    #[test]
    fn a_stream_says_the_same_however_it_is_cut() {
        let stories: &[(&str, &[&str])] = &[
            ("data: a\n\ndata: b\n\n", &["-|a", "-|b"]),
            ("id: t=e:7\ndata: {\"x\":1}\n\n", &["t=e:7|{\"x\":1}"]),
            ("data: a\nid: 7\n\n", &["7|a"]),
            ("data: a\n\nid: 7\n\ndata: b\n\n", &["-|a", "7|-", "-|b"]),
            ("data: a\r\n\r\ndata: b\r\r", &["-|a", "-|b"]),
            ("data: a\r\n\ndata: b\r\n\r\n\r\n", &["-|a", "-|b"]),
            ("data: {\ndata: \ndata: }\n\n", &["-|{\n\n}"]),
            (":\n\n: beat\ndata:a\n\n", &["-|a"]),
            ("data\n\n", &["-|"]),
            ("data:  a\n\n", &["-| a"]),
            ("event: x\nretry: 5\nnonsense\ndata: a: b\n\n", &["-|a: b"]),
            ("id: 1\nid: 2\ndata: a\n\n", &["2|a"]),
            ("id: 1\0\ndata: a\n\n", &["-|a"]),
            ("id:\ndata: a\n\n", &["|a"]),
            ("\n\n\ndata: ü€\n\n", &["-|ü€"]),
            ("data: cut off", &[]),
            ("data: cut off\n", &[]),
        ];
        for (stream, expected) in stories {
            for size in 1..=stream.len() {
                let said = said(stream.as_bytes(), size).unwrap();
                assert_eq!(said, *expected, "{stream:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn nothing_is_kept_between_two_blocks() {
        let mut reader = EventReader::default();
        reader.read(b"id: 1\ndata: a\n\nda", |_| {}).unwrap();
        assert!(!reader.is_idle());
        reader.read(b"ta: b\n\n", |_| {}).unwrap();
        assert!(reader.is_idle());
    }

    #[test]
    fn what_is_not_utf_8_is_told() {
        assert_eq!(said(b"data: \xff\n\n", 99), Err(HttpError::Utf8));
        assert_eq!(said(b"data: \xff\n\n", 1), Err(HttpError::Utf8));
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut reader = EventReader::default();
        let piece = vec![b'x'; 1 << 20];
        let end = (0..100).find_map(|_| reader.read(&piece, |_| {}).err());
        assert_eq!(end, Some(HttpError::TooLarge));
    }
}
