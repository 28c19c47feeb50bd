//! Updates that came together: sorted into runs, each the consecutive updates of one topic, which go out as one frame.
//!
//! A burst names its topics in any order, and between the updates lie the answers to their publishers. Neither is allowed
//! to cut a run short: answers wait until the updates before and behind them are queued, and topics, between which no order
//! is promised, come in the order in which each was first named.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Engine;
use crate::hub::broken::{self, Break};
use crate::hub::mail::{Delivery, TopicRef};
use crate::hub::subs::Source;
use crate::hub::topics::{Stage, TopicId};
use crate::hub::update::Update;

/// What comes together is no longer than this, nor than the outbox limit: nobody's queue must get far beyond it at once.
const BATCH_BYTES_MAX: usize = 128 * 1024;
/// What an update's name and other surroundings count towards it, at most.
const SURROUNDINGS_BYTES: usize = 512;

/// One update, and where it belongs.
#[derive(Debug)]
struct Arrival {
    topic: TopicId,
    /// Which arrival of the batch was the first of its topic.
    first: u32,
    listener: Option<TopicRef>,
    update: Arc<Update>,
}

/// Updates that came together, and scratch for sorting them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    arrivals: Vec<Arrival>,
    /// Topic and place of each arrival.
    places: Vec<(u32, u32)>,
    /// The answers that lay between them.
    answers: Vec<Delivery>,
    /// The updates of one topic.
    run: Vec<Arc<Update>>,
}

impl Batch {
    fn add(&mut self, topic: TopicId, listener: Option<TopicRef>, update: Arc<Update>) {
        self.arrivals.push(Arrival {
            topic,
            first: self.arrivals.len() as u32,
            listener,
            update,
        });
    }

    /// Puts the updates of each topic behind each other, in their order, where its first one was.
    fn sort(&mut self) {
        if self
            .arrivals
            .windows(2)
            .all(|pair| pair[0].topic == pair[1].topic)
        {
            self.arrivals.iter_mut().for_each(|one| one.first = 0);
            return;
        }
        self.places.clear();
        let places = self.arrivals.iter().zip(0..);
        self.places
            .extend(places.map(|(one, place)| (one.topic.0, place)));
        self.places.sort_unstable();
        let mut first = (u32::MAX, 0);
        for &(topic, place) in &self.places {
            if topic != first.0 {
                first = (topic, place);
            }
            self.arrivals[place as usize].first = first.1;
        }
        // Within a topic seq is the order of arrival.
        self.arrivals
            .sort_unstable_by_key(|one| (one.first, one.update.seq));
    }
}

/// Takes the next delivery that may be part of a batch.
fn next_of_batch(deliveries: &mut VecDeque<Delivery>) -> Option<Delivery> {
    deliveries.pop_front_if(|delivery| {
        matches!(delivery, Delivery::Update { .. } | Delivery::Answer { .. })
    })
}

impl Engine {
    /// An update has come: takes it and those that lie behind it in the inbox, and queues them topic by topic.
    pub(super) fn on_updates(&mut self, listener: Option<TopicRef>, update: Arc<Update>) {
        let mut batch = std::mem::take(&mut self.batch);
        self.gather(&mut batch, listener, update);
        batch.sort();
        let mut run = std::mem::take(&mut batch.run);
        let mut arrivals = batch.arrivals.drain(..).peekable();
        while let Some(one) = arrivals.next() {
            run.push(one.update);
            while let Some(next) = arrivals.next_if(|next| next.first == one.first) {
                run.push(next.update);
            }
            self.on_run(one.listener, &run);
            run.clear();
        }
        drop(arrivals);
        for answer in batch.answers.drain(..) {
            if let Delivery::Answer { ticket, outcome } = answer {
                self.on_answer(ticket, outcome);
            }
        }
        batch.run = run;
        self.batch = batch;
    }

    fn gather(&mut self, batch: &mut Batch, listener: Option<TopicRef>, update: Arc<Update>) {
        let bytes_max = BATCH_BYTES_MAX.min(self.settings.outbox_bytes_max as usize);
        let mut bytes = 0;
        let mut next = Some(Delivery::Update { listener, update });
        while let Some(delivery) = next.take() {
            match delivery {
                Delivery::Update { listener, update } => {
                    // Twice its length: as a string inside JSON it may grow.
                    bytes += 2 * update.payload_bytes() + SURROUNDINGS_BYTES;
                    if let Some(topic) = self.hub.recipient(listener, &update) {
                        batch.add(topic, listener, update);
                    }
                }
                answer => {
                    bytes += size_of::<Delivery>();
                    batch.answers.push(answer);
                }
            }
            if bytes < bytes_max {
                next = next_of_batch(&mut self.inbox.deliveries);
            }
        }
    }

    /// Consecutive updates of one topic.
    fn on_run(&mut self, listener: Option<TopicRef>, run: &[Arc<Update>]) {
        // Asked again: what was queued before may have ended connections, and with the last of them the topic.
        let Some(id) = self.hub.recipient(listener, &run[0]) else {
            return;
        };
        let topic = &mut self.hub.topics[id];
        let was_fading = topic.stage == Stage::Fading;
        if was_fading {
            topic.stage = Stage::Live;
        }
        debug_assert!(
            topic.stage == Stage::Live
                && (topic.seq + 1..).zip(run).all(|(seq, one)| one.seq == seq),
            "the owner's stream has no hole"
        );
        topic.advance(run, self.recovery_most);
        self.counters.updates_in += run.len() as u64;
        if !(broken::is(Break::UpdateLost) && run[0].seq % 8 == 5) {
            self.fan_out(id, run);
        }
        self.serve_aside(id, run);
        if was_fading {
            let waiting = self.hub.topics[id].take_waiting();
            self.on_source_answered(&waiting, Source::Topic(id), None);
            // Nobody may have wanted it any more, and it was kept until the owner's answer; this is one.
            if let Some(id) = self.hub.recipient(listener, &run[0]) {
                self.hub.leave_if_unused(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::update::{Form, Payload};

    fn update(topic: u32, seq: u64) -> Arc<Update> {
        let payload = Payload::new(Form::Json, b"1");
        Arc::new(Update::new(
            topic.to_string().into(),
            "e".into(),
            1,
            seq,
            0,
            payload,
        ))
    }

    fn sorted(arrivals: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let mut batch = Batch::default();
        for &(topic, seq) in arrivals {
            batch.add(TopicId(topic), None, update(topic, seq));
        }
        batch.sort();
        let mut last = None;
        let mut out = Vec::new();
        for one in &batch.arrivals {
            out.push((one.topic.0, one.update.seq));
            assert_eq!(
                last == Some(one.first),
                out.len() > 1 && out[out.len() - 2].0 == one.topic.0,
                "the number tells where a run ends"
            );
            last = Some(one.first);
        }
        out
    }

    #[test]
    fn topics_come_in_the_order_they_were_first_named_and_seqs_in_theirs() {
        let mixed = [(7, 3), (2, 9), (7, 4), (5, 1), (2, 10), (7, 5)];
        let expected = [(7, 3), (7, 4), (7, 5), (2, 9), (2, 10), (5, 1)];
        assert_eq!(sorted(&mixed), expected);
    }

    #[test]
    fn what_is_of_one_topic_or_of_as_many_as_there_are_stays_as_it_came() {
        for same in [&[(4, 1), (4, 2), (4, 3)][..], &[(9, 1), (3, 1), (5, 8)]] {
            assert_eq!(sorted(same), same);
        }
    }
}
