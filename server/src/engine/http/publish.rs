//! `POST /v1/topics/…` and `POST /v1/publish`: one value as the body, or many as lines of JSON.

use std::borrow::Cow;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event;
use fanfare_wire::handshake::{BodyReader, Framing, Request, put_continue};
use fanfare_wire::topic;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Engine;
use super::super::asks::{Ask, What};
use super::super::commands::{Fault, KEY_BYTES_MAX};
use super::super::conn::{Partial, Stage};
use super::super::naming::Sign;
use super::super::rates::Rated;
use super::super::rights::Act;
use super::query::{self, Query};
use super::{Answer, Body, JSON};
use crate::hub::mail::{Reply, Request as Mail, Ticket};
use crate::hub::update::{Form, Payload};

/// Longest type that is kept with a value.
const TYPE_BYTES_MAX: usize = 128;
/// Most lines of one request.
const LINES_MAX: usize = 10_000;
const LINES_TYPE: &str = "application/x-ndjson";

/// What is to be done with a body.
#[derive(Debug)]
pub(in crate::engine) enum Intake {
    /// It is a value of this topic.
    One {
        topic: Arc<str>,
        form: Form,
        content_type: Option<Box<str>>,
        key: Option<Box<str>>,
    },
    /// Its lines are values.
    Many,
}

/// One line of a request to publish many.
#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    topic: Cow<'l, str>,
    #[serde(borrow)]
    data: &'l RawValue,
    #[serde(borrow, default)]
    key: Option<Cow<'l, str>>,
}

/// The answers to a request to publish many, line by line.
#[derive(Debug)]
pub(in crate::engine) struct Batch {
    lines: Vec<BatchLine>,
    missing: u32,
}

#[derive(Debug)]
enum BatchLine {
    /// On its way to the topic's owner.
    Asked(Arc<str>),
    Published(Arc<str>, u64),
    Refused(Fault),
}

impl Engine {
    /// A head that announces a value, or many: judges it, then waits for the body.
    pub(super) fn begin_intake(
        &mut self,
        index: u32,
        request: &Request<'_>,
        topic: Option<&str>,
        framing: Framing,
        has_rest: bool,
    ) -> Result<(), Answer> {
        let intake = match topic {
            Some(name) => {
                let query = Query::parse(request.query);
                self.judge_value(index, name, request, &query)
                    .map_err(|fault| Answer::fault(&fault))?
            }
            None => Intake::Many,
        };
        if framing == Framing::None && request.content_length.is_none() {
            return Err(Answer::plain(
                411,
                "say how long the body is: Content-Length or chunked\n",
            ));
        }
        let bytes_max = match intake {
            Intake::One { .. } => self
                .settings
                .payload_bytes_max
                .min(self.settings.body_bytes_max),
            Intake::Many => self.settings.body_bytes_max,
        };
        let reader = BodyReader::new(framing, bytes_max).map_err(|error| {
            let text = format!("the body is longer than {bytes_max} bytes");
            Answer::fault(&(ErrorCode::TooLarge, text.into())).with_status(error.status())
        })?;
        match request.header("expect") {
            Some(expected) if !expected.eq_ignore_ascii_case("100-continue") => {
                return Err(Answer::plain(417, "only 100-continue may be expected\n"));
            }
            // Who has begun to send is not waiting for it.
            Some(_) if framing != Framing::None && !has_rest && request.version == 1 => {
                self.frame.clear();
                put_continue(&mut self.frame);
                self.outlet.push_own(index, &self.frame);
            }
            _ => {}
        }
        if framing == Framing::None {
            self.take_in(index, intake, &[]);
            return Ok(());
        }
        let conn = &mut self.outlet.conns[index as usize];
        conn.stage = Stage::Body;
        conn.last_seen = self.now.ms();
        conn.partial = Some(Box::new(Partial::Body(Box::new(Body { reader, intake }))));
        self.due.set(index, self.now, self.settings.body_timeout_ms);
        Ok(())
    }

    fn judge_value(
        &self,
        index: u32,
        name: &str,
        request: &Request<'_>,
        query: &Query<'_>,
    ) -> Result<Intake, Fault> {
        let name = query::decode(name)
            .ok_or_else(|| (ErrorCode::BadTopic, "the topic is not UTF-8".into()))?;
        topic::check_topic(&name)
            .map_err(|error| (ErrorCode::BadTopic, error.to_string().into()))?;
        self.may(index, Act::Publish, &name)?;
        let key = request.header("idempotency-key").or(query.get("key"));
        judge_key(key)?;
        let content_type = request.header("content-type").unwrap_or("application/json");
        if content_type.len() > TYPE_BYTES_MAX {
            let text = format!("Content-Type is longer than {TYPE_BYTES_MAX} bytes");
            return Err((ErrorCode::BadField, text.into()));
        }
        let form = form_of(content_type);
        let is_usual = form == Form::Json && essence(content_type).eq_ignore_ascii_case(JSON);
        Ok(Intake::One {
            topic: (*name).into(),
            form,
            content_type: (!is_usual).then(|| content_type.into()),
            key: key.map(Into::into),
        })
    }

