//! Resuming: `since`, from the question to the owner to the history frames.
//!
//! All or nothing. The owner sends what was missed up to where the stream stands; what the stream brings while the command
//! still waits for other topics is kept beside it ([`Topic::advance`]). When the command is carried out, both together reach
//! without a hole to where the topic stands on this shard, or the subscriber is told of a gap.
//!
//! [`Topic::advance`]: crate::hub::topics::Topic::advance

use std::sync::Arc;

use fanfare_wire::event::{DataKind, GapWhy};

use super::Engine;
use super::outbox::FRAME_CHARGE_BYTES;
use crate::hub::broken::{self, Break};
use crate::hub::mail::{Missed, Most, Request, Ticket};
use crate::hub::subs::Source;
use crate::hub::topics::{Stage as TopicStage, Topic};
use crate::hub::update::{Update, Variant};

/// A subscriber's wish to resume.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The last seq it has.
    since: u64,
    /// What it missed, as far as that is known; `None`: the owner must be asked.
    missed: Option<Missed>,
}

/// What a recovery can bring at most: what fits into an outbox.
pub(super) fn most(outbox_bytes_max: u32) -> Most {
    Most {
        count: outbox_bytes_max / FRAME_CHARGE_BYTES,
        bytes: u64::from(outbox_bytes_max),
    }
}

impl Recovery {
    /// A subscriber that stood at `since` in `epoch` resumes the topic. What this shard can tell by itself is not asked
    /// of the owner: most of those who come back have missed nothing.
    pub(super) fn new(topic: &Topic, ours: &str, epoch: &str, since: u64) -> Recovery {
        let missed = if epoch != ours {
            Some(Err(GapWhy::Epoch))
        } else if topic.stage != TopicStage::Live {
            None
        } else {
            match (topic.seq.checked_sub(since), &topic.last) {
                (None, _) => Some(Err(GapWhy::Epoch)),
                (Some(0), _) => Some(Ok(Vec::new())),
                (Some(1), Some(last)) => Some(Ok(vec![last.clone()])),
                _ => None,
            }
        };
        Recovery { since, missed }
    }

    /// Whether the owner must be asked.
    pub(super) fn is_open(&self) -> bool {
        self.missed.is_none()
    }

    /// The first seq that the subscriber does not have.
    pub(super) fn from(&self) -> u64 {
        self.since.saturating_add(1)
    }

    /// Everything up to where the topic stands here, if it takes no more than `room_bytes` of an outbox, which become
    /// fewer by it.
    pub(super) fn collect(
        &self,
        topic: &Topic,
        variant: Variant,
        room_bytes: &mut u64,
    ) -> Result<Vec<Arc<Update>>, GapWhy> {
        let missed = match &self.missed {
            Some(Ok(missed)) => missed,
            Some(Err(why)) => return Err(*why),
            None => {
                debug_assert!(false, "a command is carried out when all have answered");
                return Err(GapWhy::History);
            }
        };
        let reached = missed.last().map_or(self.since, |last| last.seq);
        let tail = topic.since(reached).ok_or(GapWhy::Overflow)?;
        let tail = if broken::is(Break::TailForgotten) {
            &[]
        } else {
            tail
        };
        let mut left_bytes = *room_bytes;
        for update in missed.iter().chain(tail) {
            let frame = update.frame(variant, DataKind::History);
            let charge = frame.len() as u64 + u64::from(FRAME_CHARGE_BYTES);
            left_bytes = left_bytes.checked_sub(charge).ok_or(GapWhy::Overflow)?;
        }
        *room_bytes = left_bytes;
        Ok(missed.iter().chain(tail).cloned().collect())
    }
}

impl Engine {
    /// Asks the owners of a waiting command's topics for what this shard does not know. Returns how many were asked.
    pub(super) fn ask_missed(&mut self, key: u32) -> u32 {
        let most = self.recovery_most;
        let wants = &self.subscribes[key as usize].wants;
        let open = (wants.iter().enumerate()).filter_map(|(part, want)| {
            let Source::Topic(topic) = want.source else {
                return None;
            };
            let recovery = want.recovery.as_ref().filter(|one| one.is_open())?;
            let answer = Ticket {
                shard: self.hub.shard(),
                ask: key,
                part: part as u32,
            };
            Some(Request::Recover {
                topic: self.hub.topics[topic].name.clone(),
                since: recovery.since,
                most,
                answer,
            })
        });
        let requests: Vec<Request> = open.collect();
        let asked = requests.len() as u32;
        for request in requests {
            self.hub.ask_owner(request);
        }
        asked
    }

