//! The event loop of one shard, and the only place that knows sockets.
//!
//! [`Reactor::run`] is the whole loop. Sockets are registered once, edge-triggered, for both directions; nothing is
//! re-registered later. What the sockets said goes to the engine's doors; what the engine wants is asked for at the
//! end of the tick, so that all that came together leaves together.

mod accept;
mod listen;
pub mod sys;
mod tls;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::certificates::Certificates;
use crate::clock::{Clock, Now};
use crate::engine::named::NamedRule;
use crate::engine::{ConnId, Counters, Engine, SocketOp};
use crate::hub::mail::{Mail, ShardId};
use crate::ledger::Process;
use crate::mesh::Mesh;
use crate::metrics::Entrance;
use accept::{Door, Entry};
pub use listen::Listen;
use tls::Tls;

/// The token of a shard's waker; no connection's generation and place come to it.
pub const WAKER: Token = Token(usize::MAX);
/// Listeners count down from here.
const LISTENERS: usize = usize::MAX - 1;
/// The shard's one read buffer.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// What one connection may send before others have their turn.
const READ_TURN_BYTES: usize = 256 * 1024;
/// Connections written to in one tick: some 4 ms of sends.
const FLUSH_TURN: usize = 512;
/// How long the shard sleeps while mail that nobody takes waits.
const JAM_RETRY: Duration = Duration::from_millis(1);
/// Beyond the close timeout, how long a stopping shard waits for its last connections.
const STOP_GRACE_MS: u64 = 500;

/// What a reactor needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The addresses, every shard on all of them.
    pub listen: Vec<Listen>,
    /// Most connections of the whole server.
    pub connections_max: usize,
    /// Most connections of this shard: what its table of open files has room for.
    pub shard_connections_max: usize,
    /// `TCP_NOTSENT_LOWAT`, bytes, of connections that [want newest values](SocketOp::KeepFresh): with so much unsent their
    /// socket takes no more. 0 = as much as the send buffer holds.
    pub notsent_lowat: u32,
    /// How long a close handshake may take, milliseconds.
    pub close_timeout_ms: u32,
    /// What clients with a certificate may do, by name.
    pub client_rights: Arc<[NamedRule]>,
    /// What listeners with TLS present.
    pub certificates: Option<Arc<Certificates>>,
}

impl Plan {
    /// For how many connections a shard's tables reserve address space.
    #[must_use]
    pub fn reserved_connections(&self) -> usize {
        self.shard_connections_max.min(self.connections_max) + accept::REFUSALS_MAX
    }
}

/// One shard's event loop.
pub struct Reactor {
    me: ShardId,
    poll: Poll,
    engine: Engine,
    mesh: Arc<Mesh>,
    clock: Clock,
    door: Door,
    /// Sockets by connection index.
    streams: Vec<Option<TcpStream>>,
    tls: Tls,
    /// Connections that may have more to read, each once.
    readable: Vec<ConnId>,
    buffer: Box<[u8]>,
    plan: Plan,
    /// When the shard is to end at the latest, once it was told to.
    stop_at_us: Option<u64>,
}

