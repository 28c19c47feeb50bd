//! Random histories of several shards against a model that is a `HashMap`.

use std::collections::HashMap;

use proptest::prelude::*;

use super::account::Account;
use super::settings::{HistoryLimits, HistoryRules, Settings};
use super::testing::{Heard, NOTHING, World};

const TOPICS: [&str; 4] = ["a", "b.c", "d", "e"];

/// What is subscribed to: the topics, and filters that cover some of them.
const SOURCES: [&str; 8] = ["a", "b.c", "d", "e", ">", "*", "b.*", "*.>"];

/// What a subscriber may ask for; the empty one says nothing.
const OPTIONS: [&str; 8] = [
    "",
    r#","mode":"latest""#,
    r#","mode":"all","snapshot":false"#,
    r#","min_interval_ms":40"#,
    r#","min_interval_ms":0"#,
    r#","max_stale_ms":30"#,
    r#","on_slow":"close""#,
    r#","mode":"all","on_slow":"conflate","min_interval_ms":0,"max_stale_ms":0"#,
];

#[derive(Clone, Debug)]
enum Op {
    /// On which shard, and whether it speaks the binary protocol.
    Connect(usize, bool),
    Subscribe(usize, usize, usize),
    /// To a topic, from where the client left off.
    Resume(usize, usize),
    Set(usize, usize, usize),
    Unsubscribe(usize, usize),
    /// On which shard, to what, and how often in one read.
    Publish(usize, usize, usize),
    Leave(usize),
    /// A client will take so many bytes and no more, or everything.
    Window(usize, Option<usize>),
    /// Mail between shards stops or flows again.
    Mail(bool),
    /// Mail from one shard to another stops, and all other flows; between a shard and itself nothing stops.
    Hold(usize, usize),
    Pass(u64),
    Tick,
}

fn op() -> impl Strategy<Value = Op> {
    let (client, topic, options) = (0..8usize, 0..4usize, 0..8usize);
    let source = 0..8usize;
    let window = prop_oneof![(0..400usize).prop_map(Some), Just(None)];
    prop_oneof![
        2 => (0..3usize, any::<bool>()).prop_map(|(s, b)| Op::Connect(s, b)),
        6 => (client.clone(), source.clone(), options.clone()).prop_map(|(c, t, o)| Op::Subscribe(c, t, o)),
        3 => (client.clone(), topic.clone()).prop_map(|(c, t)| Op::Resume(c, t)),
        2 => (client.clone(), source.clone(), options).prop_map(|(c, t, o)| Op::Set(c, t, o)),
        3 => (client.clone(), source).prop_map(|(c, t)| Op::Unsubscribe(c, t)),
        9 => (0..3usize, topic, 1..12usize).prop_map(|(s, t, n)| Op::Publish(s, t, n)),
        1 => client.clone().prop_map(Op::Leave),
        4 => (client, window).prop_map(|(c, w)| Op::Window(c, w)),
        1 => any::<bool>().prop_map(Op::Mail),
        1 => (0..3usize, 0..3usize).prop_map(|(from, to)| Op::Hold(from, to)),
        2 => (1..60u64).prop_map(Op::Pass),
        2 => Just(Op::Tick),
    ]
}

/// The world, and what is known of it.
struct Model {
    world: World,
    /// Clients whose connection is open, and what each has heard.
    present: Vec<(usize, Account)>,
    /// One on each shard, never stalled and never told of success.
    publishers: [usize; 3],
    published: HashMap<&'static str, u64>,
    values: usize,
    /// Of the last command that a client gave.
    id: u64,
}

impl Model {
    fn new() -> Model {
        let settings = Settings {
            // Some six updates.
            outbox_bytes_max: 700,
            heartbeat_ms: 0,
            history: HistoryRules {
                rules: Vec::new(),
                otherwise: HistoryLimits {
                    count: 4,
                    ..HistoryLimits::default()
                },
            },
            ..Settings::default()
        };
        let mut world = World::new(3, settings);
        Model {
            publishers: [0, 1, 2].map(|shard| world.connect(shard, "/raw")),
            world,
            present: Vec::new(),
            published: HashMap::new(),
            values: 0,
            id: 0,
        }
    }

    fn pick(&self, n: usize) -> Option<usize> {
        let (client, _) = self.present.get(n % self.present.len().max(1))?;
        Some(*client)
    }

