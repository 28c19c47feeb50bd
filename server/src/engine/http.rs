//! The HTTP side of a connection: its request head, where it leads, and the answer when it leads nowhere.

use fanfare_wire::handshake::{self, HeadLimits, Request};

use super::Engine;
use super::conn::{Door, Partial, Stage, flag};
use super::disconnect::Disconnect;
use super::rights::{Act, Refusal};
use super::settings::Target;
use fanfare_wire::topic;

/// The subprotocols of `/ws`, and the door that each opens.
const PROTOCOLS: [(&str, Door); 2] = [
    ("fanfare.v1.json", Door::Ws),
    ("fanfare.v1.bin", Door::Binary),
];

/// A whole plain-text answer, after which the connection ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    status: u16,
    text: String,
    retry_after_s: Option<u32>,
}

impl Answer {
    pub(super) fn retry(status: u16, text: impl Into<String>, after_s: u32) -> Answer {
        Answer {
            retry_after_s: Some(after_s),
            ..Answer::plain(status, text)
        }
    }

    pub(super) fn plain(status: u16, text: impl Into<String>) -> Answer {
        Answer {
            status,
            text: text.into(),
            retry_after_s: None,
        }
    }
}

/// What a request head leads to.
enum Outcome {
    Upgrade { door: Door, room: Option<Box<str>> },
    Answer(Answer),
    Census,
}

impl Engine {
    /// Bytes of a connection that has not yet sent its whole head.
    pub(super) fn on_head_bytes(&mut self, index: u32, bytes: &mut [u8]) {
        let limits = HeadLimits {
            head_bytes_max: self.settings.head_bytes_max,
            // One line may be as long as half a head: a token in the query is long, but leaves room for the headers.
            line_bytes_max: self.settings.head_bytes_max / 2,
        };
        let Some(mut partial) = self.outlet.conns[index as usize].partial.take() else {
            if !self.on_head(index, &limits, bytes) {
                let partial = Partial::Head(bytes.to_vec());
                self.outlet.conns[index as usize].partial = Some(Box::new(partial));
            }
            return;
        };
        let Partial::Head(head) = &mut *partial else {
            debug_assert!(false, "before the upgrade only a head is kept");
            return;
        };
        head.extend_from_slice(bytes);
        // A head ends with a line, and has a bounded number of lines: one that comes byte by byte is not parsed for each byte.
        let may_end = bytes.contains(&b'\n') || head.len() > limits.head_bytes_max;
        if !may_end || !self.on_head(index, &limits, head) {
            self.outlet.conns[index as usize].partial = Some(partial);
        }
    }

    /// Carries out the request whose head `bytes` begin with. False: it is incomplete.
    fn on_head(&mut self, index: u32, limits: &HeadLimits, bytes: &mut [u8]) -> bool {
        let (outcome, head_bytes) = match handshake::parse_request(bytes, limits) {
            Ok(None) => return false,
            Ok(Some((request, head_bytes))) => (self.decide(index, &request), head_bytes),
            Err(error) => {
                let answer = Answer::plain(error.status(), format!("{error}\n"));
                (Outcome::Answer(answer), 0)
            }
        };
        match outcome {
            Outcome::Upgrade { door, room } => {
                self.enter(index, door, room);
                // A client need not wait for our 101 before it sends its first frames.
                let rest = &mut bytes[head_bytes..];
                if !rest.is_empty() {
                    self.on_frame_bytes(index, rest);
                }
            }
            Outcome::Census => self.begin_census(index),
            Outcome::Answer(answer) => {
                let refused = self.outlet.conns[index as usize].has(flag::REFUSE);
                let why = if refused {
                    Disconnect::Capacity
                } else {
                    Disconnect::Http(answer.status)
                };
                self.answer(index, &answer);
                self.end_after_answer(index, why);
            }
        }
        true
    }

