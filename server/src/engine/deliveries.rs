//! Mail that has come: requests go to the owner's side of the hub, deliveries to this shard's connections.

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;

use super::Engine;
use super::conn::flag;
use crate::hub::filters::{Fault, FilterId};
use crate::hub::mail::{Delivery, Mail, Request, Ticket};
use crate::hub::subs::Source;
use crate::hub::topics::{Stage, TopicId};
use crate::hub::update::{Update, Variant};

pub(super) const TOO_MANY_TOPICS: (ErrorCode, &str) = (
    ErrorCode::SubscriptionLimit,
    "the filter covers more topics than the server lets one cover (--max-filter-topics)",
);

const TOO_MANY_FILTERS: (ErrorCode, &str) = (
    ErrorCode::SubscriptionLimit,
    "the filter covers a topic that as many different filters cover as may (--max-filters-per-topic)",
);

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
    /// Works through the mail until none is left, or output must be offered to sockets first, or enough was written. What filters
    /// have come to since is settled on the way, for all connections together.
    pub(super) fn work_inbox(&mut self) {
        loop {
            self.hub.settle();
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
                    Request::Topics { filter, answer } => self.answer_topics(&filter, answer),
                    request => self.hub.on_request(request, self.now.wall_us),
                }
            }
            let own = self.hub.outgoing.take(self.hub.shard());
            if own.is_empty() && self.hub.is_settled() {
                return;
            }
            self.inbox.put(own);
        }
    }

    fn on_delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Update { listener, update } => self.on_updates(listener, update),
            Delivery::Joined {
                listener,
                alias,
                seq,
                last,
            } => {
                let Some(id) = self.hub.addressee(listener) else {
                    return;
                };
                let topic = &mut self.hub.topics[id];
                if topic.stage == Stage::Live {
                    // A filter has brought it meanwhile, and all that came since.
                    debug_assert_eq!(topic.seq, seq, "there is one stream");
                    return;
                }
                (topic.stage, topic.alias) = (Stage::Live, alias);
                (topic.seq, topic.last) = (seq, last);
                let waiting = topic.take_waiting();
                self.on_source_answered(&waiting, Source::Topic(id), None);
            }
            Delivery::Faded { listener } => self.hub.on_faded(listener),
            Delivery::Born {
                topic,
                alias,
                seq,
                last,
            } => {
                if let Some(id) = self.hub.on_born(topic, alias, seq, last) {
                    let waiting = self.hub.topics[id].take_waiting();
                    self.on_source_answered(&waiting, Source::Topic(id), None);
                }
            }
            Delivery::Watched { filters } => {
                for (id, matched) in filters {
                    self.on_watched(id, matched);
                }
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
                let waiting = topic.take_waiting();
                self.on_source_answered(&waiting, Source::Topic(id), Some((code, message)));
            }
            Delivery::Census { report } => self.on_census(*report),
            Delivery::Stats { report } => self.on_stats(*report),
            Delivery::History { ticket, page } => self.on_history(ticket, &page),
            Delivery::Topics { ticket, listing } => self.on_listing(ticket, &listing),
            Delivery::Answer { ticket, outcome } => self.on_answer(ticket, outcome),
            Delivery::Failed { ticket } => self.on_room_failed(ticket),
            Delivery::Recovered { ticket, missed } => self.on_recovered(ticket, missed),
        }
    }

    /// Another shard, or this one, wants to know the topics that a filter covers.
    fn answer_topics(&mut self, filter: &str, ticket: Ticket) {
        let listing = Box::new(self.hub.listing(filter));
        self.hub
            .outgoing
            .weigh(self.hub.topics.len() + self.hub.owner.topic_count());
        let delivery = Delivery::Topics { ticket, listing };
        self.hub.outgoing.deliver(ticket.shard, delivery);
    }

    /// Queues a run of updates to everybody who has its topic: by name, then by filters, the most specific first. Who has it by
    /// several is served once, by the first.
    pub(super) fn fan_out(&mut self, id: TopicId, run: &[Arc<Update>]) {
        let topic = &self.hub.topics[id];
        let filters = &self.hub.filters;
        let covering = filters.of(topic);
        let mut all = 0;
        for variant in Variant::ALL {
            let by_filter = covering.iter().map(|id| filters[*id].members.of(variant));
            let mut columns = std::iter::once(topic.members.of(variant))
                .chain(by_filter)
                .filter(|column| !column.is_empty());
            let taken = match (columns.next(), columns.next()) {
                (None, _) => 0,
                (Some(only), None) => self.outlet.fan_out(only, run, variant),
                (Some(first), Some(second)) => {
                    let columns = [first, second].into_iter().chain(columns);
                    self.outlet.fan_out_once(columns, run, variant)
                }
            };
            all += u64::from(taken);
        }
        self.counters.deliveries += all * run.len() as u64;
        for update in run {
            self.lags.note(update.ts_us, all, &self.outlet.turns);
        }
    }

    /// An owner knows of a filter now. The last of them lets those be carried out who waited for it.
    fn on_watched(&mut self, id: FilterId, matched: Option<u32>) {
        let Some(outcome) = self.hub.on_watched(id, matched) else {
            return;
        };
        let refused = outcome.err().map(|fault| match fault {
            Fault::TooWide => TOO_MANY_TOPICS,
            Fault::Crowded => TOO_MANY_FILTERS,
        });
        let waiting = self.hub.filters[id].take_waiting();
        self.on_source_answered(&waiting, Source::Filter(id), refused);
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
