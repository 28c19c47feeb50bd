//! What waits to be written to one connection: a chain of frame numbers in a pool that all outboxes of the shard share.
//!
//! 16 bytes in the connection's record; a frame that waits alone is named there, several take 16 bytes for every three.

use crate::hub::frames::{FrameId, Frames};
use crate::ledger::Ledger;

const NONE: u32 = u32::MAX;
/// As the tail: one frame waits, and the head is its number. Most writes are of one frame, and most that are not are in
/// chains that have just been made; so the record alone is touched, and one cache miss less paid.
const ALONE: u32 = u32::MAX - 1;

/// What a waiting frame counts beside its bytes, so that floods of tiny frames meet the limit too.
pub(super) const FRAME_CHARGE_BYTES: u32 = 64;

/// What waits for one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outbox {
    head: u32,
    tail: u32,
    /// Bytes of all waiting frames, with [`FRAME_CHARGE_BYTES`] for each.
    charged_bytes: u32,
    /// How much of the first frame the socket has already taken.
    written_bytes: u32,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox {
            head: NONE,
            tail: NONE,
            charged_bytes: 0,
            written_bytes: 0,
        }
    }
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub(super) fn charged_bytes(&self) -> u32 {
        self.charged_bytes
    }

    /// The frame that waits, if it is just one and has no node.
    #[inline]
    fn alone(&self) -> Option<FrameId> {
        (self.tail == ALONE).then_some(FrameId(self.head))
    }

    /// How much of the first frame has been written already.
    pub(super) fn written_bytes(&self) -> usize {
        self.written_bytes as usize
    }
}

/// What becomes of a queued frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Goes,
    /// Another frame takes its place; the caller has retained it.
    Becomes(FrameId),
}

/// Frames of one node. Three and the link are a quarter of a cache line; with one a node, a chain of thirty cost thirty
/// cache misses to write.
const NODE_FRAMES: usize = 3;
/// A place without a frame: before those that wait, behind them, or where one was left out.
const EMPTY: FrameId = FrameId(NONE);

/// A piece of a chain. At least one of its frames waits.
#[derive(Clone, Copy, Debug)]
struct Node {
    frames: [FrameId; NODE_FRAMES],
    next: u32,
}

impl Node {
    fn with(frame: FrameId) -> Node {
        let mut frames = [EMPTY; NODE_FRAMES];
        frames[0] = frame;
        Node { frames, next: NONE }
    }

    /// The place of the first frame.
    fn begin(&self) -> usize {
        let first = self.frames.iter().position(|frame| *frame != EMPTY);
        first.unwrap_or(NODE_FRAMES)
    }

    /// The place behind the last frame.
    fn end(&self) -> usize {
        let last = self.frames.iter().rposition(|frame| *frame != EMPTY);
        last.map_or(0, |last| last + 1)
    }

    fn is_empty(&self) -> bool {
        self.end() == 0
    }
}

/// The nodes of all outboxes of a shard.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    free: u32,
    live: usize,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes {
            nodes: Vec::new(),
            free: NONE,
            live: 0,
        }
    }
}

impl Nodes {
    /// Appends a frame of `bytes` length. The caller retains the frame and has checked the limit.
    #[inline]
    pub(super) fn append(&mut self, outbox: &mut Outbox, frame: FrameId, bytes: u32) {
        outbox.charged_bytes += bytes + FRAME_CHARGE_BYTES;
        if outbox.head == NONE {
            (outbox.head, outbox.tail) = (frame.0, ALONE);
            return;
        }
        self.unfold(outbox);
        let tail = &mut self.nodes[outbox.tail as usize];
        match tail.end() {
            NODE_FRAMES => {
                let at = self.take_node(frame);
                self.nodes[outbox.tail as usize].next = at;
                outbox.tail = at;
            }
            place => tail.frames[place] = frame,
        }
    }

    /// Gives a frame that waits alone a node, so that there is a chain.
    #[inline]
    fn unfold(&mut self, outbox: &mut Outbox) {
        if outbox.tail == ALONE {
            let at = self.take_node(FrameId(outbox.head));
            (outbox.head, outbox.tail) = (at, at);
        }
    }

