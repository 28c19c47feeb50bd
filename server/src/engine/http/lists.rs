//! `GET /v1/topics/…/history` and `GET /v1/topics`: what is kept of one topic, and which topics there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event::DataKind;
use fanfare_wire::topic;
use serde::Serialize;

use super::super::Engine;
use super::super::asks::{Ask, What};
use super::super::commands::Fault;
use super::super::conn::{ConnId, Stage};
use super::super::rights::{Act, permits};
use super::query::Query;
use super::{Answer, JSON};
use crate::hub::mail::{Listing, Most, Page, Request, ShardId, Ticket};

/// What an answer holds, when the request does not say.
const LIMIT: u64 = 1000;
/// And at most.
const LIMIT_MAX: u64 = 10_000;
/// Lists of topics that are being made, or are served again.
const LISTINGS_MAX: usize = 16;
/// For so long a list is served again: each walks all topics of the server.
const LISTING_LIFE_US: u64 = 1_000_000;

/// The topics that a filter covers, from all shards.
#[derive(Debug)]
struct List {
    /// Tells its answers from those to lists before it in its place.
    number: u32,
    filter: Arc<str>,
    /// Who asked, and for how many topics at most.
    waiting: Vec<(ConnId, usize)>,
    shards_missing: u16,
    /// When all shards had answered.
    made_us: Option<u64>,
    /// Seq and subscribers by name.
    topics: BTreeMap<Arc<str>, (u64, u64)>,
}

/// Lists by their filters, a few.
#[derive(Debug, Default)]
pub(in crate::engine) struct Listings {
    lists: Vec<List>,
    count: u32,
}

#[derive(Serialize)]
struct TopicLine<'t> {
    topic: &'t str,
    seq: u64,
    subscribers: u64,
}

#[derive(Serialize)]
struct TopicsPage<'t> {
    epoch: &'t str,
    topics: Vec<TopicLine<'t>>,
    truncated: bool,
}

impl Engine {
    /// Asks the owner for what it keeps.
    pub(super) fn begin_history(
        &mut self,
        index: u32,
        name: &str,
        query: &Query<'_>,
    ) -> Result<(), Answer> {
        let name = self.readable_topic(index, name)?;
        let numbers = (|| Ok((query.number("since")?.unwrap_or(0), limit_of(query)?)))();
        let (since, limit) = numbers.map_err(|fault: Fault| Answer::fault(&fault))?;
        let topic: Arc<str> = name.into();
        self.begin_asking(index);
        let what = What::History {
            topic: topic.clone(),
            since,
        };
        let answer = self.note(Ask {
            conn: self.id_of(index),
            id: None,
            what,
        });
        let most = Most {
            count: limit as u32,
            bytes: u64::from(self.settings.outbox_bytes_max),
        };
        self.ask_for(
            index,
            Request::History {
                topic,
                since,
                most,
                answer,
            },
        );
        Ok(())
    }

    /// The owner has answered.
    pub(in crate::engine) fn on_history(&mut self, ticket: Ticket, page: &Page) {
        let Some(ask) = self.take_asked(ticket) else {
            return;
        };
        let What::History { topic, since } = ask.what else {
            debug_assert!(false, "the ticket names what was asked");
            return;
        };
        let mut body = b"{\"topic\":".to_vec();
        put_json(&mut body, &topic);
        body.extend_from_slice(b",\"epoch\":");
        put_json(&mut body, self.hub.epoch());
        body.extend_from_slice(format!(",\"seq\":{},\"updates\":[", page.seq).as_bytes());
        for (number, update) in page.updates.iter().enumerate() {
            body.extend_from_slice(if number > 0 { b",\n" } else { b"\n" });
            body.extend_from_slice(&update.json_text(DataKind::History));
        }
        body.push(b']');
        if since.saturating_add(1) < page.oldest {
            let gap = format!(
                ",\"gap\":{{\"from\":{},\"to\":{}}}",
                since + 1,
                page.oldest - 1
            );
            body.extend_from_slice(gap.as_bytes());
        }
        body.extend_from_slice(b"}\n");
        self.respond(ask.conn.index, &Answer::new(200, JSON, body));
    }

