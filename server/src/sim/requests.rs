//! What clients ask over plain HTTP: streams of events, polls, values.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_wire::command::{Mode, OnSlow};
use fanfare_wire::sse;

use super::events::Events;
use super::said::{Change, Said};
use super::subscriber::{Subscriber, Tongue};
use super::web::{Asked, Poll, Posted};
use super::world::World;

/// A connection asks no more at a time.
const ASKED_MAX: usize = 4;

/// Positions to resume from, by topic: epoch and seq.
type Positions = BTreeMap<String, (String, u64)>;

impl World {
    /// A client that comes for a stream of events, and its request.
    pub(super) fn stream(&mut self) -> (Subscriber, String) {
        let count = self.rng.usize(1..4);
        let named: BTreeSet<String> = (0..count).map(|_| self.source()).collect();
        let mut sources: Vec<String> = named.into_iter().collect();
        let mut last_id = String::new();
        if self.rng.u8(..3) == 0 {
            last_id = self.last_id(&mut sources);
        }
        let change = self.options();
        let snapshot = self.rng.u8(..4) > 0;
        let until_us = (self.rng.u8(..3) == 0).then(|| self.rng.u64(..300));
        let mut query = format!("topics={}", sources.join(",").replace('>', "%3E"));
        query += &parameters(change);
        if !snapshot {
            query += "&snapshot=false";
        }
        if let Some(wait_ms) = until_us {
            self.tally.add("stream for one answer", true);
            query += &format!("&wait={wait_ms}ms");
        }
        let is_header = self.rng.bool();
        let header = match (last_id.is_empty(), is_header) {
            (true, _) => String::new(),
            (false, true) => format!("Last-Event-ID: {last_id}\r\n"),
            (false, false) => {
                query += &format!("&last_event_id={last_id}");
                String::new()
            }
        };
        let since: Positions = (sse::positions(&last_id))
            .filter(|position| sources.iter().any(|source| source == position.topic))
            .map(|at| (at.topic.to_owned(), (at.epoch.to_owned(), at.seq)))
            .collect();
        self.tally.add("stream resumed", !since.is_empty());
        let events = Events {
            is_mixed: sources.len() > 1 || sources.iter().any(|one| one.contains(['*', '>'])),
            until_us: until_us.map(|ms| self.now.mono_us + ms * 1000),
            ..Default::default()
        };
        let mut view = Subscriber::new(Tongue::Events, None);
        view.events = events;
        let said = Said::Subscribe {
            change,
            snapshot,
            since,
        };
        view.say(0, said);
        let request = format!("GET /v1/sse?{query} HTTP/1.1\r\nHost: x\r\n{header}\r\n");
        (view, request)
    }

    /// From where a stream would go on: where another was, or anywhere.
    fn last_id(&mut self, sources: &mut Vec<String>) -> String {
        if !self.last_ids.is_empty() && self.rng.u8(..3) > 0 {
            let at = self.rng.usize(..self.last_ids.len());
            let (topics, last_id) = self.last_ids[at].clone();
            *sources = topics;
            return last_id;
        }
        let mut positions = Vec::new();
        for source in sources.iter().filter(|one| !one.contains(['*', '>'])) {
            let newest = self.truth.newest(source);
            let (epoch, seq) = match self.rng.u8(..6) {
                0 => continue,
                1 => ("another".to_owned(), self.rng.u64(..9)),
                2 => (self.epoch.clone(), newest + self.rng.u64(..3)),
                _ => (self.epoch.clone(), newest.saturating_sub(self.rng.u64(..9))),
            };
            positions.push(format!("{source}={epoch}:{seq}"));
        }
        positions.join(",")
    }

    /// One thing that such a client does.
    pub(super) fn ask_web(&mut self, place: usize) {
        let web = &self.clients[place].view.web;
        if web.asked.len() >= ASKED_MAX || web.is_over {
            return;
        }
        match self.rng.u8(..10) {
            0..6 => self.ask_for_news(place),
            6..8 => self.post_one(place),
            8 => self.post_many(place),
            _ => {
                let topic = self.topic();
                let since = self.truth.newest(&topic).saturating_sub(self.rng.u64(..9));
                let request = format!("GET /v1/topics/{topic}/history?since={since}");
                self.request(place, &request, "", None, Asked::History { topic, since });
            }
        }
    }

    /// Sends a request.
    fn request(
        &mut self,
        place: usize,
        line: &str,
        headers: &str,
        body: Option<&str>,
        asked: Asked,
    ) {
        self.log(line, &[self.clients[place].name]);
        let length = body.map_or(String::new(), |body| {
            format!("Content-Length: {}\r\n", body.len())
        });
        let body = body.unwrap_or("");
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n{body}");
        let client = &mut self.clients[place];
        client.socket.up.extend(request.as_bytes());
        let asks = &mut client.view.web.asked;
        self.tally.add("pipelined request", !asks.is_empty());
        asks.push_back(asked);
    }

