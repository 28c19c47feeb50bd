//! Mail that has come: requests go to the owner's side of the hub, deliveries to this shard's connections.

use super::Engine;
use super::conn::flag;
use crate::hub::mail::{Delivery, Mail, Request};
use crate::hub::topics::Stage;
use crate::hub::update::Variant;

impl Engine {
    /// Carries out what came, in the order of its lanes.
    pub(super) fn take_in(&mut self, mail: Mail) {
        for request in mail.requests {
            match request {
                Request::Census { answer } => self.answer_census(answer),
                request => self.hub.on_request(request, self.now.wall_us),
            }
        }
        for delivery in mail.deliveries {
            self.on_delivery(delivery);
        }
    }

    fn on_delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Update { listener, update } => {
                let Some(id) = self.hub.addressee(listener) else {
                    return;
                };
                let topic = &mut self.hub.topics[id];
                debug_assert!(
                    topic.stage == Stage::Live && update.seq == topic.seq + 1,
                    "the owner's stream has no hole"
                );
                topic.seq = update.seq;
                self.counters.updates_in += 1;
                for variant in [Variant::Json, Variant::Raw] {
                    let taken = self
                        .outlet
                        .fan_out(topic.members(variant), &update, variant);
                    self.counters.deliveries += u64::from(taken);
                }
                topic.last = Some(update);
            }
            Delivery::Joined {
                listener,
                seq,
                last,
            } => {
                let Some(id) = self.hub.addressee(listener) else {
                    return;
                };
                let topic = &mut self.hub.topics[id];
                topic.stage = Stage::Live;
                topic.seq = seq;
                topic.last = last;
                let waiting = std::mem::take(&mut topic.waiting);
                self.on_topic_answered(&waiting, id, None);
            }
            Delivery::Refused {
                listener,
                code,
                message,
            } => {
                let Some(id) = self.hub.addressee(listener) else {
                    return;
                };
                let waiting = std::mem::take(&mut self.hub.topics[id].waiting);
                self.on_topic_answered(&waiting, id, Some((code, message)));
            }
            Delivery::Census { ledger } => self.on_census(&ledger),
            Delivery::Answer { ticket, outcome } => self.on_answer(ticket, outcome),
        }
    }

    /// Asks an owner on behalf of a connection. While mail is jammed, the connection is not read on.
    pub(super) fn ask_for(&mut self, index: u32, request: Request) {
        if self.congested {
            self.outlet.conns[index as usize].flags |= flag::PAUSED;
        }
        self.hub.ask_owner(request);
    }
}
