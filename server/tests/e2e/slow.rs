//! Who reads too slowly is closed, and nobody else notices.

use tungstenite::Message;

use crate::harness::{Server, Socket, close_code, publish, read_json, read_type, send};

/// A subscriber whose kernel keeps little for it, so that what it does not read soon waits in the server.
fn narrow(server: &Server) -> Socket {
    let stream = server.tcp();
    socket2::SockRef::from(&stream)
        .set_recv_buffer_size(4096)
        .expect("an option can be set");
    let (mut socket, _) =
        tungstenite::client(server.url("/ws"), stream).expect("the server is there");
    send(&mut socket, r#"{"action":"subscribe","topics":["a"]}"#);
    read_type(&mut socket, "subscribed");
    socket
}

fn payload(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

#[test]
fn a_slow_reader_is_closed_with_4103_while_others_go_on() {
    let server = Server::start(&["--max-outbox-bytes", "256k", "--send-buffer", "16k"]);
    let mut slow = narrow(&server);
    let mut quick = server.subscribe("a");
    let mut publisher = server.connect("/ws");
    // 13 MB: more than both kernel buffers and the outbox hold together.
    for seq in 1..=400_u64 {
        assert_eq!(publish(&mut publisher, "a", &payload(32_000)), seq);
        assert_eq!(read_json(&mut quick)["seq"], seq);
    }
    assert_eq!(close_code(&mut slow), Some(4103));
    publish(&mut publisher, "a", "1");
    assert_eq!(read_json(&mut quick)["seq"], 401);
}

#[test]
fn a_reader_that_stops_altogether_is_closed_after_the_slow_timeout() {
    // The heartbeat is the clock of this test: when it has been heard twice, the timeout has passed long ago.
    let server = Server::start(&[
        "--slow-timeout",
        "300ms",
        "--max-outbox-bytes",
        "64m",
        "--send-buffer",
        "16k",
        "--heartbeat",
        "1s",
    ]);
    let mut stuck = narrow(&server);
    let mut publisher = server.connect("/ws");
    for _ in 0..100 {
        publish(&mut publisher, "a", &payload(60_000));
    }
    read_type(&mut publisher, "heartbeat");
    read_type(&mut publisher, "heartbeat");
    // All that is left is what the kernels hold, and perhaps the close; the outbox is gone.
    let mut received = 0;
    let code = loop {
        match stuck.read() {
            Ok(Message::Close(close)) => break close.map(|close| u16::from(close.code)),
            Ok(Message::Text(_)) => received += 1,
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    assert!(received < 100, "nothing was held back");
    assert!(matches!(code, None | Some(4103)), "{code:?}");
}
