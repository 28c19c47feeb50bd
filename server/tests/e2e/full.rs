//! A server that has all the connections it may have.

use std::io::Write as _;

use tungstenite::Message;

use crate::harness::{Server, close_code, read_text, response, send};

const UPGRADE: &[u8] =
    b"GET /raw HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn whoever_comes_to_a_full_server_is_told_when_to_come_back_and_room_is_given_again() {
    for shards in ["1", "3"] {
        let server = Server::start_plain(&[
            "--listen",
            "127.0.0.1:0",
            "--shards",
            shards,
            "--max-connections",
            "2",
        ]);
        let mut held = [server.connect("/raw"), server.connect("/raw")];
        for _ in 0..5 {
            let (status, answer) = server.http(UPGRADE);
            assert_eq!(status, 503, "{answer}");
            assert!(answer.contains("Retry-After: "), "{answer}");
        }
        // Those inside are served as before.
        for socket in &mut held {
            send(socket, "ping");
            assert_eq!(read_text(socket), "pong");
        }
        held[0].close(None).expect("the server reads");
        assert_eq!(close_code(&mut held[0]), None);
        // The place is free once the close is carried out; a refusal just before that is no failure.
        let mut stream = loop {
            let mut stream = server.tcp();
            stream.write_all(UPGRADE).expect("the server reads");
            let mut start = [0; 12];
            std::io::Read::read_exact(&mut stream, &mut start).expect("an answer");
            if &start == b"HTTP/1.1 101" {
                break stream;
            }
            assert_eq!(&start, b"HTTP/1.1 503");
        };
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("it is open");
        // Without a close handshake the connection just ends.
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        held[1]
            .send(Message::text("ping"))
            .expect("the server reads");
        assert_eq!(read_text(&mut held[1]), "pong");
    }
}

#[test]
fn a_request_that_waits_when_the_server_stops_is_answered() {
    // One shard has one queue of newcomers, and takes them in their order; with several, one may be answered while another has not
    // been accepted yet, and the signal would find that one outside.
    let mut server = Server::start_plain(&[
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
        "--max-connections",
        "1000",
    ]);
    let mut stream = server.tcp();
    stream.write_all(&UPGRADE[..20]).expect("the server reads");
    // So another connection's answer shows that the first was accepted and read before the signal.
    assert_eq!(
        server.http(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").0,
        200
    );
    server.signal("TERM");
    let (status, _) = response(&mut stream);
    assert_eq!(status, 503);
    drop(stream);
    assert!(server.exit_status().success());
}
