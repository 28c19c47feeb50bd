//! Compression: agreed to or not, once for all who get an update, and what comes of what cannot be inflated.

use fanfare_wire::deflate::Deflater;
use fanfare_wire::frame::{self, Opcode};

use super::{publish, seqs};
use crate::engine::settings::{Compression, Settings, Threshold};
use crate::engine::testing::{ClientId, Heard, NOTHING, World, masked, masked_and_deflated};
use crate::hub::deflate::COMPRESSIONS;

const BOTH: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn compressing(threshold_bytes: u32, contexts_max: u32) -> Settings {
    Settings {
        echo: true,
        compression: Compression {
            threshold: Threshold::from_bytes(threshold_bytes),
            contexts_max,
        },
        ..Settings::default()
    }
}

fn world() -> World {
    World::new(3, compressing(300, 0))
}

/// A client on `/ws` with compression, past its hello.
fn compressed(world: &mut World, shard: usize) -> ClientId {
    let (client, agreed) = world.connect_compressed(shard, "/ws", "permessage-deflate");
    assert_eq!(agreed, BOTH);
    world.texts(client);
    client
}

/// A value that gets much shorter.
fn long_data(n: usize) -> String {
    format!(r#"{{"n":{n},"words":"{}"}}"#, "again and ".repeat(50))
}

fn publish_long(world: &mut World, client: ClientId, topic: &str, n: usize) {
    let data = long_data(n);
    world.say(
        client,
        &format!(r#"{{"action":"publish","topic":"{topic}","data":{data}}}"#),
    );
}

#[test]
fn an_update_is_compressed_once_for_all_shards_and_says_the_same() {
    let mut world = world();
    let publisher = world.connect_ws(0);
    let plain = world.connect_ws(1);
    let readers: Vec<ClientId> = (0..6).map(|n| compressed(&mut world, n % 3)).collect();
    for client in readers.iter().copied().chain([plain]) {
        world.say(client, r#"{"action":"subscribe","topics":["A"]}"#);
        world.texts(client);
    }
    let before = COMPRESSIONS.get();
    publish_long(&mut world, publisher, "A", 7);
    let bytes = |world: &World, client: ClientId| world.clients[client].taken.len();
    assert!(bytes(&world, plain) > 500 && bytes(&world, readers[0]) < 150);
    let expected = world.texts(plain);
    assert!(expected[0].contains(&long_data(7)));
    for client in readers {
        assert_eq!(world.texts(client), expected);
        assert_eq!(world.clients[client].compressed, 1);
    }
    assert_eq!(COMPRESSIONS.get() - before, 1);
}

#[test]
fn every_form_and_everything_a_topic_opens_with_is_compressed() {
    let mut settings = compressing(300, 0);
    settings.history.otherwise.count = 10;
    let mut world = World::new(1, settings);
    let publisher = world.connect_ws(0);
    for n in 0..3 {
        publish_long(&mut world, publisher, "room", n);
    }
    // Snapshot, and history from the second on.
    for (command, kind, count) in [
        (r#"{"action":"subscribe","topics":["room"]}"#, "snapshot", 1),
        (
            r#"{"action":"subscribe","topics":[{"topic":"room","since":{"epoch":"e1","seq":2}}]}"#,
            "history",
            2,
        ),
    ] {
        let client = compressed(&mut world, 0);
        world.say(client, command);
        assert_eq!(seqs(&world.texts(client), kind).len(), count);
        assert_eq!(world.clients[client].compressed, count, "{kind}");
        // A run is one frame of the queue, and several messages.
        publish_long(&mut world, publisher, "room", 9);
        assert_eq!(seqs(&world.texts(client), "update").len(), 1);
        assert_eq!(world.clients[client].compressed, count + 1);
    }
    for path in ["/raw", "/room/room"] {
        let (client, agreed) = world.connect_compressed(0, path, "permessage-deflate");
        assert_eq!(agreed, BOTH);
        if path == "/raw" {
            world.say(client, r#"{"action":"subscribe","topics":["room"]}"#);
            world.texts(client);
        }
        let before = world.clients[client].compressed;
        publish_long(&mut world, publisher, "room", 4);
        assert_eq!(world.texts(client), [long_data(4)], "{path}");
        assert_eq!(world.clients[client].compressed, before + 1);
    }
}

#[test]
fn a_run_of_updates_is_compressed_message_by_message_and_in_order() {
    let mut world = World::new(1, compressing(300, 0));
    let publisher = world.connect_ws(0);
    let client = compressed(&mut world, 0);
    world.say(client, r#"{"action":"subscribe","topics":["A"]}"#);
    world.texts(client);
    for n in 0..20 {
        let data = if n % 3 == 0 { "1".into() } else { long_data(n) };
        let text = format!(r#"{{"action":"publish","topic":"A","data":{data}}}"#);
        world.send(publisher, &masked(Opcode::Text, text.as_bytes()));
    }
    world.settle();
    assert!(seqs(&world.texts(client), "update").into_iter().eq(1..=20));
    assert_eq!(world.clients[client].compressed, 13);
}

#[test]
fn what_a_slow_reader_gets_in_the_end_is_compressed_too() {
    let mut settings = compressing(300, 0);
    settings.outbox_bytes_max = 4096;
    let mut world = World::new(1, settings);
    let (client, publisher) = (compressed(&mut world, 0), world.connect_ws(0));
    world.say(
        client,
        r#"{"action":"subscribe","topics":["A"],"mode":"latest"}"#,
    );
    world.texts(client);
    world.clients[client].window = Some(0);
    for n in 0..500 {
        publish_long(&mut world, publisher, "A", n);
    }
    world.open_window(client, None);
    let texts = world.texts(client);
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with(r#"{"type":"skip""#))
    );
    assert!(texts.last().unwrap().contains(&long_data(499)));
    assert!(world.clients[client].compressed >= 1);
}

#[test]
fn what_is_short_or_does_not_get_shorter_goes_as_it_is() {
    let mut world = World::new(1, compressing(300, 0));
    let publisher = world.connect_ws(0);
    let (client, _) = world.connect_compressed(0, "/raw", "permessage-deflate");
    world.say(client, r#"{"action":"subscribe","topics":["A"]}"#);
    let mut random = fastrand::Rng::with_seed(3);
    let noise: String = (0..500).map(|_| random.char('a'..='ÿ')).collect();
    for data in ["1".to_owned(), format!("\"{noise}\"")] {
        world.say(
            publisher,
            &format!(r#"{{"action":"publish","topic":"A","data":{data}}}"#),
        );
        assert_eq!(world.texts(client).last(), Some(&data));
    }
    let before = world.clients[client].compressed;
    publish_long(&mut world, publisher, "A", 1);
    assert_eq!(world.texts(client), [long_data(1)]);
    assert_eq!(world.clients[client].compressed, before + 1);
}

#[test]
fn whoever_offers_nothing_or_comes_to_a_server_without_compression_gets_none() {
    let mut world = World::new(1, Settings::default());
    let (_, agreed) = world.connect_compressed(0, "/ws", "permessage-deflate");
    assert_eq!(agreed, "");
    let client = world.connect(0, "/ws");
    world.heard(client);
    world.send(client, &masked_and_deflated(Opcode::Text, &[b'x'; 100]));
    world.settle();
    assert_eq!(world.heard(client), [Heard::Close(Some(1002))]);
    let mut world = World::new(1, compressing(0, 0));
    let (_, agreed) = world.connect_compressed(0, "/ws", "permessage-deflate; unknown");
    assert_eq!(agreed, "");
}

#[test]
fn echo_inflates_and_compresses_however_the_message_is_cut() {
    let message = "grüße, ".repeat(50);
    let mut deflated = Vec::new();
    assert!(Deflater::new(9).deflate(message.as_bytes(), &mut deflated));
    let whole = masked_and_deflated(Opcode::Text, message.as_bytes());
    for cut in 0..whole.len() {
        let mut world = World::new(1, compressing(300, 0));
        let (client, _) = world.connect_compressed(0, "/echo", "permessage-deflate");
        for part in [&whole[..cut], &whole[cut..]] {
            world.send(client, part);
            world.settle();
        }
        assert_eq!(
            world.texts(client),
            std::slice::from_ref(&message),
            "cut at {cut}"
        );
        assert_eq!(world.clients[client].compressed, 1);
    }
}

#[test]
fn a_bomb_is_closed_with_1009_and_rubbish_with_1007_and_neither_hurts_the_next() {
    let mut world = World::new(1, compressing(0, 0));
    let mut bomb = Vec::new();
    assert!(Deflater::new(9).deflate(&vec![0; 20 << 20], &mut bomb));
    assert!(bomb.len() < 65_536);
    for (payload, code) in [
        (&bomb[..], 1009),
        (b"\xff\xff\xff", 1007),
        // Cut short, and not UTF-8.
        (&[0xf2, 0x48, 0xcd], 1007),
        (&[0xfa, 0x07, 0x00], 1007),
    ] {
        let (client, _) = world.connect_compressed(0, "/echo", "permessage-deflate");
        let mut bytes = Vec::new();
        frame::put_masked_deflated_frame(&mut bytes, Opcode::Text, [0; 4], payload);
        world.send(client, &bytes);
        world.settle();
        assert_eq!(world.heard(client), [Heard::Close(Some(code))]);
        let (other, _) = world.connect_compressed(0, "/echo", "permessage-deflate");
        world.send(other, &masked_and_deflated(Opcode::Text, &[b'y'; 200]));
        world.settle();
        assert_eq!(world.texts(other), ["y".repeat(200)]);
    }
    // What the shard keeps for the next message is small, whatever came before.
    assert!(world.engines[0].accounts().buffer_bytes < 400_000);
}

#[test]
fn so_many_contexts_are_kept_as_are_allowed_and_given_back() {
    let mut world = World::new(2, compressing(0, 4));
    let no_context = "permessage-deflate; client_no_context_takeover";
    let server_only = "permessage-deflate; server_no_context_takeover";
    let mut clients = Vec::new();
    // Two on each shard; who keeps none anyway takes none away.
    for (offer, expected) in [
        (no_context, BOTH),
        ("permessage-deflate", server_only),
        ("permessage-deflate; client_max_window_bits", server_only),
        ("permessage-deflate", BOTH),
    ] {
        let (client, agreed) = world.connect_compressed(1, "/echo", offer);
        assert_eq!(agreed, expected, "{offer}");
        clients.push(client);
    }
    assert_eq!(world.held()[12], 2);
    // The example of RFC 7692, section 7.2.3.2: the second message refers to the first.
    let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    for (client, is_kept) in clients.iter().copied().zip([false, true, true, false]) {
        for payload in [&first[..], &again] {
            let mut bytes = Vec::new();
            frame::put_masked_deflated_frame(&mut bytes, Opcode::Text, [9; 4], payload);
            world.send(client, &bytes);
            world.settle();
        }
        let second = match is_kept {
            true => Heard::Text("Hello".into()),
            false => Heard::Close(Some(1007)),
        };
        assert_eq!(world.heard(client), [Heard::Text("Hello".into()), second]);
    }
    world.end(clients[1]);
    world.settle();
    let (newcomer, agreed) = world.connect_compressed(1, "/echo", "permessage-deflate");
    assert_eq!(agreed, server_only);
    for client in [clients[0], clients[2], clients[3], newcomer] {
        world.end(client);
    }
    world.settle();
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn a_small_window_gets_compressed_what_it_reaches_over_and_no_shared_form() {
    let mut world = World::new(1, compressing(0, 0));
    let offer = "permessage-deflate; server_max_window_bits=8";
    let (client, agreed) = world.connect_compressed(0, "/echo", offer);
    assert_eq!(agreed, format!("{BOTH}; server_max_window_bits=8"));
    for (length, count) in [(256, 1), (257, 1), (100, 2)] {
        world.send(client, &masked(Opcode::Binary, &vec![7; length]));
        world.settle();
        assert_eq!(world.heard(client), [Heard::Binary(vec![7; length])]);
        assert_eq!(world.clients[client].compressed, count, "{length}");
    }
    let (client, _) = world.connect_compressed(0, "/room/a", offer);
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "a", 1);
    publish_long(&mut world, publisher, "a", 1);
    assert_eq!(world.texts(client), ["0".to_owned(), long_data(1)]);
    assert_eq!(world.clients[client].compressed, 0);
}

#[test]
fn an_idle_connection_with_compression_holds_as_little_as_one_without() {
    let held = |offer: Option<&str>| {
        let mut world = World::new(1, compressing(0, 0));
        for _ in 0..20 {
            let client = match offer {
                Some(offer) => world.connect_compressed(0, "/ws", offer).0,
                None => world.connect(0, "/ws"),
            };
            world.heard(client);
            world.say(client, r#"{"action":"subscribe","topics":["A","B"]}"#);
            world.heard(client);
        }
        let ledger = world.engines[0].accounts();
        ledger.slab_bytes + ledger.subscription_bytes + ledger.input_bytes + ledger.frame_bytes
    };
    assert_eq!(held(Some("permessage-deflate")), held(None));
}
