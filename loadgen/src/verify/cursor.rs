//! What one subscription has seen of one topic, and whether the next frame may follow it.

/// Position of one subscription in the sequence of its topic.
///
/// The contract it checks (docs/PROTOCOL.md, "What is promised"): the ack comes before any data; a
/// snapshot has the ack's seq; the first update is the ack's seq + 1; from then on every seq is
/// either delivered or named by exactly one skip or gap.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// Number of the topic in the run's table.
    pub topic: u32,
    stage: Stage,
    /// Updates and history frames delivered after `base`.
    delivered: u32,
    /// Seqs after `base` that were skipped, lie in a gap, or are counted as lost.
    absent: u32,
    /// The seq before the first one that is expected.
    base: u64,
    /// The last seq that is accounted for.
    last: u64,
}

// A million of these are 32 MB.
const _: () = assert!(size_of::<Cursor>() == 32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No ack yet.
    Waiting,
    /// Every seq up to `last` is accounted for; a snapshot may still come while nothing else has.
    Fresh,
    /// Updates are flowing.
    Live,
    /// A gap begins at `last + 1`; the next frame says where it ends.
    Gap,
    /// A gap at which the server began to count anew.
    NewEpoch,
}

/// What a legal frame did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next seq was delivered.
    Delivered,
    /// It was delivered after a gap of so many seqs, which the server had announced.
    DeliveredAfterGap(u64),
    /// A snapshot arrived where it may; with a gap of so many seqs before it.
    Snapshot(u64),
    /// So many seqs were skipped.
    Skipped(u64),
    /// A gap was announced; its size is not yet known.
    GapOpened {
        /// The server counts anew.
        new_epoch: bool,
    },
}

/// A frame that breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Data of a topic before `subscribed` named it.
    #[error("seq {got} came before the subscription was acknowledged")]
    Early {
        /// The frame's seq.
        got: u64,
    },
    /// The frame leaves out seqs that nothing accounts for.
    #[error("expected seq {expected}, got {got}")]
    Lost {
        /// The seq that should have come.
        expected: u64,
        /// The seq that came.
        got: u64,
    },
    /// The seq is not greater than one that is accounted for: a repeat, or an old one that arrives
    /// late.
    #[error("expected seq {expected}, got {got} again or late")]
    Behind {
        /// The seq that should have come.
        expected: u64,
        /// The seq that came.
        got: u64,
    },
    /// A snapshot that does not stand where the ack said.
    #[error("the snapshot has seq {got}, the subscription stands at {expected}")]
    Snapshot {
        /// The ack's seq.
        expected: u64,
        /// The snapshot's seq.
        got: u64,
    },
    /// A skip or gap that does not begin at the next seq, or ends before it begins.
    #[error("a skip or gap from {from} to {to}, expected it to begin at {expected}")]
    Range {
        /// The seq after the last one accounted for.
        expected: u64,
        /// First seq of the range.
        from: u64,
        /// Last seq of the range; the same as `from` for a gap.
        to: u64,
    },
    /// A second ack for the same subscription.
    #[error("the subscription was acknowledged again, at seq {got}")]
    AckAgain {
        /// The second ack's seq.
        got: u64,
    },
}

impl Fault {
    /// A name for this kind of fault.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Early { .. } => "early",
            Fault::Lost { .. } => "lost",
            Fault::Behind { .. } => "behind",
            Fault::Snapshot { .. } => "snapshot",
            Fault::Range { .. } => "range",
            Fault::AckAgain { .. } => "ack again",
        }
    }
}

impl Cursor {
    /// A subscription that waits for its ack.
    pub fn new(topic: u32) -> Cursor {
        Cursor {
            topic,
            stage: Stage::Waiting,
            delivered: 0,
            absent: 0,
            base: 0,
            last: 0,
        }
    }

    /// `subscribed` named the topic with its seq; `recovered` history frames up to that seq will
    /// follow.
    pub fn on_ack(&mut self, seq: u64, recovered: u64) -> Result<(), Fault> {
        if self.stage != Stage::Waiting {
            return Err(Fault::AckAgain { got: seq });
        }
        self.base = seq.saturating_sub(recovered);
        self.last = self.base;
        self.stage = Stage::Fresh;
        Ok(())
    }

    /// A snapshot: once, right after the ack, or after a gap.
    pub fn on_snapshot(&mut self, seq: u64) -> Result<Step, Fault> {
        match self.stage {
            Stage::Waiting => Err(Fault::Early { got: seq }),
            Stage::Fresh if seq == self.last => {
                self.stage = Stage::Live;
                Ok(Step::Snapshot(0))
            }
            Stage::Gap if seq >= self.last => {
                let missed = self.leave_out_up_to(seq);
                self.stage = Stage::Live;
                Ok(Step::Snapshot(missed))
            }
            Stage::NewEpoch => {
                self.begin_epoch(seq);
                Ok(Step::Snapshot(0))
            }
            Stage::Fresh | Stage::Gap | Stage::Live => Err(Fault::Snapshot {
                expected: self.last,
                got: seq,
            }),
        }
    }

