//! TLS between sockets and engine. The engine knows nothing of it: what it is given is decrypted, what it gives is sealed.
//!
//! A connection of a TLS listener has a session in a column of its own, which a server without such listeners does not have. A session
//! owns no buffer while nothing is under way: ciphertext is read into the shard's one buffer and decrypted in place, and all that a tick
//! wants written to a connection is sealed into another buffer of the shard, as records of up to 16 KB, for one write. Only what the socket
//! does not take of it stays with the session, like more of the kernel's send buffer. The engine may offer more once it is gone.
//!
//! Handshakes are work for the CPU, up to a millisecond each, and anybody may ask for one. So a tick spends only so much time on them;
//! who has to wait keeps its turn.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use fanfare_tls::{RECORD_BYTES_MAX, ServerChannel, peer_name};
use mio::net::TcpStream;

use super::{READ_TURN_BYTES, Reactor};
use crate::certificates::Certificates;
use crate::clock::Now;
use crate::engine::{ConnId, named};
use crate::ledger::Ledger;

/// Time for handshakes in one tick, before others have their turn. A step that is begun is ended.
const HANDSHAKE_TURN_US: u64 = 2_000;
/// What is read at once while the PROXY protocol's header is awaited: more than it is long.
const FRONT_READ_BYTES: usize = 4096;
/// What is sealed at once for a connection.
const BATCH_BYTES: usize = 4 * RECORD_BYTES_MAX;
/// The answer to those who speak HTTP where TLS is spoken.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 53\r\n\r\nTLS is spoken on this port: https:// and wss:// only\n";

/// One connection's TLS.
pub(super) struct Session {
    channel: ServerChannel,
    /// Ciphertext that the socket has not taken.
    unsent: Vec<u8>,
    /// Our side ends once that is sent.
    ends: bool,
    /// The connection wants newest values: little is sealed ahead of what its socket takes.
    is_fresh: bool,
    /// Something has been received.
    has_begun: bool,
    /// What came of the PROXY protocol's header, which stands in front of the TLS, while it is incomplete.
    front: Vec<u8>,
    /// What of it is in [`Tls::held_bytes`].
    counted_bytes: u32,
}

/// The TLS of one shard.
pub(super) struct Tls {
    certificates: Option<Arc<Certificates>>,
    /// By connection index, as far as the last TLS connection.
    sessions: Vec<Option<Box<Session>>>,
    /// Sessions whose unsent ciphertext has gone out in this tick.
    drained: Vec<ConnId>,
    /// Where what was received and what is to be sent are put together.
    plain: Vec<u8>,
    sealed: Vec<u8>,
    /// What is left of this tick for handshakes.
    handshake_us: u64,
    /// What all sessions hold, kept up to date with each turn of one: anybody may ask for it at any time, and a walk over all
    /// of them in each tick would be too much.
    held_bytes: u64,
}

impl Tls {
    pub(super) fn new(certificates: Option<Arc<Certificates>>) -> Tls {
        Tls {
            certificates,
            sessions: Vec::new(),
            drained: Vec::new(),
            plain: Vec::new(),
            sealed: Vec::new(),
            handshake_us: 0,
            held_bytes: 0,
        }
    }

    /// Where the memory is that TLS takes on this shard.
    pub(super) fn ledger(&self) -> Ledger {
        let column = self.sessions.capacity() * size_of::<Option<Box<Session>>>();
        let drained = self.drained.capacity() * size_of::<ConnId>();
        Ledger {
            tls_bytes: self.held_bytes,
            // As long as it once was, whoever is there now.
            spare_bytes: column as u64,
            buffer_bytes: (self.plain.capacity() + self.sealed.capacity() + drained) as u64,
            ..Ledger::default()
        }
    }

    /// The session has had a turn, and may hold more or less than before.
    fn recount(&mut self, index: usize) {
        if let Some(Some(session)) = self.sessions.get_mut(index) {
            let now = session.held_bytes();
            self.held_bytes += u64::from(now);
            self.held_bytes -= u64::from(session.counted_bytes);
            session.counted_bytes = now;
        }
    }

