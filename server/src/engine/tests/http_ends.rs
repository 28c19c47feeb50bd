//! How HTTP ends: in every stage by the peer's end, by a deadline, by the server's stop, and with answers that come late or never.

use super::http::{answers, get, post, statuses};
use super::publish;
use crate::engine::conn::Stage;
use crate::engine::settings::Settings;
use crate::engine::testing::{ClientId, World};

/// Every stage of HTTP, and what brings a connection there. Mail is held back from then on.
const STAGES: [(Stage, &str); 7] = [
    (Stage::Head, ""),
    (Stage::Head, "GET /healthz HT"),
    (
        Stage::Body,
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12",
    ),
    (
        Stage::Asking,
        "POST /v1/topics/T HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1",
    ),
    (
        Stage::Asking,
        "GET /v1/topics/T/history HTTP/1.1\r\nHost: x\r\n\r\n",
    ),
    (Stage::Asking, "GET /v1/topics HTTP/1.1\r\nHost: x\r\n\r\n"),
    (
        Stage::Polling,
        "GET /v1/topics/M?wait=30s HTTP/1.1\r\nHost: x\r\n\r\n",
    ),
];

/// A world of two shards in which a client of the first is in each of the stages, behind `before`.
fn in_stage(stage: Stage, request: &str, before: &[u8]) -> (World, ClientId) {
    let mut world = World::new(2, Settings::default());
    let (theirs, mine) = (world.topic_of("theirs", 1), world.topic_of("mine", 0));
    let client = world.open(0);
    world.send(client, before);
    world.settle();
    world.mail_stopped = true;
    let request = request.replace("/T", &format!("/{theirs}"));
    let request = request.replace("/M", &format!("/{mine}"));
    world.send(client, request.as_bytes());
    world.settle();
    assert_eq!(stage_of(&world, client), stage, "{request}");
    (world, client)
}

fn stage_of(world: &World, client: ClientId) -> Stage {
    world.engines[0].outlet.conns[world.clients[client].id.index as usize].stage
}

/// Nothing is held for connections, whatever topics have come to be.
fn assert_nothing_is_held(world: &World, what: &str) {
    let held = world.held();
    let [conns, frames, subs, _, subscribes, asks, marks, waits, ..] = held;
    let parts = [conns, frames, subs, subscribes, asks, marks, waits];
    assert_eq!(parts, [0; 7], "{what}: {held:?}");
}

#[test]
fn a_peer_that_ends_in_any_stage_leaves_nothing_behind() {
    for (stage, request) in STAGES {
        for before in [Vec::new(), get("/healthz")] {
            let (mut world, client) = in_stage(stage, request, &before);
            world.end(client);
            world.settle();
            world.mail_stopped = false;
            world.settle();
            assert!(world.clients[client].closed, "{request}");
            let said = statuses(&mut world, client);
            let expected: &[u16] = match (stage, before.len()) {
                (Stage::Asking, 0) => &[200],
                (Stage::Asking, _) => &[200, 200],
                // Whether it has left or only ended its side nobody can tell.
                (Stage::Polling, 0) => &[204],
                (Stage::Polling, _) => &[200, 204],
                (_, 0) => &[],
                _ => &[200],
            };
            assert_eq!(said, expected, "{request}");
            assert_nothing_is_held(&world, request);
        }
    }
}

#[test]
fn a_socket_that_fails_in_any_stage_leaves_nothing_behind() {
    for (stage, request) in STAGES {
        let (mut world, client) = in_stage(stage, request, b"");
        let (now, id) = (world.now, world.clients[client].id);
        world.engines[0].on_failure(now, id);
        world.settle();
        world.mail_stopped = false;
        world.settle();
        assert!(world.clients[client].closed, "{request}");
        assert_nothing_is_held(&world, request);
    }
}

