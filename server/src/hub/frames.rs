//! The frames of one shard by 4-byte number, counted by how many outboxes name them.
//!
//! Pushing a number costs 1 to 3 ns; an `Arc` clone and drop for each subscriber would cost 24 to 43.

use std::ops::Range;
use std::sync::Arc;

use fanfare_wire::event::DataKind;

use super::update::{Update, Variant};
use crate::ledger::Ledger;

const NONE: u32 = u32::MAX;

/// A frame's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameId(pub u32);

#[derive(Debug)]
enum Body {
    /// One form of an update, shared with all shards; it is left out once it is older than so many milliseconds and there is
    /// a newer one, unless that is 0.
    Data(Arc<Update>, Variant, DataKind, u32),
    /// Bytes of this shard's own: acks, errors, pings.
    Own(Box<[u8]>),
    /// A part of bytes that somebody else keeps, too: files.
    Part(Arc<[u8]>, Range<usize>),
    /// Unused; the next unused number.
    Free(u32),
}

#[derive(Debug)]
struct Slot {
    body: Body,
    refs: u32,
}

/// All frames that wait in some outbox of the shard.
#[derive(Debug)]
pub struct Frames {
    slots: Vec<Slot>,
    free: u32,
    live: u32,
}

impl Default for Frames {
    fn default() -> Self {
        Frames {
            slots: Vec::new(),
            free: NONE,
            live: 0,
        }
    }
}

impl Frames {
    /// Registers one form of an update. It lives until it was released as often as it was [retained](Frames::retain).
    pub fn data(&mut self, update: Arc<Update>, variant: Variant, kind: DataKind) -> FrameId {
        self.insert(Body::Data(update, variant, kind, 0))
    }

    /// Registers an update that is left out when it has become older than `max_stale_ms` and there is a newer one.
    pub fn fading(&mut self, update: Arc<Update>, variant: Variant, max_stale_ms: u32) -> FrameId {
        self.insert(Body::Data(update, variant, DataKind::Update, max_stale_ms))
    }

    /// The update and its greatest age in milliseconds, if the frame is one that may be left out.
    #[must_use]
    pub fn as_fading(&self, id: FrameId) -> Option<(&Arc<Update>, u32)> {
        match &self.slots[id.0 as usize].body {
            Body::Data(update, _, _, max_stale_ms @ 1..) => Some((update, *max_stale_ms)),
            _ => None,
        }
    }

    /// Registers bytes of this shard's own, likewise.
    pub fn own(&mut self, bytes: Box<[u8]>) -> FrameId {
        self.insert(Body::Own(bytes))
    }

    /// Whether the frame is made of bytes of this shard's own.
    #[must_use]
    pub fn is_own(&self, id: FrameId) -> bool {
        matches!(self.slots[id.0 as usize].body, Body::Own(_))
    }

    /// Registers a part of bytes that are kept elsewhere, likewise.
    pub fn part(&mut self, bytes: Arc<[u8]>, part: Range<usize>) -> FrameId {
        debug_assert!(part.end <= bytes.len(), "a part lies within the whole");
        self.insert(Body::Part(bytes, part))
    }

    /// The frame's bytes, header and payload.
    #[must_use]
    pub fn bytes(&self, id: FrameId) -> &[u8] {
        match &self.slots[id.0 as usize].body {
            Body::Data(update, variant, kind, _) => update.frame(*variant, *kind),
            Body::Own(bytes) => bytes,
            Body::Part(bytes, part) => &bytes[part.clone()],
            Body::Free(_) => unreachable!("an outbox names only live frames"),
        }
    }

    /// Adds `count` holders.
    pub fn retain(&mut self, id: FrameId, count: u32) {
        self.slots[id.0 as usize].refs += count;
    }

    /// One holder less; the last one frees the frame.
    pub fn release(&mut self, id: FrameId) {
        self.release_many(id, 1);
    }

    /// So many holders less.
    pub fn release_many(&mut self, id: FrameId, count: u32) {
        let slot = &mut self.slots[id.0 as usize];
        debug_assert!(slot.refs >= count, "every release follows a retain");
        slot.refs -= count;
        if slot.refs == 0 {
            self.free(id);
        }
    }

    /// Frees a frame that nobody came to hold.
    pub fn drop_unheld(&mut self, id: FrameId) {
        if self.slots[id.0 as usize].refs == 0 {
            self.free(id);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds what the frames hold; the bytes of an update count with its topic.
    pub(crate) fn count_into(&self, ledger: &mut Ledger) {
        let slot = size_of::<Slot>() as u64;
        ledger.frames = u64::from(self.live);
        ledger.spare_bytes += (self.slots.len() as u64 - ledger.frames) * slot;
        let bytes = |slot: &Slot| match &slot.body {
            Body::Own(bytes) => bytes.len() as u64,
            Body::Data(..) | Body::Part(..) | Body::Free(_) => 0,
        };
        ledger.frame_bytes += ledger.frames * slot + self.slots.iter().map(bytes).sum::<u64>();
    }

    fn insert(&mut self, body: Body) -> FrameId {
        self.live += 1;
        let slot = Slot { body, refs: 0 };
        if self.free == NONE {
            self.slots.push(slot);
            return FrameId((self.slots.len() - 1) as u32);
        }
        let id = FrameId(self.free);
        let old = std::mem::replace(&mut self.slots[id.0 as usize], slot);
        let Body::Free(next) = old.body else {
            unreachable!("the free list holds only free slots")
        };
        self.free = next;
        id
    }

    fn free(&mut self, id: FrameId) {
        self.slots[id.0 as usize].body = Body::Free(self.free);
        self.free = id.0;
        self.live -= 1;
    }
}
