//! Executes the conversations of docs/PROTOCOL.md against the real server, with a client that is not ours.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::{Server, Socket, read, read_text, send};
use tungstenite::Message;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");

/// One fenced block: the path it connects to, the subprotocol if one is named, and the lines.
struct Session {
    path: String,
    protocol: Option<String>,
    lines: Vec<String>,
}

fn sessions(page: &str) -> Vec<Session> {
    let mut sessions = Vec::new();
    let mut open: Option<Session> = None;
    for line in page.lines() {
        if let Some(head) = line.strip_prefix("```session ") {
            let (path, protocol) = match head.split_once(' ') {
                Some((path, protocol)) => (path, Some(protocol.into())),
                None => (head, None),
            };
            open = Some(Session {
                path: path.into(),
                protocol,
                lines: Vec::new(),
            });
        } else if line == "```" {
            sessions.extend(open.take());
        } else if let Some(session) = &mut open {
            session.lines.push(line.into());
        }
    }
    sessions
}

/// Whether `text` is what the page says, `…` standing for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        let Some(at) = (if part.is_empty() {
            Some(rest.len())
        } else {
            rest.find(part)
        }) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    // Without a `…` at its end, the pattern's end is the text's.
    rest.is_empty() || last == Some("")
}

/// Bytes as the page writes them: two digits each, but `'text'` for those of a text.
fn hex(line: &str) -> String {
    let digits = |bytes: &[u8]| {
        let each: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        each.join(" ")
    };
    let pieces = line
        .split('\'')
        .enumerate()
        .map(|(at, piece)| match at % 2 {
            0 => piece.trim().to_owned(),
            _ => digits(piece.as_bytes()),
        });
    let pieces: Vec<String> = pieces.filter(|piece| !piece.is_empty()).collect();
    pieces.join(" ")
}

fn read_hex(socket: &mut Socket) -> String {
    match read(socket) {
        Message::Binary(bytes) => {
            let each: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            each.join(" ")
        }
        message => panic!("binary was expected, not {message:?}"),
    }
}

/// The epoch that a frame names.
fn epoch_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(r#""epoch":""#)?;
    Some(rest.split_once('"')?.0.into())
}

fn converse(socket: &mut Socket, session: &Session) {
    let mut epoch = String::new();
    for line in &session.lines {
        if let Some(text) = line.strip_prefix("> ") {
            send(socket, &text.replace("<epoch>", &epoch));
        } else if let Some(bytes) = line.strip_prefix("<< ") {
            let (pattern, bytes) = (hex(bytes), read_hex(socket));
            assert!(
                matches(&pattern, &bytes),
                "{line}: expected\n  {pattern}\ngot\n  {bytes}"
            );
        } else if let Some(pattern) = line.strip_prefix("< ") {
            let text = read_text(socket);
            epoch = epoch_of(&text).unwrap_or(epoch);
            assert!(
                matches(pattern, &text),
                "{}: expected\n  {pattern}\ngot\n  {text}",
                session.path
            );
        } else {
            panic!("a line that nobody says: {line}");
        }
    }
}

#[test]
fn every_conversation_on_the_page_happens_as_written() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let sessions = sessions(&page);
    assert!(sessions.len() >= 6, "the page has conversations");
    let server = Server::start(&["--history", "kept.>,count=100"]);
    for session in &sessions {
        let mut socket = match &session.protocol {
            Some(protocol) => server.connect_speaking(&session.path, protocol),
            None => server.connect(&session.path),
        };
        converse(&mut socket, session);
    }
}

/// One fenced block of HTTP: what is sent, and the lines of each answer that must come, in their order.
struct Exchange {
    request: String,
    expected: Vec<String>,
}

fn exchanges(page: &str) -> Vec<Vec<Exchange>> {
    let blocks = page.split("```http\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    blocks.map(exchanges_of).collect()
}

fn exchanges_of(block: &str) -> Vec<Exchange> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut is_asked = true;
    for line in block.lines() {
        if let Some(text) = line.strip_prefix("< ") {
            is_asked = true;
            let last = exchanges.last_mut().expect("a request comes first");
            last.expected.push(text.into());
            continue;
        }
        let text = line.strip_prefix('>').expect("somebody says every line");
        let text = text.strip_prefix(' ').unwrap_or(text);
        if std::mem::take(&mut is_asked) {
            exchanges.push(Exchange {
                request: String::new(),
                expected: Vec::new(),
            });
        }
        let last = exchanges.last_mut().expect("one was just begun");
        // The lines of a body are no lines of a head.
        let is_body = last.request.contains("\r\n\r\n");
        if is_body && !last.request.ends_with("\r\n\r\n") {
            last.request.push('\n');
        }
        last.request.push_str(text);
        if !is_body {
            last.request.push_str("\r\n");
        }
    }
    exchanges
}

/// Reads until every expected line has come.
fn expect_lines(stream: &mut TcpStream, exchange: &Exchange) {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        let mut lines = text.lines();
        let all =
            (exchange.expected.iter()).all(|pattern| lines.any(|line| matches(pattern, line)));
        if all {
            return;
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).unwrap_or(0);
        assert!(
            count > 0,
            "{}expected\n{:#?}\ngot\n{text}",
            exchange.request,
            exchange.expected
        );
        answer.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn every_exchange_of_http_on_the_page_happens_as_written() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let blocks = exchanges(&page);
    assert!(blocks.len() >= 4, "the page has exchanges");
    let server = Server::start(&[]);
    for block in &blocks {
        let mut stream = server.tcp();
        for exchange in block {
            let request = exchange.request.as_bytes();
            stream.write_all(request).expect("the server reads");
            expect_lines(&mut stream, exchange);
        }
    }
}

#[test]
fn every_example_of_a_command_is_a_command() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let commands: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with(r#"{"action":"#))
        .collect();
    assert!(commands.len() >= 8, "the page has examples");
    for text in commands {
        assert!(fanfare_wire::command::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn the_pattern_matches_what_it_should_and_nothing_else() {
    assert!(matches(r#"{"a":…,"b":1}"#, r#"{"a":123,"b":1}"#));
    assert!(matches(r#"{"a":…"#, r#"{"a":123,"b":1}"#));
    assert!(!matches(r#"{"a":…,"b":1}"#, r#"{"a":123,"b":12}"#));
    assert!(!matches("pong", "pong "));
}
