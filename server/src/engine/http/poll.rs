//! `GET /v1/topics/…`: the last value, now or as soon as there is a newer one.
//!
//! A long poll is a subscription for one update. While it waits it costs what a WebSocket with one topic costs, and its answer
//! is put together once for all who wait for the same update. Whoever comes back names the seq it has, so that nothing can pass by
//! unnoticed between two polls.

use std::borrow::Cow;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event::DataKind;
use fanfare_wire::handshake::Request;
use fanfare_wire::topic;

use super::super::Engine;
use super::super::commands::Fault;
use super::super::conn::{Conn, Door, Stage, flag};
use super::super::rights::Act;
use super::super::subscribe::{Subscribe, Want, WantState};
use super::Answer;
use super::query::{self, Query};
use crate::clock::Ms;
use crate::hub::broken::{self, Break};
use crate::hub::policy::SubOptions;
use crate::hub::subs::{MemberId, Source};
use crate::hub::update::{Update, Variant};

/// What a poll waits for.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Wish {
    /// The seq of this epoch that the client has, and that is no news to it.
    has: Option<u64>,
    /// Whatever the topic stands at is no news to it: it has said `If-None-Match: *`.
    has_any: bool,
    /// Until when it waits for news.
    until: Option<Ms>,
}

impl Engine {
    /// Reads a topic for one answer.
    pub(super) fn poll(
        &mut self,
        index: u32,
        name: &str,
        request: &Request<'_>,
        query: &Query<'_>,
    ) -> Result<(), Answer> {
        let name = self.readable_topic(index, name)?;
        let wish = self
            .wish(request, query)
            .map_err(|fault| Answer::fault(&fault))?;
        let conn = &mut self.outlet.conns[index as usize];
        if request.header("if-none-match").is_some() {
            conn.flags |= flag::TAGGED;
        }
        conn.stage = Stage::Asking;
        self.set_door(index, Door::Poll);
        let topic = self.hub.pin(&name);
        let want = Want::plain(Source::Topic(topic));
        if self.is_joining(want.source) {
            let conn = &mut self.outlet.conns[index as usize];
            conn.last_seen = self.now.ms();
            conn.pending_topics += 1;
            self.due
                .set(index, self.now, self.settings.handshake_timeout_ms);
            let subscribe = Subscribe::of_poll(self.id_of(index), want, wish);
            self.start(index, subscribe);
        } else {
            // Whoever comes back for the next update finds its topic known, and no command need be made of it.
            self.open_poll(index, &want, wish);
            self.hub.unpin(topic);
        }
        Ok(())
    }