    /// An update, or a history frame of a recovery. After [`Fault::Lost`] the cursor stands at
    /// `seq`, so one hole is one fault; the caller remembers the hole, for a late seq may still
    /// fill it ([`Cursor::fill_hole`]).
    pub fn on_update(&mut self, seq: u64) -> Result<Step, Fault> {
        let expected = self.last.saturating_add(1);
        match self.stage {
            Stage::Waiting => Err(Fault::Early { got: seq }),
            // Counting begins with 1; nothing has the seq 0.
            _ if seq == 0 => Err(Fault::Behind { expected, got: seq }),
            Stage::NewEpoch => {
                self.begin_epoch(seq - 1);
                self.deliver(seq);
                Ok(Step::Delivered)
            }
            _ if seq < expected => Err(Fault::Behind { expected, got: seq }),
            Stage::Gap => {
                let missed = self.leave_out_up_to(seq - 1);
                self.deliver(seq);
                Ok(Step::DeliveredAfterGap(missed))
            }
            Stage::Fresh | Stage::Live if seq == expected => {
                self.deliver(seq);
                Ok(Step::Delivered)
            }
            Stage::Fresh | Stage::Live => {
                self.leave_out_up_to(seq - 1);
                self.deliver(seq);
                Err(Fault::Lost { expected, got: seq })
            }
        }
    }

    /// The server will not send `from..=to`, and says so.
    pub fn on_skip(&mut self, from: u64, to: u64) -> Result<Step, Fault> {
        let expected = self.last.saturating_add(1);
        match self.stage {
            Stage::Waiting => Err(Fault::Early { got: from }),
            _ if from != expected || to < from => Err(Fault::Range { expected, from, to }),
            _ => {
                self.stage = Stage::Live;
                Ok(Step::Skipped(self.leave_out_up_to(to)))
            }
        }
    }

    /// The server cannot send what begins at `from`; the next frame tells where the hole ends.
    pub fn on_gap(&mut self, from: u64, new_epoch: bool) -> Result<Step, Fault> {
        let expected = self.last.saturating_add(1);
        match self.stage {
            Stage::Waiting => Err(Fault::Early { got: from }),
            _ if from != expected => Err(Fault::Range {
                expected,
                from,
                to: from,
            }),
            _ => {
                self.stage = if new_epoch {
                    Stage::NewEpoch
                } else {
                    Stage::Gap
                };
                Ok(Step::GapOpened { new_epoch })
            }
        }
    }

    /// A seq that had been counted as lost has arrived late.
    pub fn fill_hole(&mut self) {
        debug_assert!(self.absent > 0, "a hole was counted when it opened");
        self.absent -= 1;
        self.delivered += 1;
    }

    /// Whether `subscribed` has named this topic.
    pub fn is_acked(&self) -> bool {
        self.stage != Stage::Waiting
    }

    /// Whether everything up to `end` is accounted for. In an open gap it is: the server has said
    /// so.
    pub fn has_reached(&self, end: u64) -> bool {
        match self.stage {
            Stage::Waiting => false,
            Stage::Gap | Stage::NewEpoch => true,
            Stage::Fresh | Stage::Live => self.last >= end,
        }
    }

    /// The last seq that is accounted for.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Seqs that the topic has had since the subscription began, as far as this cursor has come.
    pub fn span(&self) -> u64 {
        self.last - self.base
    }

    /// `delivered + absent = span`: the two sides are counted apart from each other.
    pub fn balances(&self) -> bool {
        u64::from(self.delivered) + u64::from(self.absent) == self.span()
    }

    fn deliver(&mut self, seq: u64) {
        self.stage = Stage::Live;
        self.last = seq;
        self.delivered += 1;
    }

    fn leave_out_up_to(&mut self, seq: u64) -> u64 {
        let missed = seq.saturating_sub(self.last);
        self.absent = self
            .absent
            .saturating_add(u32::try_from(missed).unwrap_or(u32::MAX));
        self.last = self.last.max(seq);
        missed
    }

    /// What was before cannot be added up with what comes: the old epoch's end is unknown.
    fn begin_epoch(&mut self, seq: u64) {
        *self = Cursor {
            topic: self.topic,
            stage: Stage::Live,
            delivered: 0,
            absent: 0,
            base: seq,
            last: seq,
        };
    }
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
