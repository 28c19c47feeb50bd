//! `/room`, `/echo` and configured routes.

use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::{Server, publish, read, read_json, read_text, read_type, send};

fn fragment(socket: &mut crate::harness::Socket, data: Data, payload: &[u8], is_final: bool) {
    let frame = Frame::message(payload.to_vec(), OpCode::Data(data), is_final);
    socket
        .send(Message::Frame(frame))
        .expect("the server reads");
}

#[test]
fn what_one_says_in_a_room_everybody_in_it_hears() {
    let server = Server::start(&[]);
    let mut members: Vec<_> = (0..3).map(|_| server.connect("/room/lobby")).collect();
    // Who has heard something is in the room.
    send(&mut members[0], "hello");
    for member in &mut members[1..] {
        send(member, "hello");
        assert_eq!(read_text(member), "hello");
    }
    let mut other_room = server.connect("/room/attic");
    send(&mut other_room, "alone");
    assert_eq!(read_text(&mut other_room), "alone");
    members[0].send(Message::binary(vec![0, 255, 7])).unwrap();
    for member in &mut members {
        loop {
            match read(member) {
                Message::Binary(bytes) => break assert_eq!(bytes.as_ref(), [0, 255, 7]),
                Message::Text(text) => assert_eq!(text, "hello"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_room_and_a_topic_of_one_name_are_the_same() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("lobby");
    let mut member = server.connect("/room/lobby");
    send(&mut member, r#"{"x":1}"#);
    assert_eq!(read_text(&mut member), r#"{"x":1}"#);
    assert_eq!(read_type(&mut subscriber, "update")["topic"], "lobby");
    publish(&mut server.connect("/ws"), "lobby", "[2]");
    assert_eq!(read_text(&mut member), "[2]");
}

#[test]
fn an_echo_returns_text_binary_fragments_and_a_megabyte() {
    let server = Server::start(&[
        "--echo",
        "--max-frame-bytes",
        "1m",
        "--max-outbox-bytes",
        "4m",
    ]);
    let mut socket = server.connect("/echo");
    for text in ["", "x", "héllo ✓", &"y".repeat(70_000)] {
        send(&mut socket, text);
        assert_eq!(read_text(&mut socket), text);
    }
    let megabyte: Vec<u8> = (0..1 << 20)
        .map(|at: u32| at.wrapping_mul(31) as u8)
        .collect();
    socket.send(Message::binary(megabyte.clone())).unwrap();
    assert_eq!(read(&mut socket), Message::binary(megabyte));
    // "✓" is cut in its middle, which only the whole message may be judged by.
    fragment(&mut socket, Data::Text, b"frag\xe2\x9c", false);
    fragment(&mut socket, Data::Continue, b"", false);
    socket.send(Message::Ping(vec![1].into())).unwrap();
    fragment(&mut socket, Data::Continue, b"\x93ments", true);
    assert_eq!(read_text(&mut socket), "frag✓ments");
}

#[test]
fn a_megabyte_in_fragments_is_taken_where_one_frame_of_it_is_not() {
    let server = Server::start(&["--echo", "--max-outbox-bytes", "4m"]);
    let mut socket = server.connect("/echo");
    let piece = vec![b'z'; 32_768];
    for number in 0..32 {
        let data = if number == 0 {
            Data::Binary
        } else {
            Data::Continue
        };
        fragment(&mut socket, data, &piece, number == 31);
    }
    assert_eq!(read(&mut socket), Message::binary(piece.repeat(32)));
}

#[test]
fn an_echo_is_not_there_unless_asked_for() {
    let server = Server::start(&[]);
    assert!(tungstenite::client(server.url("/echo"), server.tcp()).is_err());
}

#[test]
fn configured_routes_lead_where_they_say() {
    let routes = [
        "--route",
        "/stocks=/raw",
        "--route",
        "/chat=/room/chat",
        "--route",
        "/document/*=/room/document.*",
        "--route",
        "/live=/ws",
    ];
    let server = Server::start(&routes);
    let mut stocks = server.connect("/stocks");
    send(
        &mut stocks,
        r#"{"action":"subscribe","id":1,"symbols":["AAPL"]}"#,
    );
    read_type(&mut stocks, "subscribed");
    let mut live = server.connect("/live");
    assert_eq!(read_json(&mut live)["type"], "hello");
    publish(&mut live, "AAPL", r#"{"price":1}"#);
    assert_eq!(read_text(&mut stocks), r#"{"price":1}"#);
    let mut document = server.connect("/document/a/b");
    send(&mut document, "\"draft\"");
    assert_eq!(read_text(&mut document), "\"draft\"");
    let mut chat = server.connect("/chat");
    publish(&mut live, "document.a.b", "2");
    publish(&mut live, "chat", "3");
    assert_eq!(read_text(&mut document), "2");
    assert_eq!(read_text(&mut chat), "3");
}

#[test]
fn a_path_that_leads_nowhere_is_404() {
    let server = Server::start(&["--route", "/document/*=/room/document.*"]);
    for path in [
        "/nowhere",
        "/ws/",
        "/WS",
        "/document",
        "/document/",
        "/room",
        "/room/",
        "/room/a..b",
        "/stocks",
    ] {
        match tungstenite::client(server.url(path), server.tcp()) {
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                assert_eq!(answer.status(), 404, "{path}");
            }
            Ok(_) => panic!("{path} was opened"),
            Err(error) => panic!("{path}: {error}"),
        }
    }
}
