//! Against tungstenite, a WebSocket that we did not write: what either side says, the other
//! understands.

mod support;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use fanfare_wire::close::{CloseCode, put_close};
use fanfare_wire::frame::{Opcode, put_frame, put_masked_frame};
use fanfare_wire::handshake::{
    HeadLimits, new_key, parse_request, parse_response, put_switching, put_upgrade_request,
};
use fanfare_wire::reader::Role;
use proptest::prelude::*;
use support::{Message, limits, put_fragment, read};
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role as TheirRole, WebSocket};

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16_384,
    line_bytes_max: 8_192,
};

/// Both directions of a connection, in memory. Reads give at most `piece_bytes`, and would block
/// when there is nothing.
#[derive(Debug, Default)]
struct Pipe {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    piece_bytes: usize,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let most = buffer.len().min(self.piece_bytes.max(1));
        self.incoming.read(&mut buffer[..most])
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn message() -> impl Strategy<Value = Message> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let long = (0..70_000usize).prop_map(|length| (0..length).map(|at| at as u8).collect());
    prop_oneof![
        8 => "\\PC{0,100}".prop_map(Message::Text),
        4 => bytes(400).prop_map(Message::Binary),
        1 => long.prop_map(Message::Binary),
        2 => bytes(126).prop_map(Message::Ping),
        2 => bytes(126).prop_map(Message::Pong),
    ]
}

/// Messages, and at the end perhaps a close.
fn conversation() -> impl Strategy<Value = Vec<Message>> {
    let code = prop_oneof![1000..=1003u16, 1007..=1013u16, 3000..=4999u16];
    let close = prop::option::of((code, "\\PC{0,30}"));
    (
        prop::collection::vec(message(), 0..8),
        prop::option::of(close),
    )
        .prop_map(|(mut messages, close)| {
            messages.extend(close.map(Message::Close));
            messages
        })
}

fn to_theirs(message: &Message) -> tungstenite::Message {
    match message.clone() {
        Message::Text(text) => tungstenite::Message::text(text),
        Message::Binary(bytes) => tungstenite::Message::binary(bytes),
        Message::Ping(bytes) => tungstenite::Message::Ping(bytes.into()),
        Message::Pong(bytes) => tungstenite::Message::Pong(bytes.into()),
        Message::Close(close) => {
            tungstenite::Message::Close(close.map(|(code, reason)| CloseFrame {
                code: code.into(),
                reason: reason.into(),
            }))
        }
    }
}

fn from_theirs(message: tungstenite::Message) -> Message {
    match message {
        tungstenite::Message::Text(text) => Message::Text(text.as_str().to_owned()),
        tungstenite::Message::Binary(bytes) => Message::Binary(bytes.into()),
        tungstenite::Message::Ping(bytes) => Message::Ping(bytes.into()),
        tungstenite::Message::Pong(bytes) => Message::Pong(bytes.into()),
        tungstenite::Message::Close(close) => {
            Message::Close(close.map(|close| (close.code.into(), close.reason.as_str().to_owned())))
        }
        tungstenite::Message::Frame(frame) => panic!("a raw frame was read: {frame}"),
    }
}

/// What tungstenite, in `role`, makes of `bytes`.
fn read_by_them(bytes: &[u8], role: TheirRole, piece_bytes: usize) -> Vec<Message> {
    let pipe = Pipe {
        incoming: bytes.iter().copied().collect(),
        piece_bytes,
        ..Pipe::default()
    };
    let mut theirs = WebSocket::from_raw_socket(pipe, role, None);
    let mut messages = Vec::new();
    loop {
        match theirs.read() {
            Ok(message) => messages.push(from_theirs(message)),
            Err(tungstenite::Error::Io(fault)) if fault.kind() == ErrorKind::WouldBlock => break,
            Err(tungstenite::Error::ConnectionClosed) => break,
            Err(fault) => panic!("refused: {fault}"),
        }
    }
    messages
}

