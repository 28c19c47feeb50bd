//! What is too old, beside what says where the stream is.

use fanfare_wire::sse;

use super::{publish, world};
use crate::engine::account::Account;

#[test]
fn an_ack_between_stale_updates_says_no_more_than_was_sent_before_it() {
    let mut world = world();
    let publisher = world.connect_ws(1);
    let client = world.connect_ws(0);
    let subscribe = r#"{"action":"subscribe","id":1,"topics":["t"],"max_stale_ms":100}"#;
    world.say(client, subscribe);
    world.clients[client].window = Some(0);
    publish(&mut world, publisher, "t", 3);
    world.say(client, subscribe);
    publish(&mut world, publisher, "t", 3);
    world.pass_ms(200);
    world.open_window(client, None);
    let texts = world.texts(client);
    let mut account = Account::default();
    account.hear(&texts);
    assert!(account.is_settled());
    assert_eq!(account.at("t"), Some(6), "{texts:?}");
    let skips: Vec<(u64, u64)> = (account.of("t").skips.iter())
        .map(|(from, to, _)| (*from, *to))
        .collect();
    // What had been offered to the socket is sent.
    assert_eq!(skips.last(), Some(&(4, 5)), "{texts:?}");
}

#[test]
fn a_position_between_stale_updates_says_no_more_than_was_sent_before_it() {
    let mut world = world();
    let publisher = world.connect_ws(1);
    let stream = world.open(0);
    let request = "GET /v1/sse?topics=a,b&max_stale_ms=100 HTTP/1.1\r\nHost: x\r\n\r\n";
    world.send(stream, request.as_bytes());
    world.settle();
    world.clients[stream].window = Some(0);
    for topic in ["a", "b", "a", "a", "b", "a", "b"] {
        publish(&mut world, publisher, topic, 1);
    }
    world.pass_ms(200);
    world.open_window(stream, None);
    let text = String::from_utf8(world.clients[stream].taken.clone()).expect("all is text");
    let (mut told, mut events) = (std::collections::BTreeMap::new(), 0);
    for event in text.split("\n\n") {
        // Of the last: the value, or what a skip names.
        for topic in ["a", "b"] {
            if event.contains(&format!(r#""topic":"{topic}""#)) {
                let key = if event.contains(r#""type":"skip""#) {
                    r#""to":"#
                } else {
                    r#""seq":"#
                };
                let Some((_, rest)) = event.rsplit_once(key) else {
                    continue;
                };
                let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
                told.insert(
                    topic,
                    digits.and_then(|text| text.parse().ok()).unwrap_or(0),
                );
            }
        }
        let id = event.lines().rfind(|line| line.starts_with("id: "));
        for position in id
            .into_iter()
            .flat_map(|id| sse::positions(&id["id: ".len()..]))
        {
            let seq: u64 = told.get(position.topic).copied().unwrap_or(0);
            assert!(position.seq <= seq, "{position:?} of {told:?}: {text}");
            events += 1;
        }
    }
    assert!(events > 2, "{text}");
    assert_eq!(told, [("a", 4), ("b", 3)].into(), "{text}");
}
