//! Heads of HTTP messages and the judgement on an upgrade, both roles.

use fanfare_wire::handshake::{
    Accepted, HEADERS_MAX, HeadLimits, Request, RequestError, ResponseError, UpgradeError, new_key,
    parse_request, parse_response, put_response, put_switching, put_upgrade_request,
};
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 4096,
    line_bytes_max: 512,
};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A sound upgrade, line by line.
const UPGRADE: [&str; 6] = [
    "GET /chat?room=1 HTTP/1.1",
    "Host: server.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn head(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

/// The sound upgrade with one line replaced by others.
fn upgrade_with(replaced: &str, lines: &[&str]) -> Vec<u8> {
    let lines: Vec<&str> = UPGRADE
        .into_iter()
        .flat_map(|line| match line.starts_with(replaced) {
            true => lines.to_vec(),
            false => vec![line],
        })
        .collect();
    head(&lines)
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

fn judge(bytes: &[u8]) -> Result<(), UpgradeError> {
    parse(bytes).expect("a sound head").upgrade().map(|_| ())
}

#[test]
fn a_sound_upgrade_is_accepted() {
    let bytes = head(&UPGRADE);
    let request = parse(&bytes).unwrap();
    assert_eq!((request.method, request.version), ("GET", 1));
    assert_eq!((request.path, request.query), ("/chat", Some("room=1")));
    assert_eq!(request.header("HOST"), Some("server.example.com"));
    assert!(request.wants_upgrade());
    assert_eq!(request.upgrade().unwrap().key, KEY);
}

#[test]
fn what_follows_the_head_is_not_touched() {
    let mut bytes = head(&UPGRADE);
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
fn tokens_are_found_in_any_case_in_lists_and_in_repeated_headers() {
    let table: &[(&[&str], bool)] = &[
        (&["Connection: upgrade"], true),
        (&["connection: keep-alive, UPGRADE"], true),
        (&["Connection: keep-alive", "Connection: Upgrade"], true),
        (&["Connection: ,, keep-alive ,\tupgrade , "], true),
        (&["Connection: keep-alive"], false),
        (&["Connection: upgraded, not-upgrade"], false),
        (&["Connection: "], false),
        (&[], false),
    ];
    for (lines, is_sound) in table {
        let expected = if *is_sound {
            Ok(())
        } else {
            Err(UpgradeError::Connection)
        };
        assert_eq!(
            judge(&upgrade_with("Connection", lines)),
            expected,
            "{lines:?}"
        );
    }
}

#[test]
fn every_demand_of_an_upgrade_is_made() {
    use UpgradeError::*;
    let table: &[(&str, &[&str], UpgradeError, u16)] = &[
        ("GET", &["POST /chat HTTP/1.1"], Method, 405),
        ("GET", &["get /chat HTTP/1.1"], Method, 405),
        ("GET", &["GET /chat HTTP/1.0"], NotUpgrade, 426),
        ("Upgrade", &[], NotUpgrade, 426),
        ("Upgrade", &["Upgrade: h2c"], NotUpgrade, 426),
        ("Upgrade", &["Upgrade: websockets"], NotUpgrade, 426),
        ("Host", &[], Host, 400),
        ("Host", &["Host: "], Host, 400),
        ("Sec-WebSocket-Version", &[], Version, 426),
        (
            "Sec-WebSocket-Version",
            &["Sec-WebSocket-Version: 8"],
            Version,
            426,
        ),
        (
            "Sec-WebSocket-Version",
            &["Sec-WebSocket-Version: 013"],
            Version,
            426,
        ),
        (
            "Sec-WebSocket-Version",
            &["Sec-WebSocket-Version: 13, 8"],
            Version,
            426,
        ),
        (
            "Sec-WebSocket-Version",
            &["Sec-WebSocket-Version: 13"; 2],
            Version,
            426,
        ),
        ("Sec-WebSocket-Key", &[], Key, 400),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: "], Key, 400),
        (
            "Sec-WebSocket-Key",
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="; 2],
            Key,
            400,
        ),
        (
            "Sec-WebSocket-Key",
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"],
            Key,
            400,
        ),
        (
            "Sec-WebSocket-Key",
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE="],
            Key,
            400,
        ),
        (
            "Sec-WebSocket-Key",
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!=="],
            Key,
            400,
        ),
        (
            "Sec-WebSocket-Key",
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==AAAA"],
            Key,
            400,
        ),
        (
            "Upgrade",
            &["Upgrade: websocket", "Content-Length: 5"],
            BodyNotAllowed,
            400,
        ),
        (
            "Upgrade",
            &["Upgrade: websocket", "Transfer-Encoding: chunked"],
            BodyNotAllowed,
            400,
        ),
    ];
    for (replaced, lines, fault, status) in table {
        assert_eq!(
            judge(&upgrade_with(replaced, lines)),
            Err(*fault),
            "{lines:?}"
        );
        assert_eq!(fault.status(), *status);
    }
}

#[test]
fn an_upgrade_may_say_that_it_has_no_body() {
    let bytes = upgrade_with("Upgrade", &["Upgrade: h2c, WebSocket", "Content-Length: 0"]);
    assert_eq!(judge(&bytes), Ok(()));
}

#[test]
fn protocols_come_in_the_order_they_were_offered() {
    let offers = ["Sec-WebSocket-Protocol: b, a", "Sec-WebSocket-Protocol:c"];
    let lines = [&UPGRADE[..], &offers].concat();
    let bytes = head(&lines);
    let request = parse(&bytes).unwrap();
    let upgrade = request.upgrade().unwrap();
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["b", "a", "c"]);
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

#[test]
fn a_refusal_says_what_would_be_accepted() {
    let answer = |status| {
        let mut out = Vec::new();
        put_response(
            &mut out,
            status,
            &[("Retry-After", "5")],
            "text/plain",
            b"no\n",
        );
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        answer(426),
        "HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nRetry-After: 5\r\nContent-Type: text/plain\r\n\
         Content-Length: 3\r\n\r\nno\n"
    );
    assert!(answer(405).contains("\r\nAllow: GET\r\n"));
    assert!(answer(503).starts_with("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n"));
}

#[test]
fn no_value_can_begin_a_header_of_its_own() {
    let mut out = Vec::new();
    let location = "/a\r\nSet-Cookie: evil=1";
    put_response(&mut out, 400, &[("Location", location)], "text/plain", b"");
    put_upgrade_request(
        &mut out,
        "h\r\nX: y",
        "/ HTTP/1.1\r\nX: y",
        KEY,
        &["a\r\nX: y"],
        &[],
    );
    put_switching(&mut out, KEY, Some("a\r\nX: y"));
    let text = String::from_utf8(out).unwrap();
    assert!(
        !text.contains("\r\nSet-Cookie") && !text.contains("\r\nX: y"),
        "{text}"
    );
}

#[test]
fn our_own_request_is_a_sound_upgrade() {
    let mut bytes = Vec::new();
    let key = new_key([7; 16]);
    put_upgrade_request(
        &mut bytes,
        "localhost:9001",
        "/ws?a=b",
        &key,
        &["x", "y"],
        &[("Origin", "o")],
    );
    let request = parse(&bytes).unwrap();
    assert_eq!((request.path, request.query), ("/ws", Some("a=b")));
    assert_eq!(request.header("origin"), Some("o"));
    let upgrade = request.upgrade().unwrap();
    assert_eq!(upgrade.key, key);
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["x", "y"]);
}

/// Our answer with one line replaced by others.
fn answer_with(replaced: &str, lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    put_switching(&mut out, KEY, Some("p"));
    let text = String::from_utf8(out).expect("ASCII");
    let kept = text
        .trim_end()
        .split("\r\n")
        .flat_map(|line| match line.starts_with(replaced) {
            true => lines.to_vec(),
            false => vec![line],
        });
    head(&kept.collect::<Vec<_>>())
}

#[test]
fn our_own_answer_is_accepted_however_it_is_cut() {
    let bytes = answer_with("-", &[]);
    let protocol = Some("p".to_owned());
    let head_bytes = bytes.len();
    let accepted = Accepted {
        protocol,
        head_bytes,
    };
    assert_eq!(parse_response(&bytes, KEY, &LIMITS), Ok(Some(accepted)));
    for cut in 0..head_bytes {
        assert_eq!(parse_response(&bytes[..cut], KEY, &LIMITS), Ok(None));
    }
}

#[test]
fn a_wrong_answer_is_refused() {
    use ResponseError::*;
    let table: &[(&str, &[&str], ResponseError)] = &[
        ("HTTP", &["HTTP/1.1 200 OK"], Status { status: 200 }),
        (
            "HTTP",
            &["HTTP/1.1 503 Service Unavailable"],
            Status { status: 503 },
        ),
        ("HTTP", &["HTTP/1.0 101 Switching Protocols"], NotUpgrade),
        ("HTTP", &["HTTP/3 101 Switching Protocols"], Malformed),
        ("HTTP", &["SSH-2.0-OpenSSH"], Malformed),
        ("Upgrade", &[], NotUpgrade),
        ("Upgrade", &["Upgrade: h2c"], NotUpgrade),
        ("Connection", &["Connection: close"], NotUpgrade),
        ("Sec-WebSocket-Accept", &[], Accept),
        (
            "Sec-WebSocket-Accept",
            &["Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="],
            Accept,
        ),
        (
            "Sec-WebSocket-Protocol",
            &["Sec-WebSocket-Protocol: p"; 2],
            NotOffered,
        ),
        (
            "Sec-WebSocket-Protocol",
            &["Sec-WebSocket-Extensions: permessage-deflate"],
            NotOffered,
        ),
    ];
    for (replaced, lines, fault) in table {
        let bytes = answer_with(replaced, lines);
        assert_eq!(
            parse_response(&bytes, KEY, &LIMITS),
            Err(*fault),
            "{lines:?}"
        );
    }
    let long = answer_with("Upgrade", &["X: y"; 2000]);
    assert_eq!(parse_response(&long, KEY, &LIMITS), Err(HeadTooLarge));
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
