//! What a shard decides: connections, sessions, outboxes, timeouts.
//!
//! The engine sees neither socket nor clock. The reactor *calls* its `on_*` doors with the time and what happened, and
//! *asks* with `poll_*` what is to be done; a simulation can do the same with virtual clients. Given the same calls it
//! does the same things.
//!
//! One tick, as the reactor drives it: [`Engine::on_open`], [`on_bytes`](Engine::on_bytes), [`on_end`](Engine::on_end)
//! for what the sockets said; [`on_mail`](Engine::on_mail); [`on_time`](Engine::on_time); then for each
//! [`poll_dirty`](Engine::poll_dirty) a [`poll_write`](Engine::poll_write) answered by [`on_written`](Engine::on_written);
//! then [`poll_socket`](Engine::poll_socket) until it is empty; then [`end_tick`](Engine::end_tick), with the time that it is by then.

#[cfg(test)]
pub(crate) mod account;
mod admission;
mod asides;
mod asks;
mod census;
mod closing;
mod commands;
mod compression;
mod conflate;
mod conn;
mod covered;
mod deliveries;
pub mod disconnect;
mod hashing;
mod http;
#[cfg(test)]
pub(crate) mod inspect;
mod lags;
mod marks;
pub mod named;
mod naming;
mod opening;
mod outbox;
mod outlet;
mod palette;
mod pulse;
mod rates;
mod recovery;
mod report;
pub mod rights;
mod runs;
mod serve;
mod session;
pub mod settings;
mod stale;
mod subscribe;
mod surge;
#[cfg(test)]
pub(crate) mod testing;
mod timeouts;
mod timers;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_wire::frame::Opcode;
use fanfare_wire::reader::{Limits, Role};
use fanfare_wire::sse;
use slab::Slab;

use crate::auth::Keyring;
use crate::clock::Now;
use crate::hub::mail::{Mail, Most, ShardId};
use crate::hub::{Charter, Hub};
use crate::ledger::Ledger;
pub use crate::metrics::Counters;
use crate::metrics::{Entrance, Histogram};
use crate::site::Site;
use admission::{Peers, Tokens};
use asks::Ask;
use census::Census;
use compression::Inflaters;
pub use conn::ConnId;
use conn::{Conn, Door, Stage, flag};
use deliveries::{Inbox, Jam};
use disconnect::Disconnect;
use http::{Answer, Date, Lingering, Listings};
use lags::Lags;
use marks::Marks;
use outlet::Outlet;
use pulse::Pulse;
use rates::Rates;
use runs::Batch;
use serve::Offer;
pub use settings::{
    Compression, HistoryLimits, HistoryRule, HistoryRules, KeyWindow, Route, Settings, Target,
    Threshold,
};
use subscribe::Subscribe;
use surge::Surge;
use timeouts::Due;

/// Letters that one tick may write before it stops reading, by weight: a batch is no larger than this, and what one more read adds.
const TICK_LETTERS_MAX: usize = 16 * 1024;

/// What the engine wants done to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOp {
    /// End our side of the stream; what still comes in is read and thrown away.
    ShutdownWrite,
    /// Whether the kernel is to take little ahead of what the peer reads, so that what waits can be replaced by newer values. A
    /// matter of freshness: nothing depends on it.
    KeepFresh(bool),
    /// Close it. The connection's record is freed at the end of the tick.
    Close,
}

/// One shard's connections and topics.
#[derive(Debug)]
pub struct Engine {
    settings: Arc<Settings>,
    limits: Limits,
    now: Now,
    outlet: Outlet,
    /// Updates that wait without their payload.
    marks: Marks,
    /// Who has asked for much lately.
    rates: Rates,
    /// The marks in what was offered to a socket last.
    offered: Vec<Offer>,
    hub: Hub,
    due: Due,
    surge: Surge,
    /// Subscribe commands that wait for owners.
    subscribes: Slab<Subscribe>,
    /// More than this cannot be recovered at once.
    recovery_most: Most,
    /// Questions put to owners.
    asks: Slab<Ask>,
    /// Connections whose HTTP request was answered.
    answered: Vec<ConnId>,
    /// Topics of answered polls.
    lingering: Lingering,
    /// What answers say of the time.
    date: Date,
    /// Lists of topics.
    listings: Listings,
    /// What tokens are checked with, if any are taken.
    keys: Option<Arc<Keyring>>,
    tokens: Tokens,
    peers: Peers,
    /// The files that are served.
    site: Arc<Site>,
    /// A collection of reports under way.
    census: Option<Census>,
    /// Who waits for the next, and for which page.
    askers: Vec<(ConnId, census::Page)>,
    pulse: Pulse,
    socket_ops: VecDeque<(ConnId, SocketOp)>,
    /// Records to free at the end of the tick.
    gone: Vec<u32>,
    generation: u32,
    inbox: Inbox,
    /// Updates that came together.
    batch: Batch,
    jam: Jam,
    /// What compressed messages are inflated with.
    inflaters: Inflaters,
    /// Connections with the flag PAUSED.
    paused: Vec<u32>,
    /// Where JSON text and frames are put together.
    text: Vec<u8>,
    frame: Vec<u8>,
    counters: Counters,
    /// Connections that live, by their door.
    kinds: [u64; Door::ALL.len()],
    /// How long ticks took.
    tick: Histogram,
    /// How old updates were when they were written.
    lags: Lags,
    /// What the reactor's listeners have come to.
    entrance: Entrance,
    /// What whoever carries the bytes holds for it.
    carriage: Ledger,
    is_stopping: bool,
}

