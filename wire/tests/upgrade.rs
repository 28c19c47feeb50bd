//! The judgement on an upgrade, and on the answer to one.

use fanfare_wire::handshake::{
    Accepted, HeadLimits, Request, ResponseError, UpgradeError, new_key, parse_request,
    parse_response, put_response, put_switching, put_upgrade_request,
};

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

fn parse(bytes: &[u8]) -> Request<'_> {
    let (request, head_bytes) = parse_request(bytes, &LIMITS)
        .expect("a sound head")
        .expect("a whole head");
    assert_eq!(head_bytes, bytes.len());
    request
}

fn judge(bytes: &[u8]) -> Result<(), UpgradeError> {
    parse(bytes).upgrade().map(|_| ())
}

#[test]
fn a_sound_upgrade_is_accepted() {
    let bytes = head(&UPGRADE);
    let request = parse(&bytes);
    assert_eq!((request.method, request.version), ("GET", 1));
    assert_eq!((request.path, request.query), ("/chat", Some("room=1")));
    assert_eq!(request.header("HOST"), Some("server.example.com"));
    assert!(request.wants_upgrade());
    assert_eq!(request.upgrade().unwrap().key, KEY);
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
    let request = parse(&bytes);
    let upgrade = request.upgrade().unwrap();
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["b", "a", "c"]);
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
    put_switching(&mut out, KEY, Some("a\r\nX: y"), None);
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
    let request = parse(&bytes);
    assert_eq!((request.path, request.query), ("/ws", Some("a=b")));
    assert_eq!(request.header("origin"), Some("o"));
    let upgrade = request.upgrade().unwrap();
    assert_eq!(upgrade.key, key);
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["x", "y"]);
}

/// Our answer with one line replaced by others.
fn answer_with(replaced: &str, lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    put_switching(&mut out, KEY, Some("p"), None);
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
        deflate: None,
        head_bytes,
    };
    assert_eq!(
        parse_response(&bytes, KEY, &LIMITS, None),
        Ok(Some(accepted))
    );
    for cut in 0..head_bytes {
        assert_eq!(parse_response(&bytes[..cut], KEY, &LIMITS, None), Ok(None));
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
            parse_response(&bytes, KEY, &LIMITS, None),
            Err(*fault),
            "{lines:?}"
        );
    }
    let long = answer_with("Upgrade", &["X: y"; 2000]);
    assert_eq!(parse_response(&long, KEY, &LIMITS, None), Err(HeadTooLarge));
}
