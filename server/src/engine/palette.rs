//! What several connections are to be written alike is put together once.
//!
//! After a burst, or under load, thousands of connections wait for the same row of frames. The first of them has it copied
//! into one buffer; whoever comes next with the same row gets that buffer, and all its frames are released together. So a
//! delivery costs a comparison of 4 bytes instead of a copy, a look-up and a release.

use super::outbox::{Nodes, Outbox};
use super::outlet::{COPY_BYTES_MAX, WRITE_BYTES_MAX};
use crate::hub::frames::{FrameId, Frames};

/// The latest row of frames.
#[derive(Debug, Default)]
pub(super) struct Palette {
    bytes: Vec<u8>,
    /// The frames that `bytes` is made of; empty when there is no row, or it cannot be used again.
    row: Vec<FrameId>,
    /// How many outboxes had the row written and have left the release of its frames to us. While it is not 0, the frames
    /// live and their numbers mean what they meant.
    owed: u32,
    /// The row is on offer, its frames being in so many nodes.
    on_offer: Option<usize>,
}

impl Palette {
    /// A new offer begins.
    pub(super) fn begin(&mut self, frames: &mut Frames) {
        // The last one may have come to nothing, and its connection be gone: then nobody holds these frames any more.
        if self.on_offer.take().is_some() && self.owed == 0 {
            self.clear(frames);
        }
    }

    /// Whether just this row waits in `outbox`; then it is on offer.
    #[inline]
    pub(super) fn suits(&mut self, nodes: &Nodes, outbox: &Outbox) -> bool {
        if !self.row.is_empty() && outbox.written_bytes() == 0 {
            self.on_offer = nodes.nodes_of(outbox, &self.row);
        }
        self.on_offer.is_some()
    }

    /// The row on offer.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies what waits in `outbox` together, as far as one write goes.
    pub(super) fn mix(&mut self, nodes: &Nodes, outbox: &Outbox, frames: &mut Frames) -> &[u8] {
        self.clear(frames);
        self.bytes.clear();
        let mut begun_bytes = outbox.written_bytes();
        let mut is_whole = begun_bytes == 0;
        for frame in nodes.frames(outbox) {
            let bytes = &frames.bytes(frame)[begun_bytes..];
            if bytes.len() > COPY_BYTES_MAX || self.bytes.len() + bytes.len() > WRITE_BYTES_MAX {
                is_whole = false;
                break;
            }
            self.bytes.extend_from_slice(bytes);
            self.row.push(frame);
            begun_bytes = 0;
        }
        if is_whole {
            self.on_offer = nodes.nodes_of(outbox, &self.row);
        } else {
            self.row.clear();
        }
        &self.bytes
    }

    /// The socket took `taken` bytes. True: that was the whole row on offer, and `outbox` is empty now.
    #[inline]
    pub(super) fn settle(&mut self, nodes: &mut Nodes, outbox: &mut Outbox, taken: usize) -> bool {
        let Some(count) = self.on_offer.take() else {
            return false;
        };
        if taken == self.bytes.len() {
            nodes.forget(outbox, count);
            self.owed += 1;
            return true;
        }
        if self.owed == 0 {
            // What is left of the row belongs to this outbox alone.
            self.row.clear();
        }
        false
    }

    /// Releases what is owed; there is no row afterwards.
    pub(super) fn clear(&mut self, frames: &mut Frames) {
        let owed = std::mem::take(&mut self.owed);
        self.on_offer = None;
        for frame in self.row.drain(..) {
            if owed > 0 {
                frames.release_many(frame, owed);
            }
        }
    }

