//! The books of one worker: totals over its subscriptions, and faults in words.

use super::{Cursor, Fault, Step};
use crate::class::{Class, Classes};
use serde::Serialize;
use std::collections::HashMap;
use std::ops::Range;

/// Holes that are remembered so that a late seq can be told from a repeated one; in an honest run
/// there is none.
const HOLES_MAX: usize = 4096;
/// Faults of one kind that are told in words.
const EXAMPLES_OF_A_KIND_MAX: usize = 4;

/// Sums over all subscriptions. Once their books are closed, *published = delivered + skipped + gaps
/// + lost*: each side is counted where it arises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Seqs that the topics had while they were subscribed to: up to the final one, or to where the
    /// connection ended. Counted when a subscription's books are closed.
    pub published: u64,
    /// Updates and history frames that came when they should, or late.
    pub delivered: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Seqs that the server said it would skip.
    pub skipped: u64,
    /// Seqs in announced gaps.
    pub gaps: u64,
    /// Times that a server began to count anew.
    pub new_epochs: u64,
    /// Subscriptions that went on where they had been cut off, with all that they had missed.
    pub recovered: u64,
    /// Subscriptions that did not.
    pub unrecovered: u64,
    /// Seqs that nothing accounts for, those missing at the end included.
    pub lost: u64,
    /// Updates that came again.
    pub repeated: u64,
    /// Updates that came after a later one.
    pub reordered: u64,
    /// Frames that broke another promise: early data, a wrong snapshot, a wrong range, a second
    /// ack.
    pub broken: u64,
    /// Frames of topics that the connection has not subscribed to.
    pub strays: u64,
    /// Subscriptions that had not reached their topic's final seq when the drain ended.
    pub behind: u64,
    /// Subscriptions whose books do not balance: a fault of this program.
    pub unbalanced: u64,
}

impl Totals {
    /// Adds the sums of another worker, or of another class.
    pub fn merge(&mut self, other: &Totals) {
        let mut other = *other;
        for (sum, count) in self.counts().into_iter().zip(other.counts()) {
            add(sum, *count);
        }
    }

    /// Whether both sides of the sum agree, once all books are closed.
    pub fn balance(&self) -> bool {
        let Totals {
            delivered,
            skipped,
            gaps,
            lost,
            ..
        } = *self;
        let explained = [delivered, skipped, gaps, lost]
            .into_iter()
            .fold(0, u64::saturating_add);
        explained == self.published
    }

    fn counts(&mut self) -> [&mut u64; 15] {
        let Totals {
            published,
            delivered,
            snapshots,
            skipped,
            gaps,
            new_epochs,
            recovered,
            unrecovered,
            lost,
            repeated,
            reordered,
            broken,
            strays,
            behind,
            unbalanced,
        } = self;
        [
            published,
            delivered,
            snapshots,
            skipped,
            gaps,
            new_epochs,
            recovered,
            unrecovered,
            lost,
            repeated,
            reordered,
            broken,
            strays,
            behind,
            unbalanced,
        ]
    }

    /// Everything that an honest server never does.
    pub fn faults(&self) -> u64 {
        let Totals {
            lost,
            repeated,
            reordered,
            broken,
            strays,
            unbalanced,
            ..
        } = *self;
        [lost, repeated, reordered, broken, strays, unbalanced]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// A server may name any range: sums stop at the greatest number rather than wrap.
fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

/// The first few faults of each kind, in words.
#[derive(Clone, Debug, Default)]
pub struct Examples(Vec<(&'static str, String)>);

impl Examples {
    /// Keeps the sentence if there is room for another of its kind; it is only made then.
    pub fn add(&mut self, kind: &'static str, sentence: impl FnOnce() -> String) {
        if self.has_room(kind) {
            self.0.push((kind, sentence()));
        }
    }

    /// Adds those of another worker, as far as there is room.
    pub fn merge(&mut self, other: Examples) {
        for (kind, sentence) in other.0 {
            self.add(kind, || sentence);
        }
    }

    /// The sentences.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, sentence)| sentence.as_str())
    }

    fn has_room(&self, kind: &str) -> bool {
        self.0.iter().filter(|(other, _)| *other == kind).count() < EXAMPLES_OF_A_KIND_MAX
    }
}

/// Whose subscription a frame belongs to, for the books and for the sentence.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber<'a> {
    /// How its client reads.
    pub class: Class,
    /// Number of the connection in the run.
    pub connection: u64,
    /// Index of the subscription in its worker's table.
    pub subscription: usize,
    /// Name of the topic.
    pub topic: &'a str,
}

/// Totals, holes and examples of one worker.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The sums so far, by how clients read.
    pub totals: Classes<Totals>,
    /// The first faults.
    pub examples: Examples,
    holes: HashMap<usize, Vec<Range<u64>>>,
    holes_count: usize,
}

impl Ledger {
    /// The sums so far over all clients.
    pub fn total(&self) -> Totals {
        let mut total = Totals::default();
        for (_, part) in self.totals.iter() {
            total.merge(part);
        }
        total
    }

