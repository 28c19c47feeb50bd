//! nchan, the publish and subscribe module of nginx: a subscriber names its channels in the path it
//! connects to, and a publisher sends HTTP requests, many on one connection without waiting (its
//! WebSocket for publishers would need a connection for each channel).

use super::Said;
use std::io::Write as _;

/// The path of a subscriber.
pub(super) fn path(topics: &[&str]) -> String {
    format!("/sub/{}", topics.join(","))
}

pub(super) fn publish(request: &mut Vec<u8>, topic: &str, payload: &[u8]) {
    // Writing into a Vec cannot fail.
    let _ = write!(
        request,
        "POST /pub/{topic} HTTP/1.1\r\nHost: n\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    request.extend_from_slice(payload);
}

/// Reads answers to publishes, as they come off the stream: anywhere in it a status line tells of a
/// refusal. One that lies across two reads is overlooked here; its update is missed by everybody.
pub(super) fn hear_answers(bytes: &[u8], mut say: impl FnMut(Said<'_>)) {
    const STATUS: &[u8] = b"HTTP/1.1 ";
    let mut rest = bytes;
    while let Some(at) = rest.windows(STATUS.len()).position(|part| part == STATUS) {
        rest = &rest[at + STATUS.len()..];
        if rest.first().is_some_and(|digit| *digit != b'2') {
            let code = &rest[..rest.len().min(3)];
            let code = String::from_utf8_lossy(code);
            say(Said::Refused(format!("publish answered by {code}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tests::heard_by;

    #[test]
    fn refusals_are_found_among_answers() {
        let heard = |text: &str| {
            heard_by(text.as_bytes(), |bytes, say| {
                hear_answers(bytes, say);
                Ok(())
            })
        };
        let taken = "HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nhm\n";
        let refused = "HTTP/1.1 413 Too Large\r\n\r\n";
        assert_eq!(heard(&taken.repeat(2)), "");
        let mixed = format!("{taken}{refused}{taken}");
        assert_eq!(heard(&mixed), "Refused(\"publish answered by 413\")");
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let mut request = Vec::new();
        publish(&mut request, "t1", b"{}");
        let text = String::from_utf8(request).unwrap();
        assert!(text.starts_with("POST /pub/t1 HTTP/1.1\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"), "{text}");
        assert_eq!(path(&["t1", "t2"]), "/sub/t1,t2");
    }
}
