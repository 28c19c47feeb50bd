//! Carrying a subscribe command out: membership, the ack, and what each topic opens with.
//!
//! All of it is one step: nothing can come between where the ack says that a topic stands and the snapshot or history that
//! reaches just up to there.

use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::Id;
use fanfare_wire::event::{self, DataKind, GapWhy, Recovered, SubscribedTopic, TopicFault};

use super::Engine;
use super::asides::{self, Named};
use super::commands::Known;
use super::conn::{Door, Stage};
use super::covered::{Matched, NewFilter, Newcomer};
use super::deliveries::TOO_MANY_TOPICS;
use super::disconnect::Disconnect;
use super::subscribe::{Subscribe, Want, WantState};
use crate::hub::broken::{self, Break};
use crate::hub::filters::FilterId;
use crate::hub::subs::{MemberId, Source};
use crate::hub::topics::{Topic, TopicId};
use crate::hub::update::{Update, Variant};

/// What a member gets right after its ack.
enum Opening {
    Nothing,
    Snapshot,
    History(Vec<Arc<Update>>),
    Gap { from: u64, why: GapWhy },
}

/// One line of the ack, and what follows it.
enum Granted {
    Topic(GrantedTopic),
    /// What a filter opens with comes behind that of all topics of the command.
    Filter(FilterId),
}

struct GrantedTopic {
    name: Arc<str>,
    alias: u32,
    seq: u64,
    last: Option<Arc<Update>>,
    recovered: Option<Recovered>,
    opening: Opening,
}

impl GrantedTopic {
    /// Whether anything is sent of it right away.
    fn opens(&self) -> bool {
        match &self.opening {
            Opening::Nothing => false,
            Opening::Snapshot => self.last.is_some(),
            Opening::History(updates) => !updates.is_empty(),
            Opening::Gap { .. } => true,
        }
    }
}

/// A topic that is not granted: its name, and what the subscriber is told.
type Refusal<'s> = (Arc<str>, ErrorCode, &'s str);

impl Engine {
    /// All owners have answered: membership, ack, and what each topic opens with.
    pub(super) fn complete(&mut self, subscribe: &Subscribe) {
        let stage = self.current(subscribe.conn).map(|conn| conn.stage);
        if let (Some(Stage::Asking), Some(wish)) = (stage, subscribe.poll) {
            let index = subscribe.conn.index;
            self.outlet.conns[index as usize].pending_topics -= 1;
            self.open_poll(index, &subscribe.wants[0], wish);
        } else if stage == Some(Stage::Open) {
            let index = subscribe.conn.index;
            let conn = &mut self.outlet.conns[index as usize];
            conn.pending_topics -= subscribe.wants.len() as u32;
            let door = conn.door;
            let filters = subscribe.wants.iter().filter_map(|want| match want.source {
                Source::Filter(id) => Some(id),
                Source::Topic(_) => None,
            });
            let matched = self.count_matched(filters);
            let (granted, faults, filters) = self.grant(index, subscribe, &matched);
            let survey = self.join_filters(index, &filters);
            self.acknowledge_subscribe(index, door, subscribe, &granted, &faults, &matched);
            for granted in &granted {
                if let Granted::Topic(topic) = granted {
                    self.open_topic(index, door, topic);
                }
            }
            self.open_filters(index, &survey);
            if door.is_events() {
                let has_opened = survey.iter().any(Newcomer::is_told)
                    || granted
                        .iter()
                        .any(|granted| matches!(granted, Granted::Topic(topic) if topic.opens()));
                self.settle_stream(index, has_opened);
            }
        }
        for want in &subscribe.wants {
            match want.source {
                Source::Topic(id) => {
                    if want.recovery.is_some() {
                        self.hub.topics[id].end_recovery();
                    }
                    self.hub.unpin(id);
                }
                Source::Filter(id) => self.hub.unpin_filter(id),
            }
        }
    }

