//! `GET /v1/memory`: asks every shard what it holds, and the reactor what the process holds.

use serde::Serialize;

use super::Engine;
use super::conn::{Conn, ConnId, Partial, Stage};
use super::http::{Answer, JSON};
use crate::hub::mail::{Delivery, Request, ShardId, Ticket};
use crate::ledger::{Ledger, Process};

/// For so long a page is served again: a count walks all connections, and anybody may ask.
const PAGE_LIFE_US: u64 = 1_000_000;

/// A request that waits for the shards and the reactor.
#[derive(Debug)]
pub(super) struct Census {
    conn: ConnId,
    ledger: Ledger,
    shards_missing: u16,
    process: Option<Process>,
}

/// What the client gets.
#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    ledger: Ledger,
    accounted_bytes: u64,
    #[serde(flatten)]
    process: Process,
}

impl Engine {
    /// Answers with the latest page, or begins a census for the connection. One at a time on a shard.
    pub(super) fn begin_census(&mut self, index: u32) {
        if let Some((counted_us, page)) = &self.last_census
            && self.now.mono_us - counted_us < PAGE_LIFE_US
        {
            let answer = Answer::new(200, JSON, page.clone());
            return self.respond(index, &answer);
        }
        if self.census.is_some() {
            let answer = Answer::retry(503, "another count is under way\n", 1);
            return self.respond(index, &answer);
        }
        let shards = self.hub.shard_count();
        self.census = Some(Census {
            conn: self.id_of(index),
            ledger: Ledger::default(),
            shards_missing: shards,
            process: None,
        });
        self.begin_asking(index);
        let answer = Ticket {
            shard: self.hub.shard(),
            ask: 0,
            part: 0,
        };
        for shard in 0..shards {
            self.hub
                .outgoing
                .request(ShardId(shard), Request::Census { answer });
        }
    }

    /// Whether the reactor is to call [`Engine::on_process_memory`].
    #[must_use]
    pub fn wants_process_memory(&self) -> bool {
        self.census
            .as_ref()
            .is_some_and(|census| census.process.is_none())
    }

    /// What the process holds, as asked for.
    pub fn on_process_memory(&mut self, process: Process) {
        if let Some(census) = &mut self.census {
            census.process = Some(process);
        }
        self.end_census_if_complete();
    }

    /// Another shard, or this one, wants to know what is held here.
    pub(super) fn answer_census(&mut self, answer: Ticket) {
        let ledger = Box::new(self.ledger());
        self.hub
            .outgoing
            .deliver(answer.shard, Delivery::Census { ledger });
    }

    /// A shard has said what it holds.
    pub(super) fn on_census(&mut self, ledger: &Ledger) {
        if let Some(census) = &mut self.census {
            census.ledger.add(ledger);
            census.shards_missing -= 1;
        }
        self.end_census_if_complete();
    }

    fn end_census_if_complete(&mut self) {
        let complete = |census: &mut Census| census.shards_missing == 0 && census.process.is_some();
        let Some(census) = self.census.take_if(complete) else {
            return;
        };
        if self
            .current(census.conn)
            .is_none_or(|conn| conn.stage != Stage::Asking)
        {
            return;
        }
        let page = Page {
            accounted_bytes: census.ledger.accounted_bytes(),
            ledger: census.ledger,
            process: census.process.unwrap_or_default(),
        };
        // Numbers and fixed keys: there is nothing in it that could fail to be written.
        let json = serde_json::to_vec_pretty(&page).unwrap_or_default();
        self.last_census = Some((self.now.mono_us, json));
        self.begin_census(census.conn.index);
    }

    /// What this shard holds. Walks all connections.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = self.hub.ledger();
        let (live, used) = (self.outlet.conns.len(), self.due.len());
        // A socket is 4 bytes in the reactor's column, a deadline 1.
        let record = size_of::<Conn>() + 4 + 1;
        ledger.connections = live as u64;
        ledger.slab_bytes = (live * record) as u64;
        ledger.spare_bytes += (used.saturating_sub(live) * record) as u64;
        ledger.input_bytes = self
            .outlet
            .conns
            .iter()
            .filter_map(|(_, conn)| conn.partial.as_deref())
            .map(kept_bytes)
            .sum();
        self.outlet.count_into(&mut ledger);
        self.marks.count_into(&mut ledger);
        self.rates.count_into(&mut ledger);
        ledger.buffer_bytes += (self.text.capacity() + self.frame.capacity()) as u64;
        ledger
    }
}

fn kept_bytes(partial: &Partial) -> u64 {
    let heap = match partial {
        Partial::Head(head) => head.capacity(),
        Partial::Body(body) => body.reader.buffered_bytes(),
        Partial::Message(reader) => reader.buffered_bytes(),
    };
    (size_of::<Partial>() + heap) as u64
}
