//! Carrying a subscribe command out: membership, the ack, and what each topic opens with.
//!
//! All of it is one step: nothing can come between where the ack says that a topic stands and the snapshot or history that
//! reaches just up to there.

use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::Id;
use fanfare_wire::event::{self, DataKind, GapWhy, Recovered, SubscribedTopic, TopicFault};

use super::Engine;
use super::commands::Known;
use super::conn::{Door, Stage};
use super::disconnect::Disconnect;
use super::subscribe::{Subscribe, Want, WantState};
use crate::hub::subs::MemberId;
use crate::hub::topics::Topic;
use crate::hub::update::{Update, Variant};

/// What a member gets right after its ack.
enum Opening {
    Nothing,
    Snapshot,
    History(Vec<Arc<Update>>),
    Gap { from: u64, why: GapWhy },
}

/// One line of the ack, and what follows it.
struct Granted {
    name: Arc<str>,
    seq: u64,
    last: Option<Arc<Update>>,
    recovered: Option<Recovered>,
    opening: Opening,
}

/// A topic that is not granted: its name, and what the subscriber is told.
type Refusal<'s> = (Arc<str>, ErrorCode, &'s str);

impl Engine {
    /// All owners have answered: membership, ack, and what each topic opens with.
    pub(super) fn complete(&mut self, subscribe: &Subscribe) {
        let open = self
            .current(subscribe.conn)
            .is_some_and(|conn| conn.stage == Stage::Open);
        if open {
            let index = subscribe.conn.index;
            let conn = &mut self.outlet.conns[index as usize];
            conn.pending_topics -= subscribe.wants.len() as u32;
            let door = conn.door;
            let (granted, faults) = self.grant(index, subscribe);
            self.acknowledge_subscribe(index, door, subscribe, &granted, &faults);
            for granted in &granted {
                self.open_topic(index, door, granted);
            }
        }
        for want in &subscribe.wants {
            if want.recovery.is_some() {
                self.hub.topics[want.topic].end_recovery();
            }
            self.hub.unpin(want.topic);
        }
    }