    /// Bytes of a body. Returns how many of them belong to it.
    pub(super) fn on_body_bytes(&mut self, index: u32, bytes: &[u8]) -> usize {
        let Some(Partial::Body(mut body)) = self.outlet.conns[index as usize]
            .partial
            .take()
            .map(|partial| *partial)
        else {
            debug_assert!(false, "in this stage a body is kept");
            return bytes.len();
        };
        let mut input = bytes;
        match body.reader.read(&mut input) {
            Ok(false) => {
                self.outlet.conns[index as usize].partial = Some(Box::new(Partial::Body(body)));
                bytes.len()
            }
            Ok(true) => {
                let used = bytes.len() - input.len();
                let value = body.reader.into_bytes();
                self.take_in(index, body.intake, &value);
                used
            }
            Err(error) => {
                let answer = Answer::plain(error.status(), format!("{error}\n"));
                self.respond(index, &answer.and_end());
                bytes.len()
            }
        }
    }

    /// A whole body has come.
    fn take_in(&mut self, index: u32, intake: Intake, bytes: &[u8]) {
        self.counters.messages_in += 1;
        let conn = &mut self.outlet.conns[index as usize];
        conn.stage = Stage::Asking;
        conn.last_seen = self.now.ms();
        self.due
            .set(index, self.now, self.settings.handshake_timeout_ms);
        let done = match intake {
            Intake::One {
                topic,
                form,
                content_type,
                key,
            } => self.publish_one(index, topic, form, content_type.as_deref(), key, bytes),
            Intake::Many => self.publish_many(index, bytes),
        };
        if let Err(fault) = done {
            self.respond(index, &Answer::fault(&fault));
        }
    }

    fn publish_one(
        &mut self,
        index: u32,
        topic: Arc<str>,
        form: Form,
        content_type: Option<&str>,
        key: Option<Box<str>>,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        judge_form(form, bytes)?;
        // A room hands on texts of any type.
        let signed = match form {
            Form::Json | Form::Text => self.signed(index, bytes, Sign::Forged),
            Form::Binary => None,
        };
        let bytes = signed.as_deref().unwrap_or(bytes);
        let what = What::Post {
            topic: topic.clone(),
        };
        let ticket = self.note(Ask {
            conn: self.id_of(index),
            id: None,
            what,
        });
        let payload = match content_type {
            Some(content_type) => Payload::typed(form, bytes, content_type),
            None => Payload::new(form, bytes),
        };
        self.ask_for(
            index,
            Mail::Publish {
                topic,
                payload,
                key,
                reply: Reply::Always(ticket),
            },
        );
        Ok(())
    }

    fn publish_many(&mut self, index: u32, bytes: &[u8]) -> Result<(), Fault> {
        let text = simdutf8::basic::from_utf8(bytes)
            .map_err(|_| (ErrorCode::BadJson, "the body is not UTF-8".into()))?;
        let texts: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        if texts.len() > LINES_MAX {
            let text = format!("more than {LINES_MAX} lines in one request");
            return Err((ErrorCode::TooLarge, text.into()));
        }
        // The place is held until all lines are judged: an owner's answer cannot come before that.
        let ticket = self.note(Ask {
            conn: self.id_of(index),
            id: None,
            what: What::PostMany(Batch {
                lines: Vec::new(),
                missing: 0,
            }),
        });
        let mut batch = Batch {
            lines: Vec::with_capacity(texts.len()),
            missing: 0,
        };
        for text in texts {
            let line = match self.publish_line(index, text, ticket, batch.lines.len() as u32) {
                Ok(topic) => {
                    batch.missing += 1;
                    BatchLine::Asked(topic)
                }
                Err(fault) => BatchLine::Refused(fault),
            };
            batch.lines.push(line);
        }
        if batch.missing == 0 {
            self.asks.remove(ticket.ask as usize);
            self.answer_batch(index, &batch);
        } else if let Some(ask) = self.asks.get_mut(ticket.ask as usize) {
            ask.what = What::PostMany(batch);
        }
        Ok(())
    }

    fn publish_line(
        &mut self,
        index: u32,
        text: &str,
        ticket: Ticket,
        part: u32,
    ) -> Result<Arc<str>, Fault> {
        let line: Line<'_> = serde_json::from_str(text)
            .map_err(|error| (ErrorCode::BadJson, format!("{error}").into()))?;
        topic::check_topic(&line.topic)
            .map_err(|error| (ErrorCode::BadTopic, error.to_string().into()))?;
        self.may(index, Act::Publish, &line.topic)?;
        let data = line.data.get().as_bytes();
        let most = self.settings.payload_bytes_max;
        if data.len() > most {
            let text = format!("data is longer than {most} bytes (--max-payload-bytes)");
            return Err((ErrorCode::PayloadLimit, text.into()));
        }
        judge_key(line.key.as_deref())?;
        if let Err(soon) = self.rates.take(index, Rated::Publish, self.now.mono_us) {
            self.counters.rate_limited += 1;
            let text = format!("too many publishes; wait {} ms", soon.retry_ms);
            return Err((ErrorCode::Rate, text.into()));
        }
        let signed = self.signed(index, data, Sign::Forged);
        let data = signed.as_deref().unwrap_or(data);
        let topic: Arc<str> = (*line.topic).into();
        self.ask_for(
            index,
            Mail::Publish {
                topic: topic.clone(),
                payload: Payload::new(Form::Json, data),
                key: line.key.map(|key| (*key).into()),
                reply: Reply::Always(Ticket { part, ..ticket }),
            },
        );
        Ok(topic)
    }

