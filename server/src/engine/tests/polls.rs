//! Long polls, and what comes while one is answered.

use super::publish;
use crate::engine::settings::Settings;
use crate::engine::testing::World;

#[test]
fn a_poll_is_answered_once_however_many_updates_come_in_a_turn() {
    // So little room that what comes together is not served as one run.
    let settings = Settings {
        outbox_bytes_max: 600,
        ..Settings::default()
    };
    let mut world = World::new(2, settings);
    let topic = world.topic_of("t", 0);
    let publisher = world.connect_ws(0);
    let poller = world.open(1);
    let request = |after: u64| {
        format!("GET /v1/topics/{topic}?wait=30s&after={after} HTTP/1.1\r\nHost: x\r\n\r\n")
    };
    world.send(poller, request(0).as_bytes());
    world.settle();
    world.mail_stopped = true;
    publish(&mut world, publisher, &topic, 6);
    world.mail_stopped = false;
    world.settle();
    let head = world.take_head(poller);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Length: 1\r\n"), "{head}");
    let body = std::mem::take(&mut world.clients[poller].taken);
    assert_eq!(body.len(), 1, "{}", String::from_utf8_lossy(&body));
    // What came behind it is there when it is asked for.
    let seq = head.split("Fanfare-Seq: ").nth(1).unwrap();
    let seq = seq.split('\r').next().unwrap().parse().unwrap();
    assert!(seq < 6, "one run would prove nothing: {head}");
    world.send(poller, request(seq).as_bytes());
    world.settle();
    let head = world.take_head(poller);
    assert!(head.contains("Fanfare-Seq: 6\r\n"), "{head}");
}