/// Appends a message as a single frame, masked if there is a key.
fn put_message(out: &mut Vec<u8>, message: &Message, mask: Option<[u8; 4]>) {
    let mut close_payload = Vec::new();
    let (opcode, payload) = match message {
        Message::Text(text) => (Opcode::Text, text.as_bytes()),
        Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
        Message::Ping(bytes) => (Opcode::Ping, &bytes[..]),
        Message::Pong(bytes) => (Opcode::Pong, &bytes[..]),
        Message::Close(close) => {
            if let Some((code, reason)) = close {
                put_close(&mut close_payload, CloseCode(*code), reason);
            }
            (Opcode::Close, &close_payload[..])
        }
    };
    match mask {
        Some(key) => put_masked_frame(out, opcode, key, payload),
        None => put_frame(out, opcode, payload),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_tungstenite_writes_is_read_here(
        messages in conversation(),
        as_server in any::<bool>(),
        pieces in prop::collection::vec(1..2000usize, 0..6),
    ) {
        let (their_role, role) = match as_server {
            true => (TheirRole::Server, Role::Client),
            false => (TheirRole::Client, Role::Server),
        };
        let mut theirs = WebSocket::from_raw_socket(Pipe::default(), their_role, None);
        for message in &messages {
            theirs.send(to_theirs(message)).unwrap();
        }
        let bytes = &theirs.get_ref().outgoing;
        prop_assert_eq!(read(bytes, &pieces, &limits(role)), (messages, None));
    }

    #[test]
    fn fragments_that_tungstenite_writes_are_joined_here(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6),
        pings in any::<bool>(),
        pieces in prop::collection::vec(1..100usize, 0..6),
    ) {
        let mut theirs = WebSocket::from_raw_socket(Pipe::default(), TheirRole::Client, None);
        let mut expected = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let kind = if at == 0 { Data::Binary } else { Data::Continue };
            let is_last = at + 1 == parts.len();
            let frame = Frame::message(part.clone(), OpCode::Data(kind), is_last);
            theirs.send(tungstenite::Message::Frame(frame)).unwrap();
            if pings && !is_last {
                theirs.send(tungstenite::Message::Ping(vec![7].into())).unwrap();
                expected.push(Message::Ping(vec![7]));
            }
        }
        expected.push(Message::Binary(parts.concat()));
        let bytes = &theirs.get_ref().outgoing;
        prop_assert_eq!(read(bytes, &pieces, &limits(Role::Server)), (expected, None));
    }

    #[test]
    fn what_is_written_here_is_read_by_tungstenite(
        messages in conversation(),
        key in prop::option::of(any::<[u8; 4]>()),
        piece_bytes in 1..3000usize,
    ) {
        let mut bytes = Vec::new();
        for message in &messages {
            put_message(&mut bytes, message, key);
        }
        let role = if key.is_some() { TheirRole::Server } else { TheirRole::Client };
        prop_assert_eq!(read_by_them(&bytes, role, piece_bytes), messages);
    }

    #[test]
    fn fragments_written_here_are_joined_by_tungstenite(
        text in "\\PC{0,60}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        key in any::<[u8; 4]>(),
        piece_bytes in 1..50usize,
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(text.len());
        let (mut bytes, mut start) = (Vec::new(), 0);
        for (at, &cut) in cuts.iter().enumerate() {
            let opcode = if at == 0 { Opcode::Text } else { Opcode::Continuation };
            let part = &text.as_bytes()[start..cut];
            put_fragment(&mut bytes, at + 1 == cuts.len(), opcode, Some(key), part);
            start = cut;
        }
        let messages = read_by_them(&bytes, TheirRole::Server, piece_bytes);
        prop_assert_eq!(messages, vec![Message::Text(text)]);
    }
}

