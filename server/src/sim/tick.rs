//! One turn of a shard's loop, as `Reactor::run` takes it, door by door. After each door the clients are looked at
//! (`checks.rs`), and whatever a socket takes is heard at once.

use std::hash::Hash;

use fanfare_wire::frame::Opcode;

use super::socket::{End, Heard};
use super::subscriber::{Scene, Tongue};
use super::web::Reply;
use super::world::World;
use crate::engine::{ConnId, SocketOp};
use crate::hub::mail::Mail;

impl World {
    /// One turn of a shard's loop.
    pub(super) fn tick(&mut self, shard: usize) {
        self.log("tick", &[shard as u64]);
        self.note_writable(shard);
        self.read(shard);
        self.take_mail(shard);
        if self.now.mono_us >= self.engines[shard].next_time_us() {
            self.advance_time(shard);
        }
        self.post_mail(shard);
        for _ in 0..self.setup.flush_turn {
            let Some(id) = self.engines[shard].poll_dirty() else {
                break;
            };
            self.flush(shard, id);
        }
        self.serve_sockets(shard);
        self.engines[shard].end_tick(self.now);
        self.check_tick(shard);
        self.check_waits(shard);
        (self.tally).add("topic fading", self.engines[shard].has_fading());
        self.forget_closed();
    }

