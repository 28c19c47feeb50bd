//! Requests for a WebSocket: where they lead, and what comes first on each.

use fanfare_wire::deflate::Agreement;
use fanfare_wire::handshake::{self, Request};
use fanfare_wire::topic;

use super::super::Engine;
use super::super::conn::{Door, Stage};
use super::super::rights::{Act, Refusal};
use super::super::settings::Target;
use super::Answer;
use super::query;

/// The subprotocols of `/ws`, and the door that each opens.
const PROTOCOLS: [(&str, Door); 2] = [
    ("fanfare.v1.json", Door::Ws),
    ("fanfare.v1.bin", Door::Binary),
];

/// An upgrade that is granted.
struct Granted {
    door: Door,
    room: Option<Box<str>>,
    compression: Option<Agreement>,
}

impl Engine {
    /// Carries out a request at the path of a WebSocket.
    pub(super) fn upgrade(&mut self, index: u32, request: &Request<'_>, target: Target) {
        match self.judge_upgrade(index, request, target) {
            Ok(granted) => self.enter(index, granted),
            Err(answer) => self.respond(index, &answer.and_end()),
        }
    }

    /// What it leads to; the 101 is left in `self.frame`.
    fn judge_upgrade(
        &mut self,
        index: u32,
        request: &Request<'_>,
        target: Target,
    ) -> Result<Granted, Answer> {
        let upgrade = (request.upgrade())
            .map_err(|error| Answer::plain(error.status(), format!("{error}\n")))?;
        let (door, room) = match target {
            Target::Ws => (Door::Ws, None),
            Target::Raw => (Door::Raw, None),
            Target::Echo => (Door::Echo, None),
            Target::Room(name) => (Door::Room, Some(name)),
        };
        if let Some(name) = &room {
            self.judge_room(index, name)?;
        }
        let chosen = (door == Door::Ws)
            .then(|| choose(upgrade.protocols()))
            .flatten();
        let (protocol, door) = chosen.map_or((None, door), |(name, door)| (Some(name), door));
        let compression = self.choose_compression(&upgrade.extensions);
        self.frame.clear();
        handshake::put_switching(&mut self.frame, upgrade.key, protocol, compression.as_ref());
        Ok(Granted {
            door,
            room,
            compression,
        })
    }

    /// Whether a path's rest is a room, and one for this connection.
    fn judge_room(&self, index: u32, name: &str) -> Result<(), Answer> {
        topic::check_topic(name).map_err(|error| {
            Answer::plain(404, format!("the room's name is not a topic: {error}\n"))
        })?;
        // Nobody speaks there, so there is no room.
        if topic::is_reserved(name) {
            let text = format!("{}\n", Refusal::Reserved.message());
            return Err(Answer::plain(404, text));
        }
        self.may(index, Act::Subscribe, name).map_err(|refusal| {
            let text = format!("{}\n", refusal.message());
            match refusal {
                Refusal::Unknown => {
                    Answer::plain(401, text).with("WWW-Authenticate", "Bearer".into())
                }
                _ => Answer::plain(403, text),
            }
        })
    }

    /// The WebSocket endpoint at `path`, built in or configured.
    pub(super) fn look_up(&self, path: &str) -> Option<Target> {
        match path {
            "/ws" => return Some(Target::Ws),
            "/raw" => return Some(Target::Raw),
            "/echo" if self.settings.echo => return Some(Target::Echo),
            _ => {}
        }
        if let Some(room) = path.strip_prefix("/room/") {
            return Some(Target::Room(query::decode(room)?.into()));
        }
        let configured = (self.settings.routes.iter()).find_map(|route| route.resolve(path));
        let target = configured.or_else(|| self.built_in_room(path))?;
        // A route to /echo opens it only where the operator has opened it at all.
        (target != Target::Echo || self.settings.echo).then_some(target)
    }

    /// The room behind a built-in page, for those who come to the page's path with a WebSocket.
    fn built_in_room(&self, path: &str) -> Option<Target> {
        if !self.site.is_builtin() {
            return None;
        }
        let room = match path.strip_prefix("/document/") {
            Some(name) if !name.is_empty() => {
                format!("document.{}", query::decode(name)?.replace('/', "."))
            }
            _ if path == "/chat" => "chat".into(),
            _ => return None,
        };
        Some(Target::Room(room.into()))
    }

    /// The connection has come for this.
    pub(in crate::engine) fn set_door(&mut self, index: u32, door: Door) {
        let conn = &mut self.outlet.conns[index as usize];
        self.kinds[conn.door as usize] -= 1;
        self.kinds[door as usize] += 1;
        conn.door = door;
    }

    /// The upgrade is granted: says so, and what the endpoint says first.
    fn enter(&mut self, index: u32, granted: Granted) {
        let Granted { door, room, .. } = granted;
        self.counters.upgraded += 1;
        let now = self.now.ms();
        self.set_door(index, door);
        let conn = &mut self.outlet.conns[index as usize];
        conn.stage = Stage::Open;
        conn.last_seen = now;
        self.outlet.push_own(index, &self.frame);
        if let Some(agreement) = &granted.compression {
            self.begin_compression(index, agreement);
        }
        self.due.set(index, self.now, 0);
        match (door, room) {
            (Door::Raw, _) => self.await_token(index),
            (door, _) if door.is_ws() => {
                self.await_token(index);
                self.say_hello(index);
            }
            (_, Some(name)) => {
                let cold = &mut self.outlet.conns[index as usize].cold;
                cold.get_or_insert_default().room = Some((*name).into());
                self.enter_room(index, &name);
            }
            _ => {}
        }
    }
}

/// The first of the offered protocols that is spoken here: they stand in the order in which the client likes them
/// (RFC 6455, section 1.9).
fn choose<'o>(mut offered: impl Iterator<Item = &'o str>) -> Option<(&'static str, Door)> {
    offered.find_map(|name| PROTOCOLS.into_iter().find(|(known, _)| *known == name))
}
