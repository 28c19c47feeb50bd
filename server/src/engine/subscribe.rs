//! The subscribe command, from the wish to the ack, the snapshot and the stream.
//!
//! A topic that this shard does not listen to yet must be joined first; the command waits until the owners of all its
//! topics have answered. Then, in one step, the connection becomes a member, the ack says where each topic stands *here*, and
//! the snapshot is the value of just that seq. The next update this shard fans out is seq + 1: there is no race.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{Id, Mode, OnSlow, TopicRequest};
use fanfare_wire::event::{self, DataKind, GapWhy, Recovered, SubscribedTopic, TopicFault};
use fanfare_wire::topic;

use super::Engine;
use super::commands::{Fault, Known};
use super::conn::{ConnId, Door, Stage};
use super::disconnect::Disconnect;
use crate::hub::policy::SubOptions;
use crate::hub::subs::MemberId;
use crate::hub::topics::{Stage as TopicStage, TopicId};
use crate::hub::update::Update;

/// A subscribe command that waits for owners.
#[derive(Debug)]
pub(super) struct Subscribe {
    conn: ConnId,
    id: Option<Box<str>>,
    wants: Vec<Want>,
    faults: Vec<(Box<str>, ErrorCode, Cow<'static, str>)>,
    /// How many of the wants have a topic whose owner has not answered.
    missing: u32,
}

/// One topic of a subscribe command. Its topic is pinned until the command is done.
#[derive(Debug)]
struct Want {
    topic: TopicId,
    options: SubOptions,
    snapshot: bool,
    since: Option<(Box<str>, u64)>,
    /// The owner would not have it, or the client has unsubscribed meanwhile.
    state: WantState,
}

#[derive(Debug, PartialEq)]
enum WantState {
    Wanted,
    Cancelled,
    Refused(ErrorCode, &'static str),
}

/// What a member gets right after its ack.
enum Opening {
    Nothing,
    Snapshot,
    History,
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

impl Engine {
    /// The `subscribe` action.
    pub(super) fn subscribe(
        &mut self,
        index: u32,
        id: Option<Id<'_>>,
        topics: &[TopicRequest<'_>],
    ) -> Result<(), Fault> {
        self.judge_count(topics.len())?;
        let mut subscribe = Subscribe {
            conn: self.id_of(index),
            id: id.map(|id| id.0.into()),
            wants: Vec::with_capacity(topics.len()),
            faults: Vec::new(),
            missing: 0,
        };
        for request in topics {
            match self.judge(index, request) {
                Ok(()) => {
                    let want = self.want(request);
                    subscribe.wants.push(want);
                    self.outlet.conns[index as usize].pending_topics += 1;
                }
                Err((code, message)) => {
                    subscribe
                        .faults
                        .push(((*request.topic).into(), code, message))
                }
            }
        }
        self.start(index, subscribe);
        Ok(())
    }

    /// A room's connection subscribes to its topic as it comes in: no ack, no snapshot. What it left out it could not say, so
    /// it leaves nothing out.
    pub(super) fn enter_room(&mut self, index: u32, name: &str) {
        let topic = self.hub.pin(name);
        let want = Want {
            topic,
            options: SubOptions {
                on_slow: OnSlow::Close,
                ..SubOptions::default()
            },
            snapshot: false,
            since: None,
            state: WantState::Wanted,
        };
        self.outlet.conns[index as usize].pending_topics += 1;
        let conn = self.id_of(index);
        self.start(
            index,
            Subscribe {
                conn,
                id: None,
                wants: vec![want],
                faults: Vec::new(),
                missing: 0,
            },
        );
    }

    /// Takes topics out of commands that still wait; they will be acked and sent nothing. Returns how many.
    pub(super) fn cancel_pending(&mut self, index: u32, topics: &[Cow<'_, str>]) -> usize {
        if self.outlet.conns[index as usize].pending_topics == 0 {
            return 0;
        }
        let topics: HashSet<TopicId> = topics
            .iter()
            .filter_map(|name| self.hub.topics.find(name))
            .collect();
        let conn = &self.outlet.conns[index as usize];
        let keys = conn.cold.as_ref().map_or(&[][..], |cold| &cold.subscribes);
        let mut count = 0;
        for &key in keys {
            for want in &mut self.subscribes[key as usize].wants {
                if want.state == WantState::Wanted && topics.contains(&want.topic) {
                    want.state = WantState::Cancelled;
                    count += 1;
                }
            }
        }
        count
    }

    /// The owner of a topic has answered: commands that waited for nothing else are carried out.
    pub(super) fn on_topic_answered(
        &mut self,
        waiting: &[u32],
        topic: TopicId,
        refused: Option<(ErrorCode, &'static str)>,
    ) {
        for &key in waiting {
            let subscribe = &mut self.subscribes[key as usize];
            if let Some((code, message)) = refused {
                for want in subscribe
                    .wants
                    .iter_mut()
                    .filter(|want| want.topic == topic)
                {
                    want.state = WantState::Refused(code, message);
                }
            }
            subscribe.missing -= 1;
            if subscribe.missing == 0 {
                let subscribe = self.subscribes.remove(key as usize);
                self.forget_pending(&subscribe, key);
                self.complete(&subscribe);
            }
        }
    }

    fn judge(&self, index: u32, request: &TopicRequest<'_>) -> Result<(), Fault> {
        let wildcard = topic::check_filter(&request.topic)
            .map_err(|error| (ErrorCode::BadTopic, Cow::from(error.to_string())))?;
        if wildcard {
            return Err((
                ErrorCode::BadTopic,
                "filters with '*' or '>' are not served by this version".into(),
            ));
        }
        let conn = &self.outlet.conns[index as usize];
        let most = self.settings.subscriptions_max;
        if conn.subs.len() + conn.pending_topics >= most
            && !self.is_subscribed(index, &request.topic)
        {
            return Err((
                ErrorCode::SubscriptionLimit,
                format!("a connection may have {most} subscriptions").into(),
            ));
        }
        Ok(())
    }

    fn is_subscribed(&self, index: u32, name: &str) -> bool {
        let subs = self.outlet.conns[index as usize].subs;
        let topic = self.hub.topics.find(name);
        topic.is_some_and(|topic| self.hub.subs.find(subs, topic).is_some())
    }

    fn want(&mut self, request: &TopicRequest<'_>) -> Want {
        let options = &request.options;
        Want {
            topic: self.hub.pin(&request.topic),
            options: SubOptions {
                mode: options.mode.unwrap_or(Mode::All),
                on_slow: options.on_slow.unwrap_or(OnSlow::Conflate),
                min_interval_ms: options.min_interval_ms.unwrap_or(0),
                max_stale_ms: options.max_stale_ms.unwrap_or(0),
            },
            snapshot: options.snapshot.unwrap_or(true),
            since: request
                .since
                .as_ref()
                .map(|since| ((*since.epoch).into(), since.seq)),
            state: WantState::Wanted,
        }
    }

    /// Carries a command out at once if all its topics are live here, else lets it wait for them.
    fn start(&mut self, index: u32, mut subscribe: Subscribe) {
        let topics = &self.hub.topics;
        let joining: Vec<TopicId> = (subscribe.wants.iter().map(|want| want.topic))
            .filter(|topic| topics[*topic].stage == TopicStage::Joining)
            .collect();
        if joining.is_empty() {
            return self.complete(&subscribe);
        }
        self.pause_if_jammed(index);
        subscribe.missing = joining.len() as u32;
        let key = self.subscribes.insert(subscribe) as u32;
        let cold = &mut self.outlet.conns[index as usize].cold;
        cold.get_or_insert_default().subscribes.push(key);
        for topic in joining {
            self.hub.topics[topic].waiting.push(key);
        }
    }

    /// The command waits no longer; a connection without any gives the list back.
    fn forget_pending(&mut self, subscribe: &Subscribe, key: u32) {
        let Some(conn) = self.current(subscribe.conn) else {
            return;
        };
        if let Some(cold) = &mut conn.cold {
            cold.subscribes.retain(|pending| *pending != key);
            if cold.subscribes.is_empty() {
                cold.subscribes = Vec::new();
            }
            conn.cold.take_if(|cold| cold.is_empty());
        }
    }

    /// All owners have answered: membership, ack, and what each topic opens with.
    fn complete(&mut self, subscribe: &Subscribe) {
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
            self.hub.unpin(want.topic);
        }
    }

    fn grant<'s>(
        &mut self,
        index: u32,
        subscribe: &'s Subscribe,
    ) -> (Vec<Granted>, Vec<TopicFaultText<'s>>) {
        let mut granted = Vec::with_capacity(subscribe.wants.len());
        let mut faults: Vec<TopicFaultText<'s>> = subscribe
            .faults
            .iter()
            .map(|(name, code, text)| ((&**name).into(), *code, &**text))
            .collect();
        let mut known = self.known(index, subscribe.wants.len());
        for want in &subscribe.wants {
            match want.state {
                WantState::Refused(code, message) => {
                    faults.push((self.hub.topics[want.topic].name.clone(), code, message));
                }
                _ => granted.push(self.grant_one(index, want, &mut known)),
            }
        }
        (granted, faults)
    }

    /// Makes the connection a member of one topic, unless it is one already or has thought better of it.
    fn grant_one(&mut self, index: u32, want: &Want, known: &mut Known) -> Granted {
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
                (granted.recovered, granted.opening) = want.opening(topic.seq, self.hub.epoch());
                let (member, variant) = (MemberId(index), conn.door.variant());
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
        faults: &[TopicFaultText<'_>],
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
        let kind = match granted.opening {
            Opening::Nothing => return,
            Opening::History => DataKind::History,
            Opening::Snapshot => DataKind::Snapshot,
            Opening::Gap { from, why } => {
                // Raw connections get payloads and nothing else.
                if door != Door::Raw {
                    self.say(index, |out| {
                        event::put_gap(out, &granted.name, from, why, &epoch)
                    });
                }
                DataKind::Snapshot
            }
        };
        if let Some(last) = &granted.last {
            self.outlet.push_data(index, last, door.variant(), kind);
        }
    }
}

type TopicFaultText<'s> = (Arc<str>, ErrorCode, &'s str);

impl Want {
    /// How the topic opens for this subscriber when it stands at `seq`. Recovery is all or nothing.
    fn opening(&self, seq: u64, epoch: &str) -> (Option<Recovered>, Opening) {
        let Some((since_epoch, since_seq)) = &self.since else {
            let opening = if self.snapshot {
                Opening::Snapshot
            } else {
                Opening::Nothing
            };
            return (None, opening);
        };
        let from = since_seq.saturating_add(1);
        if **since_epoch != *epoch || *since_seq > seq {
            return (
                Some(Recovered::None),
                Opening::Gap {
                    from,
                    why: GapWhy::Epoch,
                },
            );
        }
        match seq - since_seq {
            0 => (Some(Recovered::Full(0)), Opening::Nothing),
            1 => (Some(Recovered::Full(1)), Opening::History),
            _ => (
                Some(Recovered::None),
                Opening::Gap {
                    from,
                    why: GapWhy::History,
                },
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(since: Option<(&str, u64)>) -> Want {
        Want {
            topic: TopicId(0),
            options: SubOptions::default(),
            snapshot: true,
            since: since.map(|(epoch, seq)| (epoch.into(), seq)),
            state: WantState::Wanted,
        }
    }

    #[test]
    fn recovery_is_all_or_nothing() {
        let outcome = |since| match want(since).opening(10, "e1") {
            (None, Opening::Snapshot) => "snapshot",
            (Some(Recovered::Full(0)), Opening::Nothing) => "nothing missed",
            (Some(Recovered::Full(1)), Opening::History) => "one missed",
            (
                Some(Recovered::None),
                Opening::Gap {
                    why: GapWhy::History,
                    ..
                },
            ) => "too much missed",
            (
                Some(Recovered::None),
                Opening::Gap {
                    why: GapWhy::Epoch, ..
                },
            ) => "another epoch",
            _ => "something else",
        };
        assert_eq!(outcome(None), "snapshot");
        assert_eq!(outcome(Some(("e1", 10))), "nothing missed");
        assert_eq!(outcome(Some(("e1", 9))), "one missed");
        assert_eq!(outcome(Some(("e1", 8))), "too much missed");
        assert_eq!(outcome(Some(("e0", 10))), "another epoch");
        // A seq that was never given here cannot be of this epoch, whatever its name.
        assert_eq!(outcome(Some(("e1", 11))), "another epoch");
        assert_eq!(outcome(Some(("e1", u64::MAX))), "another epoch");
    }
}
