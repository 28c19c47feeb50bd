//! Resuming with `since`: all or nothing.

use super::{publish, seqs};
use crate::engine::settings::{HistoryLimits, HistoryRule, HistoryRules, Settings};
use crate::engine::testing::{Heard, NOTHING, World, masked};
use fanfare_wire::frame::Opcode;

/// Three shards that keep so many updates of topics below `h.`, and none of others.
fn world(count: u32) -> World {
    world_with(count, Settings::default())
}

fn world_with(count: u32, settings: Settings) -> World {
    let rule = HistoryRule {
        topics: "h.>".into(),
        limits: HistoryLimits {
            count,
            bytes: None,
            age_ms: Some(60_000),
        },
    };
    let history = HistoryRules {
        rules: vec![rule],
        ..HistoryRules::default()
    };
    World::new(
        3,
        Settings {
            history,
            ..settings
        },
    )
}

fn resume(world: &mut World, client: usize, topics: &[(&str, &str, u64)]) -> Vec<String> {
    let topics: Vec<String> = topics
        .iter()
        .map(|(topic, epoch, seq)| {
            format!(r#"{{"topic":"{topic}","since":{{"epoch":"{epoch}","seq":{seq}}}}}"#)
        })
        .collect();
    let topics = topics.join(",");
    world.say(
        client,
        &format!(r#"{{"action":"subscribe","topics":[{topics}]}}"#),
    );
    world.texts(client)
}

#[test]
fn everything_that_was_missed_follows_the_ack_without_a_hole() {
    for owner in 0..3 {
        let mut world = world(10);
        let publisher = world.connect_ws(0);
        let topic = world.topic_of("h.", owner);
        publish(&mut world, publisher, &topic, 8);
        let subscriber = world.connect_ws(0);
        let texts = resume(&mut world, subscriber, &[(&topic, "e1", 3)]);
        let ack = format!(
            r#"{{"type":"subscribed","topics":[{{"topic":"{topic}","epoch":"e1","seq":8,"recovered":"full","count":5}}]}}"#
        );
        assert_eq!(texts[0], ack);
        assert_eq!(seqs(&texts, "history"), [4, 5, 6, 7, 8]);
        assert_eq!(texts.len(), 6, "no snapshot beside the history");
        publish(&mut world, publisher, &topic, 1);
        assert_eq!(seqs(&world.texts(subscriber), "update"), [9]);
    }
}

#[test]
fn what_is_not_kept_any_more_is_a_gap_and_a_snapshot() {
    let mut world = world(3);
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "h.a", 8);
    let subscriber = world.connect_ws(1);
    let texts = resume(&mut world, subscriber, &[("h.a", "e1", 3)]);
    assert!(texts[0].ends_with(r#""seq":8,"recovered":"none"}]}"#));
    assert_eq!(
        texts[1],
        r#"{"type":"gap","topic":"h.a","from":4,"why":"history","epoch":"e1"}"#
    );
    assert_eq!(seqs(&texts, "snapshot"), [8]);
    let fresh = world.connect_ws(1);
    let texts = resume(&mut world, fresh, &[("h.a", "e1", 4)]);
    assert_eq!(seqs(&texts, "history"), [5, 6, 7, 8]);
}

#[test]
fn another_epoch_and_a_seq_that_never_was_are_a_gap_of_the_epoch() {
    let mut world = world(10);
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "h.a", 2);
    for (epoch, seq) in [("e0", 1), ("e1", 3), ("e1", u64::MAX)] {
        // The first to come has the owner asked, the second is told by the shard itself.
        for _ in 0..2 {
            let subscriber = world.connect_ws(1);
            let texts = resume(&mut world, subscriber, &[("h.a", epoch, seq)]);
            assert!(texts[0].contains(r#""recovered":"none""#), "{texts:?}");
            assert!(texts[1].contains(r#""why":"epoch""#), "{texts:?}");
            assert_eq!(seqs(&texts, "snapshot"), [2]);
        }
    }
}

#[test]
fn history_that_is_too_old_is_not_served() {
    let mut world = world(10);
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "h.a", 2);
    world.pass_ms(59_000);
    publish(&mut world, publisher, "h.a", 2);
    let early = world.connect_ws(1);
    assert_eq!(
        seqs(&resume(&mut world, early, &[("h.a", "e1", 0)]), "history"),
        [1, 2, 3, 4]
    );
    world.pass_ms(2_000);
    let late = world.connect_ws(1);
    let texts = resume(&mut world, late, &[("h.a", "e1", 0)]);
    assert!(texts[1].contains(r#""why":"history""#), "{texts:?}");
    let other = world.connect_ws(1);
    let texts = resume(&mut world, other, &[("h.a", "e1", 2)]);
    assert_eq!(seqs(&texts, "history"), [3, 4]);
}

#[test]
fn updates_that_come_while_another_topics_owner_is_awaited_belong_to_the_recovery() {
    let mut world = world(20);
    let publisher = world.connect_ws(1);
    let (near, far) = (world.topic_of("h.n", 1), world.topic_of("h.f", 2));
    publish(&mut world, publisher, &near, 5);
    publish(&mut world, publisher, &far, 5);
    let subscriber = world.connect_ws(0);
    world.mail_held = vec![(2, 0)];
    let texts = resume(&mut world, subscriber, &[(&near, "e1", 2), (&far, "e1", 4)]);
    assert!(texts.is_empty(), "the second owner has not answered");
    publish(&mut world, publisher, &near, 3);
    assert!(world.texts(subscriber).is_empty());
    world.mail_held.clear();
    world.settle();
    publish(&mut world, publisher, &near, 1);
    let texts = world.texts(subscriber);
    let ack = format!(r#""topic":"{near}","epoch":"e1","seq":8,"recovered":"full","count":6"#);
    assert!(texts[0].contains(&ack), "{}", texts[0]);
    let of_near: Vec<String> = (texts.into_iter())
        .filter(|text| text.contains(&format!(r#","topic":"{near}""#)))
        .collect();
    assert_eq!(seqs(&of_near, "history"), [3, 4, 5, 6, 7, 8]);
    assert_eq!(seqs(&of_near, "update"), [9]);
    world.end(subscriber);
    world.end(publisher);
    world.settle();
    assert_eq!(world.held(), NOTHING);
}

#[test]
fn a_recovery_larger_than_the_outbox_is_a_gap_by_overflow_and_closes_nobody() {
    let settings = Settings {
        outbox_bytes_max: 4096,
        ..Settings::default()
    };
    let mut world = world_with(100, settings);
    let publisher = world.connect_ws(0);
    for topic in ["h.a", "h.b", "h.c"] {
        publish(&mut world, publisher, topic, 25);
    }
    let subscriber = world.connect_ws(1);
    world.mail_stopped = true;
    // One fits, and what is left has no room for a second; a short third has.
    let wants = [("h.a", "e1", 5), ("h.b", "e1", 5), ("h.c", "e1", 23)];
    let asked = resume(&mut world, subscriber, &wants);
    assert!(asked.is_empty());
    world.mail_stopped = false;
    world.settle();
    let texts = world.texts(subscriber);
    assert_eq!(seqs(&texts, "history").len(), 22, "{texts:?}");
    let gap = r#"{"type":"gap","topic":"h.b","from":6,"why":"overflow","epoch":"e1"}"#;
    assert!(texts.iter().any(|text| text == gap), "{texts:?}");
    assert_eq!(seqs(&texts, "snapshot"), [25]);
    publish(&mut world, publisher, "h.b", 1);
    assert_eq!(seqs(&world.texts(subscriber), "update"), [26]);
}

#[test]
fn raw_subscribers_resume_too_and_hear_of_no_gap() {
    let mut world = world(10);
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "h.a", 5);
    let raw = world.connect(1, "/raw");
    assert_eq!(
        resume(&mut world, raw, &[("h.a", "e1", 2)]),
        ["2", "3", "4"]
    );
    let late = world.connect(1, "/raw");
    assert_eq!(resume(&mut world, late, &[("h.a", "e0", 2)]), ["4"]);
}

#[test]
fn a_room_whose_message_has_no_room_is_closed_and_not_deaf() {
    let settings = Settings {
        kept_bytes_max: 4096,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let room = world.connect(0, "/room/a");
    world.say(room, "short");
    assert_eq!(world.texts(room), ["short"]);
    world.send(room, &masked(Opcode::Text, &[b'x'; 4000]));
    world.settle();
    assert_eq!(world.heard(room), [Heard::Close(Some(1013))]);
}
