//! Random histories of several shards against a model that is a `HashMap`.

use std::collections::HashMap;

use proptest::prelude::*;

use super::settings::Settings;
use super::testing::{NOTHING, World};

const TOPICS: [&str; 4] = ["a", "b.c", "d", "e"];

#[derive(Clone, Debug)]
enum Op {
    Connect(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Publish(usize, usize),
    Leave(usize),
    /// Mail between shards stops or flows again.
    Mail(bool),
    Tick,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..3usize).prop_map(Op::Connect),
        6 => (0..8usize, 0..4usize).prop_map(|(client, topic)| Op::Subscribe(client, topic)),
        2 => (0..8usize, 0..4usize).prop_map(|(client, topic)| Op::Unsubscribe(client, topic)),
        9 => (0..8usize, 0..4usize).prop_map(|(client, topic)| Op::Publish(client, topic)),
        1 => (0..8usize).prop_map(Op::Leave),
        1 => any::<bool>().prop_map(Op::Mail),
        2 => Just(Op::Tick),
    ]
}

/// What one client has heard of one topic.
#[derive(Default)]
struct Stream {
    /// The seq of the last ack, and of the last data after it.
    at: Option<u64>,
}

/// Reads what a client heard: within a subscription every seq follows its predecessor, from the ack's on.
fn check_streams(world: &mut World, client: usize, streams: &mut HashMap<String, Stream>) {
    for text in world.texts(client) {
        let field = |name: &str| {
            let at = text.find(&format!("\"{name}\":"))? + name.len() + 3;
            let end = text[at..].find([',', '}', ']'])? + at;
            Some(text[at..end].trim_matches('"').to_owned())
        };
        let (Some(topic), Some(seq)) = (
            field("topic"),
            field("seq").and_then(|seq| seq.parse::<u64>().ok()),
        ) else {
            continue;
        };
        let stream = streams.entry(topic).or_default();
        match text.split('"').nth(3) {
            Some("subscribed") => stream.at = Some(seq),
            Some("snapshot") => assert_eq!(
                stream.at,
                Some(seq),
                "a snapshot is of the ack's seq: {text}"
            ),
            Some("update") => {
                assert_eq!(
                    stream.at.map(|at| at + 1),
                    Some(seq),
                    "no hole, no repeat: {text}"
                );
                stream.at = Some(seq);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history_delivers_each_subscriber_each_seq_once(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new(3, Settings::default());
        let mut present: Vec<usize> = Vec::new();
        let mut streams: HashMap<usize, HashMap<String, Stream>> = HashMap::new();
        let mut published: HashMap<&str, u64> = HashMap::new();
        for op in ops {
            let pick = |n: usize| present.get(n % present.len().max(1)).copied();
            match op {
                Op::Connect(shard) if present.len() < 8 => present.push(world.connect_ws(shard)),
                Op::Connect(_) => {}
                Op::Subscribe(n, topic) => if let Some(client) = pick(n) {
                    world.say(client, &format!(r#"{{"action":"subscribe","topics":["{}"]}}"#, TOPICS[topic]));
                },
                Op::Unsubscribe(n, topic) => if let Some(client) = pick(n) {
                    world.say(client, &format!(r#"{{"action":"unsubscribe","topics":["{}"]}}"#, TOPICS[topic]));
                },
                Op::Publish(n, topic) => if let Some(client) = pick(n) {
                    *published.entry(TOPICS[topic]).or_default() += 1;
                    world.say(client, &format!(r#"{{"action":"publish","topic":"{}","data":0}}"#, TOPICS[topic]));
                },
                Op::Leave(n) => if let Some(client) = pick(n) {
                    present.retain(|other| *other != client);
                    world.end(client);
                },
                Op::Mail(flows) => world.mail_stopped = !flows,
                Op::Tick => world.settle(),
            }
            for &client in &present {
                check_streams(&mut world, client, streams.entry(client).or_default());
            }
        }
        world.mail_stopped = false;
        world.settle();
        // Whoever is subscribed in the end stands where the publishers do.
        for &client in &present {
            let streams = streams.entry(client).or_default();
            check_streams(&mut world, client, streams);
            world.say(client, r#"{"action":"list"}"#);
            let list = world.texts(client).pop().expect("an answer");
            for topic in TOPICS.iter().filter(|topic| list.contains(&format!("\"{topic}\""))) {
                let expected = published.get(topic).copied().unwrap_or(0);
                prop_assert_eq!(streams[*topic].at, Some(expected), "{}", topic);
            }
        }
        for client in present {
            world.end(client);
        }
        world.settle();
        prop_assert_eq!(world.held(), NOTHING);
    }
}