    /// All lines are judged and carried out.
    pub(in crate::engine) fn answer_batch(&mut self, index: u32, batch: &Batch) {
        let epoch = self.hub.epoch().clone();
        let mut body = Vec::new();
        for line in &batch.lines {
            match line {
                BatchLine::Published(topic, seq) => {
                    event::put_published(&mut body, None, topic, &epoch, *seq);
                }
                BatchLine::Refused((code, message)) => {
                    event::put_error(&mut body, None, *code, message);
                }
                BatchLine::Asked(_) => debug_assert!(false, "none is missing"),
            }
            body.push(b'\n');
        }
        self.respond(index, &Answer::new(200, LINES_TYPE, body));
    }

    /// What became of the one value that was posted.
    pub(in crate::engine) fn answer_post(
        &mut self,
        index: u32,
        topic: &str,
        outcome: Result<u64, (ErrorCode, &'static str)>,
    ) {
        let answer = match outcome {
            Ok(seq) => {
                let mut body = Vec::new();
                event::put_published(&mut body, None, topic, self.hub.epoch(), seq);
                body.push(b'\n');
                Answer::new(200, JSON, body)
            }
            Err((code, message)) => Answer::fault(&(code, message.into())),
        };
        self.respond(index, &answer);
    }
}

impl Batch {
    /// An owner has answered for one line. True: it was the last.
    pub(in crate::engine) fn settle(
        &mut self,
        part: u32,
        outcome: Result<u64, (ErrorCode, &'static str)>,
    ) -> bool {
        let line = &mut self.lines[part as usize];
        if let BatchLine::Asked(topic) = line {
            *line = match outcome {
                Ok(seq) => BatchLine::Published(topic.clone(), seq),
                Err((code, message)) => BatchLine::Refused((code, message.into())),
            };
            self.missing -= 1;
        }
        self.missing == 0
    }
}

fn judge_key(key: Option<&str>) -> Result<(), Fault> {
    if key.is_some_and(|key| key.len() > KEY_BYTES_MAX) {
        let text = format!("key is longer than {KEY_BYTES_MAX} bytes");
        return Err((ErrorCode::BadField, text.into()));
    }
    Ok(())
}

/// A value is what its type says, or nobody could take it for that.
fn judge_form(form: Form, bytes: &[u8]) -> Result<(), Fault> {
    if form == Form::Binary {
        return Ok(());
    }
    let text = simdutf8::basic::from_utf8(bytes)
        .map_err(|_| (ErrorCode::BadJson, Cow::from("the body is not UTF-8")))?;
    if form == Form::Json {
        serde_json::from_str::<&RawValue>(text).map_err(|error| {
            (
                ErrorCode::BadJson,
                format!("the body is not JSON: {error}").into(),
            )
        })?;
    }
    Ok(())
}

/// A type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or("").trim()
}

/// What a body of this type is to those who get it in a frame.
fn form_of(content_type: &str) -> Form {
    let essence = essence(content_type).to_ascii_lowercase();
    let is_utf8 = content_type
        .to_ascii_lowercase()
        .split_once("charset=")
        .is_none_or(|(_, charset)| charset.trim_matches(['"', ' ']).starts_with("utf-8"));
    if essence == JSON || essence.ends_with("+json") {
        Form::Json
    } else if essence.starts_with("text/") && is_utf8 {
        Form::Text
    } else {
        Form::Binary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bodys_type_says_what_it_is() {
        for (content_type, form) in [
            ("application/json", Form::Json),
            ("application/json; charset=utf-8", Form::Json),
            ("application/geo+json", Form::Json),
            ("text/plain", Form::Text),
            ("text/csv; charset=\"UTF-8\"", Form::Text),
            ("text/plain; charset=latin1", Form::Binary),
            ("image/png", Form::Binary),
            ("", Form::Binary),
        ] {
            assert_eq!(form_of(content_type), form, "{content_type}");
        }
    }

    #[test]
    fn what_is_not_what_it_says_is_refused() {
        assert!(judge_form(Form::Json, b"{\"a\":1}").is_ok());
        assert!(judge_form(Form::Json, b" 7 \n").is_ok());
        for bytes in [&b""[..], b"{", b"1 2", b"\xff"] {
            assert!(judge_form(Form::Json, bytes).is_err(), "{bytes:?}");
        }
        assert!(judge_form(Form::Text, b"\xff").is_err());
        assert!(judge_form(Form::Binary, b"\xff").is_ok());
    }
}
