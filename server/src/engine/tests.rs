//! The engine from outside: what clients hear for what they say, on one shard and on several.

use fanfare_wire::frame::Opcode;

use super::settings::{Route, Settings};
use super::testing::{Heard, World, masked, upgrade};

fn world() -> World {
    World::new(
        3,
        Settings {
            echo: true,
            ..Settings::default()
        },
    )
}

fn seqs(texts: &[String], kind: &str) -> Vec<u64> {
    let prefix = format!(r#"{{"type":"{kind}""#);
    let seq = |text: &String| {
        let at = text.find(r#""seq":"#)? + 6;
        text[at..].split(',').next()?.parse().ok()
    };
    texts
        .iter()
        .filter(|text| text.starts_with(&prefix))
        .filter_map(seq)
        .collect()
}

fn publish(world: &mut World, client: usize, topic: &str, times: usize) {
    for n in 0..times {
        world.say(
            client,
            &format!(r#"{{"action":"publish","topic":"{topic}","data":{n}}}"#),
        );
    }
}

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
    assert_eq!(world.held(), [0; 6]);
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
fn requests_and_frames_may_be_cut_anywhere() {
    let mut bytes = upgrade("/echo").into_bytes();
    bytes.extend(masked(Opcode::Text, "grüße".as_bytes()));
    bytes.extend(masked(Opcode::Ping, b"p"));
    for cut in 0..bytes.len() {
        let mut world = world();
        let client = world.open(0);
        for part in [&bytes[..cut], &bytes[cut..]] {
            world.send(client, part);
            world.settle();
        }
        assert!(
            world.take_head(client).starts_with("HTTP/1.1 101"),
            "cut at {cut}"
        );
        assert_eq!(
            world.heard(client),
            [Heard::Text("grüße".into()), Heard::Pong(b"p".into())],
            "cut at {cut}"
        );
    }
}

#[test]
fn a_broken_frame_is_answered_with_its_close_code_and_hurts_nobody_else() {
    for (bytes, code) in [
        (vec![0x81, 0x01, b'x'], 1002),
        (vec![0xF1, 0x80, 0, 0, 0, 0], 1002),
        (masked(Opcode::Text, b"\xff"), 1007),
        (vec![0x82, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
    ] {
        let mut world = world();
        let (broken, other) = (world.connect_ws(0), world.connect_ws(0));
        world.say(other, r#"{"action":"subscribe","topics":["A"]}"#);
        world.heard(other);
        world.send(broken, &bytes);
        world.settle();
        assert_eq!(world.heard(broken), [Heard::Close(Some(code))]);
        assert!(world.clients[broken].half_closed && !world.clients[broken].closed);
        world.end(broken);
        world.settle();
        assert!(world.clients[broken].closed);
        publish(&mut world, other, "A", 1);
        assert_eq!(seqs(&world.texts(other), "update"), [1]);
    }
}

#[test]
fn the_close_handshake_works_from_both_sides() {
    let mut world = world();
    let client = world.connect_ws(0);
    world.send(
        client,
        &masked(Opcode::Close, &[0x0F, 0xA0, b'b', b'y', b'e']),
    );
    world.settle();
    assert_eq!(world.heard(client), [Heard::Close(Some(4000))]);
    assert!(world.clients[client].closed);

    let client = world.connect_ws(0);
    let now = world.now;
    world.engines[0].on_shutdown(now);
    world.settle();
    assert_eq!(world.heard(client), [Heard::Close(Some(1001))]);
    assert!(!world.clients[client].closed, "its own close is awaited");
    world.send(client, &masked(Opcode::Close, &[0x03, 0xE9]));
    world.settle();
    assert!(world.clients[client].closed);
    assert_eq!(world.held(), [0; 6]);
}

#[test]
fn a_client_that_never_answers_a_close_is_cut_off() {
    let mut world = world();
    let client = world.connect_ws(0);
    let now = world.now;
    world.engines[0].on_shutdown(now);
    world.settle();
    world.pass_ms(1000);
    assert!(!world.clients[client].closed);
    world.pass_ms(1500);
    assert!(world.clients[client].closed);
}

#[test]
fn a_slow_reader_is_closed_with_4103_and_delays_nobody() {
    let settings = Settings {
        outbox_bytes_max: 4096,
        ..Settings::default()
    };
    let mut world = World::new(2, settings);
    let (slow, quick, publisher) = (
        world.connect_ws(0),
        world.connect_ws(0),
        world.connect_ws(1),
    );
    for client in [slow, quick] {
        world.say(client, r#"{"action":"subscribe","topics":["A"]}"#);
        world.heard(client);
    }
    // It takes half a frame and then nothing more.
    world.clients[slow].window = Some(40);
    publish(&mut world, publisher, "A", 100);
    assert!(seqs(&world.texts(quick), "update").into_iter().eq(1..=100));
    let frames: usize = world
        .engines
        .iter()
        .map(|engine| engine.outlet.frames.len())
        .sum();
    assert!(
        frames <= 2,
        "only the frame it has a part of and the close wait: {frames}"
    );
    world.open_window(slow, None);
    let heard = world.heard(slow);
    assert!(
        matches!(&heard[0], Heard::Text(text) if seqs(std::slice::from_ref(text), "update") == [1]),
        "{heard:?}"
    );
    assert_eq!(heard[1..], [Heard::Close(Some(4103))]);
}

#[test]
fn a_reader_that_takes_nothing_for_too_long_is_closed_even_below_the_limit() {
    let mut world = World::new(
        1,
        Settings {
            slow_timeout_ms: 5_000,
            ..Settings::default()
        },
    );
    let client = world.connect_ws(0);
    world.pass_ms(60_000);
    world.heard(client);
    world.clients[client].window = Some(0);
    world.say(client, "ping");
    for _ in 0..19 {
        world.pass_ms(250);
    }
    assert!(!world.clients[client].closed);
    for _ in 0..30 {
        world.pass_ms(250);
    }
    assert!(world.clients[client].closed);
    assert_eq!(world.held()[..2], [0, 0]);
}

#[test]
fn silence_is_answered_by_a_ping_then_by_a_close() {
    let settings = Settings {
        heartbeat_ms: 0,
        ping_interval_ms: 10_000,
        idle_timeout_ms: 30_000,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let (alive, dead) = (world.connect_ws(0), world.connect_ws(0));
    let mut pings = 0;
    for _ in 0..200 {
        world.pass_ms(250);
        if world.heard(alive).contains(&Heard::Ping) {
            pings += 1;
            world.send(alive, &masked(Opcode::Pong, b""));
        }
    }
    assert!(
        (4..=5).contains(&pings),
        "one for each ten seconds of silence: {pings}"
    );
    assert!(!world.clients[alive].closed);
    assert_eq!(world.heard(dead), [Heard::Ping, Heard::Close(Some(4201))]);
    assert!(world.clients[dead].closed);
}

#[test]
fn heartbeats_come_only_after_silence_and_only_on_ws() {
    let mut world = World::new(
        1,
        Settings {
            ping_interval_ms: 0,
            idle_timeout_ms: 0,
            ..Settings::default()
        },
    );
    let (ws, raw) = (world.connect_ws(0), world.connect(0, "/raw"));
    for _ in 0..10 {
        world.pass_ms(5_000);
        world.say(ws, "ping");
    }
    assert!(world.texts(ws).iter().all(|text| text == "pong"));
    for _ in 0..40 {
        world.pass_ms(500);
    }
    let texts = world.texts(ws);
    assert!(
        texts.len() == 1 && texts[0].starts_with(r#"{"type":"heartbeat","time":"#),
        "{texts:?}"
    );
    assert!(world.texts(raw).is_empty());
}

#[test]
fn a_head_that_trickles_in_is_cut_off_at_the_deadline() {
    let mut world = world();
    let client = world.open(0);
    for byte in upgrade("/ws").bytes().take(50) {
        world.send(client, &[byte]);
        world.pass_ms(250);
    }
    assert!(world.take_head(client).starts_with("HTTP/1.1 408"));
}

#[test]
fn a_full_server_says_503_and_when_to_come_back() {
    let mut world = world();
    let client = world.open_as(0, true);
    world.send(client, upgrade("/ws").as_bytes());
    world.settle();
    let head = world.take_head(client);
    assert!(
        head.starts_with("HTTP/1.1 503") && head.contains("Retry-After: "),
        "{head}"
    );
    world.end(client);
    world.settle();
    assert_eq!(world.held(), [0; 6]);
}

#[test]
fn limits_of_a_connection_are_answered_by_topic_and_hurt_no_other() {
    let mut world = World::new(
        2,
        Settings {
            subscriptions_max: 2,
            ..Settings::default()
        },
    );
    let client = world.connect_ws(0);
    world.say(client, r#"{"action":"subscribe","id":1,"topics":["a"]}"#);
    world.say(
        client,
        r#"{"action":"subscribe","id":2,"topics":["b","c"]}"#,
    );
    world.say(
        client,
        r#"{"action":"subscribe","id":3,"topics":["a","b","c"]}"#,
    );
    let texts = world.texts(client);
    assert!(
        texts[1]
            .contains(r#"[{"topic":"b","epoch":"e1","seq":0}],"errors":[{"topic":"c","code":3001"#),
        "{}",
        texts[1]
    );
    assert!(
        texts[2].starts_with(r#"{"type":"error","id":3,"code":3001"#),
        "{}",
        texts[2]
    );
}

#[test]
fn a_jam_pauses_those_who_ask_more_and_loses_nothing() {
    let mut world = world();
    let (publisher, reader) = (world.connect_ws(0), world.connect_ws(1));
    world.say(reader, r#"{"action":"subscribe","topics":["a","b","c"]}"#);
    world.heard(reader);
    world.mail_stopped = true;
    for engine in &mut world.engines {
        engine.set_congested(true);
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
        engine.set_congested(false);
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