    /// Handshakes of the whole server so far: full, resumed, failed.
    pub(super) fn counts(&self) -> [u64; 3] {
        let counts = self
            .certificates
            .as_ref()
            .map(|certificates| certificates.counts().read());
        counts.unwrap_or_default()
    }

    pub(super) fn begin_tick(&mut self) {
        self.handshake_us = HANDSHAKE_TURN_US;
    }

    /// A connection of a TLS listener has come. False: it cannot be served.
    pub(super) fn open(&mut self, index: usize) -> bool {
        let config = self
            .certificates
            .as_ref()
            .map(|certificates| certificates.current());
        let channel = config.and_then(|config| ServerChannel::accept(config).ok());
        let Some(channel) = channel else {
            return false;
        };
        if index >= self.sessions.len() {
            self.sessions.resize_with(index + 1, || None);
        }
        self.sessions[index] = Some(Box::new(Session {
            channel,
            unsent: Vec::new(),
            ends: false,
            is_fresh: false,
            has_begun: false,
            front: Vec::new(),
            counted_bytes: 0,
        }));
        self.recount(index);
        true
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.sessions.get(index).is_some_and(Option::is_some)
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut Session> {
        self.sessions
            .get_mut(index)
            .and_then(|session| session.as_deref_mut())
    }

    pub(super) fn keep_fresh(&mut self, index: usize, on: bool) {
        if let Some(session) = self.get_mut(index) {
            session.is_fresh = on;
        }
    }

    /// Ends our side, behind what is still unsent; `Ok(false)`: the socket is not to be shut down yet.
    pub(super) fn end(&mut self, index: usize, stream: &mut TcpStream) -> io::Result<bool> {
        let Some(session) = self
            .sessions
            .get_mut(index)
            .and_then(|session| session.as_deref_mut())
        else {
            return Ok(true);
        };
        self.sealed.clear();
        // Before the handshake is over there is nothing to end.
        let _ = session.channel.seal_end(&mut self.sealed);
        session.ends = true;
        let is_sent = session.send(stream, &self.sealed);
        self.recount(index);
        is_sent
    }

    /// The connection is closed. Its peer is told that nothing was cut off, if its socket takes that.
    pub(super) fn close(&mut self, index: usize, stream: Option<&mut TcpStream>) {
        let Some(mut session) = self.sessions.get_mut(index).and_then(Option::take) else {
            return;
        };
        self.held_bytes -= u64::from(session.counted_bytes);
        if let Some(stream) = stream
            && !session.ends
        {
            self.sealed.clear();
            let _ = session.channel.seal_end(&mut self.sealed);
            let _ = session.send(stream, &self.sealed);
        }
    }
}

impl Session {
    /// What there is of it: its buffers, and its channel's.
    fn held_bytes(&self) -> u32 {
        let buffers = self.unsent.capacity() + self.front.capacity();
        let bytes = size_of::<Session>() + self.channel.heap_bytes() + buffers;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// Sends `sealed` behind what is unsent. False: the socket has not taken all of it.
    fn send(&mut self, stream: &mut TcpStream, sealed: &[u8]) -> io::Result<bool> {
        let mut rest = sealed;
        if self.unsent.is_empty() {
            rest = &rest[write(stream, rest)?..];
        }
        self.unsent.extend_from_slice(rest);
        Ok(self.unsent.is_empty())
    }

    /// The same with nothing new.
    fn send_unsent(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        let taken = write(stream, &self.unsent)?;
        if taken == self.unsent.len() {
            self.unsent = Vec::new();
            return Ok(true);
        }
        self.unsent.drain(..taken);
        Ok(false)
    }
}

/// Writes until the socket takes no more; how many bytes it took.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(count) => {
                taken += count;
                // Less than was offered: it is full, and the next call would only say so.
                if count == 0 || taken < bytes.len() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// What became of one read.
enum Taken {
    /// The socket may have more.
    More,
    /// It has no more now, or never will.
    Done,
}

impl Reactor {
    /// [`Reactor::read`] of a TLS connection.
    pub(super) fn read_tls(&mut self, now: Now, id: ConnId) -> bool {
        let has_more = self.read_sealed(now, id);
        self.tls.recount(id.index as usize);
        has_more
    }

