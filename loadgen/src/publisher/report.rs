//! What the publishers have to say at the end.

use crate::counts::Counts;
use crate::latency::Latency;
use crate::verify::Examples;

/// The answers for one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicAcks {
    /// How many publishes the server has taken.
    pub count: u64,
    /// The least seq it gave.
    pub first: u64,
    /// The greatest seq it gave.
    pub last: u64,
}

impl TopicAcks {
    /// Adds one answer.
    pub fn add(&mut self, seq: u64) {
        self.first = if self.count == 0 {
            seq
        } else {
            self.first.min(seq)
        };
        self.last = self.last.max(seq);
        self.count += 1;
    }

    /// What is wrong with the answers, if the topic stood at `before` and at `end`.
    pub fn fault(&self, before: u64, end: u64) -> Option<String> {
        let TopicAcks { count, first, last } = *self;
        if count == 0 {
            return None;
        }
        if first <= before {
            return Some(format!(
                "a publish was answered with seq {first}, the topic had stood at {before}"
            ));
        }
        if last > end {
            return Some(format!(
                "a publish was answered with seq {last}, the topic stands at {end}"
            ));
        }
        let room = (last - first).saturating_add(1);
        (count > room).then(|| {
            format!("{count} publishes were answered with seqs {first} to {last}: some twice")
        })
    }
}

/// The books of the publishers.
#[derive(Clone, Debug, Default)]
pub struct PublisherReport {
    /// Updates handed to the sockets.
    pub published: u64,
    /// Updates that fell due and could not be handed to any socket until the end.
    pub unpublished: u64,
    /// Updates that the server has taken.
    pub acked: u64,
    /// Updates that the server has refused, by code.
    pub refused: Counts,
    /// Updates without an answer when the run ended.
    pub unanswered: u64,
    /// Answers that nobody waited for, and messages not understood.
    pub odd_answers: u64,
    /// Updates that were late because the server took nothing for a while.
    pub held_back: u64,
    /// How late the others were queued: the generator's own fault.
    pub slip: Latency,
    /// From the intended time to the answer.
    pub ack: Latency,
    /// Publishing connections that could not be opened, by kind.
    pub connect_errors: Counts,
    /// Publishing connections that the server ended, by kind.
    pub disconnects: Counts,
    /// The first faults in words.
    pub examples: Examples,
    /// Answers by topic number.
    pub acks: Vec<TopicAcks>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(seqs: &[u64]) -> TopicAcks {
        let mut acks = TopicAcks::default();
        seqs.iter().for_each(|seq| acks.add(*seq));
        acks
    }

    #[test]
    fn answers_are_held_against_where_the_topic_stands() {
        for (seqs, before, end, is_fault) in [
            (&[][..], 0, 0, false),
            (&[1, 2, 3], 0, 3, false),
            (&[3, 1, 2], 0, 3, false),
            (&[5, 9], 4, 12, false), // somebody else publishes too
            (&[1, 2, 3], 0, 2, true),
            (&[1, 2, 2], 0, 2, true),
            (&[4, 5], 4, 5, true),
        ] {
            assert_eq!(
                acks(seqs).fault(before, end).is_some(),
                is_fault,
                "{seqs:?} of {before}, {end}"
            );
        }
    }
}
