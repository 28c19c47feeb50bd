//! The subscribe command, from the wish until the owners of all its topics have answered.
//!
//! A topic that this shard does not listen to yet must be joined first, a filter must be made known to all owners, and what a
//! subscriber missed must be asked for.
//! When nothing is missing any more the command is carried out in one step (`opening.rs`): the connection becomes a member, the
//! ack says where each topic stands *here*, and the snapshot is the value of just that seq. The next update this
//! shard fans out is seq + 1: there is no race.

use std::borrow::Cow;
use std::collections::HashSet;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{Id, Mode, OnSlow, TopicRequest};
use fanfare_wire::topic;

use super::Engine;
use super::commands::Fault;
use super::conn::ConnId;
use super::http::Wish;
use super::recovery::Recovery;
use super::rights::Act;
use crate::hub::filters::Stage as FilterStage;
use crate::hub::policy::SubOptions;
use crate::hub::subs::Source;
use crate::hub::topics::Stage as TopicStage;

/// A subscribe command that waits for owners.
#[derive(Debug)]
pub(super) struct Subscribe {
    pub(super) conn: ConnId,
    pub(super) id: Option<Box<str>>,
    pub(super) wants: Vec<Want>,
    pub(super) faults: Vec<(Box<str>, ErrorCode, Cow<'static, str>)>,
    /// How many answers of owners are awaited.
    missing: u32,
    /// What the updates that owners have sent for recovery take of an outbox.
    pub(super) recovered_bytes: u64,
    /// It is for one answer of HTTP, and this is what that waits for.
    pub(super) poll: Option<Wish>,
}

impl Subscribe {
    /// One that wants nothing yet.
    fn new(conn: ConnId, id: Option<Id<'_>>) -> Subscribe {
        Subscribe {
            conn,
            id: id.map(|id| id.0.into()),
            wants: Vec::new(),
            faults: Vec::new(),
            missing: 0,
            recovered_bytes: 0,
            poll: None,
        }
    }

    /// One for an answer of HTTP.
    pub(super) fn of_poll(conn: ConnId, want: Want, wish: Wish) -> Subscribe {
        Subscribe {
            wants: vec![want],
            poll: Some(wish),
            ..Subscribe::new(conn, None)
        }
    }
}

/// One topic or filter of a subscribe command. It is pinned until the command is done.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) source: Source,
    pub(super) options: SubOptions,
    pub(super) snapshot: bool,
    pub(super) recovery: Option<Recovery>,
    /// The owner would not have it, or the client has unsubscribed meanwhile.
    pub(super) state: WantState,
}

