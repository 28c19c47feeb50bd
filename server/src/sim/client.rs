//! A client of the simulation: its socket, how it reads, what it believes, and for how long the server has kept it waiting.

use std::collections::{BTreeMap, VecDeque};

use fanfare_wire::frame::Opcode;

use super::socket::{End, Socket};
use super::subscriber::Subscriber;
use crate::engine::ConnId;
use crate::engine::inspect::Glimpse;
use crate::engine::testing::{masked, masked_and_deflated};

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Everything,
    /// So many bytes at a time.
    Trickle(usize),
    Nothing,
}

/// One client and its side of the connection.
pub(super) struct Client {
    pub(super) name: u64,
    pub(super) shard: usize,
    pub(super) id: ConnId,
    pub(super) socket: Socket,
    pub(super) view: Subscriber,
    pub(super) watch: Watch,
    pub(super) pace: Pace,
    /// The upgrade was granted.
    pub(super) is_open: bool,
    /// It has said that it goes, or is gone.
    pub(super) has_left: bool,
    /// The server has said that it closes, and why.
    pub(super) closed: Option<Option<u16>>,
    pub(super) answers_pings: bool,
    pub(super) answers_close: bool,
}

impl Client {
    /// Sends one frame.
    pub(super) fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let frame = match self.socket.inflater {
            Some(_) if opcode == Opcode::Text => masked_and_deflated(opcode, payload),
            _ => masked(opcode, payload),
        };
        self.socket.up.extend(frame);
    }

    pub(super) fn leave(&mut self, end: End) {
        self.has_left = true;
        self.socket.end = Some(end);
        if end == End::Reset {
            self.socket.up.clear();
        }
    }

    /// Reads on, as its pace is.
    pub(super) fn read_on(&mut self) {
        match self.pace {
            Pace::Everything => self.socket.room = usize::MAX / 2,
            Pace::Trickle(bytes) => self.socket.room = (self.socket.room + bytes).min(4 * bytes),
            Pace::Nothing => {}
        }
    }

    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        if pace != Pace::Everything {
            self.socket.room = 0;
        }
        self.read_on();
    }

    /// It can be spoken with.
    pub(super) fn is_live(&self) -> bool {
        self.is_open && !self.has_left && self.closed.is_none() && !self.socket.is_closed
    }
}

/// Since when things wait for a client, seen from outside: whatever was queued first is written first.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) glimpse: Glimpse,
    /// When how much was queued, charged bytes.
    queue: VecDeque<(u64, u32)>,
    /// Since when marks of topics are ready.
    ready: BTreeMap<u32, u64>,
    /// Since when its socket has stopped, and something has waited ever since.
    stopped_us: Option<u64>,
}

impl Watch {
    /// Takes note of what the engine holds now.
    pub(super) fn note(&mut self, glimpse: Glimpse, now_us: u64) {
        let (before, after) = (self.glimpse.queued_bytes, glimpse.queued_bytes);
        if after > before {
            self.queue.push_back((now_us, after - before));
        }
        let mut gone = before.saturating_sub(after);
        while gone > 0
            && let Some((_, bytes)) = self.queue.front_mut()
        {
            let part = gone.min(*bytes);
            (gone, *bytes) = (gone - part, *bytes - part);
            if *bytes == 0 {
                self.queue.pop_front();
            }
        }
        self.ready.retain(|topic, _| glimpse.ready.contains(topic));
        for topic in &glimpse.ready {
            self.ready.entry(*topic).or_insert(now_us);
        }
        if self.queue.is_empty() && self.ready.is_empty() {
            self.stopped_us = None;
        }
        if glimpse.is_blocked {
            self.stopped_us = self.stopped_us.or(Some(now_us));
        }
        self.glimpse = glimpse;
    }

    /// How long the oldest has waited for a socket that takes nothing now, microseconds.
    pub(super) fn stopped_us(&self, now_us: u64) -> u64 {
        match self.stopped_us.filter(|_| self.glimpse.is_blocked) {
            Some(at_us) => self.waited_us(now_us).min(now_us - at_us),
            None => 0,
        }
    }

    /// How long the oldest has waited, microseconds.
    pub(super) fn waited_us(&self, now_us: u64) -> u64 {
        let queued = self.queue.front().map(|(at_us, _)| *at_us);
        let ready = self.ready.values().copied().min();
        let oldest_us = queued.into_iter().chain(ready).min();
        oldest_us.map_or(0, |at_us| now_us - at_us)
    }
}