    /// An owner has said what was missed. What is more than one outbox can take, all topics of the command together,
    /// is not kept until then.
    pub(super) fn on_recovered(&mut self, ticket: Ticket, mut missed: Missed) {
        let Some(subscribe) = self.subscribes.get_mut(ticket.ask as usize) else {
            debug_assert!(false, "a command waits until all have answered");
            return;
        };
        if let Ok(updates) = &missed {
            let bytes: usize = updates.iter().map(|update| update.payload_bytes()).sum();
            let charge = bytes as u64 + updates.len() as u64 * u64::from(FRAME_CHARGE_BYTES);
            let held_bytes = subscribe.recovered_bytes + charge;
            if held_bytes > self.recovery_most.bytes {
                missed = Err(GapWhy::Overflow);
            } else {
                subscribe.recovered_bytes = held_bytes;
            }
        }
        let want = subscribe.wants.get_mut(ticket.part as usize);
        if let Some(recovery) = want.and_then(|want| want.recovery.as_mut()) {
            recovery.missed = Some(missed);
        }
        self.on_subscribe_answered(ticket.ask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::topics::Topics;
    use crate::hub::update::{Form, Payload};

    fn update(seq: u64) -> Arc<Update> {
        let payload = Payload::new(Form::Json, b"1");
        Arc::new(Update::new("t".into(), "e".into(), 1, seq, 0, payload))
    }

    #[test]
    fn what_the_shard_knows_by_itself_is_not_asked_of_the_owner() {
        let mut topics = Topics::default();
        let id = topics.insert("t".into());
        let topic = &mut topics[id];
        let known = |topic: &Topic, epoch, since| {
            let missed = Recovery::new(topic, "e1", epoch, since).missed?;
            Some(missed.map(|missed| missed.len()))
        };
        assert_eq!(known(topic, "e1", 10), None, "it knows nothing yet");
        topic.stage = TopicStage::Live;
        topic.seq = 9;
        topic.advance(&[update(10)], most(1000));
        assert_eq!(known(topic, "e1", 10), Some(Ok(0)));
        assert_eq!(known(topic, "e1", 9), Some(Ok(1)));
        assert_eq!(known(topic, "e1", 8), None);
        assert_eq!(known(topic, "e0", 10), Some(Err(GapWhy::Epoch)));
        // A seq that was never given here cannot be of this epoch, whatever its name.
        assert_eq!(known(topic, "e1", 11), Some(Err(GapWhy::Epoch)));
        assert_eq!(known(topic, "e1", u64::MAX), Some(Err(GapWhy::Epoch)));
    }

    #[test]
    fn what_comes_while_a_recovery_waits_is_part_of_it() {
        let mut topics = Topics::default();
        let id = topics.insert("t".into());
        let topic = &mut topics[id];
        topic.stage = TopicStage::Live;
        (topic.seq, topic.last) = (10, Some(update(10)));
        topic.begin_recovery();
        // The stream is ahead of the answer, which says how things stood when it was written.
        topic.advance(&[update(11), update(12)], most(1 << 20));
        topic.advance(&[update(13), update(14)], most(1 << 20));
        let recovery = Recovery {
            since: 8,
            missed: Some(Ok((9..=12).map(update).collect())),
        };
        let seqs = |topic: &Topic, mut room_bytes| {
            let collected = recovery.collect(topic, Variant::Raw, &mut room_bytes);
            collected.map(|updates| updates.iter().map(|one| one.seq).collect::<Vec<_>>())
        };
        assert_eq!(seqs(topic, 10_000), Ok((9..=14).collect()));
        assert_eq!(seqs(topic, 200), Err(GapWhy::Overflow));
        // More than anybody could be sent is not kept.
        topic.advance(&[update(15)], most(64 * 4));
        assert_eq!(seqs(topic, 10_000), Err(GapWhy::Overflow));
        topic.end_recovery();
        assert!(topic.since(15).is_some_and(<[_]>::is_empty));
    }
}
