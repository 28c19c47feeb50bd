//! Publishers that outrun the owner of their topic: they are held back, and nothing is lost for it.

use std::io::Write as _;
use std::thread;

use fanfare_wire::frame::{self, Opcode};

use crate::harness::{Server, read_json, send};

/// Each update is looked at for so many members, so publishing costs the owner's shards more than reading it costs the publisher's.
const STALLED: usize = 400;
const PUBLISHES: usize = 60_000;
const PAYLOAD_BYTES: usize = 2_000;

#[test]
fn a_publisher_that_outruns_the_owner_is_held_back_and_loses_nothing() {
    let server = Server::start(&["--max-outbox-bytes", "64k"]);
    let stalled: Vec<_> = (0..STALLED)
        .map(|_| {
            let mut socket = server.connect("/ws");
            let command = r#"{"action":"subscribe","topics":["a"],"mode":"latest"}"#;
            send(&mut socket, command);
            socket
        })
        .collect();
    let mut publisher = server.connect("/ws");
    assert_eq!(read_json(&mut publisher)["type"], "hello");
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
    drop(stalled);
    // All of it together is 120 MB; what is on its way at one moment is a part of that.
    let grown = most - before;
    assert!(grown < 60 << 20, "{grown} bytes more than before");
}
