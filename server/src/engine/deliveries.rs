//! Mail that has come: requests go to the owner's side of the hub, deliveries to this shard's connections.

use std::collections::VecDeque;

use super::Engine;
use super::conn::flag;
use crate::hub::mail::{Delivery, Mail, Request};
use crate::hub::topics::Stage;
use crate::hub::update::Variant;

/// Mail that was brought and not worked through yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) requests: VecDeque<Request>,
    pub(super) deliveries: VecDeque<Delivery>,
}

impl Inbox {
    pub(super) fn put(&mut self, mail: Mail) {
        self.requests.extend(mail.requests);
        self.deliveries.extend(mail.deliveries);
    }
}

/// Which mail an addressee would not take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Jam {
    pub(super) any: bool,
    pub(super) deliveries: bool,
}

impl Engine {
    /// Works through the mail until none is left, or output must be offered to sockets first, or enough was written.
    pub(super) fn work_inbox(&mut self) {
        loop {
            while !self.outlet.is_pressed
                && let Some(delivery) = self.inbox.deliveries.pop_front()
            {
                self.on_delivery(delivery);
            }
            if self.outlet.is_pressed {
                return;
            }
            while self.takes_requests()
                && self.takes_input()
                && let Some(request) = self.inbox.requests.pop_front()
            {
                match request {
                    Request::Census { answer } => self.answer_census(answer),
                    request => self.hub.on_request(request, self.now.wall_us),
                }
            }
            let own = self.hub.outgoing.take(self.hub.shard());
            if own.is_empty() {
                return;
            }
            self.inbox.put(own);
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
                topic.last = Some(update.clone());
                self.serve_aside(id, &update);
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
                let topic = &mut self.hub.topics[id];
                topic.stage = Stage::Refused;
                let waiting = std::mem::take(&mut topic.waiting);
                self.on_topic_answered(&waiting, id, Some((code, message)));
            }
            Delivery::Census { ledger } => self.on_census(&ledger),
            Delivery::Answer { ticket, outcome } => self.on_answer(ticket, outcome),
        }
    }

    /// Asks an owner on behalf of a connection. While mail is jammed, the connection is not read on.
    pub(super) fn ask_for(&mut self, index: u32, request: Request) {
        self.pause_if_jammed(index);
        self.hub.ask_owner(request);
    }

    pub(super) fn pause_if_jammed(&mut self, index: u32) {
        let conn = &mut self.outlet.conns[index as usize];
        if self.jam.any && !conn.has(flag::PAUSED) {
            conn.flags |= flag::PAUSED;
            self.paused.push(index);
        }
    }
}