#[test]
fn a_server_that_stops_says_so_to_who_waits_and_nothing_to_who_does_not() {
    for (stage, request) in STAGES {
        for before in [Vec::new(), get("/healthz")] {
            let (mut world, client) = in_stage(stage, request, &before);
            world.clients[client].taken.clear();
            let now = world.now;
            for engine in &mut world.engines {
                engine.on_shutdown(now);
            }
            world.settle();
            assert!(world.clients[client].half_closed, "{request}");
            let taken = std::mem::take(&mut world.clients[client].taken);
            let answers = answers(&taken);
            let is_at_rest = request.is_empty() && !before.is_empty();
            match &answers[..] {
                [] => assert!(is_at_rest, "{request}"),
                [(503, head, _)] => {
                    assert!(!is_at_rest, "{request}");
                    assert!(head.contains("\r\nRetry-After: "), "{head}");
                    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
                }
                other => panic!("{request}: {other:?}"),
            }
            world.mail_stopped = false;
            world.end(client);
            world.settle();
            assert_nothing_is_held(&world, request);
        }
    }
}

#[test]
fn every_wait_has_an_end() {
    for (stage, request) in STAGES {
        for before in [Vec::new(), get("/healthz")] {
            let (mut world, client) = in_stage(stage, request, &before);
            world.clients[client].taken.clear();
            let mut waited_ms = 0;
            while world.clients[client].taken.is_empty() && !world.clients[client].closed {
                world.pass_ms(250);
                waited_ms += 250;
                assert!(waited_ms < 100_000, "{request}");
            }
            let is_at_rest = request.is_empty() && !before.is_empty();
            let (patience_ms, expected): (_, &[u16]) = match stage {
                Stage::Head if is_at_rest => (75_000, &[]),
                Stage::Head => (10_000, &[408]),
                Stage::Body => (30_000, &[408]),
                Stage::Asking => (10_000, &[503]),
                _ => (30_000, &[204]),
            };
            assert_eq!(statuses(&mut world, client), expected, "{request}");
            assert!(
                (patience_ms..=patience_ms + 500).contains(&waited_ms),
                "{request}: {waited_ms}"
            );
            // Answers that come now come to nobody.
            world.mail_stopped = false;
            world.settle();
            assert!(world.clients[client].taken.is_empty(), "{request}");
            world.end(client);
            world.settle();
            assert_nothing_is_held(&world, request);
        }
    }
}

#[test]
fn an_answer_that_comes_late_comes_in_its_turn() {
    let mut world = World::new(2, Settings::default());
    let (mine, theirs) = (world.topic_of("mine", 0), world.topic_of("theirs", 1));
    let client = world.open(0);
    world.mail_stopped = true;
    let requests = [
        post(&format!("/v1/topics/{theirs}"), b"1"),
        get("/healthz"),
        post(&format!("/v1/topics/{mine}"), b"2"),
        get(&format!("/v1/topics/{theirs}")),
        get(&format!("/v1/topics/{theirs}/history?since=0")),
        get("/nowhere"),
    ];
    for request in &requests {
        world.send(client, request);
        world.settle();
        world.pass_ms(500);
    }
    assert!(
        world.clients[client].taken.is_empty(),
        "the first is not answered"
    );
    world.mail_stopped = false;
    world.settle();
    let taken = std::mem::take(&mut world.clients[client].taken);
    let said = answers(&taken);
    let statuses: Vec<u16> = said.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 404]);
    assert_eq!(said[1].2, b"ok\n");
    assert_eq!(said[3].2, b"1");
}

#[test]
fn whoever_ends_its_side_behind_many_requests_is_answered_all_of_them() {
    let mut world = World::new(2, Settings::default());
    let client = world.open(0);
    let body = format!("\"{}\"", "x".repeat(20_000));
    world.send(client, &post("/v1/topics/large", body.as_bytes()));
    world.settle();
    world.clients[client].taken.clear();
    world.clients[client].window = Some(0);
    world.send(client, &get("/v1/topics/large").repeat(50));
    // It takes most of what was answered first, so that less waits than lets others wait; then its end comes.
    world.open_window(client, Some(70_000));
    world.end(client);
    world.settle();
    for _ in 0..100 {
        world.open_window(client, Some(33_333));
    }
    assert_eq!(statuses(&mut world, client), [200; 50]);
    assert!(world.clients[client].closed);
    assert_nothing_is_held(&world, "all is answered");
}

