//! Writing: what is queued first, then the marks that are ready, each with the value its topic has at that moment.
//!
//! Marks are put straight into what is offered to the socket, and become frames of the queue only if the socket stops in
//! the middle of one. So a payload is kept for a reader that has a part of it, and for no other.

use std::sync::Arc;

use fanfare_wire::event::DataKind;
use fanfare_wire::frame::HEADER_BYTES_MAX;

use super::asides::{self, Named};
use super::conn::{ConnId, Door, Stage, flag};
use super::marks::MarkId;
use super::outlet::{COPY_BYTES_MAX, WRITE_BYTES_MAX};
use super::{Engine, SocketOp};
use crate::clock::Now;
use crate::hub::broken::{self, Break};
use crate::hub::update::Update;

/// A mark that was offered to a socket, and where in the offer it stands: its skip, if any, then its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    mark: MarkId,
    /// The value's seq.
    seq: u64,
    skip_end: usize,
    end: usize,
}

impl Engine {
    /// What to offer to the connection's socket next; empty when nothing (more) waits. Then call [`Engine::on_flushed`].
    pub fn poll_write(&mut self, id: ConnId) -> &[u8] {
        if self.outlet.conns[id.index as usize].wait.is_some() {
            return self.poll_waiting(id.index);
        }
        self.outlet.offer(id.index)
    }

    /// The same for a connection with marks, or whose socket stopped.
    #[cold]
    fn poll_waiting(&mut self, index: u32) -> &[u8] {
        self.offered.clear();
        let conn = &self.outlet.conns[index as usize];
        if conn.has(flag::FADING) {
            let before = conn.outbox.charged_bytes();
            self.leave_out_stale(index);
            self.note_progress(index, before);
        }
        if self.outlet.conns[index as usize].outbox.is_empty() {
            self.offer_marks(index);
        }
        if !self.offered.is_empty() {
            return &self.outlet.scratch;
        }
        self.outlet.offer(index)
    }

    /// The socket took `taken` of `offered` bytes. With less than all, the reactor waits until it is writable.
    pub fn on_written(&mut self, now: Now, id: ConnId, offered: usize, taken: usize) {
        self.counters.bytes_out += taken as u64;
        let conn = &mut self.outlet.conns[id.index as usize];
        conn.last_sent = now.ms();
        if taken == offered && !conn.wait.is_some() {
            return self.outlet.advance(id.index, taken);
        }
        self.on_written_to_slow(now, id.index, offered, taken);
    }

    /// The same for a connection with marks, or whose socket stops or had stopped.
    #[cold]
    fn on_written_to_slow(&mut self, now: Now, index: u32, offered: usize, taken: usize) {
        let conn = &self.outlet.conns[index as usize];
        let before = conn.outbox.charged_bytes();
        if conn.wait.is_some() && !self.offered.is_empty() {
            self.settle(index, taken);
        } else {
            self.outlet.advance(index, taken);
        }
        let conn = &mut self.outlet.conns[index as usize];
        if taken < offered {
            conn.flags |= flag::BLOCKED;
            let patience_ms = self.settings.slow_timeout_ms;
            self.due.set_earlier(index, now, patience_ms);
        }
        if conn.stage == Stage::Open {
            self.note_progress(index, before);
        }
    }

    /// All of a connection's output is written: the next step of one that is ending.
    pub fn on_flushed(&mut self, id: ConnId) {
        let conn = &mut self.outlet.conns[id.index as usize];
        match conn.stage {
            Stage::Open => {
                let is_once = conn.has(flag::ONCE);
                if conn.door.is_events() {
                    conn.flags &= !flag::HEADED;
                }
                if conn.wait.is_some() || conn.has(flag::SLOW | flag::FADING) {
                    self.leave_slow(id.index);
                }
                if is_once {
                    self.on_once_flushed(id.index);
                }
            }
            // What was kept until the answers before it were written has its turn.
            Stage::Head if conn.partial.is_some() || conn.has(flag::EOF) => self.answered.push(id),
            Stage::Parting => self.end_socket(id.index),
            Stage::Failing if conn.has(flag::EOF) => self.end_socket(id.index),
            Stage::Failing => {
                conn.stage = Stage::Linger;
                self.socket_ops.push_back((id, SocketOp::ShutdownWrite));
            }
            _ => {}
        }
    }

    /// Where `before` was queued, less is, or the socket would take nothing.
    pub(super) fn note_progress(&mut self, index: u32, before: u32) {
        let conn = &mut self.outlet.conns[index as usize];
        let left = conn.outbox.charged_bytes();
        let (gone, now_ms) = (before.saturating_sub(left), self.now.mono_us / 1000);
        (self.marks).note_progress(index, &mut conn.wait, gone, left, now_ms);
    }

