//! What is large is not slow: a reader that keeps up is never closed for what others send.

use tungstenite::Message;

use crate::harness::{Server, Socket, read_json, send};

#[test]
fn a_burst_larger_than_the_outbox_does_not_close_a_reader_that_reads() {
    let server = Server::start(&["--max-outbox-bytes", "256k"]);
    let mut reader = server.subscribe("a");
    let mut publishers: Vec<Socket> = (0..16).map(|_| server.connect("/ws")).collect();
    let command = format!(
        r#"{{"action":"publish","topic":"a","data":"{}"}}"#,
        "x".repeat(20_000)
    );
    for publisher in &mut publishers {
        for _ in 0..4 {
            publisher
                .write(Message::text(command.as_str()))
                .expect("it is only buffered");
        }
    }
    for publisher in &mut publishers {
        publisher.flush().expect("the server reads");
    }
    for seq in 1..=64_u64 {
        assert_eq!(read_json(&mut reader)["seq"], seq);
    }
}

#[test]
fn the_largest_message_that_may_be_published_is_delivered() {
    let server = Server::start(&["--max-frame-bytes", "1m"]);
    let mut members = [server.connect("/room/a"), server.connect("/room/a")];
    let largest = vec![7; 1 << 20];
    send(&mut members[0], "here");
    send(&mut members[1], "here");
    for member in &mut members {
        assert!(member.read().expect("a message").is_text());
    }
    members[0]
        .send(Message::binary(largest.clone()))
        .expect("the server reads");
    for member in &mut members {
        loop {
            match member.read().expect("a message") {
                Message::Text(_) => {}
                message => break assert_eq!(message, Message::binary(largest.clone())),
            }
        }
    }
}
