//! `GET /v1/sse`: what `/ws` says, as Server-Sent Events.
//!
//! A stream is a subscription like any other: same order, same recovery, same treatment of slow readers. Its frames are events, and an
//! event of a stream with one topic names by itself where the stream stands, so it is shared by all. Where there are several topics,
//! that is a line of the stream's own before each event. The body ends with the connection: nothing stands around the events,
//! and every proxy understands it.

use std::collections::HashSet;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::{Since, TopicRequest};
use fanfare_wire::event;
use fanfare_wire::handshake::{Request, ResponseHead};
use fanfare_wire::sse::{self, Position};
use fanfare_wire::topic;

use super::super::Engine;
use super::super::commands::Fault;
use super::super::conn::{Door, Stage, flag};
use super::super::disconnect::Disconnect;
use super::Answer;
use super::query::Query;
use crate::clock::Ms;
use crate::hub::broken::{self, Break};
use crate::hub::subs::Source;
use crate::hub::topics::{Topic, TopicId};

/// A stream that ends with its first events: a long poll of several topics.
#[derive(Debug)]
pub(in crate::engine) struct Once {
    until: Ms,
    state: OnceState,
}

#[derive(Debug, PartialEq, Eq)]
enum OnceState {
    /// The owners have not answered yet.
    Opening,
    /// Some of its first events wait until the socket takes them.
    Owed,
    /// When nothing but the ack was queued: how many updates had come to the shard by then, and where its topics stood.
    Acked { updates: u64, stood: u64 },
}

impl Engine {
    /// Begins a stream.
    pub(super) fn begin_events(
        &mut self,
        index: u32,
        request: &Request<'_>,
        query: &Query<'_>,
    ) -> Result<(), Answer> {
        let last_id = query
            .get("last_event_id")
            .or(request.header("last-event-id"));
        let wanted = self
            .wanted_topics(index, query, last_id.unwrap_or(""))
            .map_err(|fault| Answer::fault(&fault))?;
        let wait_ms = (query.duration_ms("wait")).map_err(|fault| Answer::fault(&fault))?;
        let is_alone = wanted.len() == 1 && topic::check_topic(&wanted[0].topic).is_ok();
        let door = if is_alone {
            Door::Events
        } else {
            Door::MixedEvents
        };
        self.open_stream(index, door);
        if self.outlet.conns[index as usize].has(flag::HEAD) {
            self.end_after_answer(index, Disconnect::Http(200));
            return Ok(());
        }
        if let Some(wait_ms) = wait_ms {
            let wait_ms = wait_ms.min(self.settings.wait_max_ms);
            let until = Ms(self.now.ms().0.wrapping_add(wait_ms));
            let conn = &mut self.outlet.conns[index as usize];
            conn.flags |= flag::ONCE;
            let state = OnceState::Opening;
            conn.cold.get_or_insert_default().once = Some(Once { until, state });
        }
        let subscribed = self.subscribe(index, None, &wanted);
        debug_assert!(subscribed.is_ok(), "the topics were counted");
        Ok(())
    }

