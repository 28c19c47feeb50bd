//! A publisher that waits for nothing: whatever the shards make of it, nothing is lost, and little is on its way at any moment.

use std::io::Write as _;
use std::thread;

use fanfare_wire::frame::{self, Opcode};

use crate::harness::{Server, Socket, read_json, send};

/// Each update is looked at for so many members on one shard, which costs that shard far more than reading it costs the publisher's.
const MEMBERS: usize = 400;
const PUBLISHES: usize = 60_000;
const PAYLOAD_BYTES: usize = 4_000;

/// A `/ws` connection past its hello, and the number of its shard.
fn connect(server: &Server) -> (Socket, String) {
    let mut socket = server.connect("/ws");
    let hello = read_json(&mut socket);
    let conn = hello["conn"].as_str().expect("a name");
    let shard = conn.split('-').next().expect("a number").to_owned();
    (socket, shard)
}

#[test]
fn a_publisher_that_waits_for_nothing_loses_nothing_and_piles_nothing_up() {
    let server = Server::start(&["--max-outbox-bytes", "64k"]);
    let (mut publisher, shard) = connect(&server);
    let members: Vec<Socket> = std::iter::repeat_with(|| connect(&server))
        .filter(|(_, other)| *other != shard)
        .take(MEMBERS)
        .map(|(mut socket, _)| {
            let command = r#"{"action":"subscribe","topics":["a"],"min_interval_ms":60000}"#;
            send(&mut socket, command);
            assert_eq!(read_json(&mut socket)["type"], "subscribed");
            socket
        })
        .collect();
    let mut writer = publisher.get_ref().try_clone().expect("a second handle");
    let before = server.resident_bytes();
    let writing = thread::spawn(move || {
        let data = "x".repeat(PAYLOAD_BYTES);
        let mut bytes = Vec::new();
        for id in 1..=PUBLISHES {
            let command =
                format!(r#"{{"action":"publish","id":{id},"topic":"a","data":"{data}"}}"#);
            bytes.clear();
            frame::put_masked_frame(&mut bytes, Opcode::Text, [7, 7, 7, 7], command.as_bytes());
            writer
                .write_all(&bytes)
                .expect("the server reads on in the end");
        }
    });
    let mut most = before;
    for n in 1..=PUBLISHES {
        let answer = read_json(&mut publisher);
        assert_eq!(answer["type"], "published", "{answer}");
        assert_eq!((&answer["id"], &answer["seq"]), (&n.into(), &n.into()));
        if n % 500 == 0 {
            most = most.max(server.resident_bytes());
        }
    }
    writing.join().expect("all is written");
    drop(members);
    // All of it together is 240 MB. Lanes that are full of values hold 16 MiB each.
    let grown = most - before;
    assert!(grown < 90 << 20, "{grown} bytes more than before");
}
