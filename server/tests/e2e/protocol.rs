//! `/ws` and `/raw`: subscribing, publishing, snapshots, errors.

use serde_json::json;

use crate::harness::{Server, publish, read_json, read_text, read_type, send};

#[test]
fn the_first_frame_is_a_hello_with_the_limits() {
    let server = Server::start(&["--max-subscriptions", "7"]);
    let mut socket = server.connect("/ws");
    let text = read_text(&mut socket);
    assert!(
        text.starts_with(r#"{"type":"hello","version":1,"#),
        "{text}"
    );
    let hello: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(hello["limits"]["subscriptions"], 7);
    assert_eq!(hello["limits"]["frame_bytes"], 65_536);
}

#[test]
fn a_thousand_updates_arrive_in_order_and_none_is_missing() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("px.a");
    let mut publisher = server.connect("/ws");
    for number in 1..=1000 {
        send(
            &mut publisher,
            &format!(r#"{{"action":"publish","topic":"px.a","data":{{"n":{number}}}}}"#),
        );
    }
    for number in 1..=1000 {
        let update = read_json(&mut subscriber);
        assert_eq!(update["type"], "update");
        assert_eq!(
            (&update["seq"], &update["data"]["n"]),
            (&json!(number), &json!(number))
        );
    }
}

#[test]
fn a_late_subscriber_gets_the_last_value_and_the_next_one_follows_it() {
    let server = Server::start(&[]);
    let mut publisher = server.connect("/ws");
    for number in 1..=3 {
        assert_eq!(publish(&mut publisher, "px.a", &number.to_string()), number);
    }
    let mut subscriber = server.connect("/ws");
    send(
        &mut subscriber,
        r#"{"action":"subscribe","id":"s","topics":["px.a"]}"#,
    );
    let ack = read_type(&mut subscriber, "subscribed");
    assert_eq!(
        (&ack["id"], &ack["topics"][0]["seq"]),
        (&json!("s"), &json!(3))
    );
    let snapshot = read_json(&mut subscriber);
    assert_eq!(
        (&snapshot["type"], &snapshot["seq"], &snapshot["data"]),
        (&json!("snapshot"), &json!(3), &json!(3))
    );
    publish(&mut publisher, "px.a", "4");
    let update = read_json(&mut subscriber);
    assert_eq!(
        (&update["type"], &update["seq"], &update["data"]),
        (&json!("update"), &json!(4), &json!(4))
    );
}

#[test]
fn no_snapshot_comes_when_none_is_wanted() {
    let server = Server::start(&[]);
    let mut publisher = server.connect("/ws");
    publish(&mut publisher, "a", "1");
    let mut subscriber = server.connect("/ws");
    send(
        &mut subscriber,
        r#"{"action":"subscribe","topics":["a"],"snapshot":false}"#,
    );
    read_type(&mut subscriber, "subscribed");
    publish(&mut publisher, "a", "2");
    assert_eq!(read_json(&mut subscriber)["seq"], 2);
}

#[test]
fn the_payload_is_delivered_byte_for_byte() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("a");
    let mut raw = server.connect("/raw");
    send(&mut raw, r#"{"action":"subscribe","id":1,"topics":["a"]}"#);
    read_type(&mut raw, "subscribed");
    let payload = r#"{ "price" : 187.20, "name":"caf\u00e9 é", "big": 12345678901234567890123 }"#;
    publish(&mut server.connect("/ws"), "a", payload);
    let event = read_text(&mut subscriber);
    assert!(
        event.ends_with(&format!(r#","data":{payload}}}"#)),
        "{event}"
    );
    assert_eq!(read_text(&mut raw), payload);
}

#[test]
fn an_unsubscribed_topic_is_silent() {
    let server = Server::start(&[]);
    let mut subscriber = server.subscribe("a");
    send(&mut subscriber, r#"{"action":"subscribe","topics":["b"]}"#);
    read_type(&mut subscriber, "subscribed");
    send(
        &mut subscriber,
        r#"{"action":"unsubscribe","id":5,"topics":["a"]}"#,
    );
    assert_eq!(read_type(&mut subscriber, "unsubscribed")["count"], 1);
    let mut publisher = server.connect("/ws");
    publish(&mut publisher, "a", "1");
    publish(&mut publisher, "b", "2");
    assert_eq!(read_json(&mut subscriber)["topic"], "b");
}

#[test]
fn a_mistake_is_answered_and_the_connection_lives_on() {
    let server = Server::start(&[]);
    let mut socket = server.connect("/ws");
    read_type(&mut socket, "hello");
    for (command, code, name) in [
        ("{", 1000, "bad_json"),
        ("[]", 1004, "bad_field"),
        (r#"{"action":"dance"}"#, 1001, "unknown_action"),
        (r#"{"action":"subscribe","topics":7}"#, 1004, "bad_field"),
        (
            r#"{"action":"publish","topic":"a..b","data":1}"#,
            1003,
            "bad_topic",
        ),
        (
            r#"{"action":"publish","topic":"$sys.x","data":1}"#,
            2003,
            "forbidden",
        ),
    ] {
        send(&mut socket, command);
        let answer = read_json(&mut socket);
        assert_eq!(
            (&answer["type"], &answer["code"], &answer["name"]),
            (&json!("error"), &json!(code), &json!(name)),
            "{command}"
        );
    }
    send(&mut socket, "ping");
    assert_eq!(read_text(&mut socket), "pong");
    send(&mut socket, r#"{"action":"ping","id":9,"ts":123}"#);
    let pong = read_json(&mut socket);
    assert_eq!(
        (&pong["type"], &pong["id"], &pong["ts"]),
        (&json!("pong"), &json!(9), &json!(123))
    );
}

#[test]
fn one_connection_publishes_what_many_receive() {
    let server = Server::start(&[]);
    let mut subscribers: Vec<_> = (0..50).map(|_| server.subscribe("news")).collect();
    let mut publisher = server.connect("/ws");
    for number in 1..=20 {
        publish(&mut publisher, "news", &format!("\"{number}\""));
    }
    for subscriber in &mut subscribers {
        for number in 1..=20_u64 {
            assert_eq!(read_json(subscriber)["seq"], number);
        }
    }
}

#[test]
fn subscriptions_beyond_the_limit_are_refused_by_name() {
    let server = Server::start(&["--max-subscriptions", "2"]);
    let mut socket = server.connect("/ws");
    send(
        &mut socket,
        r#"{"action":"subscribe","id":1,"topics":["a","b","c"]}"#,
    );
    read_type(&mut socket, "hello");
    let answer = read_json(&mut socket);
    let text = answer.to_string();
    assert!(text.contains("3001"), "{text}");
}
