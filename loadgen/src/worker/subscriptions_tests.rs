//! One worker's subscriptions, told what its connections hear.

use super::*;
use crate::dialect::Subscribed;
use std::borrow::Cow;

/// The subscriptions of so many connections, on so many of the topics load.0, load.1 … each.
fn subscriptions(connections: u32, topics: u32, each: u32) -> Subscriptions {
    let plan = crate::plan::tests::plan(&format!(
        "--connections {connections} --topics {topics} --subscriptions {each} --workers 1"
    ));
    Subscriptions::new(plan.unwrap().into(), (0..connections).map(u64::from))
}

fn client(slot: u32) -> Client {
    Client {
        slot,
        number: u64::from(slot),
        class: Class::Healthy,
    }
}

fn ack(subscriptions: &mut Subscriptions, slot: u32, topic: &str, seq: u64) -> Answers {
    let mut answers = Answers::default();
    let topics = vec![Subscribed {
        topic: Cow::Borrowed(topic),
        epoch: Cow::Borrowed("e"),
        seq,
        recovered: None,
    }];
    let heard = Heard::Subscribed {
        topics,
        refused: Vec::new(),
    };
    subscriptions.on_heard(client(slot), heard, 0, &mut answers);
    answers
}

fn update(subscriptions: &mut Subscriptions, slot: u32, topic: &str, seq: u64, payload: &str) {
    let heard = Heard::Data {
        kind: DataKind::Update,
        topic: Cow::Borrowed(topic),
        seq,
        ts_us: 0,
        payload: payload.as_bytes(),
    };
    subscriptions.on_heard(client(slot), heard, 5_000, &mut Answers::default());
}

#[test]
fn a_frame_goes_to_the_cursor_of_its_connection_and_topic() {
    let mut subscriptions = subscriptions(3, 6, 2);
    let topics: Vec<Vec<String>> = (0..3)
        .map(|slot| {
            subscriptions
                .topics(slot, &(0..1))
                .map(|(topic, _)| topic.to_owned())
                .collect()
        })
        .collect();
    assert_eq!(
        topics,
        [
            ["load.0", "load.1"],
            ["load.2", "load.3"],
            ["load.4", "load.5"]
        ]
    );
    assert_eq!(
        ack(&mut subscriptions, 1, "load.3", 7),
        Answers {
            acked: 1,
            ..Answers::default()
        }
    );
    update(&mut subscriptions, 1, "load.3", 8, "{}");
    assert_eq!(
        (
            subscriptions.acked(),
            subscriptions.ledger.total().delivered
        ),
        (1, 1)
    );
    // The right topic on the wrong connection, and a topic of nobody.
    assert_eq!(ack(&mut subscriptions, 0, "load.3", 7), Answers::default());
    update(&mut subscriptions, 1, "nowhere", 1, "{}");
    assert_eq!(subscriptions.ledger.total().strays, 2);
}

#[test]
fn the_drain_ends_when_the_last_one_is_there() {
    let mut subscriptions = subscriptions(3, 1, 1);
    for slot in 0..3 {
        ack(&mut subscriptions, slot, "load.0", 0);
    }
    update(&mut subscriptions, 0, "load.0", 1, "{}");
    subscriptions.drain(vec![1].into(), 3, |_| true);
    assert!(!subscriptions.is_drained());
    update(&mut subscriptions, 1, "load.0", 1, "{}");
    assert!(!subscriptions.is_drained());
    update(&mut subscriptions, 2, "load.0", 1, "{}");
    assert!(subscriptions.is_drained());
    // A feed that goes on takes nobody back.
    update(&mut subscriptions, 2, "load.0", 2, "{}");
    assert!(subscriptions.is_drained());
}

#[test]
fn nobody_waits_for_a_connection_that_is_gone() {
    let mut subscriptions = subscriptions(3, 1, 1);
    for slot in 0..3 {
        ack(&mut subscriptions, slot, "load.0", 0);
    }
    // The first was gone before, the second goes now; the third gets everything.
    subscriptions.drain(vec![1].into(), 3, |slot| slot != 0);
    subscriptions.on_lost(1);
    update(&mut subscriptions, 2, "load.0", 1, "{}");
    assert!(subscriptions.is_drained());
    for (slot, ended_early) in [(0, true), (1, true), (2, false)] {
        subscriptions.close(client(slot), ended_early);
    }
    assert_eq!(subscriptions.ledger.total().faults(), 0);
}

#[test]
fn an_ack_that_comes_during_the_drain_is_waited_for_too() {
    let mut subscriptions = subscriptions(1, 1, 1);
    subscriptions.drain(vec![2].into(), 1, |_| true);
    assert!(subscriptions.is_drained());
    ack(&mut subscriptions, 0, "load.0", 1);
    assert!(!subscriptions.is_drained());
    update(&mut subscriptions, 0, "load.0", 2, "{}");
    assert!(subscriptions.is_drained());
}

#[test]
fn a_subscription_that_never_got_there_is_told_when_its_books_are_closed() {
    let mut subscriptions = subscriptions(1, 1, 1);
    ack(&mut subscriptions, 0, "load.0", 0);
    subscriptions.drain(vec![3].into(), 1, |_| true);
    update(&mut subscriptions, 0, "load.0", 1, "{}");
    subscriptions.close(client(0), false);
    let totals = subscriptions.ledger.total();
    assert_eq!((totals.behind, totals.lost, totals.unbalanced), (1, 2, 0));
}

#[test]
fn latency_is_counted_from_the_intended_time() {
    let mut subscriptions = subscriptions(1, 1, 1);
    ack(&mut subscriptions, 0, "load.0", 0);
    update(&mut subscriptions, 0, "load.0", 1, r#"{"t":1000,"p":"x"}"#);
    update(&mut subscriptions, 0, "load.0", 2, r#"{"t":9000,"p":"x"}"#);
    update(&mut subscriptions, 0, "load.0", 3, r#"{"price":1}"#);
    let quantiles = subscriptions.delivery.healthy.quantiles();
    assert_eq!((quantiles.count, quantiles.min_ns), (1, 4000));
    assert_eq!((quantiles.clock_faults, subscriptions.untimed), (1, 1));
}
