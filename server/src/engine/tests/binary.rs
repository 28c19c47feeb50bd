//! The binary protocol: who gets it, what comes as records, and that a number is told before it is used.
//!
//! The world tells what binary clients hear in the words of the JSON protocol, and fails for a number it has not been told.

use super::{publish, seqs, world};
use crate::engine::account::Account;
use crate::engine::settings::Settings;
use crate::engine::testing::{Heard, World, upgrade};
use fanfare_wire::binary::{self, Record};
use fanfare_wire::event::{self, Event};

fn subscribe(world: &mut World, client: usize, topics: &str) -> Vec<String> {
    world.say(
        client,
        &format!(r#"{{"action":"subscribe","topics":[{topics}]}}"#),
    );
    world.texts(client)
}

/// The number that an ack gives a topic.
fn alias(world: &mut World, client: usize, topic: &str) -> u32 {
    let texts = subscribe(world, client, &format!(r#""{topic}""#));
    let Ok(Event::Subscribed { topics, .. }) = event::parse(&texts[0]) else {
        panic!("no ack: {texts:?}");
    };
    topics[0].alias.expect("a binary connection is told")
}

/// From here on a client hears records as they are.
fn hear_records(world: &mut World, client: usize) {
    world.clients[client].aliases = None;
}

fn records(heard: &[Heard]) -> Vec<Record<'_>> {
    let bytes = heard.iter().filter_map(|one| match one {
        Heard::Binary(bytes) => Some(&bytes[..]),
        _ => None,
    });
    bytes
        .map(|bytes| binary::parse(bytes).expect("a record"))
        .collect()
}

#[test]
fn the_first_protocol_that_is_offered_and_known_is_spoken() {
    for (offered, chosen) in [
        ("", ""),
        ("Sec-WebSocket-Protocol: chat\r\n", ""),
        (
            "Sec-WebSocket-Protocol: fanfare.v1.json\r\n",
            "fanfare.v1.json",
        ),
        (
            "Sec-WebSocket-Protocol: fanfare.v1.bin\r\n",
            "fanfare.v1.bin",
        ),
        (
            "Sec-WebSocket-Protocol: chat, fanfare.v1.bin, fanfare.v1.json\r\n",
            "fanfare.v1.bin",
        ),
        (
            "Sec-WebSocket-Protocol: fanfare.v1.json, fanfare.v1.bin\r\n",
            "fanfare.v1.json",
        ),
        (
            "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: fanfare.v1.bin,fanfare.v1.json\r\n",
            "fanfare.v1.bin",
        ),
        ("Sec-WebSocket-Protocol: FANFARE.V1.BIN\r\n", ""),
    ] {
        let mut world = world();
        let request = upgrade("/ws").replacen("\r\n\r\n", &format!("\r\n{offered}\r\n"), 1);
        let (client, head) = world.connect_with(0, &request);
        let named = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(named.unwrap_or(""), chosen, "{offered}");
        let publisher = world.connect(1, "/raw");
        subscribe(&mut world, client, r#""a""#);
        publish(&mut world, publisher, "a", 1);
        let is_binary = matches!(world.heard(client)[0], Heard::Binary(_));
        assert_eq!(is_binary, chosen == "fanfare.v1.bin", "{offered}");
    }
}

#[test]
fn other_doors_choose_no_protocol() {
    for path in ["/raw", "/room/a", "/echo"] {
        let mut world = world();
        let offer = "\r\nSec-WebSocket-Protocol: fanfare.v1.bin\r\n\r\n";
        let request = upgrade(path).replacen("\r\n\r\n", offer, 1);
        let (_, head) = world.connect_with(0, &request);
        assert!(!head.contains("Sec-WebSocket-Protocol"), "{path}: {head}");
    }
}

#[test]
fn data_come_as_records_and_answers_as_text() {
    let mut world = world();
    let (client, publisher) = (world.connect_binary(0), world.connect(1, "/raw"));
    publish(&mut world, publisher, "a", 2);
    let number = alias(&mut world, client, "a");
    hear_records(&mut world, client);
    world.say(
        client,
        r#"{"action":"publish","id":1,"topic":"a","data":{"x":1}}"#,
    );
    world.say(client, r#"{"action":"dance"}"#);
    world.say(client, r#"{"action":"list","id":2}"#);
    let heard = world.heard(client);
    let is_text: Vec<bool> = heard
        .iter()
        .map(|one| matches!(one, Heard::Text(_)))
        .collect();
    assert_eq!(is_text, [false, true, true, true], "{heard:?}");
    let [Record::Data(data)] = records(&heard)[..] else {
        panic!("{heard:?}");
    };
    assert_eq!((data.alias, data.seq, data.is_json), (number, 3, true));
    assert_eq!(data.payload, br#"{"x":1}"#);
}

#[test]
fn a_topic_has_one_number_on_the_whole_server_and_no_two_have_the_same() {
    let mut world = world();
    let clients = [0, 1, 2].map(|shard| world.connect_binary(shard));
    let mut seen = std::collections::HashSet::new();
    for n in 0..40 {
        let numbers = clients.map(|client| alias(&mut world, client, &format!("t{n}")));
        assert!(
            numbers[0] != 0 && numbers.iter().all(|one| *one == numbers[0]),
            "{numbers:?}"
        );
        assert!(seen.insert(numbers[0]), "{numbers:?}");
    }
    let json = world.connect_ws(0);
    let texts = subscribe(&mut world, json, r#""t1""#);
    assert!(!texts[0].contains("alias"), "{texts:?}");
}

#[test]
fn under_a_filter_a_number_is_told_behind_the_ack_or_with_the_first_update() {
    for shard in 0..3 {
        for snapshot in ["", r#","snapshot":false"#] {
            let mut world = world();
            let publisher = world.connect(1, "/raw");
            // One that is there, and one that this shard has already although nobody has published to it.
            publish(&mut world, publisher, "px.old", 2);
            let other = world.connect_ws(shard);
            subscribe(&mut world, other, r#""px.known""#);
            let client = world.connect_binary(shard);
            world.say(
                client,
                &format!(r#"{{"action":"subscribe","topics":["px.*","px.>"]{snapshot}}}"#),
            );
            let texts = world.texts(client);
            let snapshots = if snapshot.is_empty() { vec![2] } else { vec![] };
            assert_eq!(seqs(&texts, "snapshot"), snapshots, "{texts:?}");
            for topic in ["px.known", "px.born", "px.old"] {
                publish(&mut world, publisher, topic, 2);
            }
            assert_eq!(seqs(&world.texts(client), "update"), [1, 2, 1, 2, 3, 4]);
            // Another who comes later has missed the first updates.
            let late = world.connect_binary(shard);
            subscribe(&mut world, late, r#"{"topic":"px.*","snapshot":false}"#);
            for topic in ["px.known", "px.born", "px.old"] {
                publish(&mut world, publisher, topic, 1);
            }
            assert_eq!(seqs(&world.texts(late), "update"), [3, 3, 5]);
        }
    }
}

#[test]
fn an_alias_of_a_topic_that_is_left_out_from_its_first_update_on_comes_before_the_skip() {
    let settings = Settings {
        heartbeat_ms: 0,
        ..Settings::default()
    };
    for options in [
        r#""mode":"latest""#,
        r#""max_stale_ms":10"#,
        r#""min_interval_ms":20"#,
    ] {
        let mut world = World::new(1, settings.clone());
        let (client, publisher) = (world.connect_binary(0), world.connect(0, "/raw"));
        world.say(
            client,
            &format!(r#"{{"action":"subscribe","topics":["px.*"],{options}}}"#),
        );
        let mut account = Account::default();
        account.hear(&world.texts(client));
        world.clients[client].window = Some(0);
        for _ in 0..3 {
            publish(&mut world, publisher, "px.a", 1);
            world.pass_ms(30);
        }
        world.open_window(client, None);
        let texts = world.texts(client);
        account.hear(&texts);
        let standing = account.of("px.a");
        assert_eq!(
            (standing.at, standing.skips.len()),
            (3, 1),
            "{options}: {texts:?}"
        );
    }
}

#[test]
fn a_number_that_is_given_to_another_topic_is_told_anew() {
    let mut world = World::new(1, Settings::default());
    let (client, publisher) = (world.connect_binary(0), world.connect(0, "/raw"));
    // Nobody has published to it, so that it is forgotten with its last subscriber.
    let number = alias(&mut world, client, "px.a");
    world.say(client, r#"{"action":"unsubscribe","topics":["px.a"]}"#);
    subscribe(&mut world, client, r#""px.*""#);
    publish(&mut world, publisher, "px.b", 1);
    publish(&mut world, publisher, "px.a", 1);
    let texts = world.texts(client);
    let named = |topic: &str| {
        texts
            .iter()
            .any(|text| text.contains(&format!(r#""topic":"{topic}","seq":1"#)))
    };
    assert!(named("px.a") && named("px.b"), "{texts:?}");
    let other = world.connect_binary(0);
    assert_eq!(alias(&mut world, other, "px.b"), number);
}

#[test]
fn a_gap_and_a_recovery_are_records() {
    let history = crate::engine::settings::HistoryRules {
        rules: Vec::new(),
        otherwise: crate::engine::settings::HistoryLimits {
            count: 10,
            ..Default::default()
        },
    };
    let mut world = World::new(
        3,
        Settings {
            history,
            ..Settings::default()
        },
    );
    let (client, publisher) = (world.connect_binary(0), world.connect(1, "/raw"));
    publish(&mut world, publisher, "a", 5);
    publish(&mut world, publisher, "b", 5);
    let since = |topic, epoch, seq| {
        format!(r#"{{"topic":"{topic}","since":{{"epoch":"{epoch}","seq":{seq}}}}}"#)
    };
    let texts = subscribe(
        &mut world,
        client,
        &[since("a", "e1", 2), since("b", "e0", 2)].join(","),
    );
    assert_eq!(seqs(&texts, "history"), [3, 4, 5]);
    assert_eq!(seqs(&texts, "snapshot"), [5]);
    let gap = r#"{"type":"gap","topic":"b","from":3,"why":"epoch","epoch":"e1"}"#;
    assert!(texts.iter().any(|text| text == gap), "{texts:?}");
}

#[test]
fn what_waits_for_many_binary_readers_is_one_frame() {
    let mut world = World::new(1, Settings::default());
    let clients: Vec<usize> = (0..5).map(|_| world.connect_binary(0)).collect();
    let publisher = world.connect(0, "/raw");
    for client in &clients {
        subscribe(&mut world, *client, r#""a",">""#);
        world.clients[*client].window = Some(0);
    }
    publish(&mut world, publisher, "a", 2);
    assert_eq!(world.held()[1], 2, "a frame for each of two updates");
}

#[test]
fn a_room_is_heard_with_its_payloads_as_they_are() {
    let mut world = world();
    let (client, room) = (world.connect_binary(0), world.connect(1, "/room/r"));
    subscribe(&mut world, client, r#""r""#);
    hear_records(&mut world, client);
    world.say(room, "[1]");
    world.say(room, "hi");
    world.send(
        room,
        &crate::engine::testing::masked(fanfare_wire::frame::Opcode::Binary, b"[\xff"),
    );
    world.settle();
    let heard = world.heard(client);
    let data: Vec<(bool, &[u8])> = (records(&heard).iter())
        .filter_map(|record| match record {
            Record::Data(data) => Some((data.is_json, data.payload)),
            _ => None,
        })
        .collect();
    assert_eq!(
        data,
        [(true, &b"[1]"[..]), (false, b"hi"), (false, b"[\xff")]
    );
}