    fn read_sealed(&mut self, now: Now, id: ConnId) -> bool {
        let ending = self.engine.is_ending(id);
        let mut turn_bytes = 0;
        while turn_bytes < READ_TURN_BYTES && self.engine.takes_input() {
            let index = id.index as usize;
            let (Some(stream), Some(session)) = (
                &mut self.streams[index],
                self.tls.sessions[index].as_deref_mut(),
            ) else {
                return false;
            };
            if !session.channel.is_open() && self.tls.handshake_us == 0 {
                return true;
            }
            let kept = session.channel.restore(&mut self.buffer);
            let owes_header = self.engine.owes_proxy_header(id);
            let room = if owes_header {
                FRONT_READ_BYTES
            } else {
                self.buffer.len() - kept
            };
            let count = match stream.read(&mut self.buffer[kept..kept + room]) {
                Ok(0) => {
                    // The end of the stream without `close_notify`. WebSocket and HTTP have ends of their own, so nothing was cut off
                    // that they would not notice.
                    self.engine.on_end(now, id);
                    return false;
                }
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.engine.on_failure(now, id);
                    return false;
                }
            };
            turn_bytes += count;
            let fresh = if owes_header {
                self.take_front(now, id, count)
            } else {
                Some(count)
            };
            if let Some(fresh) = fresh
                && let Taken::Done = self.take_tls(now, id, kept, fresh)
            {
                return false;
            }
            if count < room && !ending {
                return false;
            }
        }
        true
    }

    /// Takes the PROXY protocol's header off what was read to the front of the buffer. Returns how many bytes of TLS are there instead;
    /// `None`: none yet.
    fn take_front(&mut self, now: Now, id: ConnId, count: usize) -> Option<usize> {
        let session = self.tls.get_mut(id.index as usize)?;
        session.front.extend_from_slice(&self.buffer[..count]);
        let header = self.engine.on_proxy_header(now, id, &session.front)?;
        let front = std::mem::take(&mut session.front);
        let rest = &front[header..];
        self.buffer[..rest.len()].copy_from_slice(rest);
        (!rest.is_empty()).then_some(rest.len())
    }

    /// Takes what was read into the buffer behind what was kept there.
    fn take_tls(&mut self, now: Now, id: ConnId, kept: usize, count: usize) -> Taken {
        let index = id.index as usize;
        let (Some(stream), Some(session)) = (
            &mut self.streams[index],
            self.tls.sessions[index].as_deref_mut(),
        ) else {
            return Taken::Done;
        };
        let is_first = !std::mem::replace(&mut session.has_begun, true);
        let speaks_http = is_first && begins_like_http(&self.buffer[..count]);
        let begun_us = (!session.channel.is_open()).then(|| self.clock.now().mono_us);
        let (plain, sealed) = (&mut self.tls.plain, &mut self.tls.sealed);
        plain.clear();
        sealed.clear();
        let incoming = &mut self.buffer[..kept + count];
        let received = session.channel.receive(incoming, plain, sealed);
        if let Some(begun_us) = begun_us {
            let spent_us = self.clock.now().mono_us.saturating_sub(begun_us);
            self.tls.handshake_us = self.tls.handshake_us.saturating_sub(spent_us.max(1));
        }
        let answer = if speaks_http {
            PLAIN_ANSWER
        } else {
            &self.tls.sealed
        };
        let is_sent = session.send(stream, answer);
        let received = match (received, is_sent) {
            (Ok(received), Ok(_)) => received,
            (received, _) => {
                if let (Err(fault), Some(certificates)) = (received, &self.tls.certificates) {
                    tracing::debug!(conn = id.index, %fault, "no TLS");
                    certificates.counts().failed();
                }
                self.engine.on_failure(now, id);
                return Taken::Done;
            }
        };
        if received.opened {
            self.on_tls_open(id);
        }
        if !self.tls.plain.is_empty() {
            let mut plain = std::mem::take(&mut self.tls.plain);
            self.engine.on_bytes(now, id, &mut plain);
            self.tls.plain = plain;
        }
        if received.ended {
            self.engine.on_end(now, id);
            return Taken::Done;
        }
        Taken::More
    }

