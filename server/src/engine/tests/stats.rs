//! What a server tells of itself: metrics, stats, `$sys.stats`, and to whom.

use serde_json::Value;

use super::publish;
use crate::engine::disconnect::Disconnect;
use crate::engine::settings::Settings;
use crate::engine::testing::{World, upgrade};
use crate::ledger::Process;

fn world(settings: Settings) -> World {
    World::new(2, settings)
}

/// A world in which stats are published once a second.
fn beating() -> World {
    world(Settings {
        stats_interval_ms: 1000,
        ..Settings::default()
    })
}

/// The status and body of the answer to a GET on a connection of its own; reactors tell what the process holds as they are asked.
fn get(world: &mut World, shard: usize, path: &str, admin: bool) -> (u16, String) {
    let client = world.open(shard);
    if admin {
        let id = world.clients[client].id;
        world.engines[shard].note_admin(id);
    }
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    world.send(client, request.as_bytes());
    world.settle();
    if world.engines[shard].wants_process_memory() {
        let process = Process {
            rss_bytes: Some(4096),
            ..Process::default()
        };
        world.engines[shard].on_process_memory(process);
        world.settle();
    }
    let head = world.take_head(client);
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let body = std::mem::take(&mut world.clients[client].taken);
    world.end(client);
    world.settle();
    (
        status.unwrap_or_else(|| panic!("no answer: {head:?}")),
        String::from_utf8(body).expect("text"),
    )
}

