//! What one subscription has seen of one topic, and whether the next frame may follow it.

/// Position of one subscription in the sequence of its topic.
///
/// The contract it checks (docs/PROTOCOL.md, "What is promised"): the ack comes before any data; a
/// snapshot has the ack's seq; the first update is the ack's seq + 1; from then on every seq is
/// either delivered or named by exactly one skip or gap, and behind a skip or gap comes a value. A
/// subscription that was cut off and resumes gets exactly the history that its ack announces, up to
/// the ack's seq.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// Number of the topic in the run's table.
    pub topic: u32,
    stage: Stage,
    /// Updates and history frames delivered after `base`.
    delivered: u32,
    /// Seqs after `base` that were skipped, lie in a gap, or are counted as lost; and, in a recovery,
    /// the history that is still owed.
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
    /// Cut off; the next ack goes on from `last`.
    Away,
    /// History is owed, and nothing else may come before it.
    Recovering,
    /// Every seq up to `last` is accounted for; a snapshot may still come while nothing else has.
    Fresh,
    /// Updates are flowing.
    Live,
    /// A skip was named; the value that it stands before has not come yet.
    Skipped,
    /// A gap begins at `last + 1`; the next frame says where it ends.
    Gap,
    /// A gap at which the server began to count anew.
    NewEpoch,
}