    /// The heap it holds, bytes.
    pub(super) fn held_bytes(&self) -> u64 {
        (self.bytes.capacity() + self.row.capacity() * size_of::<FrameId>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stage {
        nodes: Nodes,
        frames: Frames,
        palette: Palette,
    }

    impl Stage {
        fn new() -> Stage {
            Stage {
                nodes: Nodes::default(),
                frames: Frames::default(),
                palette: Palette::default(),
            }
        }

        fn outbox(&mut self, row: &[FrameId]) -> Outbox {
            let mut outbox = Outbox::default();
            for frame in row {
                self.frames.retain(*frame, 1);
                let bytes = self.frames.bytes(*frame).len() as u32;
                self.nodes.append(&mut outbox, *frame, bytes);
            }
            outbox
        }

        /// Offers what waits; true if the row was ready.
        fn offer(&mut self, outbox: &Outbox) -> (bool, Vec<u8>) {
            self.palette.begin(&mut self.frames);
            if self.palette.suits(&self.nodes, outbox) {
                return (true, self.palette.bytes().to_vec());
            }
            let bytes = self.palette.mix(&self.nodes, outbox, &mut self.frames);
            (false, bytes.to_vec())
        }

        fn settle(&mut self, outbox: &mut Outbox, taken: usize) {
            if !self.palette.settle(&mut self.nodes, outbox, taken) {
                self.nodes.advance(outbox, &mut self.frames, taken);
            }
        }
    }

    fn row(stage: &mut Stage, texts: &[&[u8]]) -> Vec<FrameId> {
        let own = texts.iter().map(|text| stage.frames.own((*text).into()));
        own.collect()
    }

    #[test]
    fn a_row_is_put_together_once_and_its_frames_are_freed_with_the_last_who_had_it() {
        let mut stage = Stage::new();
        let row = row(&mut stage, &[b"ab", b"cd", b"ef", b"gh"]);
        let mut outboxes: Vec<Outbox> = (0..3).map(|_| stage.outbox(&row)).collect();
        for (number, outbox) in outboxes.iter_mut().enumerate() {
            let (was_ready, bytes) = stage.offer(outbox);
            assert_eq!((was_ready, &bytes[..]), (number > 0, &b"abcdefgh"[..]));
            stage.settle(outbox, 8);
            assert!(outbox.is_empty());
        }
        stage.palette.clear(&mut stage.frames);
        assert!(stage.frames.is_empty());
    }

    #[test]
    fn a_part_that_was_taken_is_not_offered_again() {
        let mut stage = Stage::new();
        let row = row(&mut stage, &[b"ab", b"cd"]);
        let (mut one, mut two) = (stage.outbox(&row), stage.outbox(&row));
        assert_eq!(stage.offer(&one), (false, b"abcd".to_vec()));
        stage.settle(&mut one, 3);
        assert_eq!(stage.offer(&two), (false, b"abcd".to_vec()));
        stage.settle(&mut two, 4);
        assert_eq!(stage.offer(&one), (false, b"d".to_vec()));
        stage.settle(&mut one, 1);
        stage.palette.clear(&mut stage.frames);
        assert!(one.is_empty() && two.is_empty() && stage.frames.is_empty());
    }

    #[test]
    fn numbers_that_were_given_to_other_frames_are_not_taken_for_the_old_ones() {
        let mut stage = Stage::new();
        let old = row(&mut stage, &[b"ab", b"cd"]);
        let mut lost = stage.outbox(&old);
        stage.offer(&lost);
        // The socket fails: nothing is settled, and the connection's frames are freed.
        stage.nodes.clear(&mut lost, &mut stage.frames, false);
        let mut new = row(&mut stage, &[b"x", b"y"]);
        new.sort_by_key(|frame| old.iter().position(|other| other == frame));
        assert_eq!(new, old, "the numbers are used again");
        let outbox = stage.outbox(&new);
        let (was_ready, bytes) = stage.offer(&outbox);
        assert!(!was_ready && bytes.len() == 2, "{bytes:?}");
    }

    #[test]
    fn a_row_that_is_longer_or_shorter_or_other_is_another() {
        let mut stage = Stage::new();
        let row = row(&mut stage, &[b"a", b"b", b"c", b"d"]);
        let all = stage.outbox(&row);
        let mut first = stage.outbox(&row[..3]);
        stage.offer(&first);
        stage.settle(&mut first, 3);
        for other in [&row[..], &row[..2], &row[1..], &[row[0], row[2], row[1]]] {
            let mut outbox = stage.outbox(other);
            assert!(!stage.palette.suits(&stage.nodes, &outbox), "{other:?}");
            stage.nodes.clear(&mut outbox, &mut stage.frames, false);
        }
        assert_eq!(stage.nodes.frames(&all).count(), 4);
    }
}
