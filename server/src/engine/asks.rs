//! Questions that only the owner of a topic can answer: publishes and checks on their way.

use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::command::Id;
use fanfare_wire::event;

use super::Engine;
use super::conn::{ConnId, Stage};
use super::http::Batch;
use crate::hub::mail::Ticket;

/// A question and who asked it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) conn: ConnId,
    pub(super) id: Option<Box<str>>,
    pub(super) what: What,
}

/// What was asked.
#[derive(Debug)]
pub(super) enum What {
    /// A publish. A quiet one is only answered if it failed.
    Publish { topic: Arc<str>, quiet: bool },
    /// A publish by HTTP.
    Post { topic: Arc<str> },
    /// Many of them in one request.
    PostMany(Batch),
    /// What is kept of a topic.
    History { topic: Arc<str>, since: u64 },
    /// Where topics stand, and how many owners have not said so yet.
    Check {
        topics: Vec<(Arc<str>, u64)>,
        missing: u32,
    },
}

impl Engine {
    /// Notes a question; the ticket finds it again.
    pub(super) fn note(&mut self, ask: Ask) -> Ticket {
        Ticket {
            shard: self.hub.shard(),
            ask: self.asks.insert(ask) as u32,
            part: 0,
        }
    }

    /// An owner has answered.
    pub(super) fn on_answer(
        &mut self,
        ticket: Ticket,
        outcome: Result<u64, (ErrorCode, &'static str)>,
    ) {
        let Some(ask) = self.asks.get_mut(ticket.ask as usize) else {
            debug_assert!(false, "every ticket names a question");
            return;
        };
        if let What::Check { topics, missing } = &mut ask.what {
            // A check cannot fail: a topic that nobody ever published to stands at 0.
            topics[ticket.part as usize].1 = outcome.unwrap_or(0);
            *missing -= 1;
            if *missing > 0 {
                return;
            }
        }
        if let What::PostMany(batch) = &mut ask.what
            && !batch.settle(ticket.part, outcome)
        {
            return;
        }
        let ask = self.asks.remove(ticket.ask as usize);
        let is_by_http = matches!(ask.what, What::Post { .. } | What::PostMany(_));
        let expected = if is_by_http {
            Stage::Asking
        } else {
            Stage::Open
        };
        let is_there = self
            .current(ask.conn)
            .is_some_and(|conn| conn.stage == expected);
        if !is_there {
            return;
        }
        let epoch = self.hub.epoch().clone();
        let id = ask.id.as_deref().map(Id);
        match (ask.what, outcome) {
            (What::Publish { quiet: true, .. }, Ok(_)) => {}
            (What::Publish { topic, .. }, Ok(seq)) => {
                self.say(ask.conn.index, |out| {
                    event::put_published(out, id, &topic, &epoch, seq)
                });
            }
            (What::Publish { .. }, Err((code, message))) => {
                self.say(ask.conn.index, |out| {
                    event::put_error(out, id, code, message)
                });
            }
            (What::Post { topic }, outcome) => self.answer_post(ask.conn.index, &topic, outcome),
            (What::PostMany(batch), _) => self.answer_batch(ask.conn.index, &batch),
            (What::History { .. }, _) => debug_assert!(false, "it has an answer of its own"),
            (What::Check { topics, .. }, _) => {
                let states = topics.iter().map(|(topic, seq)| (&**topic, &*epoch, *seq));
                self.say(ask.conn.index, |out| event::put_state(out, id, states, &[]));
            }
        }
    }
}
