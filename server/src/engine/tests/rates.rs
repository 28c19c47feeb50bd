//! What a connection may ask in so long, how it is told, and what becomes of one that goes on regardless.

use fanfare_wire::frame::Opcode;

use super::{publish, seqs};
use crate::engine::settings::Settings;
use crate::engine::testing::{Heard, NOTHING, World, masked};

/// Ten commands and ten publishes a second, so a hundred of each at once.
fn world() -> World {
    let settings = Settings {
        commands_per_s: 10,
        publishes_per_s: 10,
        payload_bytes_max: 100,
        ..Settings::default()
    };
    World::new(1, settings)
}

/// What stands for the answers to as many commands: whether each was refused for its rate.
fn refused(texts: &[String]) -> Vec<bool> {
    let is_rate = |text: &String| text.contains(r#""code":3000,"name":"rate""#);
    texts.iter().map(is_rate).collect()
}

#[test]
fn commands_above_the_rate_are_refused_with_how_long_to_wait_and_the_connection_lives_on() {
    let mut world = world();
    let client = world.connect_ws(0);
    for n in 0..101 {
        world.say(client, &format!(r#"{{"action":"list","id":{n}}}"#));
    }
    let told = world.texts(client);
    assert!(refused(&told[..100]).iter().all(|refused| !refused));
    assert_eq!(
        told[100],
        r#"{"type":"error","id":100,"code":3000,"name":"rate","message":"too many commands; wait","retry_ms":100}"#
    );
    // The plain ping, what is no command, and what is no text are counted like any other.
    world.say(client, "ping");
    world.say(client, "{");
    world.send(client, &masked(Opcode::Binary, b"x"));
    world.settle();
    assert_eq!(refused(&world.texts(client)), [true, true, true]);
    // Publishes have a bucket of their own.
    publish(&mut world, client, "A", 1);
    assert!(world.texts(client)[0].starts_with(r#"{"type":"published""#));
    world.pass_ms(100);
    world.say(client, "ping");
    assert_eq!(world.texts(client), ["pong"]);
    assert_eq!(world.engines[0].counters().rate_limited, 4);
}

#[test]
fn a_publish_above_the_rate_is_refused_and_not_published() {
    let mut world = world();
    let (client, listener) = (world.connect_ws(0), world.connect_ws(0));
    world.say(listener, r#"{"action":"subscribe","topics":["A"]}"#);
    world.texts(listener);
    publish(&mut world, client, "A", 150);
    let told = refused(&world.texts(client));
    assert_eq!(told.iter().filter(|refused| **refused).count(), 50);
    let expected: Vec<u64> = (1..=100).collect();
    assert_eq!(seqs(&world.texts(listener), "update"), expected);
}

#[test]
fn whoever_goes_on_regardless_is_closed_and_its_place_is_clean() {
    let mut world = world();
    let client = world.connect_ws(0);
    for _ in 0..300 {
        world.say(client, "ping");
    }
    let heard = world.heard(client);
    assert_eq!(heard.last(), Some(&Heard::Close(Some(4101))));
    // A hundred pongs, a hundred refusals, the close.
    assert_eq!(heard.len(), 201);
    world.end(client);
    world.settle();
    assert_eq!(world.held(), NOTHING);
    assert_eq!(world.engines[0].rates.len(), 0);
    let next = world.connect_ws(0);
    assert_eq!(world.clients[next].id.index, world.clients[client].id.index);
    world.say(next, "ping");
    assert_eq!(world.texts(next), ["pong"]);
}

#[test]
fn a_room_cannot_be_told_so_whoever_says_too_much_or_too_long_a_thing_in_it_is_closed() {
    let mut world = world();
    let (loud, other) = (world.connect(0, "/room/r"), world.connect(0, "/room/r"));
    for _ in 0..101 {
        world.send(loud, &masked(Opcode::Text, b"hello"));
        world.settle();
    }
    let heard = world.heard(loud);
    assert_eq!(heard.last(), Some(&Heard::Close(Some(4101))));
    assert_eq!(heard.len(), 101, "its own hundred, and the close");
    assert_eq!(world.texts(other).len(), 100);
    world.send(other, &masked(Opcode::Text, &[b'x'; 101]));
    world.settle();
    assert_eq!(world.heard(other), [Heard::Close(Some(1009))]);
}

#[test]
fn a_value_that_is_too_long_is_refused_whatever_it_is_wrapped_in() {
    let mut world = world();
    for path in ["/ws", "/raw"] {
        let client = world.connect(0, path);
        world.heard(client);
        for (digits, code) in [
            (100, None),
            (101, Some(r#""code":3004,"name":"payload_limit""#)),
        ] {
            let data = "1".repeat(digits);
            let command = format!(r#"{{"action":"publish","id":1,"topic":"A","data":{data}}}"#);
            world.say(client, &command);
            let told = world.texts(client);
            assert!(told.len() == 1 && told[0].contains(code.unwrap_or("published")));
        }
    }
}

#[test]
fn without_limits_nothing_is_counted_and_idle_connections_cost_nothing() {
    let settings = Settings {
        commands_per_s: 0,
        publishes_per_s: 0,
        ..Settings::default()
    };
    let mut unlimited = World::new(1, settings);
    let client = unlimited.connect_ws(0);
    publish(&mut unlimited, client, "A", 3000);
    assert_eq!(refused(&unlimited.texts(client)), vec![false; 3000]);
    assert_eq!(unlimited.engines[0].rates.len(), 0);

    let mut world = world();
    let idle: Vec<_> = (0..50).map(|_| world.connect_ws(0)).collect();
    assert_eq!(world.engines[0].rates.len(), 0);
    for client in idle {
        world.say(client, r#"{"action":"subscribe","topics":["A"]}"#);
    }
    assert_eq!(world.engines[0].rates.len(), 50);
    world.pass_ms(2_000);
    assert_eq!(
        world.engines[0].rates.len(),
        0,
        "all buckets are full again"
    );
}

#[test]
fn pings_are_answered_with_their_payload_up_to_the_rate_and_a_flood_is_closed() {
    let settings = Settings {
        pings_per_s: 2,
        commands_per_s: 10,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let (client, other) = (world.connect(0, "/raw"), world.connect_ws(0));
    // Twenty at once; what comes beyond is passed over, and nothing else suffers for it.
    for n in 0..25_u8 {
        world.send(client, &masked(Opcode::Ping, &[n; 125]));
    }
    world.settle();
    let pongs: Vec<Heard> = (0..20).map(|n| Heard::Pong(vec![n; 125])).collect();
    assert_eq!(world.heard(client), pongs);
    world.say(client, "ping");
    assert_eq!(world.texts(client), ["pong"]);
    world.pass_ms(500);
    world.send(client, &masked(Opcode::Ping, b"again"));
    world.settle();
    assert_eq!(world.heard(client), [Heard::Pong(b"again".into())]);
    // Pongs that nobody asked for are as good as silence.
    for _ in 0..1000 {
        world.send(client, &masked(Opcode::Pong, b""));
    }
    world.settle();
    assert_eq!(world.heard(client), []);
    for _ in 0..1000 {
        world.send(client, &masked(Opcode::Ping, b""));
    }
    world.settle();
    assert_eq!(world.heard(client), [Heard::Close(Some(4101))]);
    publish(&mut world, other, "A", 1);
    assert!(world.texts(other)[0].starts_with(r#"{"type":"published""#));
}

#[test]
fn pongs_for_a_client_that_reads_nothing_are_bounded() {
    let settings = Settings {
        pings_per_s: 0,
        outbox_bytes_max: 4096,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let client = world.connect(0, "/raw");
    world.clients[client].window = Some(0);
    for _ in 0..10_000 {
        world.send(client, &masked(Opcode::Ping, &[7; 125]));
        world.settle();
    }
    assert!(world.engines[0].accounts().frame_bytes < 3 * 4096);
    world.open_window(client, None);
    assert_eq!(world.heard(client).last(), Some(&Heard::Close(Some(4103))));
}