impl Engine {
    /// An engine without connections, with address space (not memory) reserved for `connections_max`.
    #[must_use]
    pub fn new(
        shard: ShardId,
        charter: Charter,
        settings: Arc<Settings>,
        connections_max: usize,
    ) -> Engine {
        let hub_shards = charter.shards;
        Engine {
            limits: Limits {
                role: Role::Server,
                frame_bytes_max: settings.frame_bytes_max,
                message_bytes_max: settings.message_bytes_max,
                fragments_max: settings.fragments_max,
            },
            now: Now {
                mono_us: 0,
                wall_us: 0,
            },
            outlet: Outlet::new(
                connections_max,
                settings.outbox_bytes_max,
                settings.flush_interval_us,
            ),
            marks: Marks::default(),
            rates: Rates::new(
                settings.commands_per_s,
                settings.publishes_per_s,
                settings.pings_per_s,
            ),
            offered: Vec::new(),
            hub: Hub::new(shard, charter, connections_max * 4),
            due: Due::with_capacity(connections_max),
            surge: Surge::default(),
            subscribes: Slab::new(),
            recovery_most: recovery::most(settings.outbox_bytes_max),
            asks: Slab::new(),
            answered: Vec::new(),
            lingering: Lingering::default(),
            date: Date::default(),
            listings: Listings::default(),
            keys: None,
            tokens: Tokens::default(),
            peers: Peers::default(),
            site: Arc::default(),
            census: None,
            askers: Vec::new(),
            pulse: Pulse::new(settings.stats_interval_ms),
            socket_ops: VecDeque::new(),
            gone: Vec::new(),
            generation: 0,
            inbox: Inbox::default(),
            batch: Batch::default(),
            jam: Jam::default(),
            inflaters: Inflaters::new(settings.compression, hub_shards),
            paused: Vec::new(),
            text: Vec::new(),
            frame: Vec::new(),
            counters: Counters::default(),
            kinds: [0; Door::ALL.len()],
            tick: Histogram::default(),
            lags: Lags::default(),
            entrance: Entrance::default(),
            carriage: Ledger::default(),
            is_stopping: false,
            settings,
        }
    }

    /// Gives the engine files to serve; without, it serves none.
    #[must_use]
    pub fn with_site(mut self, site: Arc<Site>) -> Engine {
        self.site = site;
        self
    }

    // ---- doors: what happened -------------------------------------------------------------------------------------

    /// A socket was accepted. With `refuse` (the server is full) its request will be answered 503.
    pub fn on_open(&mut self, now: Now, refuse: bool) -> ConnId {
        self.now = now;
        self.generation = self.generation.wrapping_add(1);
        self.counters.opened += 1;
        self.counters.refused += u64::from(refuse);
        self.kinds[Door::Http as usize] += 1;
        let index = self
            .outlet
            .conns
            .insert(Conn::new(self.generation, now.ms(), refuse)) as u32;
        self.due.set(index, now, self.settings.handshake_timeout_ms);
        ConnId {
            index,
            generation: self.generation,
        }
    }

    /// Bytes came in. They are decoded in place.
    pub fn on_bytes(&mut self, now: Now, id: ConnId, bytes: &mut [u8]) {
        self.now = now;
        self.counters.bytes_in += bytes.len() as u64;
        let Some(conn) = self.current(id) else { return };
        let stage = conn.stage;
        if matches!(stage, Stage::Head | Stage::Open) {
            conn.flags &= !flag::PINGED;
            // While the head is awaited, `last_seen` is when it began: a trickle must not extend it.
            if stage == Stage::Open {
                conn.last_seen = now.ms();
            }
        }
        match stage {
            // A stream of events has nothing to hear.
            Stage::Open if conn.door.is_events() => {}
            Stage::Open | Stage::Closing => self.on_frame_bytes(id.index, bytes),
            Stage::Head | Stage::Body | Stage::Asking | Stage::Polling => {
                self.on_http_bytes(id.index, bytes);
            }
            Stage::Parting | Stage::Failing | Stage::Linger | Stage::Gone => {}
        }
        self.close_overflowed();
    }