    fn note_writable(&mut self, shard: usize) {
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.shard == shard)
        {
            let is_due = client.socket.is_blocked && client.socket.room > 0;
            let is_spurious = self.rng.u8(..100) == 0;
            if is_spurious || (is_due && self.rng.u8(..10) < 7) {
                self.tally
                    .add("spurious writability", is_spurious && !is_due);
                client.socket.is_blocked = false;
                self.engines[shard].on_writable(client.id);
            }
        }
    }

    fn read(&mut self, shard: usize) {
        for place in 0..self.clients.len() {
            let client = &mut self.clients[place];
            let has_input = !client.socket.up.is_empty() || client.socket.end.is_some();
            if client.shard != shard || client.socket.is_closed || !has_input {
                continue;
            }
            if !self.engines[shard].takes_input() {
                return;
            }
            let id = client.id;
            if !self.engines[shard].may_read(id) {
                self.tally.add("paused read", true);
                continue;
            }
            let socket = &mut self.clients[place].socket;
            let waiting = socket.up.len();
            let count = if self.rng.u8(..10) < 7 {
                waiting
            } else {
                self.rng.usize(..=waiting)
            };
            let mut bytes: Vec<u8> = socket.up.drain(..count).collect();
            self.tally.add("torn frame", count < waiting);
            if count > 0 {
                self.log("read", &[self.clients[place].name, count as u64]);
                self.engines[shard].on_bytes(self.now, id, &mut bytes);
            }
            let socket = &mut self.clients[place].socket;
            match socket.end.take_if(|_| socket.up.is_empty()) {
                Some(End::Half) => self.engines[shard].on_end(self.now, id),
                Some(End::Reset) => self.engines[shard].on_failure(self.now, id),
                None => {}
            }
            self.look(shard, false);
        }
    }

    fn take_mail(&mut self, shard: usize) {
        let now = self.now;
        if !self.engines[shard].has_backlog() {
            let with_requests = self.engines[shard].takes_requests();
            let mail = self
                .post
                .take(shard, with_requests, now.mono_us, &mut self.rng);
            for mail in mail {
                self.log(
                    "mail",
                    &[
                        shard as u64,
                        mail.requests.len() as u64,
                        mail.deliveries.len() as u64,
                    ],
                );
                self.engines[shard].on_mail(now, mail);
                self.look(shard, true);
            }
        }
        self.engines[shard].on_mail(now, Mail::default());
        self.tally.add("backlog", self.engines[shard].has_backlog());
        self.truth.learn(self.step);
        self.look(shard, true);
    }

    fn advance_time(&mut self, shard: usize) {
        let waited = self.waits(shard);
        let before = self.engines[shard].counters().clone();
        self.engines[shard].on_time(self.now);
        self.check_closes(shard, &waited, &before);
        self.look(shard, false);
        self.check_patience(shard);
        assert!(
            self.engines[shard].next_time_us() > self.now.mono_us,
            "time is not asked for twice"
        );
    }

    fn post_mail(&mut self, from: usize) {
        let (mut requests, mut deliveries) = (false, false);
        for to in self.engines[from].outgoing().addressees() {
            if usize::from(to.0) == from {
                continue;
            }
            let mail = self.engines[from].outgoing().take(to);
            let refused = self
                .post
                .put((from, to), mail, self.now.mono_us, &mut self.rng);
            requests |= !refused.requests.is_empty();
            deliveries |= !refused.deliveries.is_empty();
            self.engines[from].outgoing().put_back(to, refused);
        }
        self.tally.add("refused mail", requests || deliveries);
        self.engines[from].set_jam(requests, deliveries);
    }

    fn flush(&mut self, shard: usize, id: ConnId) {
        let place =
            (self.clients.iter()).position(|client| client.shard == shard && client.id == id);
        let place = place.expect("the engine writes only to those who are there");
        loop {
            let bytes = self.engines[shard].poll_write(id).to_vec();
            if bytes.is_empty() {
                self.engines[shard].on_flushed(id);
                return self.look(shard, false);
            }
            let (now, setup) = (self.now, &self.setup);
            let odds = (setup.short_writes, setup.refusals);
            let socket = &mut self.clients[place].socket;
            let (taken, heard) = socket.write(&bytes, now.mono_us, odds, &mut self.rng);
            bytes[..taken].hash(&mut self.hash);
            self.tally
                .add("short write", taken > 0 && taken < bytes.len());
            self.tally.add("refused write", taken == 0);
            self.log(
                "write",
                &[self.clients[place].name, bytes.len() as u64, taken as u64],
            );
            self.engines[shard].on_written(now, id, bytes.len(), taken);
            self.look(shard, false);
            for (first_us, heard) in heard {
                self.hear(place, first_us, heard);
            }
            if taken < bytes.len() {
                return;
            }
        }
    }

    fn hear(&mut self, place: usize, first_us: u64, heard: Heard) {
        let client = &mut self.clients[place];
        if self.is_verbose {
            println!(
                "       {:>10} client {} hears {heard:?}",
                self.now.mono_us, client.name
            );
        }
        assert!(
            client.closed.is_none(),
            "nothing comes behind a Close: {heard:?}"
        );
        let mut scene = Scene {
            truth: &self.truth,
            topics: &self.setup.topics,
            epoch: &self.epoch,
            step: self.step,
            wall_us: self.wall_us_max,
            tally: &mut self.tally,
        };
        match heard {
            Heard::Head(head) => {
                client.is_open = true;
                let is_compressed = client.socket.inflater.is_some();
                let keeps_context = !head.contains("client_no_context_takeover");
                scene.tally.add("compressed client", is_compressed);
                (scene.tally).add("kept context", is_compressed && keeps_context);
            }
            Heard::Answer { head, body } => {
                let reply = Reply::new(&head, &body);
                if client.view.tongue == Tongue::Web {
                    if !client.has_left {
                        client.view.web.hear(&reply, first_us, &mut scene);
                    }
                    if reply.is_last() {
                        client.leave(End::Half);
                    }
                    return;
                }
                // A stream of which no topic can be had is no stream.
                let is_refused =
                    client.view.tongue == Tongue::Events && body.contains(r#""code":3001"#);
                scene.tally.add("stream refused", is_refused);
                (scene.tally).add("handshake timeout", reply.is_late_request());
                let is_known = reply.is_late_request() || is_refused || client.has_left;
                assert!(is_known, "{head}{body}");
                client.leave(End::Half);
            }
            Heard::Event { id, text, data_us } => {
                // Where a stream stands is a line of its own, which may have gone out before.
                let first_us = if client.view.events.is_mixed {
                    data_us
                } else {
                    first_us
                };
                if let Some(code) = text.as_deref().and_then(closed) {
                    assert!(matches!(code, 4103), "ended for no reason: {code}");
                    scene.tally.add(&format!("stream closed {code}"), true);
                    client.closed = Some(Some(code));
                    return;
                }
                if let Some(text) = text {
                    client.view.hear(&text, first_us, &mut scene);
                }
                if let Some(id) = id {
                    client.view.hear_id(&id, scene.epoch, scene.tally);
                }
            }
            Heard::Text(text) => client.view.hear(&text, first_us, &mut scene),
            Heard::Alias => self.tally.add("alias record", true),
            Heard::Ping => {
                if client.answers_pings && !client.has_left {
                    client.send(Opcode::Pong, b"");
                }
            }
            Heard::Pong => {}
            Heard::Close(code) => {
                let is_known = client.has_left || matches!(code, Some(4103 | 4201 | 1013));
                assert!(is_known, "closed for no reason: {code:?}");
                self.tally
                    .add(&format!("close {}", code.unwrap_or(0)), true);
                client.closed = Some(code);
                if client.answers_close && !client.has_left {
                    client.send(Opcode::Close, &code.unwrap_or(1000).to_be_bytes());
                    client.leave(End::Half);
                }
            }
        }
    }

    fn serve_sockets(&mut self, shard: usize) {
        while let Some((id, op)) = self.engines[shard].poll_socket() {
            let client =
                (self.clients.iter_mut()).find(|client| client.shard == shard && client.id == id);
            let client = client.expect("the engine closes only those who are there");
            match op {
                SocketOp::ShutdownWrite => {
                    if client.closed.is_none() && !client.has_left {
                        client.view.hear_end(self.now.mono_us, &mut self.tally);
                    }
                    let socket = &mut client.socket;
                    socket.half_closed = true;
                    // Whoever reads to the end closes then.
                    socket.end = socket.end.or(Some(End::Half));
                }
                SocketOp::KeepFresh(_) => {}
                SocketOp::Close => client.socket.is_closed = true,
            }
        }
    }
}

/// The code in a stream's last words.
fn closed(text: &str) -> Option<u16> {
    let rest = text.strip_prefix(r#"{"type":"closed","code":"#)?;
    rest.get(..4)?.parse().ok()
}
