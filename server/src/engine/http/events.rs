//! `GET /v1/sse`: what `/ws` says, as Server-Sent Events.
//!
//! A stream is a subscription like any other: same order, same recovery, same treatment of slow readers. Its frames are events, and an
//! event of a stream with one topic names by itself where the stream stands, so it is shared by all. Where there are several topics,
//! that is a line of the stream's own before each event. The body ends with the connection: nothing stands around the events,
//! and every proxy understands it.

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
use crate::hub::subs::Source;
use crate::hub::topics::TopicId;

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
    /// So much was queued with the ack, charged bytes.
    Acked(u32),
    /// Nothing came to the ack until it was offered to the socket.
    Offered,
    /// Whatever is written next is news, or news has come with the ack.
    Waiting,
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
        conn.last_seen = self.now.ms();
        self.outlet.push_own(index, &self.frame);
        self.due.set(index, self.now, 0);
    }

    /// Appends the line that says where a stream of several topics stands, in `topic` at `seq`. Topics of which it has had
    /// nothing are not named: they will open with their last value. No line where no topic is named.
    pub(in crate::engine) fn put_positions(
        &self,
        out: &mut Vec<u8>,
        index: u32,
        at: Option<(TopicId, u64)>,
    ) {
        let epoch = self.hub.epoch();
        let list = self.outlet.conns[index as usize].subs;
        let positions = self.hub.subs.of(list).filter_map(|sub| {
            let Source::Topic(id) = self.hub.subs[sub].source() else {
                return None;
            };
            let topic = &self.hub.topics[id];
            let seq = match at {
                Some((this, seq)) if this == id => seq,
                _ => self.position(index, id, topic.seq),
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
            self.put_positions(&mut line, index, None);
            if !line.is_empty() {
                line.push(b'\n');
                self.outlet.push_own(index, &line);
            }
        }
        let conn = &mut self.outlet.conns[index as usize];
        if !conn.has(flag::ONCE) || conn.stage != Stage::Open {
            return;
        }
        if has_opened || conn.wait.is_some() {
            return self.end_after_answer(index, Disconnect::Http(200));
        }
        let queued_bytes = conn.outbox.charged_bytes();
        if let Some(once) = conn.cold.as_mut().and_then(|cold| cold.once.as_mut()) {
            once.state = OnceState::Acked(queued_bytes);
        }
    }

    /// It is the turn of a stream for one answer to be written to: is there more than its ack? What has come to the shard meanwhile says
    /// nothing about that, it may have come for others.
    pub(in crate::engine) fn on_once_offered(&mut self, index: u32) {
        let conn = &mut self.outlet.conns[index as usize];
        let (queued_bytes, has_marks) = (conn.outbox.charged_bytes(), conn.wait.is_some());
        let cold = conn.cold.as_mut();
        let Some(once) = cold.and_then(|cold| cold.once.as_mut()) else {
            return;
        };
        once.state = match once.state {
            OnceState::Acked(acked) if acked == queued_bytes && !has_marks => OnceState::Offered,
            OnceState::Opening => OnceState::Opening,
            // A second turn: there was more.
            OnceState::Acked(_) | OnceState::Offered | OnceState::Waiting => OnceState::Waiting,
        };
    }

    /// All that a stream for one answer was to be told is written.
    pub(in crate::engine) fn on_once_flushed(&mut self, index: u32) {
        let cold = self.outlet.conns[index as usize].cold.as_mut();
        let Some(once) = cold.and_then(|cold| cold.once.as_mut()) else {
            return;
        };
        match once.state {
            OnceState::Opening | OnceState::Acked(_) => {}
            OnceState::Offered => once.state = OnceState::Waiting,
            OnceState::Waiting => self.end_after_answer(index, Disconnect::Http(200)),
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
        self.end_after_answer(index, why);
        self.outlet
            .push_last(index, &self.frame, why == Disconnect::Slow);
    }
}
