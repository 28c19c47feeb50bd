//! What a message means, by the door its connection came in through.

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{self, Command, Id, Parsed};
use fanfare_wire::error::ProtocolError;
use fanfare_wire::event::{self, Hello};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::reader::{Item, Reader};

use super::Engine;
use super::conn::{ConnId, Door, Partial, Stage};
use super::disconnect::Disconnect;
use super::naming::Sign;
use super::rates::Rated;
use super::rights::Act;
use crate::hub::mail::{Reply, Request, Ticket};
use crate::hub::update::{Form, Payload};

impl Engine {
    /// Bytes of an open connection: frame by frame, decoded where they lie.
    pub(super) fn on_frame_bytes(&mut self, index: u32, bytes: &mut [u8]) {
        let mut reader = match self.outlet.conns[index as usize]
            .partial
            .take()
            .map(|partial| *partial)
        {
            Some(Partial::Message(reader)) => *reader,
            _ => Reader::default(),
        };
        let mut inflater = self.lend_inflater(index);
        let limits = self.limits;
        let mut input = bytes;
        while matches!(
            self.outlet.conns[index as usize].stage,
            Stage::Open | Stage::Closing
        ) {
            let next = match &mut inflater {
                None => reader.next(&limits, &mut input),
                Some(inflater) => reader.next_inflating(&limits, &mut input, inflater),
            };
            match next {
                Ok(Some(item)) => {
                    self.on_item(index, item);
                    // What did not fit must end the connection before anything later is let through.
                    self.close_overflowed();
                }
                Ok(None) => break,
                Err(error) => {
                    self.fail(index, error);
                    break;
                }
            }
        }
        self.take_inflater_back(index, inflater);
        let conn = &mut self.outlet.conns[index as usize];
        if matches!(conn.stage, Stage::Open | Stage::Closing) && !reader.is_idle() {
            conn.partial = Some(Box::new(Partial::Message(Box::new(reader))));
        }
    }

    /// One message or control frame of an open or closing connection.
    pub(super) fn on_item(&mut self, index: u32, item: Item<'_>) {
        let conn = &self.outlet.conns[index as usize];
        // After our Close only theirs means anything (RFC 6455, section 5.5.1).
        if conn.stage == Stage::Closing && !matches!(item, Item::Close(_)) {
            return;
        }
        match (item, conn.door) {
            (Item::Close(close), _) => self.on_peer_close(index, close),
            (Item::Ping(payload), _) => self.on_ping(index, payload),
            (Item::Pong(_), _) => {}
            (Item::Text(text), Door::Echo) => {
                self.push_message(index, Opcode::Text, text.as_bytes());
            }
            (Item::Binary(bytes), Door::Echo) => self.push_message(index, Opcode::Binary, bytes),
            (Item::Text(text), Door::Room) => {
                self.publish_to_room(index, Form::Text, text.as_bytes())
            }
            (Item::Binary(bytes), Door::Room) => self.publish_to_room(index, Form::Binary, bytes),
            (Item::Text(text), _) => self.on_text(index, text),
            (Item::Binary(_), _) if !self.is_in_time(index, Rated::Command, None) => {}
            (Item::Binary(_), _) => {
                let message = "commands are text frames";
                self.say(index, |out| {
                    event::put_error(out, None, ErrorCode::BadJson, message)
                });
            }
        }
    }

    /// Answered with the same payload (RFC 6455, section 5.5.2), so long as they do not come in floods: then some are passed
    /// over, and whoever goes on is closed.
    fn on_ping(&mut self, index: u32, payload: &[u8]) {
        match self.rates.take(index, Rated::Ping, self.now.mono_us) {
            Ok(()) => self.push_frame(index, Opcode::Pong, payload),
            Err(soon) => {
                self.counters.rate_limited += 1;
                if soon.is_abuse {
                    self.begin_close(index, Disconnect::Rate);
                }
            }
        }
    }

    fn on_text(&mut self, index: u32, text: &str) {
        self.counters.messages_in += 1;
        if text == "ping" {
            if self.is_in_time(index, Rated::Command, None) {
                self.push_frame(index, Opcode::Text, b"pong");
            }
            return;
        }
        let parsed = command::parse(text);
        let (id, what) = match &parsed {
            Ok(Parsed {
                id,
                command: Command::Publish { .. },
            }) => (*id, Rated::Publish),
            Ok(parsed) => (parsed.id, Rated::Command),
            Err(error) => (error.id, Rated::Command),
        };
        if !self.is_in_time(index, what, id) {
            return;
        }
        match parsed {
            Ok(parsed) => self.on_command(index, parsed.id, parsed.command),
            Err(error) => self.say(index, |out| {
                event::put_error(out, error.id, error.code, &error.message)
            }),
        }
    }

