//! Everything a fan-out touches: records, outboxes, frames, and the list of connections to write to.

use std::ops::Range;
use std::sync::Arc;

use fanfare_wire::event::DataKind;
use slab::Slab;

use super::conn::{Conn, flag};
use super::outbox::{Fate, Nodes};
use super::palette::Palette;
use super::turns::Turns;
use crate::hub::broken::{self, Break};
use crate::hub::frames::{FrameId, Frames};
use crate::hub::members::Member;
use crate::hub::update::{Update, Variant};
use crate::ledger::Ledger;

/// Up to this length a frame is copied beside others into one write; a longer one is written from where it lies.
pub(super) const COPY_BYTES_MAX: usize = 16 * 1024;
/// How much is offered to a socket at once when frames are copied together.
pub(super) const WRITE_BYTES_MAX: usize = 64 * 1024;

/// What came in one tick has not been offered to the socket yet and says nothing about its reader, so it may exceed the
/// outbox limit so many times. Not without bound: a few bytes of commands can ask for megabytes of answers.
const UNOFFERED_FACTOR: u32 = 8;
/// Answers, pings and snapshots for a connection whose socket takes nothing may exceed the limit so many times: what was
/// full of updates must have room for a pong.
const OWN_FACTOR: u32 = 2;

/// What is to be queued: updates wait elsewhere when there is no room for them, a connection's own frames cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Update,
    Own,
}

impl Traffic {
    /// How much may wait for a connection that is slow, or whose socket takes nothing.
    #[cold]
    fn limit_bytes(self, flags: u16, outbox_bytes_max: u32) -> u32 {
        match self {
            Traffic::Update if flags & flag::SLOW != 0 => 0,
            Traffic::Update => outbox_bytes_max,
            Traffic::Own => outbox_bytes_max.saturating_mul(OWN_FACTOR),
        }
    }
}

/// The output side of a shard's connections.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) conns: Slab<Conn>,
    pub(super) frames: Frames,
    nodes: Nodes,
    outbox_bytes_max: u32,
    /// The same for what has not been offered to its socket yet.
    unoffered_bytes_max: u32,
    /// Connections with new output.
    pub(super) turns: Turns,
    /// Connections whose outbox was full when something came for them; may name one twice.
    pub(super) overflowed: Vec<u32>,
    /// Members that the latest fan-out did not serve: each is to be looked at by itself.
    pub(super) aside: Vec<Member>,
    /// The last fan-out over several columns that each connection was served in.
    stamps: Vec<u32>,
    stamp: u32,
    /// Where marks that are offered to a socket, and runs, are put together.
    pub(super) scratch: Vec<u8>,
    /// Where queued frames are.
    palette: Palette,
    /// Somebody's output has reached the limit and not been offered yet: write before more is queued.
    pub(super) is_pressed: bool,
    /// The place in the list of turns behind all those who had one when that was noticed.
    pressed_end: Option<u64>,
}

impl Outlet {
    pub(super) fn new(
        connections_max: usize,
        outbox_bytes_max: u32,
        flush_interval_us: u32,
    ) -> Outlet {
        Outlet {
            conns: Slab::with_capacity(connections_max),
            frames: Frames::default(),
            nodes: Nodes::default(),
            outbox_bytes_max,
            unoffered_bytes_max: outbox_bytes_max.saturating_mul(UNOFFERED_FACTOR),
            turns: Turns::new(flush_interval_us),
            overflowed: Vec::new(),
            aside: Vec::new(),
            stamps: Vec::new(),
            stamp: 0,
            scratch: Vec::new(),
            palette: Palette::default(),
            is_pressed: false,
            pressed_end: None,
        }
    }

