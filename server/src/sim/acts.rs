//! What clients do: come, speak, read at their own pace, and go at any point.

use fanfare_wire::binary::Aliases;
use fanfare_wire::command::{Mode, OnSlow};
use fanfare_wire::frame::Opcode;

use super::client::{Client, Pace, Watch};
use super::said::{Change, Said};
use super::setup::{FILTERS, YOUNG_FILTERS};
use super::socket::{End, Socket};
use super::subscriber::{Subscriber, Tongue};
use super::world::World;
use crate::engine::testing::{masked, upgrade};

/// What asks for the binary protocol.
/// What clients offer of compression.
const COMPRESSION: [&str; 3] = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_max_window_bits=8",
];
const OFFER: &str = "Sec-WebSocket-Protocol: fanfare.v1.bin";

impl World {
    /// One thing that some client does.
    pub(super) fn act(&mut self) {
        let live: Vec<usize> = (self.clients.iter().enumerate())
            .filter(|(_, client)| client.is_live())
            .map(|(place, _)| place)
            .collect();
        let is_lonely = live.is_empty() || self.rng.u8(..12) == 0;
        if is_lonely && self.clients.len() < self.setup.clients_max {
            return self.come();
        }
        if live.is_empty() {
            return;
        }
        let place = live[self.rng.usize(..live.len())];
        match (self.clients[place].view.tongue, self.rng.u8(..100)) {
            (_, 0..4) => self.go(place),
            (_, 4..14) => self.change_pace(place),
            (Tongue::Room, _) => self.speak_in_room(place),
            (Tongue::Events, _) => {}
            (Tongue::Web, _) => self.ask_web(place),
            (_, 14..34) => self.subscribe(place),
            (_, 34..42) => self.set(place),
            (_, 42..50) => self.unsubscribe(place),
            (_, 50..54) => self.ask(place),
            // Topics stay young where little is said.
            (_, 54..62) if self.setup.young > 0 => self.subscribe(place),
            (_, 62..92) if self.setup.young > 0 => self.unsubscribe(place),
            _ => self.publish(place),
        }
    }

    fn come(&mut self) {
        let shard = self.rng.usize(..self.engines.len());
        let room = self.topic();
        let (tongue, path) = match self.rng.u8(..15) {
            0..6 => (Tongue::Json, "/ws".to_owned()),
            6..8 => (Tongue::Raw, "/raw".to_owned()),
            8..10 => (Tongue::Room, format!("/room/{room}")),
            10..13 => (Tongue::Events, "/v1/sse".to_owned()),
            _ => (Tongue::Web, "/v1/topics".to_owned()),
        };
        let name = self.number();
        self.log(&format!("client comes to {path}"), &[name, shard as u64]);
        let (view, mut head) = match tongue {
            Tongue::Events => self.stream(),
            Tongue::Web => (Subscriber::new(tongue, None), String::new()),
            Tongue::Room => (Subscriber::new(tongue, Some(&*room)), upgrade(&path)),
            Tongue::Json | Tongue::Raw => (Subscriber::new(tongue, None), upgrade(&path)),
        };
        let mut client = Client {
            name,
            shard,
            id: self.accept(shard),
            socket: Socket::default(),
            view,
            watch: Watch::default(),
            pace: Pace::Everything,
            // Whoever asks question by question need not wait to be let in.
            is_open: tongue == Tongue::Web,
            has_left: false,
            closed: None,
            answers_pings: self.rng.u8(..10) > 0,
            answers_close: self.rng.u8(..10) > 1,
        };
        client.read_on();
        if tongue == Tongue::Json && self.rng.u8(..3) == 0 {
            self.tally.add("binary client", true);
            head = head.replacen("Host: x", &format!("Host: x\r\n{OFFER}"), 1);
            client.socket.aliases = Some(Aliases::default());
        }
        if !head.is_empty() && tongue != Tongue::Events && self.rng.bool() {
            let offer = COMPRESSION[self.rng.usize(..COMPRESSION.len())];
            let line = format!("Host: x\r\nSec-WebSocket-Extensions: {offer}");
            head = head.replacen("Host: x", &line, 1);
        }
        let is_whole = self.rng.u8(..20) > 0 || head.is_empty();
        let sent = if is_whole {
            head.len()
        } else {
            self.rng.usize(..head.len())
        };
        client.socket.up.extend(&head.as_bytes()[..sent]);
        if !is_whole && self.rng.bool() {
            self.tally.add("left in mid-handshake", true);
            client.leave(if self.rng.bool() {
                End::Half
            } else {
                End::Reset
            });
        }
        self.clients.push(client);
    }