    fn grant<'s>(
        &mut self,
        index: u32,
        subscribe: &'s Subscribe,
    ) -> (Vec<Granted>, Vec<Refusal<'s>>) {
        let mut granted = Vec::with_capacity(subscribe.wants.len());
        let mut faults: Vec<Refusal<'s>> = subscribe
            .faults
            .iter()
            .map(|(name, code, text)| ((&**name).into(), *code, &**text))
            .collect();
        let mut known = self.known(index, subscribe.wants.len());
        let mut room_bytes = self.recovery_room(index, subscribe);
        for want in &subscribe.wants {
            match want.state {
                WantState::Refused(code, message) => {
                    faults.push((self.hub.topics[want.topic].name.clone(), code, message));
                }
                _ => granted.push(self.grant_one(index, want, &mut known, &mut room_bytes)),
            }
        }
        (granted, faults)
    }

    /// What the history of all topics of a command may take of the outbox, so that none of it can fail to fit behind the ack.
    fn recovery_room(&self, index: u32, subscribe: &Subscribe) -> u64 {
        /// What stands in an ack beside a topic's name.
        const ACK_BYTES: usize = 160;
        let names = (subscribe.wants.iter()).map(|want| self.hub.topics[want.topic].name.len());
        let faults = (subscribe.faults.iter()).map(|(name, _, text)| name.len() + text.len());
        let ack_bytes: usize = names.chain(faults).map(|bytes| bytes + ACK_BYTES).sum();
        let room_bytes = u64::from(self.outlet.room_bytes(index));
        room_bytes
            .saturating_sub(ack_bytes as u64)
            .min(self.recovery_most.bytes)
    }

    /// Makes the connection a member of one topic, unless it is one already or has thought better of it.
    fn grant_one(
        &mut self,
        index: u32,
        want: &Want,
        known: &mut Known,
        room_bytes: &mut u64,
    ) -> Granted {
        let subs = self.outlet.conns[index as usize].subs;
        let existing = known.find(&self.hub, subs, want.topic);
        let topic = &self.hub.topics[want.topic];
        let mut granted = Granted {
            name: topic.name.clone(),
            seq: self.position(index, want.topic, topic.seq),
            last: topic.last.clone(),
            recovered: None,
            opening: Opening::Nothing,
        };
        match existing {
            _ if want.state == WantState::Cancelled => {}
            // A second subscription to the same topic changes its options; the stream goes on.
            Some(sub) => self.change_options(index, sub, want.options),
            None => {
                self.prepare_for(index, want.options);
                let topic = &self.hub.topics[want.topic];
                let conn = &mut self.outlet.conns[index as usize];
                let (member, variant) = (MemberId(index), conn.door.variant());
                (granted.recovered, granted.opening) = want.opening(topic, variant, room_bytes);
                let subs = &mut conn.subs;
                let sub = self
                    .hub
                    .subscribe(subs, member, want.topic, variant, want.options);
                known.add(want.topic, sub);
            }
        }
        granted
    }

    fn acknowledge_subscribe(
        &mut self,
        index: u32,
        door: Door,
        subscribe: &Subscribe,
        granted: &[Granted],
        faults: &[Refusal<'_>],
    ) {
        if door == Door::Room {
            if !faults.is_empty() {
                self.begin_close(index, Disconnect::Refused);
            }
            return;
        }
        let id = subscribe.id.as_deref().map(Id);
        if door == Door::Raw && id.is_none() {
            for (_, code, message) in faults {
                self.say(index, |out| event::put_error(out, None, *code, message));
            }
            return;
        }
        let epoch = self.hub.epoch().clone();
        let topics = granted.iter().map(|granted| SubscribedTopic {
            topic: &granted.name,
            epoch: &epoch,
            seq: granted.seq,
            alias: None,
            recovered: granted.recovered,
        });
        let faults: Vec<TopicFault<'_>> = faults
            .iter()
            .map(|(topic, code, message)| TopicFault {
                topic,
                code: *code,
                message,
            })
            .collect();
        self.say(index, |out| event::put_subscribed(out, id, topics, &faults));
    }

    /// Sends what stands between the ack and the stream.
    fn open_topic(&mut self, index: u32, door: Door, granted: &Granted) {
        let epoch = self.hub.epoch().clone();
        let variant = door.variant();
        match &granted.opening {
            Opening::Nothing => return,
            Opening::History(updates) => {
                for update in updates {
                    let kind = DataKind::History;
                    self.outlet.push_data(index, update, variant, kind);
                }
                return;
            }
            Opening::Snapshot => {}
            &Opening::Gap { from, why } => {
                // Raw connections get payloads and nothing else.
                if door != Door::Raw {
                    self.say(index, |out| {
                        event::put_gap(out, &granted.name, from, why, &epoch)
                    });
                }
            }
        }
        if let Some(last) = &granted.last {
            let kind = DataKind::Snapshot;
            self.outlet.push_data(index, last, variant, kind);
        }
    }
}

impl Want {
    /// How the topic opens for this subscriber. Recovery is all or nothing.
    fn opening(
        &self,
        topic: &Topic,
        variant: Variant,
        room_bytes: &mut u64,
    ) -> (Option<Recovered>, Opening) {
        let Some(recovery) = &self.recovery else {
            let opening = if self.snapshot {
                Opening::Snapshot
            } else {
                Opening::Nothing
            };
            return (None, opening);
        };
        match recovery.collect(topic, variant, room_bytes) {
            Ok(updates) => {
                let recovered = Recovered::Full(updates.len() as u64);
                (Some(recovered), Opening::History(updates))
            }
            Err(why) => {
                let from = recovery.from();
                (Some(Recovered::None), Opening::Gap { from, why })
            }
        }
    }
}