    /// Adds what the chains hold.
    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        let node = size_of::<Node>() as u64;
        ledger.outbox_bytes += self.live as u64 * node;
        ledger.spare_bytes += (self.nodes.len() - self.live) as u64 * node;
    }

    /// Appends a frame of which the socket has `written` bytes already; the outbox is empty.
    pub(super) fn append_begun(
        &mut self,
        outbox: &mut Outbox,
        frame: FrameId,
        bytes: u32,
        written: u32,
    ) {
        debug_assert!(
            outbox.is_empty() && written < bytes,
            "only the first frame of a queue has been begun"
        );
        self.append(outbox, frame, bytes);
        outbox.written_bytes = written;
    }

    /// Asks of every frame that is not begun, within the first `bytes_max` bytes, what is to become of it.
    pub(super) fn sift(
        &mut self,
        outbox: &mut Outbox,
        frames: &mut Frames,
        bytes_max: usize,
        mut judge: impl FnMut(&Frames, FrameId) -> Fate,
    ) {
        self.unfold(outbox);
        let (mut before, mut at, mut seen) = (NONE, outbox.head, 0);
        let mut is_begun = outbox.written_bytes > 0;
        while at != NONE && seen < bytes_max {
            let next = self.nodes[at as usize].next;
            for place in 0..NODE_FRAMES {
                let frame = self.nodes[at as usize].frames[place];
                if frame == EMPTY || seen >= bytes_max {
                    continue;
                }
                let bytes = frames.bytes(frame).len();
                seen += bytes;
                let fate = match std::mem::take(&mut is_begun) {
                    true => Fate::Stays,
                    false => judge(frames, frame),
                };
                self.decide(outbox, frames, (at, place), fate);
            }
            if self.nodes[at as usize].is_empty() {
                self.unlink(outbox, before, at);
            } else {
                before = at;
            }
            at = next;
        }
    }

    /// The frames of an outbox, first to last.
    pub(super) fn frames(&self, outbox: &Outbox) -> impl Iterator<Item = FrameId> + '_ {
        let chained = self.chain(outbox).flat_map(|node| node.frames);
        let alone = outbox.alone().into_iter();
        alone.chain(chained.filter(|frame| *frame != EMPTY))
    }

    /// The socket took `taken` bytes off the front.
    #[inline(always)]
    pub(super) fn advance(&mut self, outbox: &mut Outbox, frames: &mut Frames, mut taken: usize) {
        while taken > 0 {
            debug_assert!(
                !outbox.is_empty(),
                "a socket takes no more than it was offered"
            );
            let length = frames.bytes(self.first(outbox)).len();
            let left = length - outbox.written_bytes();
            if taken < left {
                outbox.written_bytes += taken as u32;
                return;
            }
            taken -= left;
            self.pop(outbox, frames, length);
        }
    }

    /// In how many nodes just these frames wait, if it is they.
    #[inline]
    pub(super) fn nodes_of(&self, outbox: &Outbox, mut wanted: &[FrameId]) -> Option<usize> {
        if let Some(frame) = outbox.alone() {
            return (wanted == [frame]).then_some(0);
        }
        let mut nodes = 0;
        for node in self.chain(outbox) {
            nodes += 1;
            for frame in node.frames {
                if frame == EMPTY {
                    continue;
                }
                let (next, rest) = wanted.split_first()?;
                if frame != *next {
                    return None;
                }
                wanted = rest;
            }
        }
        wanted.is_empty().then_some(nodes)
    }

    /// All that waits, in `nodes` nodes, has been written; the caller releases its frames.
    pub(super) fn forget(&mut self, outbox: &mut Outbox, nodes: usize) {
        if outbox.tail != ALONE {
            self.nodes[outbox.tail as usize].next = self.free;
            self.free = outbox.head;
            self.live -= nodes;
        }
        *outbox = Outbox::default();
    }

    /// Drops what waits. With `keep_begun`, a frame that the socket has a part of stays, because the peer could not read on without its rest.
    pub(super) fn clear(&mut self, outbox: &mut Outbox, frames: &mut Frames, keep_begun: bool) {
        let keep = keep_begun && outbox.written_bytes > 0;
        if !keep {
            while !outbox.is_empty() {
                let length = frames.bytes(self.first(outbox)).len();
                self.pop(outbox, frames, length);
            }
            return;
        }
        let first = self.first(outbox);
        let written_bytes = outbox.written_bytes;
        let length = frames.bytes(first).len() as u32;
        frames.retain(first, 1);
        self.clear(outbox, frames, false);
        self.append(outbox, first, length);
        outbox.written_bytes = written_bytes;
    }

    fn chain(&self, outbox: &Outbox) -> impl Iterator<Item = &Node> + '_ {
        let mut at = match outbox.tail {
            ALONE => NONE,
            _ => outbox.head,
        };
        std::iter::from_fn(move || {
            if at == NONE {
                return None;
            }
            let node = &self.nodes[at as usize];
            at = node.next;
            Some(node)
        })
    }

    /// The first frame of an outbox that is not empty.
    fn first(&self, outbox: &Outbox) -> FrameId {
        if let Some(frame) = outbox.alone() {
            return frame;
        }
        let node = &self.nodes[outbox.head as usize];
        node.frames[node.begin()]
    }

    fn pop(&mut self, outbox: &mut Outbox, frames: &mut Frames, length: usize) {
        let frame = match outbox.alone() {
            Some(frame) => {
                (outbox.head, outbox.tail) = (NONE, NONE);
                frame
            }
            None => self.pop_chained(outbox),
        };
        outbox.charged_bytes -= length as u32 + FRAME_CHARGE_BYTES;
        outbox.written_bytes = 0;
        frames.release(frame);
    }

    fn pop_chained(&mut self, outbox: &mut Outbox) -> FrameId {
        let at = outbox.head;
        let node = &mut self.nodes[at as usize];
        let frame = std::mem::replace(&mut node.frames[node.begin()], EMPTY);
        if node.is_empty() {
            self.unlink(outbox, NONE, at);
        }
        frame
    }

    /// Carries out what becomes of the frame in one place; its node may be empty afterwards.
    fn decide(
        &mut self,
        outbox: &mut Outbox,
        frames: &mut Frames,
        (at, place): (u32, usize),
        fate: Fate,
    ) {
        let frame = self.nodes[at as usize].frames[place];
        let charge = |frame| frames.bytes(frame).len() as u32 + FRAME_CHARGE_BYTES;
        let (other, other_charge) = match fate {
            Fate::Stays => return,
            Fate::Goes => (EMPTY, 0),
            Fate::Becomes(other) => (other, charge(other)),
        };
        outbox.charged_bytes = outbox.charged_bytes - charge(frame) + other_charge;
        self.nodes[at as usize].frames[place] = other;
        frames.release(frame);
    }

    fn take_node(&mut self, frame: FrameId) -> u32 {
        self.live += 1;
        let node = Node::with(frame);
        if self.free == NONE {
            self.nodes.push(node);
            return (self.nodes.len() - 1) as u32;
        }
        let at = self.free;
        self.free = std::mem::replace(&mut self.nodes[at as usize], node).next;
        at
    }

    /// Takes the node `at`, which follows `before`, out of its chain and frees it.
    fn unlink(&mut self, outbox: &mut Outbox, before: u32, at: u32) {
        let next = self.nodes[at as usize].next;
        match before {
            NONE => outbox.head = next,
            before => self.nodes[before as usize].next = next,
        }
        if next == NONE {
            outbox.tail = before;
        }
        self.live -= 1;
        self.nodes[at as usize].next = self.free;
        self.free = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(lengths: &[usize]) -> (Nodes, Frames, Outbox) {
        let (mut nodes, mut frames, mut outbox) =
            (Nodes::default(), Frames::default(), Outbox::default());
        for &length in lengths {
            let frame = frames.own(vec![0; length].into());
            frames.retain(frame, 1);
            nodes.append(&mut outbox, frame, length as u32);
        }
        (nodes, frames, outbox)
    }

    #[test]
    fn frames_leave_in_order_however_the_socket_takes_them() {
        let (mut nodes, mut frames, mut outbox) = filled(&[10, 1, 5]);
        nodes.advance(&mut outbox, &mut frames, 4);
        assert_eq!((outbox.written_bytes(), frames.len()), (4, 3));
        nodes.advance(&mut outbox, &mut frames, 8);
        assert_eq!((outbox.written_bytes(), frames.len()), (1, 1));
        nodes.advance(&mut outbox, &mut frames, 4);
        assert!(outbox.is_empty() && frames.is_empty());
        assert_eq!(outbox.charged_bytes(), 0);
    }

    #[test]
    fn a_sifted_queue_keeps_its_order_its_charge_and_the_frame_that_was_begun() {
        let lengths = [10, 20, 30, 40, 50];
        let (mut nodes, mut frames, mut outbox) = filled(&lengths);
        nodes.advance(&mut outbox, &mut frames, 3);
        let other = frames.own(vec![1; 7].into());
        frames.retain(other, 1);
        nodes.sift(
            &mut outbox,
            &mut frames,
            usize::MAX,
            |frames, frame| match frames.bytes(frame).len() {
                10 => unreachable!("the peer has a part of it"),
                20 | 50 => Fate::Goes,
                30 => Fate::Becomes(other),
                _ => Fate::Stays,
            },
        );
        let left: Vec<usize> = nodes
            .frames(&outbox)
            .map(|frame| frames.bytes(frame).len())
            .collect();
        assert_eq!((left, frames.len()), (vec![10, 7, 40], 3));
        assert_eq!(outbox.charged_bytes(), 57 + 3 * FRAME_CHARGE_BYTES);
        let last = frames.own(vec![2; 5].into());
        frames.retain(last, 1);
        nodes.append(&mut outbox, last, 5);
        nodes.advance(&mut outbox, &mut frames, 7 + 7 + 40 + 5);
        assert!(outbox.is_empty() && frames.is_empty());
    }

    #[test]
    fn a_frame_that_was_begun_survives_clearing() {
        let (mut nodes, mut frames, mut outbox) = filled(&[10, 20]);
        nodes.advance(&mut outbox, &mut frames, 3);
        nodes.clear(&mut outbox, &mut frames, true);
        assert_eq!((outbox.written_bytes(), frames.len()), (3, 1));
        assert_eq!(outbox.charged_bytes(), 10 + FRAME_CHARGE_BYTES);
        nodes.clear(&mut outbox, &mut frames, false);
        assert!(frames.is_empty());
    }
}
