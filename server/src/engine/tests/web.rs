//! Plain HTTP beside others: polls and streams of events whose topics move while they are served.

use fanfare_wire::frame::Opcode;

use super::publish;
use crate::engine::settings::Settings;
use crate::engine::testing::{NOTHING, World, masked};

fn world() -> World {
    World::new(1, Settings::default())
}

/// A connection that has asked for `target`.
fn asks(world: &mut World, target: &str) -> usize {
    let client = world.open(0);
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    world.send(client, request.as_bytes());
    client
}

/// All that it was sent.
fn taken(world: &World, client: usize) -> String {
    String::from_utf8(world.clients[client].taken.clone()).expect("all is text")
}

fn value(topic: &str, n: u32) -> Vec<u8> {
    let text = format!(r#"{{"action":"publish","topic":"{topic}","data":{n}}}"#);
    masked(Opcode::Text, text.as_bytes())
}

#[test]
fn a_poll_gets_one_answer_however_many_updates_come_in_a_tick() {
    // So small that the updates of one tick are more than one batch.
    let settings = Settings {
        outbox_bytes_max: 600,
        ..Settings::default()
    };
    for close in ["", "Connection: close\r\n"] {
        let mut world = World::new(1, settings.clone());
        let publisher = world.connect_ws(0);
        let poller = world.open(0);
        let request =
            format!("GET /v1/topics/t?wait=30s&after=0 HTTP/1.1\r\nHost: x\r\n{close}\r\n");
        world.send(poller, request.as_bytes());
        world.settle();
        let burst: Vec<u8> = (1..=6).flat_map(|n| value("t", n)).collect();
        world.send(publisher, &burst);
        world.settle();
        let answer = taken(&world, poller);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(body.len(), 1, "one value and nothing behind it: {answer}");
    }
}

#[test]
fn a_stream_for_one_answer_is_not_ended_by_what_comes_for_others() {
    let mut world = world();
    let publisher = world.connect_ws(0);
    let other = world.connect_ws(0);
    world.say(other, r#"{"action":"subscribe","topics":["b"]}"#);
    let stream = asks(&mut world, "/v1/sse?topics=a&wait=30s");
    world.send(publisher, &value("b", 1));
    world.settle();
    assert!(
        !world.clients[stream].half_closed,
        "{}",
        taken(&world, stream)
    );
    publish(&mut world, publisher, "b", 1);
    assert!(
        !world.clients[stream].half_closed,
        "{}",
        taken(&world, stream)
    );
    publish(&mut world, publisher, "a", 1);
    assert!(world.clients[stream].half_closed);
    let text = taken(&world, stream);
    assert_eq!(text.matches(r#""type":"update""#).count(), 1, "{text}");
}

#[test]
fn each_position_counts_what_goes_out_ahead_of_it_in_the_same_write() {
    let mut world = world();
    let publisher = world.connect_ws(0);
    let stream = asks(&mut world, "/v1/sse?topics=a,b,c&mode=latest");
    world.settle();
    world.clients[stream].window = Some(0);
    for topic in ["a", "b", "c", "a", "b"] {
        publish(&mut world, publisher, topic, 1);
    }
    world.open_window(stream, None);
    let text = taken(&world, stream);
    let last = text.lines().rfind(|line| line.starts_with("id: "));
    let mut positions: Vec<&str> = last.expect("it says where it stands")["id: ".len()..]
        .split(',')
        .collect();
    positions.sort_unstable();
    assert_eq!(positions, ["a=e1:2", "b=e1:2", "c=e1:1"], "{text}");
}

#[test]
fn a_large_update_of_a_filter_alone_does_not_get_stuck_in_its_stream() {
    let mut world = world();
    let publisher = world.connect_ws(0);
    let stream = asks(&mut world, "/v1/sse?topics=a.*");
    world.settle();
    let large = "x".repeat(40_000);
    let text = format!(r#"{{"action":"publish","topic":"a.b","data":"{large}"}}"#);
    world.say(publisher, &text);
    assert!(taken(&world, stream).contains(&large));
}

#[test]
fn a_stream_that_is_closed_before_its_head_is_written_still_has_one() {
    let settings = Settings {
        outbox_bytes_max: 600,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let publisher = world.connect_ws(0);
    for topic in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"] {
        let text = format!(
            r#"{{"action":"publish","topic":"{topic}","data":"{}"}}"#,
            "x".repeat(900)
        );
        world.say(publisher, &text);
    }
    let stream = world.open(0);
    world.clients[stream].window = Some(0);
    let request =
        "GET /v1/sse?topics=a,b,c,d,e,f,g,h,i,j,k,l&on_slow=close HTTP/1.1\r\nHost: x\r\n\r\n";
    world.send(stream, request.as_bytes());
    world.settle();
    world.open_window(stream, None);
    let text = taken(&world, stream);
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(text.contains(r#"{"type":"closed","code":4103"#), "{text}");
}

/// Listening sides of topics on a shard.
fn listened(world: &World, shard: usize) -> usize {
    world.engines[shard].held()[3]
}

#[test]
fn the_topic_of_an_answered_poll_is_held_for_the_next_one_and_not_for_ever() {
    let mut world = World::new(2, Settings::default());
    let topic = world.topic_of("t", 1);
    let publisher = world.connect_ws(1);
    let bystander = world.connect_ws(0);
    let poller = asks(&mut world, &format!("/v1/topics/{topic}?wait=30s&after=0"));
    world.settle();
    publish(&mut world, publisher, &topic, 1);
    assert!(taken(&world, poller).starts_with("HTTP/1.1 200"));
    assert_eq!(listened(&world, 0), 1);
    let next = format!("GET /v1/topics/{topic}?wait=30s&after=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    world.send(poller, next.as_bytes());
    // It waits without having asked the owner.
    assert_eq!(world.engines[0].outgoing().waiting(), 0);
    publish(&mut world, publisher, &topic, 2);
    assert_eq!(taken(&world, poller).matches("HTTP/1.1 200").count(), 2);
    world.pass_ms(999);
    assert_eq!(listened(&world, 0), 1);
    world.pass_ms(1);
    assert_eq!(listened(&world, 0), 0);
    world.end(bystander);
}

#[test]
fn with_the_last_connection_no_topic_is_held_any_more() {
    let mut world = World::new(2, Settings::default());
    let topic = world.topic_of("t", 1);
    let publisher = world.connect_ws(1);
    let poller = asks(&mut world, &format!("/v1/topics/{topic}?wait=30s&after=0"));
    world.settle();
    publish(&mut world, publisher, &topic, 1);
    world.end(poller);
    world.settle();
    assert_eq!(listened(&world, 0), 0);
    world.end(publisher);
    world.settle();
    assert_eq!(world.held(), NOTHING);
}