    /// Where a request leads. For an upgrade, the 101 is left in `self.frame`.
    fn decide(&mut self, index: u32, request: &Request<'_>) -> Outcome {
        let conn = &self.outlet.conns[index as usize];
        if conn.has(flag::REFUSE) {
            // Spread over ten seconds, so that those turned away do not come back together.
            let after_s = 1 + conn.generation % 10;
            return Outcome::Answer(Answer::retry(503, "the server is full\n", after_s));
        }
        let Some(target) = self.look_up(request.path) else {
            return plain_page(request);
        };
        let upgrade = match request.upgrade() {
            Ok(upgrade) => upgrade,
            Err(error) => {
                return Outcome::Answer(Answer::plain(error.status(), format!("{error}\n")));
            }
        };
        let (door, room) = match target {
            Target::Ws => (Door::Ws, None),
            Target::Raw => (Door::Raw, None),
            Target::Echo => (Door::Echo, None),
            Target::Room(name) => (Door::Room, Some(name)),
        };
        if let Some(name) = &room
            && let Some(answer) = self.refuse_room(index, name)
        {
            return Outcome::Answer(answer);
        }
        let chosen = (door == Door::Ws)
            .then(|| choose(upgrade.protocols()))
            .flatten();
        let (protocol, door) = chosen.map_or((None, door), |(name, door)| (Some(name), door));
        self.frame.clear();
        handshake::put_switching(&mut self.frame, upgrade.key, protocol);
        Outcome::Upgrade { door, room }
    }

    /// Why a path's rest is no room, or none for this connection.
    fn refuse_room(&self, index: u32, name: &str) -> Option<Answer> {
        if let Err(error) = topic::check_topic(name) {
            let text = format!("the room's name is not a topic: {error}\n");
            return Some(Answer::plain(404, text));
        }
        // Nobody speaks there, so there is no room.
        if topic::is_reserved(name) {
            let text = format!("{}\n", Refusal::Reserved.message());
            return Some(Answer::plain(404, text));
        }
        let refusal = self.may(index, Act::Subscribe, name).err()?;
        Some(Answer::plain(403, format!("{}\n", refusal.message())))
    }

    /// The WebSocket endpoint at `path`, built in or configured.
    fn look_up(&self, path: &str) -> Option<Target> {
        match path {
            "/ws" => return Some(Target::Ws),
            "/raw" => return Some(Target::Raw),
            "/echo" if self.settings.echo => return Some(Target::Echo),
            _ => {}
        }
        if let Some(room) = path.strip_prefix("/room/") {
            return Some(Target::Room(room.into()));
        }
        let target = self
            .settings
            .routes
            .iter()
            .find_map(|route| route.resolve(path))?;
        // A route to /echo opens it only where the operator has opened it at all.
        (target != Target::Echo || self.settings.echo).then_some(target)
    }

    /// The upgrade is granted: says so, and what the endpoint says first.
    fn enter(&mut self, index: u32, door: Door, room: Option<Box<str>>) {
        self.counters.upgraded += 1;
        let now = self.now.ms();
        let conn = &mut self.outlet.conns[index as usize];
        conn.stage = Stage::Open;
        conn.door = door;
        conn.last_seen = now;
        self.outlet.push_own(index, &self.frame);
        self.due.set(index, self.now, 0);
        match (door, room) {
            (door, _) if door.is_ws() => self.say_hello(index),
            (_, Some(name)) => {
                let cold = &mut self.outlet.conns[index as usize].cold;
                cold.get_or_insert_default().room = Some((*name).into());
                self.enter_room(index, &name);
            }
            _ => {}
        }
    }

    /// Queues an HTTP answer.
    pub(super) fn answer(&mut self, index: u32, answer: &Answer) {
        let retry = answer.retry_after_s.map(|seconds| seconds.to_string());
        let extra: Vec<(&str, &str)> = retry
            .iter()
            .map(|seconds| ("Retry-After", seconds.as_str()))
            .collect();
        self.frame.clear();
        handshake::put_response(
            &mut self.frame,
            answer.status,
            &extra,
            "text/plain; charset=utf-8",
            answer.text.as_bytes(),
        );
        self.outlet.push_own(index, &self.frame);
    }
}

/// The first of the offered protocols that is spoken here: they stand in the order in which the client likes them
/// (RFC 6455, section 1.9).
fn choose<'o>(mut offered: impl Iterator<Item = &'o str>) -> Option<(&'static str, Door)> {
    offered.find_map(|name| PROTOCOLS.into_iter().find(|(known, _)| *known == name))
}

/// Paths without a WebSocket behind them.
fn plain_page(request: &Request<'_>) -> Outcome {
    Outcome::Answer(match (request.path, request.method) {
        ("/v1/memory", "GET") => return Outcome::Census,
        ("/healthz" | "/readyz", "GET") => Answer::plain(200, "ok\n"),
        ("/healthz" | "/readyz" | "/v1/memory", _) => {
            Answer::plain(405, "only GET is answered here\n")
        }
        _ => Answer::plain(404, "nothing is served at this path\n"),
    })
}
