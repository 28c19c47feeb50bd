//! Answers to HTTP requests, and what comes after one: the next request, or the end.

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event;
use fanfare_wire::handshake::{self, ResponseHead};

use super::super::Engine;
use super::super::commands::Fault;
use super::super::conn::{Door, Stage, flag};
use super::super::disconnect::Disconnect;

pub(in crate::engine) const TEXT: &str = "text/plain; charset=utf-8";
pub(in crate::engine) const JSON: &str = "application/json";

/// What a page of another origin may read of an answer beside the usual.
const EXPOSED: &str = "ETag, Fanfare-Epoch, Fanfare-Seq, Fanfare-Ts, Retry-After";

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) struct Answer {
    pub(super) status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
    /// The connection must not go on behind it.
    is_last: bool,
}

impl Answer {
    /// One sentence for a person, with its line end.
    pub(in crate::engine) fn plain(status: u16, text: impl Into<String>) -> Answer {
        Answer::new(status, TEXT, text.into().into_bytes())
    }

    /// The same, and when to come back.
    pub(in crate::engine) fn retry(status: u16, text: impl Into<String>, after_s: u32) -> Answer {
        Answer::plain(status, text).with("Retry-After", after_s.to_string())
    }

    /// Any body.
    pub(in crate::engine) fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Answer {
        Answer {
            status,
            content_type,
            body,
            headers: Vec::new(),
            is_last: false,
        }
    }

    /// No body: 204 or 304.
    pub(in crate::engine) fn empty(status: u16) -> Answer {
        Answer::new(status, TEXT, Vec::new())
    }

    /// What a command would be told on `/ws`, as JSON.
    pub(in crate::engine) fn fault(&(code, ref message): &Fault) -> Answer {
        let mut body = Vec::new();
        event::put_error(&mut body, None, code, message);
        body.push(b'\n');
        let answer = Answer::new(status_of(code), JSON, body);
        if answer.status == 401 {
            return answer.with("WWW-Authenticate", "Bearer".into());
        }
        answer
    }

    /// The same with another status.
    pub(in crate::engine) fn with_status(self, status: u16) -> Answer {
        Answer { status, ..self }
    }

    /// With one more header.
    pub(in crate::engine) fn with(mut self, name: &'static str, value: String) -> Answer {
        self.headers.push((name, value));
        self
    }

    /// The connection ends behind it.
    pub(in crate::engine) fn and_end(mut self) -> Answer {
        self.is_last = true;
        self
    }
}

/// The status that says as much as a code does.
fn status_of(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::BadJson
        | ErrorCode::UnknownAction
        | ErrorCode::BadTopic
        | ErrorCode::BadField => 400,
        ErrorCode::AuthRequired | ErrorCode::BadToken | ErrorCode::Expired => 401,
        ErrorCode::Forbidden => 403,
        ErrorCode::NoHistory => 404,
        ErrorCode::TooLarge | ErrorCode::PayloadLimit => 413,
        ErrorCode::Rate => 429,
        ErrorCode::SubscriptionLimit | ErrorCode::ConnectionLimit | ErrorCode::Draining => 503,
        ErrorCode::Internal => 500,
    }
}

impl Engine {
    /// Answers the request under way. The connection goes on with the next one, if it may.
    pub(in crate::engine) fn respond(&mut self, index: u32, answer: &Answer) {
        if answer.is_last {
            self.outlet.conns[index as usize].flags &= !flag::KEEP;
        }
        self.put_answer(index, answer);
        self.outlet.push_own(index, &self.frame);
        self.finish_exchange(index, answer.status);
    }

    /// The same for a connection that ends whatever it asked for.
    pub(in crate::engine) fn respond_and_end(
        &mut self,
        index: u32,
        answer: &Answer,
        why: Disconnect,
    ) {
        self.outlet.conns[index as usize].flags &= !flag::KEEP;
        self.put_answer(index, answer);
        self.outlet.push_own(index, &self.frame);
        self.end_after_answer(index, why);
    }

    /// Puts an answer together in `frame`.
    fn put_answer(&mut self, index: u32, answer: &Answer) {
        let headers: Vec<(&str, &str)> = (answer.headers.iter())
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let has_body = !matches!(answer.status, 204 | 304);
        self.put_head(
            index,
            &ResponseHead {
                status: answer.status,
                extra: &headers,
                content_type: has_body.then_some(answer.content_type),
                content_length: has_body.then_some(answer.body.len()),
                keep_alive: self.outlet.conns[index as usize].has(flag::KEEP),
            },
        );
        if has_body && !self.outlet.conns[index as usize].has(flag::HEAD) {
            self.frame.extend_from_slice(&answer.body);
        }
    }

    /// Puts a head together in `frame`, with what else the connection's answers have.
    pub(super) fn put_head(&mut self, index: u32, head: &ResponseHead<'_>) {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        let mut date = std::mem::take(&mut self.date);
        let mut extra = head.extra.to_vec();
        extra.push(("Date", date.at(self.now.wall_us)));
        extra.extend(self.cors_headers(index));
        let head = ResponseHead {
            extra: &extra,
            ..*head
        };
        handshake::put_response_head(&mut frame, &head);
        drop(extra);
        (self.frame, self.date) = (frame, date);
    }

    /// What lets the page read the answer that asked, if it is of another origin that may ask.
    pub(super) fn cors_headers(&self, index: u32) -> impl Iterator<Item = (&str, &str)> {
        let cold = self.outlet.conns[index as usize].cold.as_ref();
        let origin = cold.and_then(|cold| cold.origin.as_deref());
        origin.into_iter().flat_map(|origin| {
            [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Expose-Headers", EXPOSED),
                ("Vary", "Origin"),
            ]
        })
    }

    /// The answer to the request under way is queued.
    pub(in crate::engine) fn finish_exchange(&mut self, index: u32, status: u16) {
        self.counters.requests += 1;
        let (now, keep_alive_ms) = (self.now, self.settings.keep_alive_timeout_ms);
        self.set_door(index, Door::Http);
        let conn = &mut self.outlet.conns[index as usize];
        conn.flags &= !(flag::HEAD | flag::TAGGED);
        if !conn.has(flag::KEEP) {
            return self.end_after_answer(index, Disconnect::Http(status));
        }
        conn.stage = Stage::Head;
        conn.last_seen = now.ms();
        self.due.set(index, now, keep_alive_ms);
        let id = self.id_of(index);
        self.answered.push(id);
    }
}