    /// Books what a cursor said to a frame. Returns whether an update was delivered in its turn.
    pub fn book(
        &mut self,
        who: Subscriber<'_>,
        cursor: &mut Cursor,
        said: Result<Step, Fault>,
    ) -> bool {
        let totals = &mut self.totals[who.class];
        match said {
            Ok(Step::Acked) => return false,
            Ok(Step::Resumed(_)) => {
                totals.recovered += 1;
                return false;
            }
            Ok(Step::NotResumed) => {
                totals.unrecovered += 1;
                self.examples.add("unrecovered", || {
                    format!(
                        "connection {}, topic {}: not recovered behind seq {}",
                        who.connection,
                        who.topic,
                        cursor.last()
                    )
                });
                return false;
            }
            Ok(Step::Delivered | Step::Recovered) => totals.delivered += 1,
            Ok(Step::DeliveredAfterGap(missed)) => {
                totals.delivered += 1;
                add(&mut totals.gaps, missed);
            }
            Ok(Step::Snapshot(missed)) => {
                totals.snapshots += 1;
                add(&mut totals.gaps, missed);
                return false;
            }
            Ok(Step::Skipped(count)) => {
                add(&mut totals.skipped, count);
                return false;
            }
            Ok(Step::GapOpened) => return false,
            Ok(Step::EpochEnded(span)) => {
                totals.new_epochs += 1;
                add(&mut totals.published, span);
                return false;
            }
            Err(fault) => return self.book_fault(who, cursor, fault),
        }
        true
    }

    fn book_fault(&mut self, who: Subscriber<'_>, cursor: &mut Cursor, fault: Fault) -> bool {
        self.examples.add(fault.kind(), || {
            format!(
                "connection {}, topic {}: {fault}",
                who.connection, who.topic
            )
        });
        let totals = &mut self.totals[who.class];
        match fault {
            Fault::Lost { expected, got } => {
                add(&mut totals.lost, got - expected);
                totals.delivered += 1;
                self.remember_hole(who.subscription, expected..got);
                true
            }
            Fault::Behind { got, .. } => {
                let fills = self.take_from_hole(who.subscription, got);
                let totals = &mut self.totals[who.class];
                if fills {
                    cursor.fill_hole();
                    totals.lost -= 1;
                    totals.reordered += 1;
                    totals.delivered += 1;
                } else {
                    totals.repeated += 1;
                }
                false
            }
            Fault::Early { .. }
            | Fault::Snapshot { .. }
            | Fault::Range { .. }
            | Fault::History { .. }
            | Fault::Recovery { .. }
            | Fault::AckAgain { .. } => {
                totals.broken += 1;
                false
            }
        }
    }

    /// A frame of a topic that the connection did not ask for.
    pub fn book_stray(&mut self, class: Class, connection: u64, topic: &str) {
        self.totals[class].strays += 1;
        self.examples.add("stray", || {
            format!("connection {connection}: a frame of topic {topic:?}, never subscribed")
        });
    }

    /// Closes the books of a subscription. `end` is the topic's final seq, if it must have been
    /// reached.
    pub fn close(&mut self, who: Subscriber<'_>, cursor: &Cursor, end: Option<u64>) {
        let totals = &mut self.totals[who.class];
        add(&mut totals.published, cursor.span());
        if !cursor.balances() {
            totals.unbalanced += 1;
            self.examples.add("unbalanced", || {
                format!(
                    "connection {}, topic {}: {cursor:?}",
                    who.connection, who.topic
                )
            });
        }
        let Some(end) = end.filter(|end| !cursor.has_reached(*end)) else {
            return;
        };
        let missing = end.saturating_sub(cursor.last());
        totals.behind += 1;
        add(&mut totals.lost, missing);
        add(&mut totals.published, missing);
        self.examples.add("unreached", || {
            let Subscriber {
                connection, topic, ..
            } = who;
            let last = cursor.last();
            if missing > 0 {
                format!(
                    "connection {connection}, topic {topic}: ended at seq {last}, the topic at {end}"
                )
            } else {
                format!("connection {connection}, topic {topic}: its newest value, seq {end}, never came")
            }
        });
    }

