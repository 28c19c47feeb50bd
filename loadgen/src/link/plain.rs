//! What arrives on a link over plain HTTP: the head of a stream and its events, or answers.

use super::{Link, LinkError, Message};
use crate::http::{HEAD_LIMITS, HttpError};
use fanfare_wire::close::CloseCode;
use fanfare_wire::handshake::{self, ResponseError};
use fanfare_wire::reader::Item;

impl Link {
    pub(super) fn on_event_head(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        opened: &mut bool,
        hear: &mut impl FnMut(Message<'_>, u64),
    ) -> Result<(), LinkError> {
        let cold = self.cold.get_or_insert_default();
        cold.head.extend_from_slice(bytes);
        let Some(answer) = handshake::parse_answer(&cold.head, &HEAD_LIMITS)? else {
            return Ok(());
        };
        if answer.status != 200 {
            let status = answer.status;
            return Err(ResponseError::Status { status }.into());
        }
        if answer.headers.get("transfer-encoding").is_some() {
            return Err(HttpError::Coding.into());
        }
        // Parameters, such as the charset, may follow.
        let content_type = answer.headers.get("content-type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default();
        if !essence.trim().eq_ignore_ascii_case("text/event-stream") {
            return Err(HttpError::NotEvents.into());
        }
        let head_bytes = answer.head_bytes;
        let head = std::mem::take(&mut cold.head);
        self.is_open = true;
        *opened = true;
        self.on_events(&head[head_bytes..], now_ns, hear)
    }

    pub(super) fn on_events(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        hear: &mut impl FnMut(Message<'_>, u64),
    ) -> Result<(), LinkError> {
        let mut reader = self
            .cold
            .as_mut()
            .map(|cold| std::mem::take(&mut cold.events))
            .unwrap_or_default();
        let mut closed = None;
        reader.read(bytes, |event| {
            match event.data.map(|data| (data, closing_code(data))) {
                Some((_, Some(code))) => closed = Some(code),
                Some((data, None)) => hear(Message::Item(Item::Text(data)), now_ns),
                None => {}
            }
            if let Some(id) = event.id {
                hear(Message::Id(id), now_ns);
            }
        })?;
        if let Some(code) = closed {
            return Err(LinkError::Closed(Some(code)));
        }
        if !reader.is_idle() {
            self.cold.get_or_insert_default().events = reader;
        }
        Ok(())
    }

    pub(super) fn on_answers(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        opened: &mut bool,
        hear: &mut impl FnMut(Message<'_>, u64),
    ) -> Result<(), LinkError> {
        let mut reader = self
            .cold
            .as_mut()
            .map(|cold| std::mem::take(&mut cold.answers))
            .unwrap_or_default();
        let mut is_answered = false;
        reader.read(bytes, |answer| {
            is_answered = true;
            hear(Message::Answer(&answer), now_ns);
        })?;
        if is_answered && !self.is_open {
            self.is_open = true;
            *opened = true;
        }
        if !reader.is_idle() {
            self.cold.get_or_insert_default().answers = reader;
        }
        Ok(())
    }
}

/// The code of the event that ends a stream: what ends a WebSocket with a close frame ends a stream with
/// `{"type":"closed","code":4103,…}`.
fn closing_code(data: &str) -> Option<CloseCode> {
    #[derive(serde::Deserialize)]
    struct Closed {
        code: u16,
    }
    // The type stands first in whatever a server of ours writes.
    let is_it = data.starts_with(r#"{"type":"closed""#);
    let closed: Closed = is_it.then(|| serde_json::from_str(data).ok()).flatten()?;
    Some(CloseCode(closed.code))
}