impl Reactor {
    /// A reactor around an engine. To be made on its own thread, after the thread has
    /// [a file table of its own](sys::unshare_files); `poll` was made before, with [`WAKER`] registered.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn new(
        me: ShardId,
        poll: Poll,
        engine: Engine,
        mesh: Arc<Mesh>,
        clock: Clock,
        plan: Plan,
        live: Arc<AtomicUsize>,
    ) -> io::Result<Reactor> {
        let mut door = Door::new(&plan, live);
        door.open(poll.registry())?;
        Ok(Reactor {
            me,
            poll,
            engine,
            mesh,
            clock,
            door,
            streams: Vec::with_capacity(plan.reserved_connections()),
            tls: Tls::new(plan.certificates.clone()),
            readable: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            plan,
            stop_at_us: None,
        })
    }

    /// Serves until the mesh says stop and the last connection is told; returns the shard's counts.
    ///
    /// # Errors
    /// When polling fails, which leaves nothing to go on with.
    pub fn run(mut self) -> io::Result<Counters> {
        let mut events = Events::with_capacity(1024);
        loop {
            let now = self.wait(&mut events)?;
            self.take_events(now, &events);
            self.accept_ready(now);
            self.read_ready(now);
            self.take_mail(now);
            self.advance_time(now);
            self.count_memory();
            self.post_mail();
            self.flush_dirty(now);
            self.serve_sockets();
            self.engine.end_tick(self.clock.now());
            if self.is_over(now) {
                return Ok(self.engine.counters().clone());
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self, events: &mut Events) -> io::Result<Now> {
        let takes_requests = self.engine.takes_requests();
        let timeout = match self.timeout() {
            Some(Duration::ZERO) => Some(Duration::ZERO),
            other if self.mesh.fall_asleep(self.me, takes_requests) => other,
            _ => Some(Duration::ZERO),
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => other?,
        }
        self.mesh.wake_up(self.me);
        Ok(self.clock.now())
    }

    fn timeout(&mut self) -> Option<Duration> {
        let engine = &self.engine;
        if engine.has_backlog() || engine.has_dirty() || engine.has_answered() {
            return Some(Duration::ZERO);
        }
        // What waits to be read may be all paused; what waits to be posted is refused.
        if self.engine.is_jammed() {
            return Some(JAM_RETRY);
        }
        let waiting = self.engine.outgoing().waiting() > 0;
        if waiting || !self.readable.is_empty() || self.door.has_waiting() {
            return Some(Duration::ZERO);
        }
        let next_step = self
            .engine
            .next_time_us()
            .saturating_sub(self.clock.now().mono_us);
        let busy = self.engine.connection_count() > 0
            || self.engine.owes_stats()
            || self.stop_at_us.is_some()
            || self.door.is_closed();
        busy.then(|| Duration::from_micros(next_step.max(1)))
    }

    fn take_events(&mut self, now: Now, events: &Events) {
        for event in events {
            match event.token() {
                WAKER => {}
                Token(listener) if listener > LISTENERS - self.plan.listen.len() => {
                    self.door.on_ready(LISTENERS - listener);
                }
                Token(token) => {
                    let id = ConnId {
                        index: token as u32,
                        generation: (token >> 32) as u32,
                    };
                    if event.is_writable() {
                        self.on_writable(now, id);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        let ending = event.is_read_closed() || event.is_error();
                        self.note_readable(id, ending);
                    }
                }
            }
        }
        if self.mesh.is_stopping() && self.stop_at_us.is_none() {
            self.door.close(self.poll.registry());
            self.engine.on_shutdown(now);
            let patience_ms = u64::from(self.plan.close_timeout_ms) + STOP_GRACE_MS;
            self.stop_at_us = Some(now.mono_us + patience_ms * 1000);
        }
    }

    fn accept_ready(&mut self, now: Now) {
        let Reactor {
            door,
            engine,
            streams,
            tls,
            poll,
            ..
        } = self;
        door.accept(
            now,
            poll.registry(),
            engine.connection_count(),
            |stream, is_tls, entry, address| {
                let id = engine.on_open(now, entry == Entry::Refused);
                if entry == Entry::Admin {
                    engine.note_admin(id);
                }
                let index = id.index as usize;
                if index >= streams.len() {
                    streams.resize_with(index + 1, || None);
                }
                let stream = streams[index].insert(stream);
                let token = Token((id.generation as usize) << 32 | index);
                if let Err(error) =
                    poll.registry()
                        .register(stream, token, Interest::READABLE | Interest::WRITABLE)
                {
                    tracing::warn!(%error, "a connection cannot be watched");
                    engine.on_failure(now, id);
                }
                if is_tls && !tls.open(index) {
                    engine.on_failure(now, id);
                }
                if entry == Entry::Public {
                    engine.note_peer(id, address);
                }
            },
        );
        engine.set_entrance(Entrance {
            tls: tls.counts(),
            ..door.entrance()
        });
        engine.set_carriage(tls.ledger());
    }

    fn on_writable(&mut self, now: Now, id: ConnId) {
        if self.tls.has(id.index as usize) {
            return self.on_tls_writable(now, id);
        }
        self.engine.on_writable(id);
    }

    fn note_readable(&mut self, id: ConnId, ending: bool) {
        if self.engine.note_readable(id, ending) {
            self.readable.push(id);
        }
    }

    /// Gives every connection that has something to read its turn, as long as the tick has room for what comes of it. Those
    /// who had none are first in the next.
    fn read_ready(&mut self, now: Now) {
        self.tls.begin_tick();
        let mut list = std::mem::take(&mut self.readable);
        let mut again = Vec::new();
        let mut turns = 0;
        while self.engine.takes_input()
            && let Some(&id) = list.get(turns)
        {
            turns += 1;
            if self.read(now, id) {
                again.push(id);
            } else {
                self.engine.note_drained(id);
            }
        }
        list.drain(..turns);
        list.append(&mut again);
        self.readable = list;
    }

    /// Reads one connection until it has no more, or its turn is over. True: it may have more.
    fn read(&mut self, now: Now, id: ConnId) -> bool {
        if !self.engine.is_current(id) {
            return false;
        }
        if !self.engine.may_read(id) {
            return true;
        }
        if self.tls.has(id.index as usize) {
            return self.read_tls(now, id);
        }
        let ending = self.engine.is_ending(id);
        let Some(stream) = &mut self.streams[id.index as usize] else {
            return false;
        };
        let mut turn_bytes = 0;
        while turn_bytes < READ_TURN_BYTES && self.engine.takes_input() {
            match stream.read(&mut self.buffer) {
                Ok(0) => {
                    self.engine.on_end(now, id);
                    return false;
                }
                Ok(count) => {
                    self.engine.on_bytes(now, id, &mut self.buffer[..count]);
                    turn_bytes += count;
                    // Less than was asked for: the socket is empty (epoll(7)), which saves the call that would say so.
                    if count < self.buffer.len() && !ending {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.engine.on_failure(now, id);
                    return false;
                }
            }
        }
        true
    }

    fn take_mail(&mut self, now: Now) {
        if !self.engine.has_backlog() {
            for mail in self.mesh.take(self.me, self.engine.takes_requests()) {
                self.engine.on_mail(now, mail);
            }
        }
        self.engine.on_mail(now, Mail::default());
    }

    fn advance_time(&mut self, now: Now) {
        if now.mono_us >= self.engine.next_time_us() {
            self.engine.on_time(now);
        }
    }

    /// Reads what the process holds, when somebody has asked.
    fn count_memory(&mut self) {
        if self.engine.wants_process_memory() {
            self.engine.on_process_memory(Process::read());
        }
    }

    /// Hands the tick's mail over; what an addressee has no room for stays, and makes this shard hold back.
    fn post_mail(&mut self) {
        let (mut requests, mut deliveries) = (false, false);
        for shard in self.engine.outgoing().addressees() {
            if shard == self.me {
                continue;
            }
            let mail = self.engine.outgoing().take(shard);
            let refused = self.mesh.post(shard, mail);
            requests |= !refused.requests.is_empty();
            deliveries |= !refused.deliveries.is_empty();
            self.engine.outgoing().put_back(shard, refused);
        }
        self.engine.set_jam(requests, deliveries);
    }

    /// Writes to a slice of those with output: an update for a million must not keep newcomers and questions waiting.
    fn flush_dirty(&mut self, now: Now) {
        self.flush_drained(now);
        for _ in 0..FLUSH_TURN {
            let Some(id) = self.engine.poll_dirty() else {
                return;
            };
            self.flush(now, id);
        }
    }

    fn flush(&mut self, now: Now, id: ConnId) {
        if self.tls.has(id.index as usize) {
            return self.flush_tls(now, id);
        }
        let Some(stream) = &mut self.streams[id.index as usize] else {
            return;
        };
        loop {
            let bytes = self.engine.poll_write(id);
            if bytes.is_empty() {
                return self.engine.on_flushed(id);
            }
            let offered = bytes.len();
            match stream.write(bytes) {
                Ok(taken) => {
                    self.engine.on_written(now, id, offered, taken);
                    if taken < offered {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.engine.on_written(now, id, offered, 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.engine.on_failure(now, id),
            }
        }
    }

    fn serve_sockets(&mut self) {
        while let Some((id, op)) = self.engine.poll_socket() {
            let index = id.index as usize;
            let place = &mut self.streams[index];
            match op {
                SocketOp::KeepFresh(on) => {
                    self.tls.keep_fresh(index, on);
                    if let Some(stream) = place
                        && self.plan.notsent_lowat > 0
                    {
                        let bytes = if on { self.plan.notsent_lowat } else { 0 };
                        // Only a socket that has failed refuses it, and reading will say so.
                        let _ = SockRef::from(&*stream).set_tcp_notsent_lowat(bytes);
                    }
                }
                SocketOp::Close => {
                    self.tls.close(index, place.as_mut());
                    // Dropping it closes it, and takes it off the poll: no other table holds it.
                    *place = None;
                    self.door.on_closed();
                }
                SocketOp::ShutdownWrite => {
                    let Some(stream) = place else { continue };
                    let ended = match self.tls.end(index, stream) {
                        Ok(true) => stream.shutdown(Shutdown::Write),
                        other => other.map(drop),
                    };
                    if ended.is_err() {
                        // The peer is gone already; reading will say so.
                        self.note_readable(id, true);
                    }
                }
            }
        }
    }

    fn is_over(&self, now: Now) -> bool {
        self.stop_at_us
            .is_some_and(|at_us| self.engine.connection_count() == 0 || now.mono_us >= at_us)
    }
}