    /// The peer ended its side of the stream.
    pub fn on_end(&mut self, now: Now, id: ConnId) {
        self.now = now;
        let Some(conn) = self.current(id) else { return };
        match conn.stage {
            Stage::Open => self.finish(id.index, Disconnect::PeerGone),
            Stage::Head | Stage::Body | Stage::Polling => {
                conn.flags |= flag::EOF;
                self.on_http_end(id.index);
            }
            Stage::Closing | Stage::Linger => self.end_socket(id.index),
            // Our last words are still on their way; the flush or the close timeout ends it.
            Stage::Asking | Stage::Parting | Stage::Failing => conn.flags |= flag::EOF,
            Stage::Gone => {}
        }
    }

    /// The socket failed.
    pub fn on_failure(&mut self, now: Now, id: ConnId) {
        self.now = now;
        if self.current(id).is_some() {
            self.finish(id.index, Disconnect::Reset);
        }
    }

    /// The socket can take bytes again.
    pub fn on_writable(&mut self, id: ConnId) {
        let Some(conn) = self.current(id) else { return };
        if conn.has(flag::BLOCKED) {
            conn.flags &= !flag::BLOCKED;
            self.outlet.mark(id.index);
        }
    }

    /// Mail came from other shards (or none did). Works through it and through what this shard wrote to itself, as far as one
    /// tick should; while [`Engine::has_backlog`], call again in the next, and bring no more.
    pub fn on_mail(&mut self, now: Now, mail: Mail) {
        self.now = now;
        self.inbox.put(mail);
        self.work_inbox();
        self.resume_answered();
        self.release_updates();
        self.close_overflowed();
    }

    /// Time has passed. Carries out every deadline that is due.
    pub fn on_time(&mut self, now: Now) {
        self.now = now;
        self.wake_marks();
        self.rates.sweep(now.mono_us);
        self.sweep();
        self.beat();
        self.forget_lists();
        self.resume_answered();
        self.end_lingering();
        self.release_updates();
        self.close_overflowed();
    }

    /// The server stops: every connection is told (1001), nobody new is let in.
    pub fn on_shutdown(&mut self, now: Now) {
        self.now = now;
        self.is_stopping = true;
        let all: Vec<u32> = self
            .outlet
            .conns
            .iter()
            .map(|(index, _)| index as u32)
            .collect();
        for index in all {
            match self.outlet.conns[index as usize].stage {
                Stage::Open => self.begin_close(index, Disconnect::Shutdown),
                // It has been answered all that it asked: another answer would be taken for that to its next request.
                Stage::Head if self.is_between_requests(index) => {
                    self.end_after_answer(index, Disconnect::Shutdown);
                }
                Stage::Head | Stage::Body | Stage::Asking | Stage::Polling => {
                    let answer = Answer::retry(503, "the server stops\n", 1 + index % 10);
                    self.respond_and_end(index, &answer, Disconnect::Shutdown);
                }
                _ => {}
            }
        }
    }

    /// Which mail of this shard an addressee would not take. While any is refused, connections that ask more of owners are
    /// not read ([`Engine::may_read`]). While deliveries are, this shard carries out no requests: each would write more.
    pub fn set_jam(&mut self, requests: bool, deliveries: bool) {
        let was_jammed = self.jam.any;
        self.jam = Jam {
            any: requests || deliveries,
            deliveries,
        };
        self.counters.mail_jams += u64::from(self.jam.any && !was_jammed);
        if !self.jam.any {
            for index in self.paused.drain(..) {
                if let Some(conn) = self.outlet.conns.get_mut(index as usize) {
                    conn.flags &= !flag::PAUSED;
                }
            }
        }
    }

    /// Whether any mail is refused, see [`Engine::set_jam`].
    #[must_use]
    pub fn is_jammed(&self) -> bool {
        self.jam.any
    }