#[test]
fn tungstenites_client_is_upgraded_and_understood() {
    let uri: tungstenite::http::Uri = "ws://example.com:9001/ws?a=1".parse().unwrap();
    let builder = tungstenite::ClientRequestBuilder::new(uri).with_sub_protocol("fanfare.v1.json");
    let Err(HandshakeError::Interrupted(mut waiting)) = tungstenite::client(
        builder,
        Pipe {
            piece_bytes: 9,
            ..Pipe::default()
        },
    ) else {
        panic!("the client did not wait for an answer");
    };

    let pipe = waiting.get_mut().get_mut();
    let head = std::mem::take(&mut pipe.outgoing);
    let (request, head_bytes) = parse_request(&head, &LIMITS).unwrap().unwrap();
    assert_eq!(head_bytes, head.len());
    assert_eq!((request.path, request.query), ("/ws", Some("a=1")));
    assert_eq!(request.header("host"), Some("example.com:9001"));
    let upgrade = request.upgrade().unwrap();
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["fanfare.v1.json"]);

    let mut answer = Vec::new();
    put_switching(&mut answer, upgrade.key, Some("fanfare.v1.json"), None);
    put_frame(&mut answer, Opcode::Text, b"right behind the head");
    pipe.incoming.extend(answer);
    let (mut theirs, _) = waiting.handshake().unwrap();
    assert_eq!(
        theirs.read().unwrap().to_text().unwrap(),
        "right behind the head"
    );

    theirs.send(tungstenite::Message::text("and back")).unwrap();
    let (messages, fault) = read(&theirs.get_ref().outgoing, &[], &limits(Role::Server));
    assert_eq!(
        (messages, fault),
        (vec![Message::Text("and back".into())], None)
    );
}

#[test]
fn tungstenites_client_refuses_the_answer_to_another_key() {
    let waiting = tungstenite::client(
        "ws://localhost/",
        Pipe {
            piece_bytes: 99,
            ..Pipe::default()
        },
    );
    let Err(HandshakeError::Interrupted(mut waiting)) = waiting else {
        panic!("the client did not wait for an answer");
    };
    let pipe = waiting.get_mut().get_mut();
    let mut answer = Vec::new();
    put_switching(&mut answer, &new_key([0; 16]), None, None);
    pipe.incoming.extend(answer);
    assert!(matches!(
        waiting.handshake(),
        Err(HandshakeError::Failure(_))
    ));
}

#[test]
fn tungstenites_server_upgrades_and_understands_us() {
    let key = new_key(*b"sixteen  bytes !");
    let mut head = Vec::new();
    put_upgrade_request(
        &mut head,
        "localhost",
        "/raw?x",
        &key,
        &["a", "b"],
        &[("Origin", "null")],
    );
    let pipe = Pipe {
        incoming: head.into(),
        piece_bytes: 4096,
        ..Pipe::default()
    };
    #[allow(clippy::result_large_err)] // tungstenite's own signature
    let choose = |request: &tungstenite::handshake::server::Request,
                  mut response: tungstenite::handshake::server::Response| {
        assert_eq!(request.uri().path(), "/raw");
        assert_eq!(request.headers()["origin"], "null");
        assert_eq!(request.headers()["sec-websocket-protocol"], "a, b");
        let chosen = "b".parse().unwrap();
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", chosen);
        Ok(response)
    };
    let mut theirs = tungstenite::accept_hdr(pipe, choose).unwrap();

    let mut hello = Vec::new();
    put_masked_frame(&mut hello, Opcode::Text, [1, 2, 3, 4], b"hello");
    theirs.get_mut().incoming.extend(hello);
    assert_eq!(theirs.read().unwrap().to_text().unwrap(), "hello");
    theirs.send(tungstenite::Message::text("welcome")).unwrap();

    let answer = &theirs.get_ref().outgoing;
    let accepted = parse_response(answer, &key, &LIMITS, None)
        .unwrap()
        .unwrap();
    assert_eq!(accepted.protocol.as_deref(), Some("b"));
    let (messages, fault) = read(&answer[accepted.head_bytes..], &[], &limits(Role::Client));
    assert_eq!(
        (messages, fault),
        (vec![Message::Text("welcome".into())], None)
    );
}
