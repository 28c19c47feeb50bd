//! An owner by itself: numbering, windows, room, and what was missed.

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event::GapWhy;

use super::Owner;
use crate::hub::Charter;
use crate::hub::deflate::Threshold;
use crate::hub::history::Limits;
use crate::hub::history::Rules;
use crate::hub::keys::Window;
use crate::hub::mail::{Most, Outgoing, ShardId};
use crate::hub::update::Form;
use crate::hub::update::Payload;

const KEYS: u32 = 100;

fn owner(topics_max: u32, kept_bytes_max: u64, history_count: u32) -> (Owner, Outgoing) {
    let otherwise = Limits {
        count: history_count,
        ..Limits::default()
    };
    let rules = Rules {
        rules: Vec::new(),
        otherwise,
    };
    let charter = Charter {
        shards: 1,
        seed: 1,
        epoch: "e1".into(),
        topics_per_owner_max: topics_max,
        kept_bytes_per_owner_max: kept_bytes_max,
        filter_topics_max: 100,
        filters_per_topic_max: 64,
        keys: Window {
            count: KEYS,
            age_ms: 1000,
        },
        history: rules.into(),
        threshold: Threshold::NEVER,
    };
    (Owner::new(ShardId(0), &charter), Outgoing::new(1))
}

fn publish_bytes(
    (owner, out): &mut (Owner, Outgoing),
    topic: &str,
    bytes: usize,
) -> Result<u64, ErrorCode> {
    let payload = Payload::new(Form::Json, "1".repeat(bytes).as_bytes());
    owner
        .publish(topic.into(), payload, None, 0, out)
        .map_err(|(code, _)| code)
}

fn publish(
    owner: &mut Owner,
    out: &mut Outgoing,
    topic: &str,
    key: Option<&str>,
) -> Result<u64, ErrorCode> {
    let payload = Payload::new(Form::Json, b"1");
    owner
        .publish(topic.into(), payload, key.map(Into::into), 0, out)
        .map_err(|(code, _)| code)
}

/// The seqs that a subscriber who stood at `since` would get.
fn missed((owner, _): &mut (Owner, Outgoing), topic: &str, since: u64) -> Result<Vec<u64>, GapWhy> {
    let most = Most {
        count: 50,
        bytes: 1000,
    };
    let missed = owner.missed(topic, since, most, 0)?;
    Ok(missed.iter().map(|update| update.seq).collect())
}

#[test]
fn a_key_gets_its_first_answer_again_until_the_window_has_passed() {
    let (mut owner, mut out) = owner(10, 1 << 20, 0);
    assert_eq!(publish(&mut owner, &mut out, "A", Some("k")), Ok(1));
    assert_eq!(publish(&mut owner, &mut out, "A", Some("k")), Ok(1));
    assert_eq!(publish(&mut owner, &mut out, "B", Some("k")), Ok(1));
    assert_eq!(publish(&mut owner, &mut out, "A", None), Ok(2));
    for n in 0..KEYS {
        publish(&mut owner, &mut out, "A", Some(&n.to_string())).unwrap();
    }
    assert_eq!(
        publish(&mut owner, &mut out, "A", Some("k")),
        Ok(3 + u64::from(KEYS))
    );
}

#[test]
fn a_full_owner_refuses_new_topics_and_serves_the_old() {
    let (mut owner, mut out) = owner(1, 1 << 20, 0);
    assert_eq!(publish(&mut owner, &mut out, "A", None), Ok(1));
    assert_eq!(
        publish(&mut owner, &mut out, "B", None),
        Err(ErrorCode::SubscriptionLimit)
    );
    assert_eq!(publish(&mut owner, &mut out, "A", None), Ok(2));
}

#[test]
fn what_was_missed_is_told_whole_or_not_at_all() {
    let mut owner = owner(10, 1 << 20, 4);
    for _ in 1..=10 {
        publish_bytes(&mut owner, "A", 1).unwrap();
    }
    assert_eq!(missed(&mut owner, "A", 10), Ok(vec![]));
    assert_eq!(missed(&mut owner, "A", 9), Ok(vec![10]));
    assert_eq!(missed(&mut owner, "A", 5), Ok(vec![6, 7, 8, 9, 10]));
    assert_eq!(missed(&mut owner, "A", 4), Err(GapWhy::History));
    assert_eq!(missed(&mut owner, "A", 11), Err(GapWhy::Epoch));
    assert_eq!(missed(&mut owner, "B", 0), Ok(vec![]));
    assert_eq!(missed(&mut owner, "B", 1), Err(GapWhy::Epoch));
}

#[test]
fn more_than_one_outbox_can_take_is_not_sent_at_all() {
    let mut by_bytes = owner(10, 1 << 20, 9);
    for _ in 1..=4 {
        publish_bytes(&mut by_bytes, "A", 400).unwrap();
    }
    assert_eq!(missed(&mut by_bytes, "A", 2), Ok(vec![3, 4]));
    assert_eq!(missed(&mut by_bytes, "A", 1), Err(GapWhy::Overflow));
    let mut by_count = owner(10, 1 << 20, 100);
    for _ in 1..=60 {
        publish_bytes(&mut by_count, "A", 1).unwrap();
    }
    assert_eq!(
        missed(&mut by_count, "A", 10).map(|seqs| seqs.len()),
        Ok(50)
    );
    assert_eq!(missed(&mut by_count, "A", 9), Err(GapWhy::Overflow));
}

#[test]
fn without_room_the_oldest_history_goes_and_last_values_stay() {
    let each = Payload::new(Form::Json, &[b'1'; 100]).charged_bytes("A", Threshold::NEVER);
    let mut owner = owner(10, 6 * each, 100);
    for topic in ["A", "B", "B", "A", "B", "A", "A", "B"] {
        publish_bytes(&mut owner, topic, 100).unwrap();
    }
    // Six are left: A2 A3 A4 and B2 B3 B4.
    assert_eq!(missed(&mut owner, "A", 1), Ok(vec![2, 3, 4]));
    assert_eq!(missed(&mut owner, "A", 0), Err(GapWhy::History));
    assert_eq!(missed(&mut owner, "B", 1), Ok(vec![2, 3, 4]));
    assert_eq!(missed(&mut owner, "B", 0), Err(GapWhy::History));
    // Four more topics leave no room for any history, and a fifth has none for itself.
    for topic in ["C", "D", "E", "F"] {
        publish_bytes(&mut owner, topic, 100).unwrap();
    }
    assert_eq!(missed(&mut owner, "A", 3), Ok(vec![4]));
    assert_eq!(missed(&mut owner, "A", 2), Err(GapWhy::History));
    let refused = Err(ErrorCode::PayloadLimit);
    assert_eq!(publish_bytes(&mut owner, "G", 100), refused);
    assert_eq!(owner.0.topic_count(), 6);
    // A larger value of a topic that is there has none either; one of the same size replaces the last.
    assert_eq!(publish_bytes(&mut owner, "A", 200), refused);
    assert_eq!(publish_bytes(&mut owner, "A", 100), Ok(5));
}
