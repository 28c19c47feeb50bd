//! The actions of the JSON protocol, as they come on `/ws` and `/raw`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{Command, Id, Options, TopicRequest};
use fanfare_wire::event;
use fanfare_wire::topic;

use super::Engine;
use super::asks::{Ask, What};
use super::conn::Door;
use super::naming::Sign;
use super::rights::Act;
use crate::hub::Hub;
use crate::hub::mail::{Reply, Request};
use crate::hub::policy::SubOptions;
use crate::hub::subs::{Source, SubId, SubList};
use crate::hub::topics::TopicId;
use crate::hub::update::{Form, Payload};

/// Longest idempotency key, bytes.
pub(super) const KEY_BYTES_MAX: usize = 128;

/// What the peer is told when a command fails as a whole.
pub(super) type Fault = (ErrorCode, Cow<'static, str>);

impl Engine {
    /// Carries out one command. `/raw` is told of success only for commands that carry an id, of failure always.
    pub(super) fn on_command(&mut self, index: u32, id: Option<Id<'_>>, command: Command<'_>) {
        let quiet = self.outlet.conns[index as usize].door == Door::Raw && id.is_none();
        let done = match command {
            Command::Subscribe { topics } => self.subscribe(index, id, &topics),
            Command::Unsubscribe { topics } => self.unsubscribe(index, &topics).map(|count| {
                self.acknowledge(index, quiet, |out| event::put_unsubscribed(out, id, count));
            }),
            Command::Set { topics } => self.set_options(index, &topics).map(|()| {
                self.acknowledge(index, quiet, |out| event::put_ok(out, id));
            }),
            Command::List => {
                self.list(index, id);
                Ok(())
            }
            Command::Publish { topic, data, key } => {
                self.publish(index, id, quiet, &topic, data, key.as_deref())
            }
            Command::Check { topics } => self.check(index, id, &topics),
            Command::Ping { ts } => {
                let time_us = self.now.wall_us;
                self.say(index, |out| event::put_pong(out, id, ts, time_us));
                Ok(())
            }
            Command::Auth { token } => self.authenticate(index, &token).map(|()| {
                self.acknowledge(index, quiet, |out| event::put_ok(out, id));
            }),
        };
        if let Err((code, message)) = done {
            self.say(index, |out| event::put_error(out, id, code, &message));
        }
    }

    fn acknowledge(&mut self, index: u32, quiet: bool, write: impl FnOnce(&mut Vec<u8>)) {
        if !quiet {
            self.say(index, write);
        }
    }

    fn unsubscribe(&mut self, index: u32, topics: &[Cow<'_, str>]) -> Result<usize, Fault> {
        self.judge_count(topics.len())?;
        let mut count = self.cancel_pending(index, topics);
        let mut known = self.known(index, topics.len());
        for name in topics {
            let Some(source) = self.hub.find_source(name) else {
                continue;
            };
            if let Some(sub) = known.take(&self.hub, self.outlet.conns[index as usize].subs, source)
            {
                self.hand_over_marks(index, sub);
                self.hub
                    .unsubscribe(&mut self.outlet.conns[index as usize].subs, sub);
                count += 1;
            }
        }
        Ok(count)
    }

    /// All or nothing: a topic that is not subscribed leaves the others as they were.
    fn set_options(&mut self, index: u32, topics: &[TopicRequest<'_>]) -> Result<(), Fault> {
        self.judge_count(topics.len())?;
        let known = self.known(index, topics.len());
        let mut found = Vec::with_capacity(topics.len());
        for request in topics {
            let source = self.hub.find_source(&request.topic);
            let subs = self.outlet.conns[index as usize].subs;
            let sub = source.and_then(|source| known.find(&self.hub, subs, source));
            let missing = || format!("not subscribed to {:?}", request.topic).into();
            found.push(sub.ok_or_else(|| (ErrorCode::BadTopic, missing()))?);
        }
        for (sub, request) in found.into_iter().zip(topics) {
            let (old, new) = (self.hub.options(sub), &request.options);
            let options = SubOptions {
                mode: new.mode.unwrap_or(old.mode),
                on_slow: new.on_slow.unwrap_or(old.on_slow),
                min_interval_ms: new.min_interval_ms.unwrap_or(old.min_interval_ms),
                max_stale_ms: new.max_stale_ms.unwrap_or(old.max_stale_ms),
            };
            self.change_options(index, sub, options);
        }
        Ok(())
    }

    fn list(&mut self, index: u32, id: Option<Id<'_>>) {
        let list = self.outlet.conns[index as usize].subs;
        let entries: Vec<(Arc<str>, Options)> = (self.hub.subs.of(list))
            .map(|sub| {
                let options = self.hub.options(sub);
                let given = |ms| (ms > 0).then_some(ms);
                let options = Options {
                    snapshot: None,
                    mode: Some(options.mode),
                    on_slow: Some(options.on_slow),
                    min_interval_ms: given(options.min_interval_ms),
                    max_stale_ms: given(options.max_stale_ms),
                };
                let source = self.hub.subs[sub].source();
                (self.hub.source_name(source).clone(), options)
            })
            .collect();
        let entries = entries.iter().map(|(name, options)| (&**name, options));
        self.say(index, |out| event::put_subscriptions(out, id, entries));
    }

    fn publish(
        &mut self,
        index: u32,
        id: Option<Id<'_>>,
        quiet: bool,
        name: &str,
        data: &str,
        key: Option<&str>,
    ) -> Result<(), Fault> {
        topic::check_topic(name)
            .map_err(|error| (ErrorCode::BadTopic, error.to_string().into()))?;
        self.may(index, Act::Publish, name)?;
        let most = self.settings.payload_bytes_max;
        if data.len() > most {
            let text = format!("data is longer than {most} bytes (--max-payload-bytes)");
            return Err((ErrorCode::PayloadLimit, text.into()));
        }
        if key.is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return Err((
                ErrorCode::BadField,
                format!("key is longer than {KEY_BYTES_MAX} bytes").into(),
            ));
        }
        let topic: Arc<str> = name.into();
        let what = What::Publish {
            topic: topic.clone(),
            quiet,
        };
        let ticket = self.note(Ask {
            conn: self.id_of(index),
            id: id.map(|id| id.0.into()),
            what,
        });
        let signed = self.signed(index, data.as_bytes(), Sign::Forged);
        let data = signed.as_deref().unwrap_or(data.as_bytes());
        let payload = Payload::new(Form::Json, data);
        self.ask_for(
            index,
            Request::Publish {
                topic,
                payload,
                key: key.map(Into::into),
                reply: Reply::Always(ticket),
            },
        );
        Ok(())
    }

    fn check(
        &mut self,
        index: u32,
        id: Option<Id<'_>>,
        topics: &[Cow<'_, str>],
    ) -> Result<(), Fault> {
        self.judge_count(topics.len())?;
        for name in topics {
            topic::check_topic(name)
                .map_err(|error| (ErrorCode::BadTopic, error.to_string().into()))?;
            self.may(index, Act::Read, name)?;
        }
        let topics: Vec<(Arc<str>, u64)> = topics.iter().map(|name| ((**name).into(), 0)).collect();
        let names: Vec<Arc<str>> = topics.iter().map(|(name, _)| name.clone()).collect();
        let what = What::Check {
            missing: topics.len() as u32,
            topics,
        };
        let ticket = self.note(Ask {
            conn: self.id_of(index),
            id: id.map(|id| id.0.into()),
            what,
        });
        for (part, topic) in names.into_iter().enumerate() {
            let answer = crate::hub::mail::Ticket {
                part: part as u32,
                ..ticket
            };
            self.ask_for(index, Request::Check { topic, answer });
        }
        Ok(())
    }

    /// No command may name more topics than a connection may have.
    pub(super) fn judge_count(&self, topics: usize) -> Result<(), Fault> {
        let most = self.settings.subscriptions_max as usize;
        if topics > most {
            let text = format!("more than {most} topics in one command");
            return Err((ErrorCode::SubscriptionLimit, text.into()));
        }
        Ok(())
    }

    /// Makes ready to look `wanted` topics up among the connection's subscriptions.
    pub(super) fn known(&self, index: u32, wanted: usize) -> Known {
        if wanted <= WALKS_MAX {
            return Known(None);
        }
        let list = self.outlet.conns[index as usize].subs;
        Known(Some(
            self.hub
                .subs
                .of(list)
                .map(|sub| (self.hub.subs[sub].source(), sub))
                .collect(),
        ))
    }
}

/// For so few topics the connection's list is walked; for more a table is made of it.
const WALKS_MAX: usize = 8;

/// The subscriptions of one connection by source, for one command: a hostile command must not walk a long list for each of
/// its many topics.
pub(super) struct Known(Option<HashMap<Source, SubId>>);

impl Known {
    pub(super) fn find(&self, hub: &Hub, list: SubList, source: Source) -> Option<SubId> {
        match &self.0 {
            Some(table) => table.get(&source).copied(),
            None => hub.subs.find(list, source),
        }
    }

    /// The subscriptions by which the connection has a topic, the one whose options count first: to the topic itself, then
    /// by filters, the most specific first.
    pub(super) fn by_which(
        &self,
        hub: &Hub,
        list: SubList,
        topic: TopicId,
    ) -> impl Iterator<Item = SubId> {
        let covering = hub.filters.of(&hub.topics[topic]).into_owned();
        std::iter::once(Source::Topic(topic))
            .chain(covering.into_iter().map(Source::Filter))
            .filter_map(move |source| self.find(hub, list, source))
    }

    /// Finds a subscription that is about to end.
    fn take(&mut self, hub: &Hub, list: SubList, source: Source) -> Option<SubId> {
        match &mut self.0 {
            Some(table) => table.remove(&source),
            None => hub.subs.find(list, source),
        }
    }

    /// Notes a new one.
    pub(super) fn add(&mut self, source: Source, sub: SubId) {
        if let Some(table) = &mut self.0 {
            table.insert(source, sub);
        }
    }
}