    /// Whether the connection may ask again so soon. If not, it has been told, or closed.
    fn is_in_time(&mut self, index: u32, what: Rated, id: Option<Id<'_>>) -> bool {
        let Err(soon) = self.rates.take(index, what, self.now.mono_us) else {
            return true;
        };
        self.counters.rate_limited += 1;
        // A room has no answers.
        let is_mute = self.outlet.conns[index as usize].door == Door::Room;
        if soon.is_abuse || is_mute {
            self.begin_close(index, Disconnect::Rate);
            return false;
        }
        let message = match what {
            Rated::Command => "too many commands; wait",
            Rated::Publish => "too many publishes; wait",
            Rated::Ping => "too many pings; wait",
        };
        self.say(index, |out| {
            event::put_retry_error(out, id, ErrorCode::Rate, message, soon.retry_ms)
        });
        false
    }

    fn publish_to_room(&mut self, index: u32, form: Form, bytes: &[u8]) {
        self.counters.messages_in += 1;
        let cold = self.outlet.conns[index as usize].cold.as_ref();
        let Some(room) = cold.and_then(|cold| cold.room.clone()) else {
            debug_assert!(false, "a room's connection knows its topic");
            return;
        };
        // A room has no answers: what cannot be published ends the connection, here or in `on_room_failed`.
        if !self.is_in_time(index, Rated::Publish, None) {
            return;
        }
        if bytes.len() > self.settings.payload_bytes_max {
            return self.fail(index, ProtocolError::MessageTooLarge);
        }
        if self.may(index, Act::Publish, &room).is_err() {
            return self.begin_close(index, Disconnect::Forbidden);
        }
        let ticket = Ticket {
            shard: self.hub.shard(),
            ask: index,
            part: self.outlet.conns[index as usize].generation,
        };
        let signed = match form {
            Form::Text => self.signed(index, bytes, Sign::Always),
            _ => None,
        };
        let bytes = signed.as_deref().unwrap_or(bytes);
        self.ask_for(
            index,
            Request::Publish {
                topic: room,
                payload: Payload::new(form, bytes),
                key: None,
                reply: Reply::Failure(ticket),
            },
        );
    }

    /// What somebody said in a room was not published.
    pub(super) fn on_room_failed(&mut self, ticket: Ticket) {
        let id = ConnId {
            index: ticket.ask,
            generation: ticket.part,
        };
        if self
            .current(id)
            .is_some_and(|conn| conn.stage == Stage::Open)
        {
            self.begin_close(id.index, Disconnect::Refused);
        }
    }

    /// What the hello says of tokens.
    fn auth_state(&self, index: u32) -> &'static str {
        match (&self.keys, self.is_known(index)) {
            (None, _) => "none",
            (Some(_), true) => "ok",
            (Some(_), false) if self.must_speak(index) => "required",
            (Some(_), false) => "optional",
        }
    }

    pub(super) fn say_hello(&mut self, index: u32) {
        let hello = Hello {
            conn: &self.name_of(index),
            time_us: self.now.wall_us,
            heartbeat_s: self.settings.heartbeat_ms.div_ceil(1000),
            auth: self.auth_state(index),
            subscriptions: self.settings.subscriptions_max,
            frame_bytes: self.settings.frame_bytes_max,
            commands_per_s: self.settings.commands_per_s,
        };
        self.say(index, |out| event::put_hello(out, &hello));
    }

    /// A connection's name for people: its shard, and which of the shard's connections it is.
    pub(super) fn name_of(&self, index: u32) -> String {
        let generation = self.outlet.conns[index as usize].generation;
        format!("{:x}-{generation:x}", self.hub.shard().0)
    }

    fn push_frame(&mut self, index: u32, opcode: Opcode, payload: &[u8]) {
        self.frame.clear();
        frame::put_frame(&mut self.frame, opcode, payload);
        self.outlet.push_own(index, &self.frame);
    }
}