    fn grant<'s>(
        &mut self,
        index: u32,
        subscribe: &'s Subscribe,
        matched: &Matched,
    ) -> (Vec<Granted>, Vec<Refusal<'s>>, Vec<NewFilter>) {
        let mut filters = Vec::new();
        let mut granted = Vec::with_capacity(subscribe.wants.len());
        let mut faults: Vec<Refusal<'s>> = subscribe
            .faults
            .iter()
            .map(|(name, code, text)| ((&**name).into(), *code, &**text))
            .collect();
        // Where there are filters, more is looked up than the topics of the command.
        let lookups = if self.hub.filters.is_empty() {
            subscribe.wants.len()
        } else {
            usize::MAX
        };
        let mut known = self.known(index, lookups);
        let mut room_bytes = self.recovery_room(index, subscribe);
        for want in &subscribe.wants {
            match (&want.state, want.source) {
                (WantState::Refused(code, message), source) => {
                    let name = self.hub.source_name(source).clone();
                    faults.push((name, *code, message));
                }
                (_, Source::Topic(id)) => {
                    let topic = self.grant_topic(index, want, id, &mut known, &mut room_bytes);
                    granted.push(Granted::Topic(topic));
                }
                (_, Source::Filter(id)) if self.is_too_wide(index, id, matched, &known) => {
                    let (code, message) = TOO_MANY_TOPICS;
                    faults.push((self.hub.filters[id].name.clone(), code, message));
                }
                (_, Source::Filter(id)) => {
                    filters.extend(self.grant_filter(index, want, id, &known));
                    granted.push(Granted::Filter(id));
                }
            }
        }
        (granted, faults, filters)
    }

    /// Whether a filter that the connection does not have yet covers more than it may. When it was made known to the owners
    /// it did not; but topics have been born since.
    fn is_too_wide(&self, index: u32, id: FilterId, matched: &Matched, known: &Known) -> bool {
        let subs = self.outlet.conns[index as usize].subs;
        let most = u64::from(self.settings.filter_topics_max);
        matched.get(&id).is_some_and(|count| *count > most)
            && known.find(&self.hub, subs, Source::Filter(id)).is_none()
    }

    /// What the history of all topics of a command may take of the outbox, so that none of it can fail to fit behind the ack.
    fn recovery_room(&self, index: u32, subscribe: &Subscribe) -> u64 {
        /// What stands in an ack beside a topic's name.
        const ACK_BYTES: usize = 160;
        let names = (subscribe.wants.iter()).map(|want| self.hub.source_name(want.source).len());
        let faults = (subscribe.faults.iter()).map(|(name, _, text)| name.len() + text.len());
        let ack_bytes: usize = names.chain(faults).map(|bytes| bytes + ACK_BYTES).sum();
        let room_bytes = u64::from(self.outlet.room_bytes(index));
        room_bytes
            .saturating_sub(ack_bytes as u64)
            .min(self.recovery_most.bytes)
    }

    /// Makes the connection a member of one topic, unless it is one already or has thought better of it.
    fn grant_topic(
        &mut self,
        index: u32,
        want: &Want,
        id: TopicId,
        known: &mut Known,
        room_bytes: &mut u64,
    ) -> GrantedTopic {
        let subs = self.outlet.conns[index as usize].subs;
        let existing = known.find(&self.hub, subs, want.source);
        let is_covered = known.by_which(&self.hub, subs, id).next().is_some();
        let topic = &self.hub.topics[id];
        let mut granted = GrantedTopic {
            name: topic.name.clone(),
            alias: topic.alias,
            seq: self.position(index, id, topic.seq) >> u8::from(broken::is(Break::AckBehind)),
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
                let topic = &self.hub.topics[id];
                let conn = &mut self.outlet.conns[index as usize];
                let (member, variant) = (MemberId(index), conn.variant());
                // What comes by a filter already goes on, too.
                if !is_covered {
                    (granted.recovered, granted.opening) = want.opening(topic, variant, room_bytes);
                }
                let subs = &mut conn.subs;
                let sub = self
                    .hub
                    .subscribe(subs, member, want.source, variant, want.options);
                known.add(want.source, sub);
                if is_covered {
                    self.take_over_mark(index, id, sub);
                }
            }
        }
        granted
    }

    /// Gives a filter that the connection has other options; one that it does not have yet is returned.
    fn grant_filter(
        &mut self,
        index: u32,
        want: &Want,
        filter: FilterId,
        known: &Known,
    ) -> Option<NewFilter> {
        if want.state == WantState::Cancelled {
            return None;
        }
        let subs = self.outlet.conns[index as usize].subs;
        if let Some(sub) = known.find(&self.hub, subs, want.source) {
            self.change_options(index, sub, want.options);
            return None;
        }
        Some(NewFilter {
            filter,
            options: want.options,
            snapshot: want.snapshot,
        })
    }

    fn acknowledge_subscribe(
        &mut self,
        index: u32,
        door: Door,
        subscribe: &Subscribe,
        granted: &[Granted],
        faults: &[Refusal<'_>],
        matched: &Matched,
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
        let filters = &self.hub.filters;
        let lines = granted.iter().map(|granted| match granted {
            Granted::Topic(granted) => event::Granted::Topic(SubscribedTopic {
                topic: &granted.name,
                epoch: &epoch,
                seq: granted.seq,
                alias: (door == Door::Binary).then_some(granted.alias),
                recovered: granted.recovered,
            }),
            Granted::Filter(id) => event::Granted::Filter {
                filter: &filters[*id].name,
                matched: matched.get(id).copied().unwrap_or(0),
            },
        });
        let faults: Vec<TopicFault<'_>> = faults
            .iter()
            .map(|(topic, code, message)| TopicFault {
                topic,
                code: *code,
                message,
            })
            .collect();
        self.text.clear();
        event::put_subscribed(&mut self.text, id, lines, &faults);
        self.say_text(index);
    }

    /// Sends what stands between the ack and the stream.
    fn open_topic(&mut self, index: u32, door: Door, granted: &GrantedTopic) {
        let epoch = self.hub.epoch().clone();
        let variant = self.outlet.conns[index as usize].variant();
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
                let topic = Named {
                    topic: &granted.name,
                    alias: granted.alias,
                };
                self.frame.clear();
                asides::put_gap(
                    &mut self.frame,
                    &mut self.text,
                    door,
                    topic,
                    from,
                    why,
                    &epoch,
                );
                if !self.frame.is_empty() {
                    self.outlet.push_own(index, &self.frame);
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