fn stats(world: &mut World) -> Value {
    let (status, body) = get(world, 1, "/v1/stats", false);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn stats_are_those_of_all_shards() {
    let mut world = beating();
    let subscribers: Vec<usize> = (0..6).map(|n| world.connect_ws(n % 2)).collect();
    for &subscriber in &subscribers {
        world.say(subscriber, r#"{"action":"subscribe","topics":["a"]}"#);
    }
    let publisher = world.connect("/raw".len() % 2, "/raw");
    publish(&mut world, publisher, "a", 10);
    let page = stats(&mut world);
    assert_eq!(page["totals"]["updates_in"], 10, "{page}");
    assert_eq!(page["totals"]["deliveries"], 60);
    assert_eq!(page["totals"]["handshakes"], 7);
    let kinds = &page["connections"]["by_kind"];
    assert_eq!(
        (&kinds["ws"], &kinds["raw"], &kinds["http"]),
        (&6.into(), &1.into(), &1.into())
    );
    assert_eq!(page["topics"]["topics"], 1);
    assert_eq!(page["topics"]["subscriptions"], 6);
    assert_eq!(page["lag_us"]["count"], 60);
    assert_eq!(page["memory"]["rss_bytes"], 4096);
    let lines = page["shards"].as_array().expect("a list");
    let sum: u64 = lines
        .iter()
        .map(|line| line["connections"].as_u64().expect("a number"))
        .sum();
    assert_eq!((lines.len(), sum), (2, 8));
}

#[test]
fn who_asks_while_a_collection_is_under_way_shares_the_next_and_memory_is_read_once_a_second() {
    let mut world = beating();
    let request =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let askers: Vec<usize> = ["/metrics", "/v1/stats", "/v1/memory"]
        .iter()
        .map(|path| {
            let client = world.open(0);
            world.send(client, request(path).as_bytes());
            client
        })
        .collect();
    world.settle();
    world.engines[0].on_process_memory(Process::default());
    world.settle();
    for (asker, part) in askers
        .into_iter()
        .zip(["# EOF\n", "\"uptime_s\"", "accounted_bytes"])
    {
        assert!(world.take_head(asker).starts_with("HTTP/1.1 200"));
        let body = String::from_utf8(world.clients[asker].taken.clone()).expect("text");
        assert!(body.contains(part), "{body}");
    }
    let late = world.open(0);
    world.send(late, request("/metrics").as_bytes());
    world.settle();
    assert!(world.take_head(late).starts_with("HTTP/1.1 200"));
    world.pass_ms(1000);
    let later = world.open(0);
    world.send(later, request("/metrics").as_bytes());
    world.settle();
    assert!(world.engines[0].wants_process_memory());
    assert_eq!(world.take_head(later), "");
}

#[test]
fn a_connection_is_counted_where_it_is_and_nowhere_when_it_has_gone() {
    let mut world = world(Settings::default());
    let clients = [
        world.open(0),
        world.connect_ws(0),
        world.connect_binary(0),
        world.connect(0, "/room/r"),
    ];
    let kinds = |world: &World| -> Vec<(&'static str, u64)> {
        let report = world.engines[0].report(world.engines[0].ledger());
        let living = report.kinds.into_iter().filter(|(_, count)| *count > 0);
        living.collect()
    };
    assert_eq!(
        kinds(&world),
        [("http", 1), ("ws", 1), ("bin", 1), ("room", 1)]
    );
    for client in clients {
        world.end(client);
    }
    world.settle();
    assert_eq!(kinds(&world), []);
    let gone = world.engines[0].counters().disconnects[Disconnect::PeerGone.ordinal()];
    assert_eq!(gone, 4);
}

#[test]
fn slow_connections_are_counted_and_named_until_they_catch_up() {
    let mut world = world(Settings {
        outbox_bytes_max: 4096,
        ..Settings::default()
    });
    let slow = world.connect_ws(0);
    world.say(slow, r#"{"action":"subscribe","topics":["a"]}"#);
    world.texts(slow);
    world.clients[slow].window = Some(0);
    let publisher = world.connect_ws(1);
    publish(&mut world, publisher, "a", 500);
    world.pass_ms(250);
    let report = |world: &World| world.engines[0].report(world.engines[0].ledger());
    let told = report(&world);
    assert_eq!(
        (told.counters.slow_now(), told.gauges.waiting_connections),
        (1, 1)
    );
    assert_eq!(told.gauges.marks, 1);
    assert!(told.gauges.queue_bytes >= 4096, "{:?}", told.gauges);
    let [named] = &told.slowest[..] else {
        panic!("{:?}", told.slowest)
    };
    assert_eq!(
        (&*named.conn, named.kind, named.subscriptions),
        ("0-1", "ws", 1)
    );
    assert_eq!(
        (named.waiting_bytes, named.waited_ms),
        (told.gauges.queue_bytes, 250)
    );
    world.open_window(slow, None);
    let told = report(&world);
    assert_eq!((told.counters.slow_now(), told.slowest.len()), (0, 0));
    // One that goes while it is slow is not slow for ever.
    world.clients[slow].window = Some(0);
    publish(&mut world, publisher, "a", 500);
    assert_eq!(report(&world).counters.slow_now(), 1);
    world.end(slow);
    world.settle();
    assert_eq!(report(&world).counters.slow_now(), 0);
}

#[test]
fn lag_is_from_the_owners_time_to_the_end_of_the_writes_for_each_delivery() {
    let mut world = world(Settings::default());
    for _ in 0..5 {
        let subscriber = world.connect_ws(0);
        world.say(subscriber, r#"{"action":"subscribe","topics":["a"]}"#);
    }
    let topic_owner = world.engines[0].hub.charter().owner_of("a");
    let publisher = world.connect_ws(usize::from(topic_owner.0));
    // The mail to the subscribers' shard takes 30 ms, if it is another.
    world.mail_stopped = true;
    world.send(
        publisher,
        &crate::engine::testing::masked(
            fanfare_wire::frame::Opcode::Text,
            br#"{"action":"publish","topic":"a","data":1}"#,
        ),
    );
    let shard = usize::from(topic_owner.0);
    world.engines[shard].on_mail(world.now, crate::hub::mail::Mail::default());
    world.now.wall_us += 30_000;
    world.now.mono_us += 30_000;
    world.mail_stopped = false;
    world.settle();
    let lag = world.engines[0].report(world.engines[0].ledger()).lag;
    assert_eq!((lag.count(), lag.sum_us()), (5, 5 * 30_000));
}

#[test]
fn stats_are_published_once_a_second_while_there_are_connections() {
    let mut world = beating();
    let subscriber = world.connect_ws(0);
    world.say(
        subscriber,
        r#"{"action":"subscribe","topics":["$sys.stats"]}"#,
    );
    world.texts(subscriber);
    let mut published = Vec::new();
    for _ in 0..40 {
        world.pass_ms(125);
        published.extend(world.texts(subscriber));
    }
    assert_eq!(published.len(), 5, "{published:?}");
    let last: Value = serde_json::from_str(published.last().expect("five")).expect("JSON");
    assert_eq!(
        (&last["topic"], &last["seq"]),
        (&"$sys.stats".into(), &5.into())
    );
    assert_eq!(last["data"]["connections"]["by_kind"]["ws"], 1);
    // What the shard with the subscriber delivered a second is what was published.
    assert_eq!(last["data"]["rates"]["last_second"]["deliveries"], 1.0);
    // It is retained as any value is, and nobody else publishes to it.
    let late = world.connect_ws(1);
    world.say(late, r#"{"action":"subscribe","topics":["$sys.stats"]}"#);
    let texts = world.texts(late);
    assert!(
        texts[1].starts_with(r#"{"type":"snapshot","topic":"$sys.stats","seq":5"#),
        "{texts:?}"
    );
    world.say(
        late,
        r#"{"action":"publish","topic":"$sys.stats","data":0}"#,
    );
    assert!(world.texts(late)[0].contains(r#""code":2003"#));
}

#[test]
fn a_server_without_connections_owes_nothing_and_one_that_lost_them_tells_once() {
    let mut world = beating();
    let owes = |world: &World| world.engines.iter().any(|engine| engine.owes_stats());
    assert!(!owes(&world));
    let client = world.connect_ws(0);
    world.pass_ms(1000);
    world.pass_ms(250);
    world.end(client);
    world.settle();
    assert!(owes(&world), "that it has gone is news");
    world.pass_ms(750);
    world.pass_ms(250);
    assert!(!owes(&world));
    let published = |world: &World| -> u64 {
        world
            .engines
            .iter()
            .map(|engine| engine.hub.owner.published())
            .sum()
    };
    assert_eq!(published(&world), 2);
    for _ in 0..20 {
        world.pass_ms(1000);
    }
    assert_eq!(published(&world), 2);
}

#[test]
fn without_an_interval_nothing_is_published() {
    let mut world = world(Settings::default());
    world.connect_ws(0);
    for _ in 0..20 {
        world.pass_ms(500);
    }
    assert!(
        world
            .engines
            .iter()
            .all(|engine| engine.hub.owner.published() == 0)
    );
}

#[test]
fn readiness_ends_when_the_server_stops_and_health_does_not() {
    let mut world = world(Settings::default());
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            get(&mut world, 0, path, false),
            (200, "ok\n".into()),
            "{path}"
        );
    }
    let now = world.now;
    world.engines[0].on_shutdown(now);
    assert_eq!(get(&mut world, 0, "/readyz", true).0, 503);
    assert_eq!(get(&mut world, 0, "/healthz", true).0, 200);
}

#[test]
fn with_an_operators_port_others_get_none_of_its_pages_and_it_serves_nothing_else() {
    let mut world = world(Settings {
        has_admin_port: true,
        ..Settings::default()
    });
    for (path, others, operator) in [
        ("/metrics", 404, 200),
        ("/v1/stats", 404, 200),
        ("/v1/memory", 404, 200),
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/ws", 426, 404),
        ("/room/a", 426, 404),
        ("/nowhere", 404, 404),
    ] {
        assert_eq!(get(&mut world, 0, path, false).0, others, "{path}");
        assert_eq!(get(&mut world, 0, path, true).0, operator, "{path}");
    }
    let client = world.open(0);
    let id = world.clients[client].id;
    world.engines[0].note_admin(id);
    world.send(client, upgrade("/ws").as_bytes());
    world.settle();
    assert!(world.take_head(client).starts_with("HTTP/1.1 404"));
}
