//! Answers on a connection that is kept, one behind the other, however they are cut. Each says by its
//! `Content-Length` where it ends (RFC 9112, section 6.3); there is no other way here.

use super::{BODY_BYTES_MAX, HEAD_LIMITS, HttpError};
use fanfare_wire::handshake::{self, Headers};

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The header lines.
    pub headers: Headers<'a>,
    /// The body.
    pub body: &'a [u8],
}

/// The reader of a connection's answers. Empty between two of them.
#[derive(Clone, Debug, Default)]
pub struct AnswerReader {
    /// An answer that is not whole yet.
    partial: Vec<u8>,
    /// How long it will be, once its head is there.
    whole_bytes: usize,
}

impl AnswerReader {
    /// Takes the next bytes and says what they complete.
    ///
    /// # Errors
    /// Bytes that cannot be an answer, or one of unknown length; see [`HttpError`].
    pub fn read(
        &mut self,
        mut bytes: &[u8],
        mut say: impl FnMut(Answer<'_>),
    ) -> Result<(), HttpError> {
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(bytes);
            if self.partial.len() < self.whole_bytes {
                return Ok(());
            }
            let partial = std::mem::take(&mut self.partial);
            self.whole_bytes = 0;
            return self.read(&partial, say);
        }
        while !bytes.is_empty() {
            let Some((answer, whole_bytes)) = take(bytes)? else {
                self.partial.extend_from_slice(bytes);
                return Ok(());
            };
            let Some(answer) = answer else {
                self.whole_bytes = whole_bytes;
                // Its end is known: room for all of it at once.
                self.partial.reserve_exact(whole_bytes);
                self.partial.extend_from_slice(bytes);
                return Ok(());
            };
            say(answer);
            bytes = &bytes[whole_bytes..];
        }
        Ok(())
    }

    /// Whether nothing is kept.
    pub fn is_idle(&self) -> bool {
        self.partial.is_empty()
    }
}

/// The answer at the front and its length; the answer is `None` if only its head is there, and
/// everything is if not even that.
fn take(bytes: &[u8]) -> Result<Option<(Option<Answer<'_>>, usize)>, HttpError> {
    let Some(head) = handshake::parse_answer(bytes, &HEAD_LIMITS)? else {
        return Ok(None);
    };
    if head.headers.get("transfer-encoding").is_some() {
        return Err(HttpError::Coding);
    }
    let body_bytes = match head.status {
        // They have none, whatever they say.
        100..=199 | 204 | 304 => 0,
        _ => length(&head.headers)?,
    };
    let whole_bytes = head.head_bytes + body_bytes;
    let body = bytes.get(head.head_bytes..whole_bytes);
    let answer = body.map(|body| Answer {
        status: head.status,
        headers: head.headers,
        body,
    });
    Ok(Some((answer, whole_bytes)))
}

fn length(headers: &Headers<'_>) -> Result<usize, HttpError> {
    let mut values = headers.all("content-length");
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(HttpError::NoLength);
    };
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(bytes) if is_number && bytes <= BODY_BYTES_MAX => Ok(bytes),
        _ if is_number => Err(HttpError::TooLarge),
        _ => Err(HttpError::NoLength),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_wire::handshake::ResponseError;

    fn said(stream: &[u8], size: usize) -> Result<Vec<String>, HttpError> {
        let (mut reader, mut said) = (AnswerReader::default(), Vec::new());
        for piece in stream.chunks(size) {
            reader.read(piece, |answer| {
                let seq = answer.headers.get("fanfare-seq").unwrap_or("-").to_owned();
                let body = String::from_utf8_lossy(answer.body);
                said.push(format!("{} {seq} {body}", answer.status));
            })?;
        }
        if !reader.is_idle() {
            said.push("and a part".to_owned());
        }
        Ok(said)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nFanfare-Seq: 7\r\nContent-Length: 5\r\n\r\nhello";
    const NOTHING: &str = "HTTP/1.1 204 No Content\r\n\r\n";
    const MISSING: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    const SAME: &str = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";

    #[test]
    fn answers_are_the_same_however_they_are_cut() {
        let stream = [OK, NOTHING, OK, MISSING, SAME, OK].concat();
        let expected = [
            "200 7 hello",
            "204 - ",
            "200 7 hello",
            "404 - ",
            "304 - ",
            "200 7 hello",
        ];
        for size in 1..=stream.len() {
            assert_eq!(
                said(stream.as_bytes(), size).unwrap(),
                expected,
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn what_has_no_certain_end_is_refused() {
        let malformed = HttpError::Head(ResponseError::Malformed);
        for (stream, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\nhello", HttpError::NoLength),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
                HttpError::NoLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                HttpError::NoLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                HttpError::TooLarge,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                HttpError::Coding,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell}",
                malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n",
                malformed,
            ),
        ] {
            for size in [1, 7, stream.len()] {
                assert_eq!(
                    said(stream.as_bytes(), size),
                    Err(expected),
                    "{stream:?} by {size}"
                );
            }
        }
    }
}