    /// Answers with a list that is at hand, or asks all shards for their part of it.
    pub(super) fn begin_listing(&mut self, index: u32, query: &Query<'_>) -> Result<(), Answer> {
        let filter = query.get("filter").unwrap_or(">");
        let judged = topic::check_filter(filter)
            .map_err(|error| (ErrorCode::BadTopic, error.to_string().into()))
            .and_then(|_| limit_of(query));
        let limit = judged.map_err(|fault: Fault| Answer::fault(&fault))?;
        let limit = limit as usize;
        self.forget_lists();
        let lists = &mut self.listings.lists;
        let place = lists.iter().position(|list| *list.filter == *filter);
        let is_full = place.is_none() && lists.len() >= LISTINGS_MAX;
        if is_full {
            // The oldest that has been made makes room.
            let made = lists.iter().position(|list| list.made_us.is_some());
            let Some(made) = made else {
                let text = "too many lists are being made\n";
                return Err(Answer::retry(503, text, 1));
            };
            lists.remove(made);
        }
        let place = place.unwrap_or_else(|| self.ask_for_list(filter));
        let id = self.id_of(index);
        let list = &mut self.listings.lists[place];
        if list.made_us.is_some() {
            self.answer_list(index, place, limit);
            return Ok(());
        }
        list.waiting.push((id, limit));
        self.begin_asking(index);
        Ok(())
    }

    /// Lets lists go that are too old to be served again.
    pub(in crate::engine) fn forget_lists(&mut self) {
        let now_us = self.now.mono_us;
        let is_young = |made_us: u64| now_us - made_us < LISTING_LIFE_US;
        (self.listings.lists).retain(|list| list.made_us.is_none_or(is_young));
    }

    fn ask_for_list(&mut self, filter: &str) -> usize {
        let shards = self.hub.shard_count();
        let filter: Arc<str> = filter.into();
        self.listings.count = self.listings.count.wrapping_add(1);
        let number = self.listings.count;
        self.listings.lists.push(List {
            number,
            filter: filter.clone(),
            waiting: Vec::new(),
            shards_missing: shards,
            made_us: None,
            topics: BTreeMap::new(),
        });
        let answer = Ticket {
            shard: self.hub.shard(),
            ask: number,
            part: 0,
        };
        for shard in 0..shards {
            let filter = filter.clone();
            let request = Request::Topics { filter, answer };
            self.hub.outgoing.request(ShardId(shard), request);
        }
        self.listings.lists.len() - 1
    }

    /// A shard has told its part.
    pub(in crate::engine) fn on_listing(&mut self, ticket: Ticket, listing: &Listing) {
        let lists = &mut self.listings.lists;
        let Some(place) = lists.iter().position(|list| list.number == ticket.ask) else {
            return;
        };
        let list = &mut lists[place];
        for (name, seq) in &listing.owned {
            list.topics.entry(name.clone()).or_default().0 = *seq;
        }
        for (name, count) in &listing.listened {
            list.topics.entry(name.clone()).or_default().1 += count;
        }
        list.shards_missing -= 1;
        if list.shards_missing > 0 {
            return;
        }
        list.made_us = Some(self.now.mono_us);
        list.topics.retain(|_, (seq, _)| *seq > 0);
        for (id, limit) in std::mem::take(&mut list.waiting) {
            if self.is_asking(id) {
                self.answer_list(id.index, place, limit);
            }
        }
    }

    fn answer_list(&mut self, index: u32, place: usize, limit: usize) {
        let conn = &self.outlet.conns[index as usize];
        let own = conn.cold.as_ref().and_then(|cold| cold.identity.clone());
        let identity = own.as_deref().unwrap_or(&self.settings.anonymous);
        let mut readable = (self.listings.lists[place].topics.iter())
            .filter(|(name, _)| permits(identity, Act::Read, name).is_ok())
            .map(|(name, &(seq, subscribers))| TopicLine {
                topic: name,
                seq,
                subscribers,
            });
        let page = TopicsPage {
            epoch: self.hub.epoch(),
            topics: readable.by_ref().take(limit).collect(),
            truncated: readable.next().is_some(),
        };
        // Names and numbers: there is nothing in it that could fail to be written.
        let mut body = serde_json::to_vec(&page).unwrap_or_default();
        body.push(b'\n');
        self.respond(index, &Answer::new(200, JSON, body));
    }

    /// A request waits for an owner or for other shards.
    pub(in crate::engine) fn begin_asking(&mut self, index: u32) {
        let conn = &mut self.outlet.conns[index as usize];
        conn.stage = Stage::Asking;
        conn.last_seen = self.now.ms();
        self.due
            .set(index, self.now, self.settings.handshake_timeout_ms);
    }
}

fn limit_of(query: &Query<'_>) -> Result<u64, Fault> {
    let limit = query.number("limit")?.unwrap_or(LIMIT);
    if limit == 0 || limit > LIMIT_MAX {
        let text = format!("limit must be between 1 and {LIMIT_MAX}");
        return Err((ErrorCode::BadField, text.into()));
    }
    Ok(limit)
}

fn put_json(out: &mut Vec<u8>, text: &str) {
    // A string is always JSON.
    let _ = serde_json::to_writer(out, text);
}