    /// Goes, in one of the many ways.
    pub(super) fn go(&mut self, place: usize) {
        let how = self.rng.u8(..5);
        let ways = [
            "left by close",
            "left by half-close",
            "left by reset",
            "left in mid-frame",
            "left in mid-frame",
        ];
        self.tally.add(ways[usize::from(how)], true);
        self.log(ways[usize::from(how)], &[self.clients[place].name]);
        let frame = masked(Opcode::Text, br#"{"action":"list","id":1}"#);
        let part = self.rng.usize(1..frame.len());
        let client = &mut self.clients[place];
        let is_socket = !matches!(client.view.tongue, Tongue::Events | Tongue::Web);
        match how {
            0 if is_socket => {
                client.send(Opcode::Close, &1000_u16.to_be_bytes());
                client.leave(End::Half);
            }
            0 | 1 => client.leave(End::Half),
            2 => client.leave(End::Reset),
            how => {
                client.socket.up.extend(&frame[..part]);
                client.leave(if how == 3 { End::Half } else { End::Reset });
            }
        }
    }

    fn change_pace(&mut self, place: usize) {
        let pace = match self.rng.u8(..10) {
            0..4 => Pace::Everything,
            4..8 => Pace::Trickle([5, 20, 60, 300][self.rng.usize(..4)]),
            _ => Pace::Nothing,
        };
        self.log(&format!("reads {pace:?}"), &[self.clients[place].name]);
        self.clients[place].set_pace(pace);
    }

    /// Gives a command: what stands behind its action and id.
    fn command(&mut self, place: usize, action: &str, rest: &str, said: Said) {
        let id = self.number();
        let text = format!(r#"{{"action":"{action}","id":{id}{rest}}}"#);
        self.log(&text, &[self.clients[place].name]);
        let client = &mut self.clients[place];
        client.view.say(id, said);
        client.send(Opcode::Text, text.as_bytes());
    }

    pub(super) fn topic(&mut self) -> String {
        let (topics, young) = (&self.setup.topics, self.setup.young);
        if young == 0 {
            return topics[self.rng.usize(..topics.len())].clone();
        }
        let is_silent = |name: &String| self.truth.newest(name) == 0;
        let first = topics.iter().position(is_silent).unwrap_or(topics.len());
        // The one that has spoken last is still spoken of now and then.
        let from = first.saturating_sub(usize::from(self.rng.u8(..3) == 0));
        let place = from + self.rng.usize(..young);
        topics[place.min(topics.len() - 1)].clone()
    }

    pub(super) fn source(&mut self) -> String {
        let is_young = self.setup.young > 0;
        if is_young && self.rng.bool() {
            return YOUNG_FILTERS[self.rng.usize(..YOUNG_FILTERS.len())].into();
        }
        if !is_young && self.rng.u8(..3) == 0 {
            return FILTERS[self.rng.usize(..FILTERS.len())].into();
        }
        self.topic()
    }

    /// Something that the client has, mostly.
    fn known_source(&mut self, place: usize) -> String {
        let known: Vec<String> = self.clients[place].view.sources().cloned().collect();
        if known.is_empty() || self.rng.u8(..8) == 0 {
            return self.source();
        }
        known[self.rng.usize(..known.len())].clone()
    }

    pub(super) fn options(&mut self) -> Change {
        let rng = &mut self.rng;
        let mut some = |odds: u8| rng.u8(..odds) == 0;
        let (mode, slow, interval, stale) = (some(3), some(5), some(4), some(4));
        let pick = |rng: &mut fastrand::Rng, values: &[u32]| values[rng.usize(..values.len())];
        Change {
            mode: mode.then(|| {
                if self.rng.u8(..3) > 0 {
                    Mode::Latest
                } else {
                    Mode::All
                }
            }),
            on_slow: slow.then(|| {
                if self.rng.bool() {
                    OnSlow::Close
                } else {
                    OnSlow::Conflate
                }
            }),
            min_interval_ms: interval.then(|| pick(&mut self.rng, &[0, 1, 5, 40, 150])),
            max_stale_ms: stale.then(|| pick(&mut self.rng, &[0, 10, 100, 400])),
        }
    }

    fn subscribe(&mut self, place: usize) {
        let count = if self.rng.u8(..4) == 0 && self.setup.young == 0 {
            self.rng.usize(2..6)
        } else {
            1
        };
        let mut sources: Vec<String> = (0..count).map(|_| self.source()).collect();
        let change = self.options();
        let snapshot = self.rng.u8(..4) > 0;
        let odds = if self.setup.young > 0 { 15 } else { 3 };
        let since = (self.rng.u8(..odds) == 0).then(|| self.since(&mut sources));
        if since.is_some() {
            // Named twice, a topic would be acked a second time before its history has come.
            let mut named = std::collections::BTreeSet::new();
            sources.retain(|source| named.insert(source.clone()));
        }
        let mut rest = format!(r#","topics":{sources:?}{}"#, change.text());
        if !snapshot {
            rest += r#","snapshot":false"#;
        }
        if let Some((epoch, seq)) = &since {
            rest += &format!(r#","since":{{"epoch":"{epoch}","seq":{seq}}}"#);
        }
        let positions = since.iter().flat_map(|since| {
            let named = sources.iter().cloned();
            named.map(|source| (source, since.clone()))
        });
        let said = Said::Subscribe {
            change,
            snapshot,
            since: positions.collect(),
        };
        self.command(place, "subscribe", &rest, said);
    }

    /// From where a subscriber of `sources` would go on: where another was, or anywhere.
    fn since(&mut self, sources: &mut Vec<String>) -> (String, u64) {
        if !self.memories.is_empty() && self.rng.bool() {
            let at = self.rng.usize(..self.memories.len());
            let (epoch, topic, seq) = self.memories[at].clone();
            *sources = vec![topic];
            return (epoch, seq);
        }
        let topic = ["kept.one", "kept.two"][self.rng.usize(..2)];
        if self.rng.u8(..3) > 0 {
            *sources = vec![topic.into()];
        }
        let newest = self.truth.newest(topic);
        match self.rng.u8(..8) {
            0 => (self.epoch.clone(), newest + self.rng.u64(..3)),
            1 => (self.epoch.clone(), self.rng.u64(..)),
            2 => ("another".into(), self.rng.u64(..9)),
            _ => (
                self.epoch.clone(),
                newest.saturating_sub(self.rng.u64(..12)),
            ),
        }
    }

    fn set(&mut self, place: usize) {
        let (source, change) = (self.known_source(place), self.options());
        self.tally.add("set", true);
        let rest = format!(r#","topics":["{source}"]{}"#, change.text());
        self.command(place, "set", &rest, Said::Set(source, change));
    }

    fn unsubscribe(&mut self, place: usize) {
        let source = self.known_source(place);
        let rest = format!(r#","topics":["{source}"]"#);
        self.command(place, "unsubscribe", &rest, Said::Unsubscribe(source));
    }

    fn ask(&mut self, place: usize) {
        if self.rng.bool() {
            return self.command(place, "list", "", Said::List);
        }
        let rest = format!(r#","topics":["{}","{}"]"#, self.topic(), self.topic());
        self.command(place, "check", &rest, Said::Other);
    }

    /// A value that no other publish has.
    pub(super) fn payload(&mut self) -> (u64, String) {
        let value = self.number();
        let most = self.setup.payload_bytes_max;
        let padding = if self.rng.u8(..4) == 0 {
            self.rng.usize(..=most)
        } else {
            most.min(20)
        };
        (
            value,
            format!(r#"{{"v":{value},"p":"{}"}}"#, "x".repeat(padding)),
        )
    }

    fn publish(&mut self, place: usize) {
        let count = match self.rng.u8(..10) {
            _ if self.setup.young > 0 => 1 + usize::from(self.rng.u8(..4) == 0),
            0..6 => 1,
            6..9 => self.rng.usize(2..12),
            _ => self.rng.usize(12..80),
        };
        let topic = self.topic();
        for _ in 0..count {
            let (value, payload) = self.payload();
            let key = (self.rng.u8(..6) == 0).then(|| format!("k{}", self.rng.u8(..4)));
            let mut rest = format!(r#","topic":"{topic}","data":{payload}"#);
            if let Some(key) = &key {
                rest += &format!(r#","key":"{key}""#);
                let place = (topic.clone(), key.clone());
                self.truth.keyed.entry(place).or_default().insert(value);
            }
            let said = Said::Publish { value, key };
            self.command(place, "publish", &rest, said);
        }
    }

    fn speak_in_room(&mut self, place: usize) {
        let (value, payload) = self.payload();
        self.log("speaks", &[self.clients[place].name, value]);
        self.clients[place].send(Opcode::Text, payload.as_bytes());
    }
}