    /// The topics of a stream. One that names none that may be had is refused; of others that are not, it will be told.
    fn wanted_topics<'q>(
        &self,
        index: u32,
        query: &'q Query<'_>,
        last_id: &'q str,
    ) -> Result<Vec<TopicRequest<'q>>, Fault> {
        let names = query.get("topics").or(query.get("symbols")).unwrap_or("");
        let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            let text = "topics must name at least one topic, separated by commas";
            return Err((ErrorCode::BadField, text.into()));
        }
        self.judge_count(names.len())?;
        let options = query.options()?;
        let positions: Vec<Position<'_>> = sse::positions(last_id).collect();
        let request = |name: &'q str| {
            let position = positions.iter().find(|position| position.topic == name);
            TopicRequest {
                topic: name.into(),
                options,
                since: position.map(|position| Since {
                    epoch: position.epoch.into(),
                    seq: position.seq,
                }),
            }
        };
        let requests: Vec<TopicRequest<'q>> = names.into_iter().map(request).collect();
        let mut faults = Vec::new();
        for request in &requests {
            match self.judge(index, request) {
                Ok(()) => return Ok(requests),
                Err(fault) => faults.push(fault),
            }
        }
        Err(faults.swap_remove(0))
    }

    /// The head of the answer, and how long an `EventSource` should wait before it comes back: after a restart not all
    /// together.
    fn open_stream(&mut self, index: u32, door: Door) {
        self.counters.streams += 1;
        self.counters.requests += 1;
        self.put_head(
            index,
            &ResponseHead {
                status: 200,
                extra: &[
                    ("Cache-Control", "no-cache"),
                    // nginx must not wait until it has a buffer full.
                    ("X-Accel-Buffering", "no"),
                ],
                content_type: Some("text/event-stream"),
                content_length: None,
                keep_alive: false,
            },
        );
        self.set_door(index, door);
        let conn = &mut self.outlet.conns[index as usize];
        let retry_ms = 1000 + conn.generation.wrapping_mul(0x9E37_79B9) % 4000;
        if !conn.has(flag::HEAD) {
            let retry = format!("retry: {retry_ms}\n\n");
            self.frame.extend_from_slice(retry.as_bytes());
        }
        conn.stage = Stage::Open;
        conn.flags &= !flag::KEEP;
        conn.flags |= flag::HEADED;
        conn.last_seen = self.now.ms();
        self.outlet.push_own(index, &self.frame);
        self.due.set(index, self.now, 0);
    }

    /// Appends the line that says where a stream of several topics stands: in those of `at` as they say, because so much goes
    /// out with this event and just before it; in the others where the connection stands. No line where no topic is named.
    pub(in crate::engine) fn put_positions(
        &self,
        out: &mut Vec<u8>,
        index: u32,
        at: &[(TopicId, u64)],
    ) {
        let epoch = self.hub.epoch();
        let list = self.outlet.conns[index as usize].subs;
        let positions = self.hub.subs.of(list).filter_map(|sub| {
            let Source::Topic(id) = self.hub.subs[sub].source() else {
                return None;
            };
            let topic = &self.hub.topics[id];
            let told = at.iter().find(|(this, _)| *this == id);
            let seq = match told {
                _ if broken::is(Break::PositionAhead) => topic.seq,
                Some((_, seq)) => *seq,
                None => self.position(index, id, topic.seq),
            };
            Some(Position {
                topic: &topic.name,
                epoch,
                seq,
            })
        });
        sse::put_id(out, positions);
    }

    /// A stream's topics are open: from here on it knows where it stands.
    pub(in crate::engine) fn settle_stream(&mut self, index: u32, has_opened: bool) {
        let conn = &self.outlet.conns[index as usize];
        // Where one topic has opened with a value, that has said it.
        let is_unsaid = conn.door == Door::MixedEvents || !has_opened;
        if is_unsaid && conn.stage == Stage::Open {
            let mut line = Vec::new();
            self.put_positions(&mut line, index, &[]);
            if !line.is_empty() {
                line.push(b'\n');
                self.outlet.push_own(index, &line);
            }
        }
        let conn = &self.outlet.conns[index as usize];
        if !conn.has(flag::ONCE) || conn.stage != Stage::Open {
            return;
        }
        // What had no room waits as a mark, which would go with the stream.
        let is_owed = self.marks.of(conn.wait).next().is_some();
        if has_opened && !is_owed {
            return self.end_after_answer(index, Disconnect::Http(200));
        }
        let state = if is_owed {
            OnceState::Owed
        } else {
            OnceState::Acked {
                updates: self.counters.updates_in,
                stood: self.seqs(index),
            }
        };
        let conn = &mut self.outlet.conns[index as usize];
        if let Some(once) = conn.cold.as_mut().and_then(|cold| cold.once.as_mut()) {
            once.state = state;
        }
    }

    /// The sum of the seqs of a connection's topics: it is greater when something has come for it.
    fn seqs(&self, index: u32) -> u64 {
        let (mut sum, mut filters) = (0, HashSet::new());
        for sub in self.hub.subs.of(self.outlet.conns[index as usize].subs) {
            match self.hub.subs[sub].source() {
                Source::Topic(id) => sum += self.hub.topics[id].seq,
                Source::Filter(id) => drop(filters.insert(id)),
            }
        }
        if filters.is_empty() {
            return sum;
        }
        let is_its = |topic: &Topic| {
            let covering = self.hub.filters.of(topic);
            covering.iter().any(|id| filters.contains(id))
        };
        let covered = self.hub.topics.iter().filter(|(_, topic)| is_its(topic));
        sum + covered.map(|(_, topic)| topic.seq).sum::<u64>()
    }

    /// All that a stream for one answer was to be told is written.
    pub(in crate::engine) fn on_once_flushed(&mut self, index: u32) {
        let cold = self.outlet.conns[index as usize].cold.as_ref();
        let Some(once) = cold.and_then(|cold| cold.once.as_ref()) else {
            return;
        };
        let is_news = match once.state {
            OnceState::Opening => false,
            OnceState::Owed => true,
            // What has come for it since the ack is written by now; what came for others alone is no answer.
            OnceState::Acked { updates, stood } => {
                updates != self.counters.updates_in && stood != self.seqs(index)
            }
        };
        if is_news && !broken::is(Break::OnceForever) {
            self.end_after_answer(index, Disconnect::Http(200));
        }
    }

    /// How much longer a stream for one answer waits; `None`: it is not one.
    pub(in crate::engine) fn once_left_ms(&self, index: u32) -> Option<u32> {
        let cold = self.outlet.conns[index as usize].cold.as_ref()?;
        let once = cold.once.as_ref()?;
        Some(once.until.since(self.now.ms()))
    }

    /// A stream ends before its time: its last event says why.
    pub(in crate::engine) fn end_stream(&mut self, index: u32, why: Disconnect) {
        let (code, reason) = why.close();
        self.text.clear();
        event::put_closed(&mut self.text, code.0, reason);
        self.frame.clear();
        sse::put_event(&mut self.frame, &self.text);
        // Without the head in front of them, last words are none.
        let has_head = !self.outlet.conns[index as usize].has(flag::HEADED);
        self.end_after_answer(index, why);
        self.outlet
            .push_last(index, &self.frame, why == Disconnect::Slow && has_head);
    }
}