    fn on_tls_open(&mut self, id: ConnId) {
        let (Some(session), Some(certificates)) = (
            self.tls.sessions[id.index as usize].as_deref_mut(),
            &self.tls.certificates,
        ) else {
            return;
        };
        certificates
            .counts()
            .opened(session.channel.is_resumed() == Some(true));
        // Who shows no certificate is anonymous; the one that is shown has been verified.
        let certificates = session.channel.peer_certificates();
        if let Some(name) = certificates.and_then(<[_]>::first).and_then(peer_name) {
            let identity = named::identity(&self.plan.client_rights, &name);
            self.engine.identify(id, identity);
        }
    }

    /// The socket can take bytes again.
    pub(super) fn on_tls_writable(&mut self, now: Now, id: ConnId) {
        if !self.engine.is_current(id) {
            return;
        }
        let index = id.index as usize;
        let (Some(stream), Some(session)) = (
            &mut self.streams[index],
            self.tls.sessions[index].as_deref_mut(),
        ) else {
            return;
        };
        if session.unsent.is_empty() {
            return self.engine.on_writable(id);
        }
        match session.send_unsent(stream) {
            Ok(false) => {}
            Ok(true) => {
                if session.ends && stream.shutdown(Shutdown::Write).is_err() {
                    self.note_readable(id, true);
                }
                self.engine.on_writable(id);
                self.tls.drained.push(id);
            }
            Err(_) => self.engine.on_failure(now, id),
        }
        self.tls.recount(index);
    }

    /// Those whose last ciphertext has gone out: what was to come behind it.
    pub(super) fn flush_drained(&mut self, now: Now) {
        while let Some(id) = self.tls.drained.pop() {
            if self.engine.is_current(id) {
                self.flush_tls(now, id);
            }
        }
    }

    /// [`Reactor::flush`] of a TLS connection.
    pub(super) fn flush_tls(&mut self, now: Now, id: ConnId) {
        self.seal(now, id);
        self.tls.recount(id.index as usize);
    }

    fn seal(&mut self, now: Now, id: ConnId) {
        let index = id.index as usize;
        let (Some(stream), Some(session)) = (
            &mut self.streams[index],
            self.tls.sessions[index].as_deref_mut(),
        ) else {
            return;
        };
        loop {
            let bytes = self.engine.poll_write(id);
            let offered = bytes.len();
            if !session.unsent.is_empty() {
                // Nothing may overtake it, and what waits behind it in the engine can still be replaced.
                if offered > 0 {
                    self.engine.on_written(now, id, offered, 0);
                }
                return;
            }
            if offered == 0 {
                return self.engine.on_flushed(id);
            }
            if !session.channel.is_open() {
                // An answer to somebody who has not even ended the handshake: there is no way to tell it.
                self.engine.on_written(now, id, offered, offered);
                continue;
            }
            let most = if session.is_fresh {
                RECORD_BYTES_MAX
            } else {
                BATCH_BYTES
            };
            let batch = &bytes[..offered.min(most)];
            let taken = batch.len();
            self.tls.sealed.clear();
            let is_sealed = session.channel.seal(batch, &mut self.tls.sealed).is_ok();
            if !is_sealed || session.send(stream, &self.tls.sealed).is_err() {
                return self.engine.on_failure(now, id);
            }
            self.engine.on_written(now, id, taken, taken);
        }
    }
}

/// Whether the first bytes of a connection are a method of HTTP rather than a record of TLS.
fn begins_like_http(bytes: &[u8]) -> bool {
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    (3..=7).contains(&method) && bytes.get(method).is_none_or(|byte| *byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{}",
            body.len()
        );
    }

    #[test]
    fn methods_are_told_from_records() {
        for http in [&b"GET / HTTP/1.1\r\n"[..], b"OPTIONS * ", b"POST", b"GET"] {
            assert!(begins_like_http(http), "{http:?}");
        }
        for other in [
            &b"\x16\x03\x01"[..],
            b"G",
            b"GETGETGET ",
            b"GE/",
            b"get / ",
            b"",
        ] {
            assert!(!begins_like_http(other), "{other:?}");
        }
    }
}
