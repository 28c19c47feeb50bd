//! Handshakes, limits, silence, slowness, and every way a connection ends.

use fanfare_wire::frame::Opcode;

use super::{publish, seqs, world};
use crate::engine::settings::Settings;
use crate::engine::testing::{Heard, NOTHING, World, masked, upgrade};
use crate::hub::mail::Mail;

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
    assert_eq!(world.held(), NOTHING);
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
fn a_slow_reader_that_asked_for_it_is_closed_with_4103_and_delays_nobody() {
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
        world.say(
            client,
            r#"{"action":"subscribe","topics":["A"],"on_slow":"close"}"#,
        );
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
fn pings_make_room_for_a_surge_of_newcomers_but_not_for_ever() {
    let mut world = World::new(
        1,
        Settings {
            ping_interval_ms: 10_000,
            idle_timeout_ms: 25_000,
            ..Settings::default()
        },
    );
    let client = world.connect(0, "/raw");
    let mut pinged_ms = Vec::new();
    for ms in (0..24_000).step_by(250) {
        // Four newcomers a second are many for a shard of two or three.
        let newcomer = world.open(0);
        world.pass_ms(250);
        world.end(newcomer);
        world.settle();
        if world.heard(client).contains(&Heard::Ping) {
            pinged_ms.push(ms);
        }
    }
    // Due after 10 to 12.5 s; 7.5 s more, and the last of them is pinged when four fifths of 25 s are over.
    assert!(
        matches!(pinged_ms[..], [at_ms] if (17_000..=20_000).contains(&at_ms)),
        "{pinged_ms:?}"
    );
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
    assert_eq!(world.held(), NOTHING);
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
fn whoever_leaves_between_two_slices_of_a_flush_is_skipped_and_its_place_reused() {
    let mut world = World::new(1, Settings::default());
    let (reader, leaver) = (world.connect(0, "/raw"), world.connect(0, "/raw"));
    for client in [reader, leaver] {
        world.say(client, r#"{"action":"subscribe","topics":["A"]}"#);
    }
    world.send(
        reader,
        &masked(
            Opcode::Text,
            br#"{"action":"publish","topic":"A","data":1}"#,
        ),
    );
    // The update is queued to both and written to neither; one goes meanwhile.
    let now = world.now;
    world.engines[0].on_mail(now, Mail::default());
    world.end(leaver);
    world.engines[0].end_tick(world.now);
    assert!(world.engines[0].has_dirty());
    let newcomer = world.open(0);
    assert_eq!(
        world.clients[newcomer].id.index,
        world.clients[leaver].id.index
    );
    world.settle();
    assert_eq!(world.texts(reader), ["1"]);
    assert!(world.clients[newcomer].taken.is_empty());
    assert_eq!(world.held()[1], 0, "nobody holds the frame");
}

#[test]
fn whoever_ends_its_side_of_the_stream_without_a_close_is_gone_at_once() {
    let mut world = world();
    let (client, other) = (world.connect_ws(0), world.connect_ws(0));
    for client in [client, other] {
        world.say(client, r#"{"action":"subscribe","topics":["A"]}"#);
        world.heard(client);
    }
    world.send(client, &masked(Opcode::Text, b"ping")[..3]);
    world.end(client);
    world.settle();
    assert!(world.clients[client].closed);
    publish(&mut world, other, "A", 1);
    assert_eq!(seqs(&world.texts(other), "update"), [1]);
    world.end(other);
    world.settle();
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn a_close_and_the_end_of_the_stream_behind_it_are_answered_by_a_close() {
    let mut world = world();
    let client = world.connect_ws(0);
    world.send(client, &masked(Opcode::Close, &[0x03, 0xE8]));
    world.end(client);
    world.settle();
    assert_eq!(world.heard(client), [Heard::Close(Some(1000))]);
    assert!(world.clients[client].closed);
}

#[test]
fn a_half_of_the_stream_that_is_open_for_ever_is_cut_off_after_a_close_or_a_fault() {
    for bytes in [masked(Opcode::Close, &[0x03, 0xE8]), vec![0x81, 0x01, b'x']] {
        let mut world = world();
        let client = world.connect_ws(0);
        // It takes nothing more either, so our last words never get out.
        world.clients[client].window = Some(0);
        world.send(client, &bytes);
        world.settle();
        world.pass_ms(1000);
        assert!(!world.clients[client].closed);
        world.pass_ms(1500);
        assert!(world.clients[client].closed);
    }
}