impl Want {
    /// Every update from now on, and nothing before them.
    pub(super) fn plain(source: Source) -> Want {
        Want {
            source,
            options: SubOptions::default(),
            snapshot: false,
            recovery: None,
            state: WantState::Wanted,
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum WantState {
    Wanted,
    Cancelled,
    Refused(ErrorCode, &'static str),
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
        let mut subscribe = Subscribe::new(self.id_of(index), id);
        subscribe.wants.reserve_exact(topics.len());
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
        let mut want = Want::plain(Source::Topic(self.hub.pin(name)));
        want.options.on_slow = OnSlow::Close;
        self.outlet.conns[index as usize].pending_topics += 1;
        let mut subscribe = Subscribe::new(self.id_of(index), None);
        subscribe.wants.push(want);
        self.start(index, subscribe);
    }

    /// Takes topics out of commands that still wait; they will be acked and sent nothing. Returns how many.
    pub(super) fn cancel_pending(&mut self, index: u32, topics: &[Cow<'_, str>]) -> usize {
        if self.outlet.conns[index as usize].pending_topics == 0 {
            return 0;
        }
        let sources: HashSet<Source> = topics
            .iter()
            .filter_map(|name| self.hub.find_source(name))
            .collect();
        let conn = &self.outlet.conns[index as usize];
        let keys = conn.cold.as_ref().map_or(&[][..], |cold| &cold.subscribes);
        let mut count = 0;
        for &key in keys {
            for want in &mut self.subscribes[key as usize].wants {
                if want.state == WantState::Wanted && sources.contains(&want.source) {
                    want.state = WantState::Cancelled;
                    count += 1;
                }
            }
        }
        count
    }

    /// The owner of a topic, or all owners about a filter, have answered: commands that waited for nothing else are
    /// carried out.
    pub(super) fn on_source_answered(
        &mut self,
        waiting: &[u32],
        source: Source,
        refused: Option<(ErrorCode, &'static str)>,
    ) {
        for &key in waiting {
            let subscribe = &mut self.subscribes[key as usize];
            if let Some((code, message)) = refused {
                for want in subscribe
                    .wants
                    .iter_mut()
                    .filter(|want| want.source == source)
                {
                    want.state = WantState::Refused(code, message);
                }
            }
            self.on_subscribe_answered(key);
        }
    }

    /// One answer of an owner less is missing; the last one lets the command be carried out.
    pub(super) fn on_subscribe_answered(&mut self, key: u32) {
        let subscribe = &mut self.subscribes[key as usize];
        subscribe.missing -= 1;
        if subscribe.missing == 0 {
            let subscribe = self.subscribes.remove(key as usize);
            self.forget_pending(&subscribe, key);
            self.complete(&subscribe);
        }
    }

    /// Whether the connection may subscribe to one topic or filter.
    pub(super) fn judge(&self, index: u32, request: &TopicRequest<'_>) -> Result<(), Fault> {
        let wildcard = topic::check_filter(&request.topic)
            .map_err(|error| (ErrorCode::BadTopic, Cow::from(error.to_string())))?;
        self.may(index, Act::Subscribe, &request.topic)?;
        if wildcard {
            self.judge_filter(request)?;
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

    fn judge_filter(&self, request: &TopicRequest<'_>) -> Result<(), Fault> {
        if request.since.is_some() {
            return Err((
                ErrorCode::BadField,
                "since is for one topic, not for a filter".into(),
            ));
        }
        let most = self.settings.filters_max as usize;
        let filters = &self.hub.filters;
        if filters.len() >= most && filters.find(&request.topic).is_none() {
            return Err((
                ErrorCode::SubscriptionLimit,
                format!("the shard holds {most} different filters, and no more (--max-filters)")
                    .into(),
            ));
        }
        Ok(())
    }

    fn is_subscribed(&self, index: u32, name: &str) -> bool {
        let subs = self.outlet.conns[index as usize].subs;
        let source = self.hub.find_source(name);
        source.is_some_and(|source| self.hub.subs.find(subs, source).is_some())
    }

    /// Pins what is asked for.
    fn want(&mut self, request: &TopicRequest<'_>) -> Want {
        let options = &request.options;
        let (source, recovery) = match topic::check_filter(&request.topic) {
            Ok(true) => (Source::Filter(self.hub.pin_filter(&request.topic)), None),
            _ => self.want_topic(request),
        };
        Want {
            source,
            options: SubOptions {
                mode: options.mode.unwrap_or(Mode::All),
                on_slow: options.on_slow.unwrap_or(OnSlow::Conflate),
                min_interval_ms: options.min_interval_ms.unwrap_or(0),
                max_stale_ms: options.max_stale_ms.unwrap_or(0),
            },
            snapshot: options.snapshot.unwrap_or(true),
            recovery,
            state: WantState::Wanted,
        }
    }

    fn want_topic(&mut self, request: &TopicRequest<'_>) -> (Source, Option<Recovery>) {
        let id = self.hub.pin(&request.topic);
        let epoch = self.hub.epoch().clone();
        let topic = &mut self.hub.topics[id];
        let recovery = (request.since.as_ref())
            .map(|since| Recovery::new(topic, &epoch, &since.epoch, since.seq));
        if recovery.is_some() {
            topic.begin_recovery();
        }
        (Source::Topic(id), recovery)
    }

    /// Whether an owner has yet to answer before anybody can subscribe.
    pub(super) fn is_joining(&self, source: Source) -> bool {
        match source {
            Source::Topic(id) => matches!(
                self.hub.topics[id].stage,
                TopicStage::Joining | TopicStage::Fading
            ),
            Source::Filter(id) => {
                matches!(self.hub.filters[id].stage, FilterStage::Watching { .. })
            }
        }
    }

    /// Carries a command out at once if this shard knows all that it needs, else lets it wait for the owners.
    pub(super) fn start(&mut self, index: u32, mut subscribe: Subscribe) {
        let joining: Vec<Source> = (subscribe.wants.iter().map(|want| want.source))
            .filter(|source| self.is_joining(*source))
            .collect();
        let is_open = |want: &Want| want.recovery.as_ref().is_some_and(Recovery::is_open);
        if joining.is_empty() && !subscribe.wants.iter().any(is_open) {
            return self.complete(&subscribe);
        }
        self.pause_if_jammed(index);
        subscribe.missing = joining.len() as u32;
        let key = self.subscribes.insert(subscribe) as u32;
        let cold = &mut self.outlet.conns[index as usize].cold;
        cold.get_or_insert_default().subscribes.push(key);
        for source in joining {
            match source {
                Source::Topic(id) => self.hub.topics[id].wait(key),
                Source::Filter(id) => self.hub.filters[id].wait(key),
            }
        }
        let asked = self.ask_missed(key);
        self.subscribes[key as usize].missing += asked;
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
}
