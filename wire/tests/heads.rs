//! Heads of HTTP requests: what is read from them, what is refused, and that no cut makes a difference.

use fanfare_wire::handshake::{HEADERS_MAX, HeadLimits, Request, RequestError, parse_request};
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 4096,
    line_bytes_max: 512,
};

fn head(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// Parses whole, and checks that every shorter piece is awaited or refused in the same way.
fn parse(bytes: &[u8]) -> Result<Request<'_>, RequestError> {
    parse_within(bytes, &LIMITS)
}

fn parse_within<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Result<Request<'b>, RequestError> {
    let whole = parse_request(bytes, limits);
    for cut in 0..bytes.len() {
        match (parse_request(&bytes[..cut], limits), &whole) {
            (Ok(None), _) => {}
            (Ok(Some((_, part))), Ok(Some((_, head_bytes)))) => assert_eq!(part, *head_bytes),
            (Err(part), Err(fault)) => assert_eq!(part, *fault),
            (part, whole) => panic!("cut at {cut}: {part:?}, whole: {whole:?}"),
        }
    }
    whole.map(|parsed| parsed.expect("the head is incomplete").0)
}

#[test]
fn what_follows_the_head_is_not_touched() {
    let mut bytes = head(&["GET / HTTP/1.1", "Host: h"]);
    let head_bytes = bytes.len();
    bytes.extend_from_slice(b"\x81\x85....");
    let (_, end) = parse_request(&bytes, &LIMITS).unwrap().unwrap();
    assert_eq!(end, head_bytes);
}

#[test]
fn targets_are_split_into_path_and_query() {
    let table = [
        ("/", Some(("/", None))),
        ("/a/b?c=d?e", Some(("/a/b", Some("c=d?e")))),
        ("/?", Some(("/", Some("")))),
        ("//x", Some(("//x", None))),
        ("*", Some(("*", None))),
        ("http://host/a?b", Some(("/a", Some("b")))),
        ("WS://host:80", Some(("/", None))),
        ("http://host?b", Some(("/", Some("b")))),
        ("/a#b", None),
        ("http://host/#b", None),
        ("ftp://host/a", None),
        ("host:80", None),
        ("a/b", None),
        ("?a", None),
    ];
    for (target, expected) in table {
        let bytes = head(&[&format!("GET {target} HTTP/1.1"), "Host: h"]);
        let got = parse(&bytes)
            .ok()
            .map(|request| (request.path, request.query));
        assert_eq!(got, expected, "{target}");
    }
}

#[test]
fn heads_that_two_readers_could_understand_differently_are_refused() {
    use RequestError::*;
    let table: &[(&[u8], RequestError)] = &[
        // Bare LF and bare CR, anywhere.
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", Malformed),
        // A folded line.
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Malformed),
        // Headers that must not stand twice, or not together.
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Malformed),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            Malformed,
        ),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Malformed,
        ),
        (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", Malformed),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            Malformed,
        ),
        (b"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n", Malformed),
        (
            b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Malformed,
        ),
        // No HTTP at all.
        (b"\x16\x03\x01\x02\x00\x01\x00", Malformed),
        (b"\r\n\r\n", Malformed),
        (b" GET / HTTP/1.1\r\n\r\n", Malformed),
        (b"GET\r\n\r\n", Malformed),
        (b"GET /\r\n\r\n", Malformed),
        (b"GET  / HTTP/1.1\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost a\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", Malformed),
        (b"GET / HTTP/1.1\r\nX: \xff\xfe\r\n\r\n", Malformed),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Malformed),
        (b"GET / HTTP/2.0\r\n\r\n", Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Version),
    ];
    for (bytes, fault) in table {
        let shown = bytes.escape_ascii();
        assert_eq!(parse(bytes).map(|_| ()), Err(*fault), "{shown}");
    }
}