    /// The subscription begins anew: late seqs of its former life fill no hole.
    pub fn forget(&mut self, subscription: usize) {
        if let Some(holes) = self.holes.remove(&subscription) {
            self.holes_count -= holes.len();
        }
    }

    fn remember_hole(&mut self, subscription: usize, hole: Range<u64>) {
        if self.holes_count < HOLES_MAX {
            self.holes_count += 1;
            self.holes.entry(subscription).or_default().push(hole);
        }
    }

    /// Takes `seq` out of the hole that holds it, splitting the hole.
    fn take_from_hole(&mut self, subscription: usize, seq: u64) -> bool {
        let Some(holes) = self.holes.get_mut(&subscription) else {
            return false;
        };
        let Some(at) = holes.iter().position(|hole| hole.contains(&seq)) else {
            return false;
        };
        let Range { start, end } = holes.swap_remove(at);
        let parts = [start..seq, seq + 1..end]
            .into_iter()
            .filter(|part| !part.is_empty());
        holes.extend(parts.inspect(|_| self.holes_count += 1));
        self.holes_count -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays updates to one subscription whose ack was at 0, then closes its books at `end`.
    fn totals_of(updates: &[u64], end: u64) -> (Totals, Vec<String>) {
        let mut ledger = Ledger::default();
        let mut cursor = Cursor::new(0);
        cursor.on_ack(0, None).unwrap();
        let who = Subscriber {
            class: Class::Healthy,
            connection: 12,
            subscription: 0,
            topic: "load.3",
        };
        for seq in updates {
            let said = cursor.on_update(*seq);
            ledger.book(who, &mut cursor, said);
        }
        ledger.close(who, &cursor, Some(end));
        (
            ledger.total(),
            ledger.examples.iter().map(str::to_owned).collect(),
        )
    }

    #[test]
    fn verdicts_on_streams() {
        // Updates, final seq, then delivered, lost, repeated, reordered.
        let stories: &[(&str, &[u64], u64, [u64; 4])] = &[
            ("all in order", &[1, 2, 3], 3, [3, 0, 0, 0]),
            ("one left out", &[1, 3], 3, [2, 1, 0, 0]),
            ("the last left out", &[1, 2], 3, [2, 1, 0, 0]),
            ("nothing at all", &[], 3, [0, 3, 0, 0]),
            ("one twice", &[1, 2, 2, 3], 3, [3, 0, 1, 0]),
            ("two swapped", &[1, 3, 2, 4], 4, [4, 0, 0, 1]),
            ("three turned round", &[3, 2, 1], 3, [3, 0, 0, 2]),
            ("one late and then again", &[1, 3, 2, 2], 3, [3, 0, 1, 1]),
            ("the middle of a hole late", &[1, 9, 5], 9, [3, 6, 0, 1]),
            ("an old one again", &[1, 2, 3, 1], 3, [3, 0, 1, 0]),
        ];
        for (story, updates, end, expected) in stories {
            let (totals, examples) = totals_of(updates, *end);
            let got = [
                totals.delivered,
                totals.lost,
                totals.repeated,
                totals.reordered,
            ];
            assert_eq!(got, *expected, "{story}");
            assert_eq!(totals.unbalanced, 0, "{story}");
            assert_eq!(
                (totals.published, totals.balance()),
                (*end, true),
                "{story}"
            );
            assert_eq!(examples.is_empty(), totals.faults() == 0, "{story}");
        }
    }

    #[test]
    fn faults_are_told_in_words() {
        let (_, examples) = totals_of(&[1, 4, 4], 6);
        assert_eq!(
            examples,
            [
                "connection 12, topic load.3: expected seq 2, got 4",
                "connection 12, topic load.3: expected seq 5, got 4 again or late",
                "connection 12, topic load.3: ended at seq 4, the topic at 6",
            ]
        );
    }

    #[test]
    fn only_the_first_faults_are_told() {
        let updates: Vec<u64> = (1..1000).map(|n| n * 2).collect();
        let (totals, examples) = totals_of(&updates, 1998);
        assert_eq!((totals.lost, examples.len()), (999, EXAMPLES_OF_A_KIND_MAX));
    }
}
