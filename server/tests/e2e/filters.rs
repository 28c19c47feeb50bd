//! Filters and resuming, from outside.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{DEADLINE, Server, Socket, publish, read_json, read_type, send};

/// The next data frame of a topic, whatever its kind.
fn next_data(socket: &mut Socket) -> (String, String, u64) {
    let frame = read_json(socket);
    let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
    let seq = frame["seq"].as_u64().expect("a data frame");
    (text("type"), text("topic"), seq)
}

fn memory(server: &Server) -> Value {
    let (status, answer) = server.http(b"GET /v1/memory HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, 200);
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn a_filter_hears_of_topics_born_on_every_shard() {
    let flags = [
        "--listen=127.0.0.1:0",
        "--shards=3",
        "--max-connections=1000",
    ];
    let server = Server::start_plain(&flags);
    let mut publisher = server.connect("/ws");
    for n in 0..20 {
        publish(&mut publisher, &format!("px.{n}"), "1");
    }
    let mut subscriber = server.connect("/ws");
    send(
        &mut subscriber,
        r#"{"action":"subscribe","id":1,"topics":["px.*",">"]}"#,
    );
    let ack = read_type(&mut subscriber, "subscribed");
    assert_eq!(ack["topics"][0]["matched"], 20);
    assert_eq!(ack["topics"][1]["matched"], 20);
    let mut seen: Vec<String> = (0..20)
        .map(|_| {
            let (kind, topic, seq) = next_data(&mut subscriber);
            assert_eq!((kind.as_str(), seq), ("snapshot", 1));
            topic
        })
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 20, "each once");
    for n in 15..40 {
        let topic = format!("px.{n}");
        let seq = publish(&mut publisher, &topic, "2");
        assert_eq!(next_data(&mut subscriber), ("update".into(), topic, seq));
    }
}

#[test]
fn coming_and_going_of_a_thousand_filters_leaves_the_memory_as_it_was() {
    let server = Server::start(&[]);
    let mut publisher = server.connect("/ws");
    for n in 0..100 {
        publish(&mut publisher, &format!("px.{n}"), "1");
    }
    let filters: Vec<String> = (0..1000).map(|n| format!("\"px.>\",\"*.{n}\"")).collect();
    let before = memory(&server);
    for _ in 0..5 {
        let mut subscriber = server.connect("/ws");
        for half in filters.chunks(500) {
            send(
                &mut subscriber,
                &format!(r#"{{"action":"subscribe","topics":[{}]}}"#, half.join(",")),
            );
        }
        read_type(&mut subscriber, "subscribed");
        read_type(&mut subscriber, "subscribed");
        subscriber.close(None).expect("it is open");
        while subscriber.read().is_ok() {}
    }
    // Memory is counted once a second. one of the later ones must say the same as before.
    let deadline = Instant::now() + DEADLINE;
    loop {
        let after = memory(&server);
        let same = |name: &str| after[name] == before[name];
        if same("topics") && same("subscriptions") && same("topic_bytes") {
            return;
        }
        assert!(Instant::now() < deadline, "{before} became {after}");
        thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn who_comes_back_gets_what_it_missed() {
    let server = Server::start(&["--history", "kept.>,count=50"]);
    let mut publisher = server.connect("/ws");
    let mut subscriber = server.subscribe("kept.a");
    for n in 1..=10 {
        assert_eq!(publish(&mut publisher, "kept.a", &n.to_string()), n);
    }
    for seq in 1..=4 {
        assert_eq!(read_json(&mut subscriber)["seq"], seq);
    }
    drop(subscriber);
    let mut again = server.connect("/ws");
    send(&mut again, r#"{"action":"check","topics":["kept.a"]}"#);
    let state = read_type(&mut again, "state");
    let epoch = state["topics"][0]["epoch"].as_str().expect("an epoch");
    send(
        &mut again,
        &format!(
            r#"{{"action":"subscribe","topics":[{{"topic":"kept.a","since":{{"epoch":"{epoch}","seq":4}}}}]}}"#
        ),
    );
    let ack = read_type(&mut again, "subscribed");
    assert_eq!(ack["topics"][0]["recovered"], "full");
    assert_eq!(ack["topics"][0]["count"], 6);
    for seq in 5..=10 {
        let frame = read_json(&mut again);
        assert_eq!(
            (&frame["type"], &frame["seq"]),
            (&"history".into(), &seq.into())
        );
        assert_eq!(frame["data"], seq);
    }
    publish(&mut publisher, "kept.a", "11");
    assert_eq!(read_json(&mut again)["type"], "update");
}
