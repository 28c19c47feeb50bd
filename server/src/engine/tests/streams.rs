//! Subscribing, publishing, and what comes of it.

use fanfare_wire::frame::Opcode;

use super::{publish, seqs, world};
use crate::engine::settings::{Route, Settings};
use crate::engine::testing::{Heard, NOTHING, World, masked, upgrade};

#[test]
fn the_ack_comes_first_then_the_snapshot_of_its_seq_then_seq_plus_one() {
    for shard in 0..3 {
        let mut world = world();
        let publisher = world.connect_ws(0);
        publish(&mut world, publisher, "AAPL", 3);
        let subscriber = world.connect_ws(shard);
        world.say(
            subscriber,
            r#"{"action":"subscribe","id":"s","topics":["AAPL"]}"#,
        );
        publish(&mut world, publisher, "AAPL", 2);
        let texts = world.texts(subscriber);
        assert_eq!(
            texts[0],
            r#"{"type":"subscribed","id":"s","topics":[{"topic":"AAPL","epoch":"e1","seq":3}]}"#
        );
        assert!(
            texts[1].starts_with(r#"{"type":"snapshot","topic":"AAPL","seq":3,"#),
            "{}",
            texts[1]
        );
        assert_eq!(seqs(&texts, "update"), [4, 5]);
    }
}

#[test]
fn every_shard_has_one_owner_for_a_topic_and_all_see_its_order() {
    let mut world = world();
    let clients: Vec<usize> = (0..6).map(|n| world.connect_ws(n % 3)).collect();
    for &client in &clients {
        world.say(client, r#"{"action":"subscribe","topics":["a","b","c"]}"#);
        world.heard(client);
    }
    for &client in &clients {
        for topic in ["a", "b", "c"] {
            publish(&mut world, client, topic, 5);
        }
    }
    for &client in &clients {
        let texts = world.texts(client);
        assert_eq!(seqs(&texts, "update").len(), 90);
        for topic in ["a", "b", "c"] {
            let mine: Vec<String> = texts
                .iter()
                .filter(|text| text.contains(&format!(r#""topic":"{topic}""#)))
                .cloned()
                .collect();
            assert!(seqs(&mine, "update").into_iter().eq(1..=30), "{topic}");
        }
    }
}

#[test]
fn an_update_between_join_and_ack_is_neither_lost_nor_repeated() {
    let mut world = world();
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "T", 1);
    let subscriber = world.connect_ws(1);
    world.mail_stopped = true;
    world.say(
        subscriber,
        r#"{"action":"subscribe","id":1,"topics":["T","U","V"]}"#,
    );
    assert!(
        world.texts(subscriber).is_empty(),
        "some owner is on another shard"
    );
    publish(&mut world, publisher, "T", 2);
    world.mail_stopped = false;
    world.settle();
    publish(&mut world, publisher, "T", 2);
    let texts = world.texts(subscriber);
    assert!(texts[0].starts_with(r#"{"type":"subscribed""#));
    let snapshot = seqs(&texts, "snapshot");
    let updates = seqs(&texts, "update");
    assert_eq!(snapshot.len(), 1);
    assert!(
        updates.iter().copied().eq(snapshot[0] + 1..=5),
        "{snapshot:?} then {updates:?}"
    );
}

#[test]
fn unsubscribing_from_what_is_still_pending_ends_it() {
    let mut world = world();
    let subscriber = world.connect_ws(0);
    world.mail_stopped = true;
    world.say(
        subscriber,
        r#"{"action":"subscribe","id":1,"topics":["a","b","c","d"]}"#,
    );
    world.say(
        subscriber,
        r#"{"action":"unsubscribe","id":2,"topics":["b","d"]}"#,
    );
    world.mail_stopped = false;
    world.settle();
    let publisher = world.connect_ws(1);
    for topic in ["a", "b", "c", "d"] {
        publish(&mut world, publisher, topic, 1);
    }
    let texts = world.texts(subscriber);
    assert_eq!(texts[0], r#"{"type":"unsubscribed","id":2,"count":2}"#);
    assert_eq!(seqs(&texts, "update").len(), 2, "{texts:?}");
    assert!(
        texts
            .iter()
            .all(|text| !text.contains(r#""update","topic":"b""#))
    );
}

#[test]
fn who_leaves_while_a_subscribe_is_pending_leaves_nothing_behind() {
    let mut world = world();
    let subscriber = world.connect_ws(0);
    world.mail_stopped = true;
    world.say(
        subscriber,
        r#"{"action":"subscribe","topics":["a","b","c","d"]}"#,
    );
    world.say(
        subscriber,
        r#"{"action":"check","topics":["a","b","c","d"]}"#,
    );
    world.end(subscriber);
    world.mail_stopped = false;
    world.settle();
    assert!(world.clients[subscriber].closed);
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn a_second_subscription_to_a_topic_changes_options_and_delivers_once() {
    let mut world = world();
    let client = world.connect_ws(0);
    world.say(client, r#"{"action":"subscribe","topics":["A","A"]}"#);
    world.say(
        client,
        r#"{"action":"subscribe","topics":["A"],"on_slow":"close"}"#,
    );
    world.heard(client);
    world.say(client, r#"{"action":"list","id":1}"#);
    assert_eq!(
        world.texts(client),
        [
            r#"{"type":"subscriptions","id":1,"topics":[{"topic":"A","mode":"all","on_slow":"close"}]}"#
        ]
    );
    publish(&mut world, client, "A", 1);
    assert_eq!(seqs(&world.texts(client), "update"), [1]);
    world.say(client, r#"{"action":"unsubscribe","id":2,"topics":["A"]}"#);
    assert_eq!(
        world.texts(client),
        [r#"{"type":"unsubscribed","id":2,"count":1}"#]
    );
}

#[test]
fn set_is_all_or_nothing() {
    let mut world = world();
    let client = world.connect_ws(0);
    world.say(client, r#"{"action":"subscribe","topics":["A"]}"#);
    world.heard(client);
    world.say(
        client,
        r#"{"action":"set","id":1,"topics":["A","B"],"mode":"latest"}"#,
    );
    world.say(
        client,
        r#"{"action":"set","id":2,"topics":["A"],"on_slow":"close"}"#,
    );
    world.say(client, r#"{"action":"list"}"#);
    let texts = world.texts(client);
    assert!(
        texts[0].contains(r#""code":1003"#) && texts[0].contains("not subscribed"),
        "{}",
        texts[0]
    );
    assert_eq!(texts[1], r#"{"type":"ok","id":2}"#);
    assert!(
        texts[2].contains(r#""mode":"all","on_slow":"close""#),
        "{}",
        texts[2]
    );
}

#[test]
fn raw_connections_get_payloads_alone_and_acks_only_for_ids() {
    let mut world = world();
    let raw = world.connect(0, "/raw");
    world.say(raw, r#"{"action":"subscribe","symbols":["AAPL"]}"#);
    world.say(
        raw,
        r#"{"action":"publish","topic":"AAPL","data":{"p": 1.50}}"#,
    );
    world.say(
        raw,
        r#"{"action":"publish","id":9,"topic":"AAPL","data":2}"#,
    );
    world.say(raw, r#"{"action":"subscribe","symbols":[".."]}"#);
    let texts = world.texts(raw);
    assert_eq!(texts[0], r#"{"p": 1.50}"#);
    assert!(
        texts.contains(&"2".into())
            && texts
                .iter()
                .any(|text| text.starts_with(r#"{"type":"published","id":9"#))
    );
    assert!(
        texts[3].starts_with(r#"{"type":"error","code":1003"#),
        "{}",
        texts[3]
    );
    assert_eq!(texts.len(), 4);
}

#[test]
fn a_room_hands_on_what_is_said_in_it_the_sender_included() {
    let mut world = world();
    let (a, b) = (
        world.connect(0, "/room/chat.1"),
        world.connect(2, "/room/chat.1"),
    );
    world.say(a, "hello");
    world.send(b, &masked(Opcode::Binary, &[0, 255]));
    world.settle();
    let said = [Heard::Text("hello".into()), Heard::Binary(vec![0, 255])];
    assert_eq!(world.heard(a), said);
    assert_eq!(world.heard(b), said);
}

#[test]
fn configured_routes_lead_to_built_in_endpoints_and_other_paths_are_404() {
    let routes =
        ["/stocks=/raw", "/document/*=/room/document.*"].map(|text| Route::parse(text).unwrap());
    let mut world = World::new(
        1,
        Settings {
            routes: routes.into(),
            ..Settings::default()
        },
    );
    let (stocks, editor) = (
        world.connect(0, "/stocks"),
        world.connect(0, "/document/a/b"),
    );
    world.say(
        stocks,
        r#"{"action":"subscribe","topics":["document.a.b"]}"#,
    );
    world.say(editor, "text");
    assert_eq!(world.texts(stocks), ["text"]);
    for path in [
        "/",
        "/nowhere",
        "/document/",
        "/echo",
        "/room/",
        "/room/a..b",
        "/room/$sys.stats",
    ] {
        let client = world.open(0);
        world.send(client, upgrade(path).as_bytes());
        world.settle();
        assert!(
            world.take_head(client).starts_with("HTTP/1.1 404"),
            "{path}"
        );
        assert!(world.clients[client].half_closed, "{path}");
    }
}

#[test]
fn a_jam_pauses_those_who_ask_more_and_loses_nothing() {
    let mut world = world();
    let (publisher, reader) = (world.connect_ws(0), world.connect_ws(1));
    world.say(reader, r#"{"action":"subscribe","topics":["a","b","c"]}"#);
    world.heard(reader);
    world.mail_stopped = true;
    for engine in &mut world.engines {
        engine.set_jam(true, false);
    }
    for topic in ["a", "b", "c"] {
        publish(&mut world, publisher, topic, 3);
    }
    let id = world.clients[publisher].id;
    assert!(!world.engines[0].may_read(id));
    assert!(world.engines[1].may_read(world.clients[reader].id));
    assert!(world.texts(reader).is_empty());
    world.mail_stopped = false;
    for engine in &mut world.engines {
        engine.set_jam(false, false);
    }
    world.settle();
    assert!(world.engines[0].may_read(id));
    assert_eq!(seqs(&world.texts(reader), "update").len(), 9);
}

#[test]
fn the_memory_page_counts_what_all_shards_hold() {
    use crate::ledger::Process;

    let mut world = world();
    for shard in 0..3 {
        let client = world.connect_ws(shard);
        world.say(client, r#"{"action":"subscribe","topics":["a","b"]}"#);
    }
    let asking = world.open(1);
    world.send(asking, b"GET /v1/memory HTTP/1.1\r\nHost: x\r\n\r\n");
    world.settle();
    assert!(
        world.clients[asking].taken.is_empty(),
        "the process's part is missing"
    );
    assert!(world.engines[1].wants_process_memory());
    world.engines[1].on_process_memory(Process {
        rss_bytes: Some(4096),
        ..Process::default()
    });
    world.settle();
    let head = world.take_head(asking);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let page: serde_json::Value = serde_json::from_slice(&world.clients[asking].taken).unwrap();
    assert_eq!(page["connections"], 4);
    assert_eq!(page["subscriptions"], 6);
    assert_eq!(page["rss_bytes"], 4096);
    assert!(page["accounted_bytes"].as_u64().unwrap() > 4 * 64 + 6 * 20);
    assert!(!world.engines[1].wants_process_memory());
}

#[test]
fn a_topic_that_was_refused_can_be_asked_for_again_while_others_wait() {
    let mut world = World::new(
        2,
        Settings {
            topics_max: 2,
            ..Settings::default()
        },
    );
    let owned_by = |shard: u16| {
        let charter = world.engines[0].hub.charter().clone();
        (0..)
            .map(|n| format!("t{n}"))
            .filter(move |name| charter.owner_of(name).0 == shard)
    };
    let (mine, theirs): (Vec<String>, Vec<String>) =
        (owned_by(0).take(3).collect(), owned_by(1).take(1).collect());
    let client = world.connect_ws(0);
    publish(&mut world, client, &mine[0], 1);
    publish(&mut world, client, &mine[1], 1);
    world.heard(client);
    world.mail_stopped = true;
    let (full, slow) = (&mine[2], &theirs[0]);
    world.say(
        client,
        &format!(r#"{{"action":"subscribe","id":1,"topics":["{full}","{slow}"]}}"#),
    );
    assert!(
        world.texts(client).is_empty(),
        "the other shard has not answered"
    );
    world.say(
        client,
        &format!(r#"{{"action":"subscribe","id":2,"topics":["{full}"]}}"#),
    );
    let texts = world.texts(client);
    assert!(
        texts.len() == 1 && texts[0].contains(r#""id":2,"topics":[],"errors":[{"#),
        "{texts:?}"
    );
    world.mail_stopped = false;
    world.settle();
    let texts = world.texts(client);
    assert!(
        texts.len() == 1 && texts[0].contains(&format!(r#"[{{"topic":"{slow}""#)),
        "{texts:?}"
    );
    world.end(client);
    world.settle();
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn a_burst_of_one_tick_is_written_before_it_counts_as_slowness() {
    let mut world = World::new(
        2,
        Settings {
            outbox_bytes_max: 4096,
            ..Settings::default()
        },
    );
    let (reader, publisher) = (world.connect_ws(0), world.connect(1, "/raw"));
    world.say(reader, r#"{"action":"subscribe","topics":["A"]}"#);
    world.heard(reader);
    let command = masked(
        Opcode::Text,
        br#"{"action":"publish","topic":"A","data":"0123456789"}"#,
    );
    world.send(publisher, &command.repeat(1000));
    world.settle();
    let texts = world.texts(reader);
    assert!(seqs(&texts, "update").into_iter().eq(1..=1000));
}

#[test]
fn answers_that_nobody_could_take_at_once_end_their_connection_and_not_the_server() {
    let mut world = World::new(
        1,
        Settings {
            outbox_bytes_max: 4096,
            ..Settings::default()
        },
    );
    let (greedy, other) = (world.connect_ws(0), world.connect_ws(0));
    let topics: Vec<String> = (0..100).map(|n| format!("\"topic-{n}\"")).collect();
    world.say(
        greedy,
        &format!(
            r#"{{"action":"subscribe","id":1,"topics":[{}]}}"#,
            topics.join(",")
        ),
    );
    world.heard(greedy);
    // A kilobyte of questions, megabytes of answers.
    world.send(
        greedy,
        &masked(Opcode::Text, br#"{"action":"list"}"#).repeat(60),
    );
    assert!(
        world.held()[1] < 20,
        "answers beyond the limit are not even kept: {:?}",
        world.held()
    );
    world.settle();
    assert_eq!(world.heard(greedy).last(), Some(&Heard::Close(Some(4103))));
    world.say(other, "ping");
    assert_eq!(world.texts(other), ["pong"]);
}

#[test]
fn with_a_flush_interval_updates_share_a_write_and_answers_do_not_wait() {
    let mut world = World::new(
        1,
        Settings {
            flush_interval_us: 40_000,
            ..Settings::default()
        },
    );
    let (reader, writer) = (world.connect_ws(0), world.connect_ws(0));
    world.say(
        reader,
        r#"{"action":"subscribe","topics":["a"],"snapshot":false}"#,
    );
    assert!(world.texts(reader)[0].starts_with(r#"{"type":"subscribed""#));
    let publish = r#"{"action":"publish","topic":"a","data":1}"#;
    // After a rest the first goes at once; the next two wait for the end of the interval.
    world.say(writer, publish);
    assert_eq!(seqs(&world.texts(reader), "update"), [1]);
    for _ in 0..2 {
        world.pass_ms(10);
        world.say(writer, publish);
        assert!(world.texts(writer).pop().unwrap().contains("published"));
        assert!(world.texts(reader).is_empty());
    }
    world.pass_ms(19);
    assert!(world.texts(reader).is_empty());
    world.pass_ms(1);
    assert_eq!(seqs(&world.texts(reader), "update"), [2, 3]);
    // What the reader asks for takes along what lies before it.
    world.say(writer, publish);
    world.say(reader, "ping");
    let texts = world.texts(reader);
    assert_eq!(seqs(&texts[..1], "update"), [4]);
    assert_eq!(texts[1], "pong");
}

#[test]
fn a_run_of_updates_leaves_no_hole_for_those_who_take_them_one_by_one() {
    let mut world = World::new(1, Settings::default());
    let (plain, latest, writer) = (
        world.connect_ws(0),
        world.connect_ws(0),
        world.connect_ws(0),
    );
    world.say(plain, r#"{"action":"subscribe","topics":["a"]}"#);
    world.say(
        latest,
        r#"{"action":"subscribe","topics":["a"],"mode":"latest"}"#,
    );
    world.texts(plain);
    world.texts(latest);
    // Eight publishes in one read: one run.
    let mut bytes = Vec::new();
    for number in 0..8 {
        let text = format!(r#"{{"action":"publish","topic":"a","data":{number}}}"#);
        bytes.extend(masked(Opcode::Text, text.as_bytes()));
    }
    world.send(writer, &bytes);
    world.settle();
    assert!(seqs(&world.texts(plain), "update").into_iter().eq(1..=8));
    let texts = world.texts(latest);
    assert!(texts[0].contains(r#""from":1,"to":7"#), "{texts:?}");
    assert_eq!(seqs(&texts, "update"), [8]);
}
