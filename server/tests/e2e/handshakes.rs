//! Requests that are no good: each gets the status that says why, and the server goes on.

use std::io::{Read as _, Write as _};

use crate::harness::{Server, read_json, response};

/// A good request; tests spoil one line of it.
const LINES: [&str; 6] = [
    "GET /ws HTTP/1.1",
    "Host: h",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

/// The request with line `number` replaced, or left out when `line` is empty.
fn spoiled(number: usize, line: &str) -> Vec<u8> {
    let mut lines = LINES.to_vec();
    lines[number] = line;
    lines.retain(|line| !line.is_empty());
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

#[test]
fn a_bad_handshake_is_answered_with_its_status() {
    let server = Server::start(&[]);
    for (number, line, status) in [
        (4, "", 400),
        (4, "Sec-WebSocket-Key: c2hvcnQ=", 400),
        (4, "Sec-WebSocket-Key: not base64 at all!!!!!", 400),
        (5, "", 426),
        (5, "Sec-WebSocket-Version: 8", 426),
        (3, "", 400),
        (3, "Connection: keep-alive", 400),
        (2, "", 426),
        (1, "", 400),
        (0, "POST /ws HTTP/1.1", 405),
        (0, "GET /nowhere HTTP/1.1", 404),
        (0, "GET /ws HTTP/3.0", 505),
        (0, "GET /ws", 400),
        (0, "complete nonsense", 400),
        (1, "Host: h\r\n folded: line", 400),
        (1, "Host h", 400),
    ] {
        let (got, answer) = server.http(&spoiled(number, line));
        assert_eq!(got, status, "{line:?}: {answer}");
        let has = |header: &str| {
            answer
                .to_ascii_lowercase()
                .contains(&format!("\r\n{header}\r\n"))
        };
        match status {
            426 => assert!(
                has("sec-websocket-version: 13") && has("upgrade: websocket"),
                "{answer}"
            ),
            405 => assert!(has("allow: get"), "{answer}"),
            _ => {}
        }
        assert!(
            answer
                .to_ascii_lowercase()
                .contains("\r\nconnection: close"),
            "{answer}"
        );
    }
    // None of it did any harm.
    assert_eq!(read_json(&mut server.connect("/ws"))["type"], "hello");
}

#[test]
fn a_request_that_is_too_large_is_refused_while_it_arrives() {
    let server = Server::start(&["--max-head-bytes", "4k"]);
    let long_line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(10_000));
    assert_eq!(server.http(long_line.as_bytes()).0, 414);
    let long_header = format!("GET /ws HTTP/1.1\r\nX: {}\r\n", "a".repeat(10_000));
    assert_eq!(server.http(long_header.as_bytes()).0, 431);
    let many_headers = format!("GET /ws HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(server.http(many_headers.as_bytes()).0, 431);
}

#[test]
fn a_handshake_that_arrives_byte_by_byte_is_a_handshake() {
    let server = Server::start(&[]);
    let mut stream = server.tcp();
    for byte in spoiled(0, LINES[0]) {
        stream.write_all(&[byte]).unwrap();
    }
    let mut answer = [0; 32];
    stream.read_exact(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 101 "),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn the_key_is_answered_as_the_rfc_says() {
    let server = Server::start(&[]);
    let mut stream = server.tcp();
    stream.write_all(&spoiled(0, LINES[0])).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    // RFC 6455, section 1.3, has this pair.
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{answer}"
    );
}

#[test]
fn who_says_nothing_is_shown_the_door() {
    let server = Server::start(&["--handshake-timeout", "200ms"]);
    let mut silent = server.tcp();
    let mut halfway = server.tcp();
    halfway.write_all(b"GET /ws HTTP/1.1\r\nHost").unwrap();
    let mut rest = Vec::new();
    // Whether 408 is said first is the server's choice; the connection must end.
    assert!(silent.read_to_end(&mut rest).is_ok());
    assert!(halfway.read_to_end(&mut rest).is_ok());
}

#[test]
fn a_second_request_behind_a_refused_one_is_not_served() {
    let server = Server::start(&[]);
    let mut stream = server.tcp();
    let mut requests = spoiled(0, "GET /nowhere HTTP/1.1");
    requests.extend(spoiled(0, LINES[0]));
    stream.write_all(&requests).unwrap();
    let (status, answer) = response(&mut stream);
    assert_eq!(status, 404);
    assert!(!answer.contains("101 Switching"), "{answer}");
}
