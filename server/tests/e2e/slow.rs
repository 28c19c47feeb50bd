//! Who reads too slowly is told what it missed, or is closed if it wanted that; and nobody else notices.

use std::collections::HashMap;

use serde_json::Value;
use tungstenite::Message;

use crate::harness::{Server, Socket, close_code, publish, read_json, read_type, send};

/// A subscriber whose kernel keeps little for it, so that what it does not read soon waits in the server.
fn narrow(server: &Server, topics: &str, options: &str) -> Socket {
    let stream = server.tcp();
    socket2::SockRef::from(&stream)
        .set_recv_buffer_size(4096)
        .expect("an option can be set");
    let (mut socket, _) =
        tungstenite::client(server.url("/ws"), stream).expect("the server is there");
    let command = format!(r#"{{"action":"subscribe","topics":{topics}{options}}}"#);
    send(&mut socket, &command);
    read_type(&mut socket, "subscribed");
    socket
}

/// What one topic's stream has come to.
#[derive(Default)]
struct Stream {
    at: u64,
    delivered: u64,
    skipped: u64,
}

/// Reads until every topic has reached `last`; every seq must be delivered, or named by one skip.
fn read_up_to(socket: &mut Socket, topics: usize, last: u64) -> HashMap<String, Stream> {
    let mut streams: HashMap<String, Stream> = HashMap::new();
    while streams.len() < topics || streams.values().any(|stream| stream.at < last) {
        let event = read_json(socket);
        let number = |key: &str| event[key].as_u64().expect("a number");
        let topic = event["topic"].as_str().unwrap_or_default().to_owned();
        match event["type"].as_str() {
            Some("update") => {
                let stream = streams.entry(topic).or_default();
                assert_eq!(stream.at + 1, number("seq"), "{event}");
                stream.at += 1;
                stream.delivered += 1;
            }
            Some("skip") => {
                let stream = streams.entry(topic).or_default();
                assert_eq!(stream.at + 1, number("from"), "{event}");
                stream.skipped += number("to") - stream.at;
                stream.at = number("to");
            }
            _ => {}
        }
    }
    streams
}

fn memory(server: &Server) -> Value {
    let (status, answer) = server.http(b"GET /v1/memory HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, 200, "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    serde_json::from_str(body).expect("a page of JSON")
}

fn payload(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

#[test]
fn a_slow_reader_misses_nothing_unnamed_while_others_go_on() {
    let server = Server::start(&["--max-outbox-bytes", "256k", "--send-buffer", "16k"]);
    let mut slow = narrow(&server, r#"["a"]"#, "");
    let mut quick = server.subscribe("a");
    let mut publisher = server.connect("/ws");
    for seq in 1..=400_u64 {
        assert_eq!(publish(&mut publisher, "a", &payload(32_000)), seq);
        assert_eq!(read_json(&mut quick)["seq"], seq);
    }
    let streams = read_up_to(&mut slow, 1, 400);
    let stream = &streams["a"];
    assert_eq!(stream.delivered + stream.skipped, 400);
    // The outbox, both kernels' buffers, and the newest.
    assert!((8..100).contains(&stream.delivered), "{}", stream.delivered);
    // It has caught up: from here on everything comes again.
    for seq in 401..=420_u64 {
        assert_eq!(publish(&mut publisher, "a", "1"), seq);
        assert_eq!(read_json(&mut slow)["seq"], seq);
        assert_eq!(read_json(&mut quick)["seq"], seq);
    }
}

#[test]
fn a_stalled_reader_of_a_hundred_latest_values_costs_marks_and_wakes_to_the_newest() {
    let server = Server::start(&["--send-buffer", "16k"]);
    let topics: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let list = serde_json::to_string(&topics).expect("texts");
    let mut slow = narrow(&server, &list, r#","mode":"latest""#);
    let before = memory(&server)["accounted_bytes"].as_u64().expect("bytes");
    let mut publisher = server.connect("/ws");
    let data = payload(2_000);
    // 20 MB.
    for _ in 0..100 {
        for topic in &topics {
            publish(&mut publisher, topic, &data);
        }
    }
    // Memory is counted once a second.
    let page = loop {
        let page = memory(&server);
        if page["marks"] != 0 {
            break page;
        }
    };
    let of = |key: &str| page[key].as_u64().expect("bytes");
    assert!((90..=100).contains(&of("marks")), "{page}");
    // Beside the 100 last values themselves, in two forms: a frame that was begun, and the publisher's connection.
    let grown = of("accounted_bytes") - before - of("history_bytes");
    assert!(grown < 64 * 1024, "{page}");
    assert!(of("mark_bytes") + of("outbox_bytes") < 16 * 1024, "{page}");
    let streams = read_up_to(&mut slow, 100, 100);
    let delivered: u64 = streams.values().map(|stream| stream.delivered).sum();
    // Some 30 were in the kernels' buffers when it stalled.
    assert!((100..300).contains(&delivered), "{delivered}");
    while memory(&server)["marks"] != 0 {}
}

#[test]
fn a_slow_reader_that_asked_for_it_is_closed_with_4103_while_others_go_on() {
    let server = Server::start(&["--max-outbox-bytes", "256k", "--send-buffer", "16k"]);
    let mut slow = narrow(&server, r#"["a"]"#, r#","on_slow":"close""#);
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
    let mut stuck = narrow(&server, r#"["a"]"#, "");
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
