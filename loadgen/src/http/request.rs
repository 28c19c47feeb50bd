//! The requests of subscribers over HTTP.

use crate::target::Target;
use fanfare_wire::command::Options;
use fanfare_wire::sse::Position;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::io::Write as _;
use std::time::Duration;

/// What does not stand for itself.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The id that names these positions.
pub fn id<'a>(positions: impl Iterator<Item = Position<'a>>) -> String {
    let mut id = String::new();
    for Position { topic, epoch, seq } in positions {
        let comma = if id.is_empty() { "" } else { "," };
        id += &format!("{comma}{topic}={epoch}:{seq}");
    }
    id
}

/// Appends the request for a stream of these topics; `last_event_id` is where it goes on, if it was
/// there before.
pub fn put_event_request<'t>(
    out: &mut Vec<u8>,
    target: &Target,
    topics: impl Iterator<Item = &'t str>,
    options: &Options,
    last_event_id: Option<&str>,
) {
    out.extend_from_slice(b"GET /v1/sse?topics=");
    for (place, topic) in topics.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        put_encoded(out, topic);
    }
    put_options(out, options);
    put_head(out, target);
    out.extend_from_slice(b"Accept: text/event-stream\r\n");
    if let Some(id) = last_event_id {
        put(out, format_args!("Last-Event-ID: {id}\r\n"));
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the request for a topic's value: the one that there is now, or, if `wait` names how long to
/// wait and where the topic stood, the next other one. The epoch may be unknown.
pub fn put_poll_request(
    out: &mut Vec<u8>,
    target: &Target,
    topic: &str,
    wait: Option<(Duration, u64, Option<&str>)>,
) {
    out.extend_from_slice(b"GET /v1/topics/");
    put_encoded(out, topic);
    if let Some((wait, after, epoch)) = wait {
        put(out, format_args!("?wait={}s&after={after}", wait.as_secs()));
        if let Some(epoch) = epoch {
            out.extend_from_slice(b"&epoch=");
            put_encoded(out, epoch);
        }
    }
    put_head(out, target);
    out.extend_from_slice(b"\r\n");
}

/// The rest of the request line, and the one header that must be there.
fn put_head(out: &mut Vec<u8>, target: &Target) {
    put(out, format_args!(" HTTP/1.1\r\nHost: {}\r\n", target.host));
}

fn put_options(out: &mut Vec<u8>, options: &Options) {
    let Options {
        snapshot,
        mode,
        on_slow,
        min_interval_ms,
        max_stale_ms,
    } = options;
    if let Some(snapshot) = snapshot {
        put(out, format_args!("&snapshot={snapshot}"));
    }
    if let Some(mode) = mode {
        put(out, format_args!("&mode={}", mode.name()));
    }
    if let Some(on_slow) = on_slow {
        put(out, format_args!("&on_slow={}", on_slow.name()));
    }
    if let Some(ms) = min_interval_ms {
        put(out, format_args!("&min_interval_ms={ms}"));
    }
    if let Some(ms) = max_stale_ms {
        put(out, format_args!("&max_stale_ms={ms}"));
    }
}

/// Appends a name as it may stand in a target (RFC 3986, section 2.3).
fn put_encoded(out: &mut Vec<u8>, name: &str) {
    put(out, format_args!("{}", utf8_percent_encode(name, RESERVED)));
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into a Vec cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_wire::command::Mode;
    use fanfare_wire::sse::positions;

    fn target() -> Target {
        Target::resolve("ws://127.0.0.1:9001/ws", None).unwrap()
    }

    #[test]
    fn a_stream_is_asked_for_with_topics_options_and_where_it_stood() {
        let mut out = Vec::new();
        let topics = ["load.0", "päx/1", "a,b"];
        put_event_request(
            &mut out,
            &target(),
            topics.into_iter(),
            &Options::default(),
            None,
        );
        let expected = "GET /v1/sse?topics=load.0,p%C3%A4x%2F1,a%2Cb HTTP/1.1\r\n\
            Host: 127.0.0.1:9001\r\nAccept: text/event-stream\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        out.clear();
        let options = Options {
            mode: Some(Mode::Latest),
            min_interval_ms: Some(50),
            ..Options::default()
        };
        put_event_request(
            &mut out,
            &target(),
            ["a"].into_iter(),
            &options,
            Some("a=e:7"),
        );
        let text = String::from_utf8_lossy(&out);
        assert!(
            text.starts_with("GET /v1/sse?topics=a&mode=latest&min_interval_ms=50 HTTP/1.1\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\nLast-Event-ID: a=e:7\r\n\r\n"), "{text}");
    }

    #[test]
    fn an_id_is_made_of_positions() {
        let text = "AAPL=k3:7,a:b=k3:18446744073709551615";
        assert_eq!(id(positions(text)), text);
        assert_eq!(id(positions("")), "");
    }

    #[test]
    fn a_poll_names_where_the_topic_stood() {
        let text = |wait| {
            let mut out = Vec::new();
            put_poll_request(&mut out, &target(), "t 1", wait);
            String::from_utf8(out).unwrap()
        };
        let wait = Duration::from_secs(30);
        let rest = " HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n\r\n";
        assert_eq!(text(None), format!("GET /v1/topics/t%201{rest}"));
        let asked = text(Some((wait, 0, None)));
        assert_eq!(
            asked,
            format!("GET /v1/topics/t%201?wait=30s&after=0{rest}")
        );
        let asked = text(Some((wait, 7, Some("k3"))));
        assert_eq!(
            asked,
            format!("GET /v1/topics/t%201?wait=30s&after=7&epoch=k3{rest}")
        );
    }
}