    /// Queues one form of a run of updates to every member of a column, as one frame; returns how many took it. Those
    /// with options that must be looked at, and those that are slow or whose queue is full, are put aside.
    pub(super) fn fan_out(
        &mut self,
        members: &[Member],
        run: &[Arc<Update>],
        variant: Variant,
    ) -> u32 {
        if variant.is_personal() {
            self.aside.extend_from_slice(members);
            return 0;
        }
        // Where nobody takes updates as they come, none need be encoded.
        let Some(first_plain) = members.iter().position(|entry| !entry.is_special()) else {
            self.aside.extend_from_slice(members);
            return 0;
        };
        let (special, members) = members.split_at(first_plain);
        self.aside.extend_from_slice(special);
        let frame = self.frame_of(run, variant);
        let bytes = self.frames.bytes(frame).len() as u32;
        let mut taken = 0;
        for entry in members {
            if !entry.is_special() && self.append(entry.member.0, frame, bytes, Traffic::Update) {
                taken += 1;
            } else {
                self.aside.push(*entry);
            }
        }
        self.frames.retain(frame, taken);
        self.frames.drop_unheld(frame);
        taken
    }

    /// Registers a run: one update as it is, several put behind each other, so that each member is touched and each queue
    /// lengthened once for all of them.
    fn frame_of(&mut self, run: &[Arc<Update>], variant: Variant) -> FrameId {
        if let [update] = run {
            return (self.frames).data(update.clone(), variant, DataKind::Update);
        }
        self.scratch.clear();
        for update in run {
            let bytes = update.frame(variant, DataKind::Update);
            self.scratch.extend_from_slice(bytes);
        }
        self.frames.own(self.scratch[..].into())
    }