    /// `text` is what stands behind the action and the id.
    fn say(&mut self, n: usize, action: &str, text: &str) {
        self.id += 1;
        let id = self.id;
        if let Some(client) = self.pick(n) {
            let text = format!(r#"{{"action":"{action}","id":{id},{text}}}"#);
            self.world.say(client, &text);
        }
    }

    /// What the client knows of a topic that it asks to go on in.
    fn standing(&self, n: usize, topic: &str) -> u64 {
        let known = self.present.get(n % self.present.len().max(1));
        known.map_or(0, |(_, account)| account.of(topic).at)
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Connect(shard, is_binary) if self.present.len() < 8 => {
                let client = match is_binary {
                    true => self.world.connect_binary(shard),
                    false => self.world.connect_ws(shard),
                };
                self.present.push((client, Account::default()));
            }
            Op::Connect(..) => {}
            Op::Subscribe(n, source, options) => self.say(
                n,
                "subscribe",
                &format!(r#""topics":["{}"]{}"#, SOURCES[source], OPTIONS[options]),
            ),
            Op::Resume(n, topic) => {
                let (topic, seq) = (TOPICS[topic], self.standing(n, TOPICS[topic]));
                let since = format!(r#""since":{{"epoch":"e1","seq":{seq}}}"#);
                self.say(n, "subscribe", &format!(r#""topics":["{topic}"],{since}"#));
            }
            Op::Set(n, source, options) => self.say(
                n,
                "set",
                &format!(r#""topics":["{}"]{}"#, SOURCES[source], OPTIONS[options]),
            ),
            Op::Unsubscribe(n, source) => {
                let count = self.present.len().max(1);
                if let Some((_, account)) = self.present.get_mut(n % count) {
                    account.will_end(self.id + 1, SOURCES[source]);
                }
                self.say(
                    n,
                    "unsubscribe",
                    &format!(r#""topics":["{}"]"#, SOURCES[source]),
                );
            }
            Op::Publish(shard, topic, count) => self.publish(shard, TOPICS[topic], count),
            Op::Leave(n) => {
                if let Some(client) = self.pick(n) {
                    self.present.retain(|(other, _)| *other != client);
                    self.world.end(client);
                }
            }
            Op::Window(n, window) => {
                if let Some(client) = self.pick(n) {
                    self.world.open_window(client, window);
                }
            }
            Op::Mail(flows) => self.world.mail_stopped = !flows,
            Op::Hold(from, to) => {
                self.world.mail_stopped = false;
                self.world.mail_held = vec![(from, to)];
            }
            Op::Pass(ms) => self.world.pass_ms(ms),
            Op::Tick => self.world.settle(),
        }
        self.hear();
    }

    /// All in one tick, so that what is told of it is told together.
    fn publish(&mut self, shard: usize, topic: &'static str, count: usize) {
        *self.published.entry(topic).or_default() += count as u64;
        let mut bytes = Vec::new();
        for _ in 0..count {
            self.values += 1;
            let text = format!(
                r#"{{"action":"publish","topic":"{topic}","data":{}}}"#,
                self.values
            );
            bytes.extend(super::testing::masked(
                fanfare_wire::frame::Opcode::Text,
                text.as_bytes(),
            ));
        }
        self.world.send(self.publishers[shard], &bytes);
        self.world.settle();
    }

    /// Holds what every client has heard to the promise; who was closed for slowness goes.
    fn hear(&mut self) {
        let world = &mut self.world;
        self.present.retain_mut(|(client, account)| {
            let mut open = true;
            for heard in world.heard(*client) {
                match heard {
                    Heard::Text(text) => account.hear(&[text]),
                    Heard::Close(code) => {
                        assert_eq!(code, Some(4103));
                        open = false;
                    }
                    other => panic!("unexpected: {other:?}"),
                }
            }
            if !open {
                world.end(*client);
            }
            open
        });
    }

    /// Everybody reads, mail flows, intervals end, and everybody hears once more of each topic: of some that came by a filter
    /// nothing was to be told until then.
    fn come_to_rest(&mut self) {
        self.world.mail_stopped = false;
        self.world.mail_held.clear();
        for (client, _) in &self.present {
            self.world.open_window(*client, None);
        }
        self.hear();
        self.apply(&Op::Pass(50));
        self.apply(&Op::Pass(50));
        for topic in 0..TOPICS.len() {
            self.apply(&Op::Publish(0, topic, 1));
        }
        self.apply(&Op::Pass(50));
    }

    /// Whoever is subscribed stands where the publishers do, and all have the same newest value.
    fn check_rest(&mut self) {
        let mut newest: HashMap<&str, String> = HashMap::new();
        for n in 0..self.present.len() {
            let client = self.present[n].0;
            self.world.say(client, r#"{"action":"list"}"#);
            let list = self.world.texts(client).pop().expect("an answer");
            let account = &self.present[n].1;
            for source in SOURCES {
                let listed = list.contains(&format!("\"{source}\""));
                assert_eq!(listed, account.has_source(source), "{source}: {list}");
            }
            for topic in TOPICS {
                if !account.has(topic) {
                    continue;
                }
                let standing = account.of(topic);
                let expected = self.published.get(topic).copied().unwrap_or(0);
                assert_eq!(standing.at, expected, "{topic}");
                if standing.delivered.last() == Some(&expected) {
                    let known = newest.entry(topic).or_insert(standing.value.clone());
                    assert_eq!(*known, standing.value, "{topic}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history_delivers_each_subscriber_each_seq_once_or_names_it_in_one_skip(
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut model = Model::new();
        for op in ops {
            model.apply(&op);
        }
        model.come_to_rest();
        model.check_rest();
        for (client, _) in std::mem::take(&mut model.present) {
            model.world.end(client);
        }
        for client in model.publishers {
            model.world.end(client);
        }
        model.world.settle();
        prop_assert_eq!(model.world.held(), NOTHING);
    }
}