/// What a legal frame did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The subscription was acknowledged.
    Acked,
    /// The subscription goes on where it was cut off: so much history follows.
    Resumed(u64),
    /// The subscription was acknowledged, but what it missed is not recovered.
    NotResumed,
    /// The last of the history that was owed was delivered.
    Recovered,
    /// The next seq was delivered.
    Delivered,
    /// It was delivered after a gap of so many seqs, which the server had announced.
    DeliveredAfterGap(u64),
    /// A snapshot arrived where it may; with a gap of so many seqs before it.
    Snapshot(u64),
    /// So many seqs were skipped.
    Skipped(u64),
    /// A gap was announced; its size is not yet known.
    GapOpened,
    /// The server counts anew. The old epoch's books are closed; so many seqs were accounted for.
    EpochEnded(u64),
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
    /// History where none is owed or beyond what is, or an update before what is owed has come.
    #[error("history and stream do not fit: expected seq {expected}, got {got}, {owed} owed")]
    History {
        /// The seq that should have come.
        expected: u64,
        /// The seq that came.
        got: u64,
        /// How many history frames are owed.
        owed: u64,
    },
    /// A recovery that does not begin where the subscription was cut off.
    #[error("resumed at seq {expected}, and the recovery begins behind {got}")]
    Recovery {
        /// The last seq before the cut.
        expected: u64,
        /// The ack's seq less its count.
        got: u64,
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
            Fault::History { .. } => "history",
            Fault::Recovery { .. } => "recovery",
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

    /// `subscribed` named the topic with its seq; `recovered` says how much history up to that seq
    /// follows, if all that was missed does.
    pub fn on_ack(&mut self, seq: u64, recovered: Option<u64>) -> Result<Step, Fault> {
        match (self.stage, recovered) {
            (Stage::Waiting, None) => {
                (self.base, self.last) = (seq, seq);
                self.stage = Stage::Fresh;
                Ok(Step::Acked)
            }
            (Stage::Waiting, Some(count)) => {
                self.base = seq.saturating_sub(count);
                self.last = self.base;
                Ok(self.begin_recovery(seq - self.base))
            }
            (Stage::Away, None) => {
                self.stage = Stage::Live;
                Ok(Step::NotResumed)
            }
            (Stage::Away, Some(count)) if seq.checked_sub(count) == Some(self.last) => {
                Ok(self.begin_recovery(count))
            }
            (Stage::Away, Some(count)) => {
                // What comes now is judged against where it stood.
                self.stage = Stage::Live;
                Err(Fault::Recovery {
                    expected: self.last,
                    got: seq.saturating_sub(count),
                })
            }
            _ => Err(Fault::AckAgain { got: seq }),
        }
    }

    /// The connection was cut, and the subscription shall go on from where it stands. Returns
    /// whether it can: not before it was acknowledged, and not where the server has just begun to
    /// count anew.
    pub fn suspend(&mut self) -> bool {
        self.forgive_owed();
        if matches!(self.stage, Stage::Waiting | Stage::NewEpoch) {
            return false;
        }
        self.stage = Stage::Away;
        true
    }

    /// The connection is gone for good: history that was owed will not come.
    pub fn forgive_owed(&mut self) {
        if self.stage == Stage::Recovering {
            let owed = u32::try_from(self.owed()).unwrap_or(u32::MAX);
            self.absent = self.absent.saturating_sub(owed);
            self.stage = Stage::Live;
        }
    }

    /// A snapshot: once, right after the ack, or after a gap.
    pub fn on_snapshot(&mut self, seq: u64) -> Result<Step, Fault> {
        match self.stage {
            Stage::Waiting | Stage::Away => Err(Fault::Early { got: seq }),
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
            _ => Err(Fault::Snapshot {
                expected: self.last,
                got: seq,
            }),
        }
    }

    /// A history frame: only in a recovery, one after the other, up to the ack's seq.
    pub fn on_history(&mut self, seq: u64) -> Result<Step, Fault> {
        let expected = self.last.saturating_add(1);
        let owed = self.owed();
        match self.stage {
            Stage::Waiting | Stage::Away => Err(Fault::Early { got: seq }),
            _ if seq < expected => Err(Fault::Behind { expected, got: seq }),
            Stage::Recovering if seq - self.last <= owed => {
                // Of what is owed, this one is delivered; what it leaves out is absent for good.
                self.absent -= 1;
                self.delivered += 1;
                self.last = seq;
                let is_last = self.owed() == 0;
                if is_last {
                    self.stage = Stage::Live;
                }
                match seq == expected {
                    true if is_last => Ok(Step::Recovered),
                    true => Ok(Step::Delivered),
                    false => Err(Fault::Lost { expected, got: seq }),
                }
            }
            _ => Err(Fault::History {
                expected,
                got: seq,
                owed,
            }),
        }
    }

    /// An update. After [`Fault::Lost`] the cursor stands at `seq`, so one hole is one fault; the
    /// caller remembers the hole, for a late seq may still fill it ([`Cursor::fill_hole`]).
    pub fn on_update(&mut self, seq: u64) -> Result<Step, Fault> {
        let expected = self.last.saturating_add(1);
        match self.stage {
            Stage::Waiting | Stage::Away => Err(Fault::Early { got: seq }),
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
            Stage::Recovering => Err(Fault::History {
                expected,
                got: seq,
                owed: self.owed(),
            }),
            Stage::Fresh | Stage::Live | Stage::Skipped if seq == expected => {
                self.deliver(seq);
                Ok(Step::Delivered)
            }
            Stage::Fresh | Stage::Live | Stage::Skipped => {
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
            Stage::Waiting | Stage::Away => Err(Fault::Early { got: from }),
            Stage::Recovering | Stage::Gap | Stage::NewEpoch => {
                Err(Fault::Range { expected, from, to })
            }
            _ if from != expected || to < from => Err(Fault::Range { expected, from, to }),
            _ => {
                self.stage = Stage::Skipped;
                Ok(Step::Skipped(self.leave_out_up_to(to)))
            }
        }
    }

    /// The server cannot send what begins at `from`; the next frame tells where the hole ends.
    pub fn on_gap(&mut self, from: u64, new_epoch: bool) -> Result<Step, Fault> {
        let expected = self.last.saturating_add(1);
        match self.stage {
            Stage::Waiting | Stage::Away => Err(Fault::Early { got: from }),
            Stage::Fresh | Stage::Live | Stage::Skipped if from == expected => {
                let span = self.span();
                self.stage = if new_epoch {
                    Stage::NewEpoch
                } else {
                    Stage::Gap
                };
                Ok(if new_epoch {
                    Step::EpochEnded(span)
                } else {
                    Step::GapOpened
                })
            }
            _ => Err(Fault::Range {
                expected,
                from,
                to: from,
            }),
        }
    }

    /// A seq that had been counted as lost has arrived late.
    pub fn fill_hole(&mut self) {
        debug_assert!(self.absent > 0, "a hole was counted when it opened");
        self.absent -= 1;
        self.delivered += 1;
    }

    /// Whether `subscribed` has named this topic on the connection that there is now.
    pub fn is_acked(&self) -> bool {
        !matches!(self.stage, Stage::Waiting | Stage::Away)
    }

    /// Whether `subscribed` has ever named this topic.
    pub fn has_begun(&self) -> bool {
        self.stage != Stage::Waiting
    }

    /// Whether it was cut off and has not come back yet.
    pub fn is_away(&self) -> bool {
        self.stage == Stage::Away
    }

    /// Whether history is owed.
    pub fn is_recovering(&self) -> bool {
        self.stage == Stage::Recovering
    }

    /// Whether everything up to `end` is accounted for, and the newest value has been delivered: an
    /// announcement that something is left out is not yet the value that follows it, nor is an ack
    /// the snapshot.
    pub fn has_reached(&self, end: u64) -> bool {
        match self.stage {
            Stage::Live => self.last >= end,
            Stage::Fresh => self.last == 0 && end == 0,
            _ => false,
        }
    }

    /// The last seq that is accounted for.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Seqs that the topic has had since the subscription began, as far as this cursor has come; 0
    /// between two epochs, when the books of the old one are closed.
    pub fn span(&self) -> u64 {
        match self.stage {
            Stage::NewEpoch => 0,
            _ => self.last - self.base,
        }
    }

    /// `delivered + absent = span`: the two sides are counted apart from each other.
    pub fn balances(&self) -> bool {
        let counted = u64::from(self.delivered) + u64::from(self.absent);
        counted == self.last - self.base + self.owed()
    }

    fn begin_recovery(&mut self, count: u64) -> Step {
        self.stage = if count == 0 {
            Stage::Live
        } else {
            Stage::Recovering
        };
        let owed = u32::try_from(count).unwrap_or(u32::MAX);
        self.absent = self.absent.saturating_add(owed);
        Step::Resumed(count)
    }

    /// History frames that are still to come. The books are ahead of the seqs by just so many, which
    /// saves a field in each of millions of cursors.
    fn owed(&self) -> u64 {
        if self.stage != Stage::Recovering {
            return 0;
        }
        let counted = u64::from(self.delivered) + u64::from(self.absent);
        counted.saturating_sub(self.last - self.base)
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
