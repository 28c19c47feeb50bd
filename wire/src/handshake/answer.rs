//! The head of any answer, for clients that ask for more than a WebSocket.

use httparse::Status;

use super::client::ResponseError;
use super::http::{HEADERS_MAX, HeadLimits, Headers, RequestError, scan_head};

/// The head of a response, borrowed from the bytes it came in.
#[derive(Clone, Debug)]
pub struct Answer<'b> {
    /// The status.
    pub status: u16,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub version: u8,
    /// The header lines.
    pub headers: Headers<'b>,
    /// Length of the head. What follows is the body, or what was switched to.
    pub head_bytes: usize,
}

/// Reads the head of an answer off the front of `bytes` (RFC 9112, section 4). `None`: it is not
/// complete; call again with the same bytes and what has arrived since.
///
/// # Errors
/// [`ResponseError::Malformed`] and [`ResponseError::HeadTooLarge`] only: what the status and the
/// headers mean is for the caller to judge.
pub fn parse_answer<'b>(
    bytes: &'b [u8],
    limits: &HeadLimits,
) -> Result<Option<Answer<'b>>, ResponseError> {
    let Some(head_bytes) = scan_head(bytes, limits)? else {
        return Ok(None);
    };
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut lines);
    let parse_status = parsed
        .parse(&bytes[..head_bytes])
        .map_err(RequestError::from)?;
    let (Status::Complete(_), Some(status), Some(version)) =
        (parse_status, parsed.code, parsed.version)
    else {
        return Err(ResponseError::Malformed);
    };
    let headers = Headers::from_parsed(parsed.headers).ok_or(ResponseError::Malformed)?;
    Ok(Some(Answer {
        status,
        version,
        headers,
        head_bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: 200,
        line_bytes_max: 100,
    };

    #[test]
    fn a_head_is_read_as_soon_as_it_is_whole() {
        let bytes = b"HTTP/1.1 204 No Content\r\nFanfare-Seq: 7\r\n\r\nrest";
        let whole = bytes.len() - "rest".len();
        for cut in 0..whole {
            assert!(
                matches!(parse_answer(&bytes[..cut], &LIMITS), Ok(None)),
                "{cut}"
            );
        }
        let answer = parse_answer(bytes, &LIMITS).unwrap().unwrap();
        assert_eq!(
            (answer.status, answer.version, answer.head_bytes),
            (204, 1, whole)
        );
        assert_eq!(answer.headers.get("fanfare-seq"), Some("7"));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for bytes in [
            &b"ICY 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 2x0 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\nA: b\n\n",
            b"HTTP/1.1 200 OK\r\nA b\r\n\r\n",
            b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let text = String::from_utf8_lossy(bytes);
            let error = parse_answer(bytes, &LIMITS).unwrap_err();
            assert_eq!(error, ResponseError::Malformed, "{text:?}");
        }
        let long = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'x'; 200]].concat();
        let error = parse_answer(&long, &LIMITS).unwrap_err();
        assert_eq!(error, ResponseError::HeadTooLarge);
    }
}
