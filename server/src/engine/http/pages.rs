//! Files: whole, unchanged, or in part (RFC 9110, sections 13 and 14).

use std::ops::Range;

use fanfare_wire::handshake::{Request, ResponseHead};

use super::super::Engine;
use super::super::conn::flag;
use super::Answer;
use super::query;
use crate::site::File;

/// What pages may load and run: what comes from here, and nothing else. Pages connect to this server, whatever name it has.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; frame-ancestors 'self'; base-uri 'none'";

impl Engine {
    /// Answers with the file at the path, or says that nothing is there.
    pub(super) fn answer_file(&mut self, index: u32, request: &Request<'_>) -> Result<(), Answer> {
        let file = query::decode(request.path).and_then(|path| self.site.find(&path));
        let Some(file) = file else {
            // Somebody has come to a WebSocket with a browser's address line.
            if self.look_up(request.path).is_some() {
                let text = "this path speaks WebSocket: send Upgrade: websocket over HTTP/1.1\n";
                return Err(Answer::plain(426, text).and_end());
            }
            return Err(Answer::plain(404, "nothing is served at this path\n"));
        };
        if is_listed(request.header("if-none-match"), &file.etag) {
            let answer = Answer::empty(304).with("ETag", file.etag.to_string());
            return Err(answer.with("Cache-Control", "no-cache".into()));
        }
        let whole = 0..file.bytes.len();
        // A part of something else than the client has would be of no use to it.
        let is_same = request
            .header("if-range")
            .is_none_or(|tag| tag == &*file.etag);
        // Nothing but GET has parts (RFC 9110, section 14.2).
        let has_parts = is_same && request.method == "GET";
        let range = request.header("range").filter(|_| has_parts);
        match range.map_or(Asked::Whole, |range| asked(range, whole.len())) {
            Asked::Whole => self.send_file(index, &file, 200, whole),
            Asked::Part(part) => self.send_file(index, &file, 206, part),
            Asked::Nothing => {
                let answer = Answer::plain(416, "the file has no such part\n");
                return Err(answer.with("Content-Range", format!("bytes */{}", whole.len())));
            }
        }
        Ok(())
    }

    fn send_file(&mut self, index: u32, file: &File, status: u16, part: Range<usize>) {
        let conn = &self.outlet.conns[index as usize];
        let (keep_alive, is_head) = (conn.has(flag::KEEP), conn.has(flag::HEAD));
        let range = format!(
            "bytes {}-{}/{}",
            part.start,
            part.end.wrapping_sub(1),
            file.bytes.len()
        );
        let mut extra = vec![
            ("ETag", &*file.etag),
            ("Cache-Control", "no-cache"),
            ("Accept-Ranges", "bytes"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", POLICY),
        ];
        if status == 206 {
            extra.push(("Content-Range", &range));
        }
        self.put_head(
            index,
            &ResponseHead {
                status,
                extra: &extra,
                content_type: Some(&file.content_type),
                content_length: Some(part.len()),
                keep_alive,
            },
        );
        self.outlet.push_own(index, &self.frame);
        if !is_head && !part.is_empty() {
            self.outlet.push_part(index, file.bytes.clone(), part);
        }
        self.finish_exchange(index, status);
    }
}

/// Whether an entity tag is among those of `If-None-Match`, which are compared weakly.
pub(super) fn is_listed(header: Option<&str>, etag: &str) -> bool {
    let mut tags = header.unwrap_or("").split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Nothing that is understood here: all of it.
    Whole,
    Part(Range<usize>),
    /// A part that is not there.
    Nothing,
}

/// Reads a `Range` of one part. Several parts are answered with the whole, as a server may.
fn asked(header: &str, length: usize) -> Asked {
    let Some((first, last)) = header
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| text.parse().unwrap_or(usize::MAX);
    let part = match (is_number(first), is_number(last)) {
        (true, true) if number(first) > number(last) => return Asked::Whole,
        (true, true) => number(first)..number(last).saturating_add(1).min(length),
        (true, false) if last.is_empty() => number(first)..length,
        (false, true) if first.is_empty() => length.saturating_sub(number(last))..length,
        _ => return Asked::Whole,
    };
    if part.start >= length {
        return Asked::Nothing;
    }
    Asked::Part(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (header, expected) in [
            ("bytes=0-3", Asked::Part(0..4)),
            ("bytes=3-", Asked::Part(3..10)),
            ("bytes=-4", Asked::Part(6..10)),
            ("bytes=-40", Asked::Part(0..10)),
            ("bytes=5-100", Asked::Part(5..10)),
            ("bytes=9-9", Asked::Part(9..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=4-3", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ] {
            assert_eq!(asked(header, 10), expected, "{header}");
        }
        assert_eq!(asked("bytes=0-", 0), Asked::Nothing);
    }

    #[test]
    fn entity_tags_are_compared_weakly() {
        for (header, found) in [
            (Some("\"a\""), true),
            (Some("W/\"a\""), true),
            (Some("\"b\", \"a\""), true),
            (Some("*"), true),
            (Some("\"b\""), false),
            (Some("a"), false),
            (None, false),
        ] {
            assert_eq!(is_listed(header, "\"a\""), found, "{header:?}");
        }
    }
}