    /// Whether this shard carries out requests now.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        !self.jam.deliveries
    }

    /// Whether mail that was brought is still to be worked through.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.inbox.deliveries.is_empty()
            || (self.takes_requests() && !self.inbox.requests.is_empty())
    }

    /// Whether connections may go on with requests that were kept: call [`Engine::on_mail`] again without waiting for anything. Not a
    /// backlog: where requests are answered in every tick, mail must be taken all the same.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        !self.answered.is_empty()
    }

    /// Whether this tick has room for more input: so much mail was written in it that it should be posted first.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        self.hub.outgoing.written() < TICK_LETTERS_MAX
    }

    // ---- questions: what is to be done ----------------------------------------------------------------------------

    /// The next connection with output to write. A tick need not ask for all: the rest keeps its turn, and what comes for
    /// them meanwhile goes with it.
    pub fn poll_dirty(&mut self) -> Option<ConnId> {
        while let Some(index) = self.outlet.next_dirty() {
            // Its place may have been freed, or taken by another, since it was marked.
            let Some(conn) = self.outlet.conns.get_mut(index as usize) else {
                continue;
            };
            if conn.has(flag::DIRTY) && conn.stage != Stage::Gone {
                conn.flags &= !flag::DIRTY;
                return Some(ConnId {
                    index,
                    generation: conn.generation,
                });
            }
        }
        None
    }

    /// Whether a connection still has output to write.
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        self.outlet.turns.has_next()
    }

    /// The next thing to be done to a socket.
    pub fn poll_socket(&mut self) -> Option<(ConnId, SocketOp)> {
        self.socket_ops.pop_front()
    }

    /// When [`Engine::on_time`] is due next, microseconds on the monotonic clock.
    #[must_use]
    pub fn next_time_us(&self) -> u64 {
        let mark_us = self.marks.next_due_ms().map(|due_ms| due_ms * 1000);
        let release_us = self.outlet.turns.release_us();
        let linger_us = self.lingering.next_us();
        let others = [mark_us, release_us, linger_us, self.pulse.next_us()];
        let others = others.into_iter().flatten();
        others.fold(self.due.next_us(), u64::min)
    }

    /// The tick's writes are over, and it is now this late. Frees the records of connections that ended in it.
    pub fn end_tick(&mut self, now: Now) {
        self.lags.settle(now.wall_us, &self.outlet.turns);
        self.tick
            .add_one(now.mono_us.saturating_sub(self.now.mono_us));
        while let Some(index) = self.gone.pop() {
            self.outlet.clear(index);
            let conn = self.outlet.conns.remove(index as usize);
            self.inflaters.take_back(conn.cold);
            self.due.clear(index);
        }
        if self.outlet.conns.is_empty() {
            self.end_lingering();
        }
    }

    /// Whether the connection's socket should be read now.
    #[must_use]
    pub fn may_read(&self, id: ConnId) -> bool {
        let conn = self.outlet.conns.get(id.index as usize);
        !(self.jam.any && conn.is_some_and(|conn| conn.has(flag::PAUSED)))
    }

    /// Notes that the connection's socket has something to read, and whether its end of stream is near. False: that is
    /// known already, or the connection is gone.
    pub fn note_readable(&mut self, id: ConnId, ending: bool) -> bool {
        let Some(conn) = self.current(id) else {
            return false;
        };
        if ending {
            conn.flags |= flag::ENDING;
        }
        let is_news = !conn.has(flag::READABLE);
        conn.flags |= flag::READABLE;
        is_news
    }

    /// Whether the connection's end of stream is near: reads must go on until it comes.
    #[must_use]
    pub fn is_ending(&self, id: ConnId) -> bool {
        self.outlet
            .conns
            .get(id.index as usize)
            .is_some_and(|conn| conn.has(flag::ENDING))
    }

    /// The connection's socket was read until it had no more.
    pub fn note_drained(&mut self, id: ConnId) {
        if let Some(conn) = self.current(id) {
            conn.flags &= !flag::READABLE;
        }
    }

    /// Whether a connection is the one that `id` meant.
    #[must_use]
    pub fn is_current(&self, id: ConnId) -> bool {
        self.outlet
            .conns
            .get(id.index as usize)
            .is_some_and(|conn| conn.generation == id.generation)
    }

    /// How many connections there are, in any stage.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.outlet.conns.len()
    }

    /// The mail this shard has written.
    pub fn outgoing(&mut self) -> &mut crate::hub::mail::Outgoing {
        &mut self.hub.outgoing
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    // ---- inside ---------------------------------------------------------------------------------------------------

    /// Lets updates go that a flush interval holds back, if it is over, or if they have become many.
    fn release_updates(&mut self) {
        let is_pressed = self.outlet.is_pressed;
        self.outlet.turns.release(self.now.mono_us, is_pressed);
    }

    fn current(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.outlet
            .conns
            .get_mut(id.index as usize)
            .filter(|conn| conn.generation == id.generation)
    }

    fn id_of(&self, index: u32) -> ConnId {
        ConnId {
            index,
            generation: self.outlet.conns[index as usize].generation,
        }
    }

    /// Queues one text frame built by `write`.
    fn say(&mut self, index: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.text.clear();
        write(&mut self.text);
        self.say_text(index);
    }

    /// Queues what has been put together in `text` as one text frame, or one event.
    fn say_text(&mut self, index: u32) {
        if self.outlet.conns[index as usize].door.is_events() {
            self.frame.clear();
            sse::put_event(&mut self.frame, &self.text);
            return self.outlet.push_own(index, &self.frame);
        }
        let text = std::mem::take(&mut self.text);
        self.push_message(index, Opcode::Text, &text);
        self.text = text;
    }
}