    /// The same for several columns, of which some may name the same connection: each is served once, by the first that
    /// names it.
    pub(super) fn fan_out_once<'m>(
        &mut self,
        columns: impl Iterator<Item = &'m [Member]>,
        run: &[Arc<Update>],
        variant: Variant,
    ) -> u32 {
        let stamp = self.next_stamp();
        let mut frame = None;
        let mut taken = 0;
        for entry in columns.flatten() {
            let served = &mut self.stamps[entry.member.0 as usize];
            if std::mem::replace(served, stamp) == stamp && !broken::is(Break::OverlapTwice) {
                continue;
            }
            if entry.is_special() || variant.is_personal() {
                self.aside.push(*entry);
                continue;
            }
            let (id, bytes) = *frame.get_or_insert_with(|| {
                let frame = self.frame_of(run, variant);
                (frame, self.frames.bytes(frame).len() as u32)
            });
            if self.append(entry.member.0, id, bytes, Traffic::Update) {
                taken += 1;
            } else {
                self.aside.push(*entry);
            }
        }
        if let Some((frame, _)) = frame {
            self.frames.retain(frame, taken);
            self.frames.drop_unheld(frame);
        }
        taken
    }

    /// A number that no connection is stamped with. The column is made when it is first needed, by filters that overlap.
    fn next_stamp(&mut self) -> u32 {
        let places = self.conns.capacity();
        if self.stamps.len() < places {
            // Zeroed pages that nobody has touched take no memory.
            self.stamps = vec![0; places];
            self.stamp = 0;
        }
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.stamps.fill(0);
            self.stamp = 1;
        }
        self.stamp
    }

    /// Queues an update that was registered before to one connection. False: it is slow, or its queue is full.
    pub(super) fn push_update(&mut self, index: u32, frame: FrameId) -> bool {
        let bytes = self.frames.bytes(frame).len() as u32;
        let taken = self.append(index, frame, bytes, Traffic::Update);
        if taken {
            self.frames.retain(frame, 1);
        }
        taken
    }

    /// The same with bytes of the connection's own before it, both or none.
    pub(super) fn push_update_behind(&mut self, index: u32, before: &[u8], frame: FrameId) -> bool {
        // A frame without bytes would be offered as if nothing waited.
        if before.is_empty() {
            return self.push_update(index, frame);
        }
        let own = self.frames.own(before.into());
        let taken = self.push_update(index, own);
        if taken {
            let bytes = self.frames.bytes(frame).len() as u32;
            let outbox = &mut self.conns[index as usize].outbox;
            self.nodes.append(outbox, frame, bytes);
            self.frames.retain(frame, 1);
        }
        self.frames.drop_unheld(own);
        taken
    }

    /// Queues one form of `update` to one connection.
    pub(super) fn push_data(
        &mut self,
        index: u32,
        update: &Arc<Update>,
        variant: Variant,
        kind: DataKind,
    ) {
        let frame = self.frames.data(update.clone(), variant, kind);
        self.push(index, frame);
    }

    /// Queues bytes of the connection's own: a whole frame, or an HTTP answer.
    pub(super) fn push_own(&mut self, index: u32, bytes: &[u8]) {
        let frame = self.frames.own(bytes.into());
        self.push(index, frame);
    }

    /// Queues a part of bytes that are kept elsewhere, without copying them.
    pub(super) fn push_part(&mut self, index: u32, bytes: Arc<[u8]>, part: Range<usize>) {
        let frame = self.frames.part(bytes, part);
        self.push(index, frame);
    }

    /// Queues a registered frame to one connection; one that nobody takes is freed.
    pub(super) fn push(&mut self, index: u32, frame: FrameId) {
        let bytes = self.frames.bytes(frame).len() as u32;
        if self.append(index, frame, bytes, Traffic::Own) {
            self.frames.retain(frame, 1);
        } else {
            self.overflowed.push(index);
        }
        self.frames.drop_unheld(frame);
    }

    /// What may be queued to a connection at once for one question of its, charged bytes: so much that answers to later
    /// questions, and pongs, still fit if its socket then takes nothing.
    pub(super) fn room_bytes(&self, index: u32) -> u32 {
        let conn = &self.conns[index as usize];
        self.outbox_bytes_max
            .saturating_sub(conn.outbox.charged_bytes())
    }

    /// Queues the last frame of a connection: no limit applies, and what waits can be dropped before it.
    pub(super) fn push_last(&mut self, index: u32, bytes: &[u8], drop_waiting: bool) {
        let conn = &mut self.conns[index as usize];
        if drop_waiting {
            self.nodes.clear(&mut conn.outbox, &mut self.frames, true);
        }
        let frame = self.frames.own(bytes.into());
        self.frames.retain(frame, 1);
        self.nodes
            .append(&mut conn.outbox, frame, bytes.len() as u32);
        self.mark(index);
    }

    /// Takes the next connection with new output, the first marked first.
    pub(super) fn next_dirty(&mut self) -> Option<u32> {
        if self.is_pressed && self.pressed_end.is_none() {
            self.pressed_end = Some(self.turns.end());
        }
        let next = self.turns.next();
        if next.is_none() {
            self.palette.clear(&mut self.frames);
        }
        // Everybody has been offered what waited, those who came since not counted: under load the list has no end.
        let is_over = |end: u64| next.is_none() || self.turns.position() >= end;
        if self.pressed_end.is_some_and(is_over) {
            (self.is_pressed, self.pressed_end) = (false, None);
        }
        next
    }

    /// The bytes to offer to the connection's socket next; empty when nothing waits.
    // Called from the path of those that keep up, which the inliner leaves to a call since there is a second one (6 ns a write).
    #[inline(always)]
    pub(super) fn offer(&mut self, index: u32) -> &[u8] {
        let outbox = &self.conns[index as usize].outbox;
        self.palette.begin(&mut self.frames);
        if self.palette.suits(&self.nodes, outbox) {
            return self.palette.bytes();
        }
        let mut waiting = self.nodes.frames(outbox);
        let Some(first) = waiting.next() else {
            return &[];
        };
        let is_alone = waiting.next().is_none();
        let left_bytes = self.frames.bytes(first).len() - outbox.written_bytes();
        if is_alone || left_bytes > COPY_BYTES_MAX {
            return &self.frames.bytes(first)[outbox.written_bytes()..];
        }
        self.palette.mix(&self.nodes, outbox, &mut self.frames)
    }

    /// The socket took `taken` of the bytes offered.
    #[inline(always)]
    pub(super) fn advance(&mut self, index: u32, taken: usize) {
        let outbox = &mut self.conns[index as usize].outbox;
        if !self.palette.settle(&mut self.nodes, outbox, taken) {
            self.nodes.advance(outbox, &mut self.frames, taken);
        }
    }

    /// Adds what waiting output holds.
    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        self.frames.count_into(ledger);
        self.nodes.count_into(ledger);
        let lists = self.overflowed.capacity() + self.stamps.len();
        let aside = self.aside.capacity() * size_of::<Member>();
        ledger.buffer_bytes += (self.scratch.capacity() + aside + lists * size_of::<u32>()) as u64;
        ledger.buffer_bytes += self.palette.held_bytes() + self.turns.held_bytes();
    }

    /// Forgets all that waits for a connection.
    pub(super) fn clear(&mut self, index: u32) {
        self.nodes.clear(
            &mut self.conns[index as usize].outbox,
            &mut self.frames,
            false,
        );
    }

    #[inline]
    fn append(&mut self, index: u32, frame: FrameId, bytes: u32, traffic: Traffic) -> bool {
        let conn = &mut self.conns[index as usize];
        let blocked = conn.flags & flag::BLOCKED != 0;
        let limit_bytes = if conn.flags & (flag::BLOCKED | flag::SLOW) == 0 {
            self.unoffered_bytes_max
        } else {
            traffic.limit_bytes(conn.flags, self.outbox_bytes_max)
        };
        // What waited before decides, so that a message larger than the limit still reaches a reader that keeps up.
        if conn.outbox.charged_bytes() >= limit_bytes && !broken::is(Break::LimitIgnored) {
            return false;
        }
        self.nodes.append(&mut conn.outbox, frame, bytes);
        self.is_pressed |= !blocked && conn.outbox.charged_bytes() >= self.outbox_bytes_max;
        match traffic {
            Traffic::Update => self.mark_update(index),
            Traffic::Own => self.mark(index),
        }
        true
    }

    /// Leaves out of what waits for a connection whatever `judge` says.
    pub(super) fn sift(&mut self, index: u32, judge: impl FnMut(&Frames, FrameId) -> Fate) {
        let outbox = &mut self.conns[index as usize].outbox;
        self.nodes
            .sift(outbox, &mut self.frames, WRITE_BYTES_MAX, judge);
    }

    /// The frames that wait for a connection and are not begun, as far as the next write may come.
    pub(super) fn waiting(&self, index: u32) -> impl Iterator<Item = FrameId> + '_ {
        let outbox = &self.conns[index as usize].outbox;
        let mut bytes = 0;
        let near = self.nodes.frames(outbox).take_while(move |frame| {
            let before = bytes;
            bytes += self.frames.bytes(*frame).len();
            before < WRITE_BYTES_MAX
        });
        near.skip(usize::from(outbox.written_bytes() > 0))
    }

    /// Queues the rest of a frame that the socket has `written` bytes of; nothing else waits. No limit applies.
    pub(super) fn push_begun(&mut self, index: u32, frame: FrameId, written: usize) {
        let bytes = self.frames.bytes(frame).len() as u32;
        let outbox = &mut self.conns[index as usize].outbox;
        self.nodes
            .append_begun(outbox, frame, bytes, written as u32);
        self.frames.retain(frame, 1);
    }

    /// Puts a connection on the list of those to write to, unless its socket is known to take nothing.
    pub(super) fn mark(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        // One that is marked may be held back.
        let is_marked = conn.flags & flag::DIRTY != 0 && !self.turns.has_interval();
        if conn.flags & flag::BLOCKED == 0 && !is_marked {
            conn.flags |= flag::DIRTY;
            self.turns.add(index);
        }
    }

    /// The same for updates, which may be held back.
    #[inline]
    pub(super) fn mark_update(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        if conn.flags & (flag::DIRTY | flag::BLOCKED) == 0 {
            conn.flags |= flag::DIRTY;
            self.turns.add_update(index);
        }
    }
}