    /// Puts ready marks together, the one that has waited longest first. A large value becomes a frame of the queue instead,
    /// to be written from where it lies.
    fn offer_marks(&mut self, index: u32) {
        let conn = &self.outlet.conns[index as usize];
        let (wait, door, variant) = (conn.wait, conn.door, conn.variant());
        let mut large = None;
        let (mut position, mut told) = (Vec::new(), Vec::new());
        self.outlet.scratch.clear();
        for id in self.marks.ready(wait) {
            let mark = self.marks.get(id);
            let Some(last) = &self.hub.topics[mark.topic].last else {
                debug_assert!(false, "what is held has come");
                continue;
            };
            position.clear();
            if door == Door::MixedEvents {
                // Marks that go out ahead of this one are not ended yet.
                told.push((mark.topic, last.seq));
                self.put_positions(&mut position, index, &told);
            }
            let value = last.frame(variant, DataKind::Update);
            let out = &mut self.outlet.scratch;
            let begin = out.len();
            if begin > 0 && (value.len() > COPY_BYTES_MAX || begin + value.len() > WRITE_BYTES_MAX)
            {
                break;
            }
            if last.seq > mark.first && !broken::is(Break::SkipForgotten) {
                let left_out = (
                    mark.first,
                    last.seq - u64::from(!broken::is(Break::SkipTooLong)),
                );
                asides::put_skip(
                    out,
                    &mut self.text,
                    door,
                    Named::of(last),
                    left_out,
                    mark.why,
                );
            }
            out.extend_from_slice(&position);
            if value.len() > COPY_BYTES_MAX {
                large = Some((id, last.clone()));
                break;
            }
            let skip_end = out.len();
            out.extend_from_slice(value);
            self.offered.push(Offer {
                mark: id,
                seq: last.seq,
                skip_end,
                end: out.len(),
            });
        }
        if let Some((id, value)) = large {
            self.queue_large(index, id, &value);
        }
    }

    /// Queues the skip that was put together, and a large value behind it.
    fn queue_large(&mut self, index: u32, id: MarkId, value: &Arc<Update>) {
        if !self.outlet.scratch.is_empty() {
            let skip = std::mem::take(&mut self.outlet.scratch);
            self.outlet.push_own(index, &skip);
            self.outlet.scratch = skip;
        }
        let variant = self.outlet.conns[index as usize].variant();
        self.outlet
            .push_data(index, value, variant, DataKind::Update);
        self.end_mark(index, id, value.seq);
    }

    /// The socket took `taken` bytes of the marks that were offered.
    fn settle(&mut self, index: u32, taken: usize) {
        let offered = std::mem::take(&mut self.offered);
        let mut begin = 0;
        for offer in &offered {
            if taken >= offer.end {
                self.end_mark(index, offer.mark, offer.seq);
                begin = offer.end;
                continue;
            }
            if taken > begin {
                self.settle_part(index, offer, begin, taken);
            }
            break;
        }
        self.offered = offered;
        self.offered.clear();
    }

    /// The socket stopped in the middle of a mark: the rest of what it has a part of is queued.
    fn settle_part(&mut self, index: u32, offer: &Offer, begin: usize, taken: usize) {
        let mark = *self.marks.get(offer.mark);
        if taken > offer.skip_end {
            let topic = &self.hub.topics[mark.topic];
            let variant = self.outlet.conns[index as usize].variant();
            if let Some(value) = topic.last.clone() {
                let frame = self.outlet.frames.data(value, variant, DataKind::Update);
                let written = taken - offer.skip_end;
                self.outlet.push_begun(index, frame, written);
            }
            return self.end_mark(index, offer.mark, offer.seq);
        }
        // The skip has been told, or will be: what is still to come begins with the value.
        self.counters.add_skipped(mark.why, offer.seq - mark.first);
        self.marks.shorten(offer.mark, offer.seq);
        if taken < offer.skip_end {
            let skip = self.outlet.scratch[begin..offer.skip_end].into();
            let frame = self.outlet.frames.own(skip);
            self.outlet.push_begun(index, frame, taken - begin);
        }
    }

    /// A mark was served with the value of `seq`.
    fn end_mark(&mut self, index: u32, id: MarkId, seq: u64) {
        let mark = *self.marks.get(id);
        self.counters.deliveries += 1;
        if let Some(last) = &self.hub.topics[mark.topic].last {
            self.lags.note(last.ts_us, 1, &self.outlet.turns);
        }
        self.counters.add_skipped(mark.why, seq - mark.first);
        let min_interval_ms = self.hub.options(mark.sub).min_interval_ms;
        let wait = self.outlet.conns[index as usize].wait;
        self.marks
            .served(wait, id, self.now.mono_us, min_interval_ms);
    }
}

/// A skip is longer than what surrounds its topic; this is more than the longest.
const _: () = assert!(COPY_BYTES_MAX + HEADER_BYTES_MAX < WRITE_BYTES_MAX);
