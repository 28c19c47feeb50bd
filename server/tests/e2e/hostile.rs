//! Garbage, oversized and torn input at every door: a clear code for whoever sends it, nothing for the others.

use std::io::Write as _;

use crate::harness::{Server, Socket, close_code, publish, read_json, read_text, read_type, send};

const DOORS: [&str; 4] = ["/ws", "/raw", "/room/r", "/echo"];

fn start() -> Server {
    Server::start(&[
        "--echo",
        "--max-frame-bytes",
        "4k",
        "--max-message-bytes",
        "8k",
        "--max-fragments",
        "4",
    ])
}

/// Writes `bytes` past the client library and returns the code the server closes with.
fn close_code_after(socket: &mut Socket, bytes: &[u8]) -> Option<u16> {
    // The server may close before it has read everything.
    let _ = socket.get_mut().write_all(bytes);
    close_code(socket)
}

/// A masked frame whose key is zero, so that the payload stands as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        small @ 0..=125 => frame.push(0x80 | small as u8),
        large => {
            frame.push(0x80 | 126);
            frame.extend((large as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn every_breach_of_the_protocol_is_closed_with_its_code_at_every_door() {
    let server = start();
    let mut bystander = server.subscribe("calm");
    let breaches: [(&str, Vec<u8>, u16); 16] = [
        ("an unmasked frame", vec![0x81, 0x01, b'x'], 1002),
        ("a reserved bit", frame(0x91, b"x"), 1002),
        ("another reserved bit", frame(0xc1, b"x"), 1002),
        ("an unknown opcode", frame(0x83, b"x"), 1002),
        ("an unknown control opcode", frame(0x8b, b"x"), 1002),
        ("a fragmented ping", frame(0x09, b"x"), 1002),
        ("a ping of 126 bytes", frame(0x89, &[b'x'; 126]), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        (
            "a message inside a message",
            [frame(0x01, b"x"), frame(0x81, b"y")].concat(),
            1002,
        ),
        (
            "a length with its top bit set",
            vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            1002,
        ),
        (
            "a length longer than it needs to be",
            vec![0x82, 0xfe, 0, 5, 0, 0, 0, 0, 1, 2, 3, 4, 5],
            1002,
        ),
        ("a close of one byte", frame(0x88, b"x"), 1002),
        (
            "a close with a code nobody may send",
            frame(0x88, &1005_u16.to_be_bytes()),
            1002,
        ),
        ("text that is not UTF-8", frame(0x81, b"\xff\xfe"), 1007),
        (
            "a frame above the limit",
            vec![
                0x82, 0xff, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
            ],
            1009,
        ),
        (
            "a message above the limit",
            [
                frame(0x02, &[0; 4096]),
                frame(0x00, &[0; 4096]),
                frame(0x80, &[0; 4096]),
            ]
            .concat(),
            1009,
        ),
    ];
    for door in DOORS {
        for (breach, bytes, code) in &breaches {
            let mut socket = server.connect(door);
            assert_eq!(
                close_code_after(&mut socket, bytes),
                Some(*code),
                "{breach} at {door}"
            );
        }
    }
    let mut publisher = server.connect("/ws");
    publish(&mut publisher, "calm", "1");
    assert_eq!(read_json(&mut bystander)["seq"], 1);
}

#[test]
fn too_many_fragments_are_refused() {
    let server = start();
    for door in DOORS {
        let mut socket = server.connect(door);
        let bytes = [frame(0x01, b"a"), frame(0x00, b"b").repeat(4)].concat();
        let code = close_code_after(&mut socket, &bytes);
        assert!(
            matches!(code, Some(1002 | 1008 | 1009)),
            "{code:?} at {door}"
        );
    }
}

#[test]
fn a_frame_torn_into_single_bytes_is_a_frame() {
    let server = start();
    let mut socket = server.connect("/echo");
    for byte in frame(0x81, b"slowly") {
        socket.get_mut().write_all(&[byte]).unwrap();
    }
    assert_eq!(read_text(&mut socket), "slowly");
}

#[test]
fn a_connection_that_dies_in_the_middle_of_anything_harms_nobody() {
    let server = start();
    let mut bystander = server.subscribe("calm");
    let whole = frame(0x81, br#"{"action":"subscribe","topics":["calm"]}"#);
    for door in DOORS {
        for cut in [1, 2, 5, 6, 7, whole.len() - 1] {
            let mut socket = server.connect(door);
            socket.get_mut().write_all(&whole[..cut]).unwrap();
            drop(socket);
        }
    }
    for cut in [1, 10, 40] {
        let mut stream = server.tcp();
        stream
            .write_all(&b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"[..cut])
            .unwrap();
    }
    let mut publisher = server.connect("/ws");
    publish(&mut publisher, "calm", "1");
    assert_eq!(read_json(&mut bystander)["seq"], 1);
}

#[test]
fn noise_instead_of_http_is_answered_and_forgotten() {
    let server = start();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let noise: Vec<u8> = (0..random.usize(1..2000)).map(|_| random.u8(..)).collect();
        let mut stream = server.tcp();
        // The server may have refused before all of it was sent.
        let _ = stream.write_all(&noise);
    }
    // As a browser that tried TLS first.
    assert_eq!(
        server
            .http(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
            .0,
        400
    );
    assert_eq!(read_json(&mut server.connect("/ws"))["type"], "hello");
}

#[test]
fn noise_in_frames_never_stops_the_server() {
    let server = start();
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..100 {
        let mut socket = server.connect(DOORS[round % DOORS.len()]);
        let noise: Vec<u8> = (0..random.usize(1..3000)).map(|_| random.u8(..)).collect();
        let _ = socket.get_mut().write_all(&noise);
    }
    for round in 0..100 {
        let mut socket = server.connect(DOORS[round % DOORS.len()]);
        let noise: Vec<u8> = (0..random.usize(1..100))
            .map(|_| random.u8(b' '..b'~'))
            .collect();
        let _ = socket.get_mut().write_all(&frame(0x81, &noise));
    }
    assert_eq!(read_json(&mut server.connect("/ws"))["type"], "hello");
}

#[test]
fn a_binary_message_where_commands_are_text_is_answered_by_an_error() {
    let server = start();
    for door in ["/ws", "/raw"] {
        let mut socket = server.connect(door);
        socket.get_mut().write_all(&frame(0x82, b"{}")).unwrap();
        assert_eq!(read_type(&mut socket, "error")["code"], 1000, "{door}");
        send(&mut socket, "ping");
        assert_eq!(read_text(&mut socket), "pong", "{door}");
    }
}

#[test]
fn commands_that_ask_for_too_much_are_answered_by_an_error() {
    let server = start();
    let mut socket = server.connect("/ws");
    read_json(&mut socket);
    let deep = format!(
        r#"{{"action":"publish","topic":"a","data":{}1{}}}"#,
        "[".repeat(1500),
        "]".repeat(1500)
    );
    let long_topic = format!(
        r#"{{"action":"subscribe","topics":["{}"]}}"#,
        "a".repeat(3000)
    );
    for command in [deep, long_topic] {
        send(&mut socket, &command);
        let answer = read_json(&mut socket);
        let text = answer.to_string();
        assert!(
            text.contains("error") || answer["type"] == "published",
            "{text}"
        );
    }
    send(&mut socket, "ping");
    assert_eq!(read_text(&mut socket), "pong");
}