#[test]
fn each_limit_is_enforced_at_its_byte() {
    use RequestError::*;
    let limits = HeadLimits {
        head_bytes_max: 100,
        line_bytes_max: 40,
    };
    let request_line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(bytes - 16));
    let header_line = |bytes: usize| format!("X: {}\r\n", "x".repeat(bytes - 5));
    let table = [
        (format!("{}\r\n", request_line(40)), Ok(())),
        (format!("{}\r\n", request_line(41)), Err(LineTooLong)),
        (
            format!("{}{}\r\n", request_line(30), header_line(40)),
            Ok(()),
        ),
        (
            format!("{}{}\r\n", request_line(30), header_line(41)),
            Err(HeadTooLarge),
        ),
        (
            format!(
                "{}{}{}\r\n",
                request_line(30),
                header_line(34),
                header_line(34)
            ),
            Ok(()),
        ),
        (
            format!(
                "{}{}{}\r\n",
                request_line(30),
                header_line(34),
                header_line(35)
            ),
            Err(HeadTooLarge),
        ),
        // A fault beyond the limit is not what is told.
        (
            format!(
                "{}{}{}bad\n",
                request_line(40),
                header_line(40),
                header_line(20)
            ),
            Err(HeadTooLarge),
        ),
    ];
    for (text, expected) in table {
        let got = parse_within(text.as_bytes(), &limits).map(|_| ());
        assert_eq!(got, expected, "{text:?}");
    }
    assert_eq!(
        [LineTooLong, HeadTooLarge, TooManyHeaders].map(RequestError::status),
        [414, 431, 431]
    );
}

#[test]
fn a_line_without_an_end_is_refused_before_it_ends() {
    let endless = vec![b'G'; LIMITS.line_bytes_max + 1];
    let got = parse_request(&endless, &LIMITS).map(|_| ());
    assert_eq!(got, Err(RequestError::LineTooLong));
    assert!(parse_request(&endless[1..], &LIMITS).unwrap().is_none());
}

#[test]
fn the_number_of_headers_is_limited() {
    let mut lines = vec!["GET / HTTP/1.1"];
    lines.resize(1 + HEADERS_MAX, "A: b");
    let bytes = head(&lines);
    assert_eq!(parse(&bytes).unwrap().headers.iter().count(), HEADERS_MAX);
    lines.push("A: b");
    let bytes = head(&lines);
    assert_eq!(parse(&bytes).map(|_| ()), Err(RequestError::TooManyHeaders));
}

#[test]
fn the_length_of_a_body_is_read() {
    let bytes = head(&[
        "POST /v1/topics/a HTTP/1.1",
        "Host: h",
        "content-length:  42 ",
    ]);
    assert_eq!(parse(&bytes).unwrap().content_length, Some(42));
    let bytes = head(&["POST /v1/topics/a HTTP/1.1", "Host: h"]);
    assert_eq!(parse(&bytes).unwrap().content_length, None);
}

/// Pieces of heads, sound and not, in any order.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let parts = [
        "GET /a?b HTTP/1.1",
        "POST ",
        "/",
        " HTTP/1.0",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        "Host: a",
        "Host:",
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "Connection: x, upgrade",
        ",",
        ":",
        "Upgrade: websocket",
        "\0",
        "é",
        "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        "#",
        "*",
    ];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 0..14)
        .prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_bytes_are_judged_the_same_however_they_are_cut(tail in nearly_a_head(), sound in any::<bool>()) {
        let limits = HeadLimits { head_bytes_max: 150, line_bytes_max: 60 };
        let start: &[u8] = if sound { b"GET / HTTP/1.1\r\n" } else { b"" };
        let bytes = [start, &tail].concat();
        let whole = parse_request(&bytes, &limits).map(|parsed| parsed.map(|(_, end)| end));
        let mut pieces = (0..=bytes.len()).map(|cut| {
            parse_request(&bytes[..cut], &limits).map(|parsed| parsed.map(|(_, end)| end))
        });
        let first = pieces.find(|result| *result != Ok(None)).unwrap_or(Ok(None));
        prop_assert_eq!(first, whole);
    }
}