    /// A topic named in a path that the connection may read.
    pub(super) fn readable_topic<'n>(
        &self,
        index: u32,
        name: &'n str,
    ) -> Result<Cow<'n, str>, Answer> {
        let fault = |code, text: String| Answer::fault(&(code, text.into()));
        let name = query::decode(name)
            .ok_or_else(|| fault(ErrorCode::BadTopic, "the topic is not UTF-8".into()))?;
        topic::check_topic(&name).map_err(|error| fault(ErrorCode::BadTopic, error.to_string()))?;
        self.may(index, Act::Read, &name)
            .map_err(|refusal| Answer::fault(&Fault::from(refusal)))?;
        Ok(name)
    }

    fn wish(&self, request: &Request<'_>, query: &Query<'_>) -> Result<Wish, Fault> {
        let ours = &**self.hub.epoch();
        let tags = || request.headers.tokens("if-none-match");
        let tagged = tags().filter_map(|tag| seq_of_tag(tag, ours)).max();
        let is_ours = query.get("epoch").is_none_or(|epoch| epoch == ours);
        let after = query.number("after")?.filter(|_| is_ours);
        let wait_ms = query
            .duration_ms("wait")?
            .unwrap_or(0)
            .min(self.settings.wait_max_ms);
        let now = self.now.ms();
        Ok(Wish {
            has: after.max(tagged),
            has_any: tags().any(|tag| tag == "*"),
            until: (wait_ms > 0).then(|| Ms(now.0.wrapping_add(wait_ms))),
        })
    }

    /// The shard knows the topic now: answers, or begins to wait.
    pub(in crate::engine) fn open_poll(&mut self, index: u32, want: &Want, wish: Wish) {
        if let WantState::Refused(code, message) = want.state {
            let answer = Answer::fault(&(code, message.into()));
            return self.respond(index, &answer);
        }
        let Source::Topic(id) = want.source else {
            debug_assert!(false, "a poll names a topic");
            return;
        };
        let topic = &self.hub.topics[id];
        let is_news = !wish.has_any && wish.has.is_none_or(|has| has != topic.seq);
        // Who may have left is not waited with.
        let has_left = self.outlet.conns[index as usize].has(flag::EOF);
        let is_news = is_news && !(broken::is(Break::PollMissed) && wish.until.is_some());
        let is_news = is_news || broken::is(Break::PollRepeated);
        match (&topic.last, wish.until) {
            (Some(last), _) if is_news => {
                let last = last.clone();
                self.send_value(index, &last);
            }
            (_, Some(until)) if !has_left => {
                let conn = &mut self.outlet.conns[index as usize];
                conn.stage = Stage::Polling;
                conn.last_seen = until;
                let (member, options) = (MemberId(index), SubOptions::default());
                (self.hub).subscribe(
                    &mut conn.subs,
                    member,
                    want.source,
                    Variant::Answer,
                    options,
                );
                let wait_ms = until.since(self.now.ms());
                self.due.set(index, self.now, wait_ms);
            }
            (last, _) => {
                let answer = match last {
                    Some(last) => no_news(&self.outlet.conns[index as usize], Some(&last.etag())),
                    None => Answer::fault(&(ErrorCode::NoHistory, "the topic has no value".into())),
                };
                self.respond(index, &answer);
            }
        }
    }

    /// An update has come for a poll that waits. Its subscription ends by [`Engine::resume_answered`], when nobody looks at the
    /// topic's members any more.
    pub(in crate::engine) fn serve_poll(&mut self, index: u32, update: &Arc<Update>) {
        let conn = &self.outlet.conns[index as usize];
        if conn.door == Door::Poll && conn.stage == Stage::Polling {
            self.send_value(index, update);
            self.counters.deliveries += 1;
            self.lags.note(update.ts_us, 1, &self.outlet.turns);
        }
    }

    /// The wait is over, and nothing has come.
    pub(in crate::engine) fn end_wait(&mut self, index: u32) {
        let etag = self
            .hub
            .subs
            .of(self.outlet.conns[index as usize].subs)
            .next()
            .and_then(|sub| {
                let Source::Topic(topic) = self.hub.subs[sub].source() else {
                    return None;
                };
                let last = self.hub.topics[topic].last.as_ref()?;
                Some(last.etag())
            });
        let answer = no_news(&self.outlet.conns[index as usize], etag.as_deref());
        self.respond(index, &answer);
    }

    /// Answers with a value: in the words that all get, unless the request asks for others.
    fn send_value(&mut self, index: u32, update: &Arc<Update>) {
        let conn = &self.outlet.conns[index as usize];
        let is_plain = conn.has(flag::KEEP)
            && !conn.has(flag::HEAD)
            && conn.cold.as_ref().is_none_or(|cold| cold.origin.is_none());
        if is_plain {
            (self.outlet).push_data(index, update, Variant::Answer, DataKind::Update);
        } else {
            let (keep_alive, is_head) = (conn.has(flag::KEEP), conn.has(flag::HEAD));
            let extra: Vec<(&str, &str)> = self.cors_headers(index).collect();
            let mut answer = Vec::new();
            update.put_answer_head(&mut answer, &extra, keep_alive);
            if !is_head {
                answer.extend_from_slice(update.payload().bytes());
            }
            self.outlet.push_own(index, &answer);
        }
        self.finish_exchange(index, 200);
    }
}

/// The client has what there is: 304 for who named it by its tag, 204 for others.
fn no_news(conn: &Conn, etag: Option<&str>) -> Answer {
    let answer = Answer::empty(if conn.has(flag::TAGGED) { 304 } else { 204 });
    let answer = answer.with("Cache-Control", "no-cache".into());
    match etag {
        Some(etag) => answer.with("ETag", etag.into()),
        None => answer,
    }
}

/// The seq in an entity tag of our epoch.
fn seq_of_tag(tag: &str, ours: &str) -> Option<u64> {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let text = tag.strip_prefix('"')?.strip_suffix('"')?;
    let (epoch, seq) = text.rsplit_once(':')?;
    (epoch == ours).then(|| seq.parse().ok()).flatten()
}
