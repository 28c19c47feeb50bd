//! `GET /metrics`, `/v1/stats` and `/v1/memory`: asks every shard for a report, and the reactor for what the process holds.
//!
//! One collection at a time on a shard; who asks meanwhile shares the next. What takes a walk over all connections and topics,
//! or over `/proc`, is counted at most once a second.

use serde::Serialize;

use super::Engine;
use super::conn::{Conn, ConnId, Partial};
use super::http::{Answer, JSON};
use crate::hub::mail::{Delivery, Request, ShardId, Ticket};
use crate::ledger::{Ledger, Process};
use crate::metrics::{Gathered, Report, stats, text};

/// For so long counts of memory are told again: each is a walk, and anybody may ask.
const COUNT_LIFE_US: u64 = 1_000_000;

/// A page that is made of the reports of all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// Metrics for scrapers.
    Metrics,
    /// Stats for people.
    Stats,
    /// Where the memory is.
    Memory,
}

impl Page {
    /// The page at a path.
    pub(super) fn at(path: &str) -> Option<Page> {
        match path {
            "/metrics" => Some(Page::Metrics),
            "/v1/stats" => Some(Page::Stats),
            "/v1/memory" => Some(Page::Memory),
            _ => None,
        }
    }
}

/// A collection under way.
#[derive(Debug)]
pub(super) struct Census {
    /// Who waits for it, and for which page.
    askers: Vec<(ConnId, Page)>,
    reports: Vec<Report>,
    shards_missing: u16,
}

/// `/v1/memory`.
#[derive(Serialize)]
struct MemoryPage {
    #[serde(flatten)]
    ledger: Ledger,
    accounted_bytes: u64,
    #[serde(flatten)]
    process: Process,
}

impl Engine {
    /// A connection came by an operator's listener.
    pub fn note_admin(&mut self, id: ConnId) {
        if let Some(conn) = self.current(id) {
            conn.cold.get_or_insert_default().is_admin = true;
        }
    }

    /// Whether there is anything at `path` for this connection: with listeners of the operator's own, what they serve and what
    /// the others do are different things.
    pub(super) fn is_served_to(&self, index: u32, path: &str) -> bool {
        let cold = self.outlet.conns[index as usize].cold.as_ref();
        let is_page = Page::at(path).is_some();
        if cold.is_some_and(|cold| cold.is_admin) {
            is_page || matches!(path, "/healthz" | "/readyz")
        } else {
            !(is_page && self.settings.has_admin_port)
        }
    }

    /// Has the connection wait for a collection that begins now, or behind the one that is under way. One that began before
    /// it asked would not do: another shard may have told it newer counts by then, and counters must not go back.
    pub(super) fn begin_census(&mut self, index: u32, page: Page) {
        self.begin_asking(index);
        self.askers.push((self.id_of(index), page));
        if self.census.is_none() {
            self.ask_all_shards();
        }
    }

    fn ask_all_shards(&mut self) {
        let shards = self.hub.shard_count();
        self.census = Some(Census {
            askers: std::mem::take(&mut self.askers),
            reports: Vec::with_capacity(shards.into()),
            shards_missing: shards,
        });
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
        let now_us = self.now.mono_us;
        let is_asked = self.census.is_some() && self.pulse.process_age_us(now_us) >= COUNT_LIFE_US;
        is_asked || self.pulse.wants_process(now_us)
    }

    /// What the process holds, as asked for.
    pub fn on_process_memory(&mut self, process: Process) {
        self.pulse.set_process(process, self.now.mono_us);
        self.end_census_if_complete();
    }

    /// Another shard, or this one, wants to know how it is here.
    pub(super) fn answer_census(&mut self, answer: Ticket) {
        let ledger = self.counted_ledger(COUNT_LIFE_US);
        let report = Box::new(self.report(ledger));
        self.hub
            .outgoing
            .deliver(answer.shard, Delivery::Census { report });
    }

    /// A shard has told how it is.
    pub(super) fn on_census(&mut self, report: Report) {
        if let Some(census) = &mut self.census {
            census.reports.push(report);
            census.shards_missing -= 1;
        }
        self.end_census_if_complete();
    }

    fn end_census_if_complete(&mut self) {
        if self.wants_process_memory() {
            return;
        }
        let complete = |census: &mut Census| census.shards_missing == 0;
        let Some(census) = self.census.take_if(complete) else {
            return;
        };
        let mut gathered = Gathered {
            reports: census.reports,
            process: self.pulse.process(),
        };
        gathered.sort();
        for (id, page) in census.askers {
            if self.is_asking(id) {
                self.answer_page(id.index, page, &gathered);
            }
        }
        if !self.askers.is_empty() {
            self.ask_all_shards();
        }
    }

    fn answer_page(&mut self, index: u32, page: Page, gathered: &Gathered) {
        let (kind, body) = match page {
            Page::Metrics => {
                let text = text::exposition(gathered, self.now.mono_us);
                (text::CONTENT_TYPE, text.into_bytes())
            }
            Page::Stats => (JSON, stats::page(gathered, self.heading())),
            Page::Memory => (JSON, memory_page(gathered)),
        };
        self.respond(index, &Answer::new(200, kind, body));
    }

    /// What this shard holds. Walks all connections.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = self.hub.ledger();
        ledger.add(&self.carriage);
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
        self.inflaters.count_into(&mut ledger);
        ledger.buffer_bytes += (self.text.capacity() + self.frame.capacity()) as u64;
        ledger.buffer_bytes += self.pulse.held_bytes() + self.lags.held_bytes();
        ledger
    }
}

fn memory_page(gathered: &Gathered) -> Vec<u8> {
    let ledger = gathered.total().ledger;
    let page = MemoryPage {
        accounted_bytes: ledger.accounted_bytes(),
        ledger,
        process: gathered.process.clone(),
    };
    // Numbers and fixed keys: there is nothing in it that could fail to be written.
    serde_json::to_vec_pretty(&page).unwrap_or_default()
}

fn kept_bytes(partial: &Partial) -> u64 {
    let heap = match partial {
        Partial::Head(head) => head.capacity(),
        Partial::Body(body) => body.reader.buffered_bytes(),
        Partial::Message(reader) => size_of_val(&**reader) + reader.buffered_bytes(),
    };
    (size_of::<Partial>() + heap) as u64
}