#[test]
fn half_a_body_behind_a_whole_request_takes_nothing_from_it() {
    let mut world = World::new(1, Settings::default());
    let client = world.open(0);
    let requests = [get("/healthz"), post("/v1/topics/a", b"12345")].concat();
    world.send(client, &requests[..requests.len() - 1]);
    world.end(client);
    world.settle();
    assert_eq!(statuses(&mut world, client), [200]);
    assert!(world.clients[client].closed);
    assert_nothing_is_held(&world, "half a body");
}

#[test]
fn a_long_poll_behind_the_end_of_the_peers_side_is_answered_at_once() {
    let mut world = World::new(2, Settings::default());
    let theirs = world.topic_of("theirs", 1);
    for (tag, status) in [("", 404), ("&after=0", 404)] {
        let client = world.open(0);
        world.mail_stopped = true;
        world.send(client, &get(&format!("/v1/topics/{theirs}?wait=30s{tag}")));
        world.end(client);
        world.mail_stopped = false;
        world.settle();
        assert_eq!(statuses(&mut world, client), [status]);
        assert!(world.clients[client].closed);
    }
    assert_nothing_is_held(&world, "polls");
}

#[test]
fn a_jam_delays_who_publishes_by_http_and_loses_nothing() {
    let mut world = World::new(2, Settings::default());
    let theirs = world.topic_of("theirs", 1);
    let client = world.open(0);
    world.mail_stopped = true;
    for engine in &mut world.engines {
        engine.set_jam(true, false);
    }
    let path = format!("/v1/topics/{theirs}");
    world.send(client, &post(&path, b"1").repeat(20));
    world.settle();
    let id = world.clients[client].id;
    assert!(!world.engines[0].may_read(id));
    assert!(world.clients[client].taken.is_empty());
    world.mail_stopped = false;
    for engine in &mut world.engines {
        engine.set_jam(false, false);
    }
    world.settle();
    assert!(world.engines[0].may_read(id));
    let taken = std::mem::take(&mut world.clients[client].taken);
    let said = answers(&taken);
    assert_eq!(said.len(), 20);
    for (number, (status, _, body)) in (1..).zip(&said) {
        let body = String::from_utf8_lossy(body);
        assert_eq!(*status, 200, "{body}");
        assert!(body.contains(&format!(r#""seq":{number}}}"#)), "{body}");
    }
}

#[test]
fn polls_that_wait_for_one_update_are_all_answered_by_it_and_may_wait_again() {
    let mut world = World::new(2, Settings::default());
    let publisher = world.connect_ws(1);
    let clients: Vec<ClientId> = (0..10).map(|number| world.open(number % 2)).collect();
    for round in 0..3 {
        for &client in &clients {
            world.send(
                client,
                &get(&format!("/v1/topics/a?wait=30s&after={round}")),
            );
        }
        world.settle();
        for &client in &clients {
            assert!(world.clients[client].taken.is_empty());
        }
        publish(&mut world, publisher, "a", 1);
        for &client in &clients {
            let taken = std::mem::take(&mut world.clients[client].taken);
            let said = answers(&taken);
            assert_eq!(said.len(), 1);
            assert!(
                said[0]
                    .1
                    .contains(&format!("Fanfare-Seq: {}\r\n", round + 1)),
                "{}",
                said[0].1
            );
        }
    }
    for client in clients {
        world.end(client);
    }
    world.end(publisher);
    world.settle();
    assert_nothing_is_held(&world, "polls");
}

#[test]
fn a_stream_is_told_that_the_server_stops() {
    let mut world = World::new(1, Settings::default());
    let client = world.open(0);
    world.send(client, &get("/v1/sse?topics=a"));
    world.settle();
    let now = world.now;
    world.engines[0].on_shutdown(now);
    world.settle();
    let text = String::from_utf8(std::mem::take(&mut world.clients[client].taken)).unwrap();
    let last = "data: {\"type\":\"closed\",\"code\":1001,\"message\":\"the server stops\"}\n\n";
    assert!(text.ends_with(last), "{text}");
    assert!(world.clients[client].half_closed);
}