    fn ask_for_news(&mut self, place: usize) {
        let topic = self.topic();
        let web = &self.clients[place].view.web;
        // What earlier requests that are still to be answered will bring is not known yet.
        let knows = web.known.get(&topic).copied();
        let wait_ms = if self.rng.u8(..4) > 0 {
            self.rng.u64(1..300)
        } else {
            0
        };
        let (mut query, mut headers, mut is_tagged) = (Vec::new(), String::new(), false);
        let mut has = None;
        if wait_ms > 0 {
            query.push(format!("wait={wait_ms}ms"));
        }
        match self.rng.u8(..8) {
            0 => {}
            1 => {
                let seq = self.rng.u64(..9);
                has = Some(seq);
                query.push(format!("after={seq}"));
            }
            2 => {
                query.push(format!("after={}&epoch=another", knows.unwrap_or(1)));
            }
            3..5 => {
                is_tagged = true;
                has = Some(knows.unwrap_or(0));
                let seq = knows.unwrap_or(0);
                headers = format!("If-None-Match: \"{}:{seq}\"\r\n", self.epoch);
            }
            _ => {
                has = Some(knows.unwrap_or(0));
                let seq = knows.unwrap_or(0);
                query.push(format!("after={seq}&epoch={}", self.epoch));
            }
        }
        let poll = Poll {
            topic: topic.clone(),
            has,
            knows: knows.unwrap_or(0),
            wait_ms,
            is_tagged,
            at_us: self.now.mono_us,
            is_last: false,
        };
        let line = format!("GET /v1/topics/{topic}?{}", query.join("&"));
        self.request(place, &line, &headers, None, Asked::Poll(poll));
    }

    /// All is at rest: each asks once more for what it has asked for.
    pub(super) fn ask_last(&mut self) {
        for place in 0..self.clients.len() {
            let client = &self.clients[place];
            if client.view.tongue != Tongue::Web || !client.is_live() || client.view.web.is_over {
                continue;
            }
            for (topic, knows) in client.view.web.known.clone() {
                let poll = Poll {
                    topic: topic.clone(),
                    has: None,
                    knows,
                    wait_ms: 0,
                    is_tagged: false,
                    at_us: self.now.mono_us,
                    is_last: true,
                };
                let line = format!("GET /v1/topics/{topic}");
                self.request(place, &line, "", None, Asked::Poll(poll));
            }
        }
    }

    fn posted(&mut self) -> (Posted, String) {
        let topic = self.topic();
        let (value, payload) = self.payload();
        let key = (self.rng.u8(..6) == 0).then(|| format!("k{}", self.rng.u8(..4)));
        if let Some(key) = &key {
            let place = (topic.clone(), key.clone());
            self.truth.keyed.entry(place).or_default().insert(value);
        }
        (Posted { topic, value, key }, payload)
    }

    fn post_one(&mut self, place: usize) {
        let (posted, payload) = self.posted();
        let line = format!("POST /v1/topics/{}", posted.topic);
        let (line, mut headers) = match &posted.key {
            Some(key) if self.rng.bool() => (format!("{line}?key={key}"), String::new()),
            Some(key) => (line, format!("Idempotency-Key: {key}\r\n")),
            None => (line, String::new()),
        };
        if self.rng.u8(..4) == 0 {
            headers += "Content-Type: text/plain\r\n";
        }
        self.request(place, &line, &headers, Some(&payload), Asked::Post(posted));
    }

    fn post_many(&mut self, place: usize) {
        let (mut body, mut lines) = (String::new(), Vec::new());
        for _ in 0..self.rng.usize(1..8) {
            if self.rng.u8(..10) == 0 {
                body += "no JSON\n";
                lines.push(None);
                continue;
            }
            let (posted, payload) = self.posted();
            body += &format!(r#"{{"topic":"{}","data":{payload}"#, posted.topic);
            if let Some(key) = &posted.key {
                body += &format!(r#","key":"{key}""#);
            }
            body += "}\n";
            lines.push(Some(posted));
        }
        let asked = Asked::Many(lines);
        self.request(place, "POST /v1/publish", "", Some(&body), asked);
    }
}

/// Options as they stand in a query.
fn parameters(change: Change) -> String {
    let mut text = String::new();
    if let Some(mode) = change.mode {
        let is_latest = mode == Mode::Latest;
        text += if is_latest {
            "&mode=latest"
        } else {
            "&mode=all"
        };
    }
    if let Some(on_slow) = change.on_slow {
        let closes = on_slow == OnSlow::Close;
        text += if closes {
            "&on_slow=close"
        } else {
            "&on_slow=conflate"
        };
    }
    for (name, ms) in [
        ("min_interval_ms", change.min_interval_ms),
        ("max_stale_ms", change.max_stale_ms),
    ] {
        if let Some(ms) = ms {
            text += &format!("&{name}={ms}");
        }
    }
    text
}
