//! HTTP/1.1 on a connection: one request after the other, and where each leads.
//!
//! ```text
//! Head ──► Body ──► Asking ──► Head …      an owner or another shard knows the answer
//!   │        └────────►  └► Polling ──► Head …      a long poll waits for an update
//!   └──► Open             a WebSocket, or a stream of events
//! ```
//!
//! Requests of one connection are answered in their order, and the next is not begun before the one before it is answered and
//! most of the answer is written. What came meanwhile is kept, up to what one request may bring.

mod answer;
mod date;
mod events;
mod lingering;
mod lists;
mod pages;
mod poll;
mod publish;
pub(super) mod query;
mod upgrade;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::handshake::{self, BodyReader, Framing, HeadLimits, Request};

use super::Engine;
use super::asks::Ask;
use super::census::Page;
use super::conn::{ConnId, Partial, Stage, flag};
use super::disconnect::Disconnect;
use super::rates::Rated;
use crate::hub::mail::Ticket;
pub(super) use answer::{Answer, JSON};
pub(super) use date::Date;
pub(super) use events::Once;
pub(super) use lingering::Lingering;
pub(super) use lists::Listings;
pub(super) use poll::Wish;
pub(super) use publish::{Batch, Intake};
use query::Query;

/// With more of earlier answers unwritten, the next request waits.
const BACKLOG_BYTES: u32 = 64 * 1024;

/// A request whose body is still to come.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) reader: BodyReader,
    intake: Intake,
}

/// What is asked for at a path under `/v1/` and the like.
enum Endpoint<'p> {
    Health,
    Ready,
    Page(Page),
    /// One topic, percent-encoded.
    Topic(&'p str),
    History(&'p str),
    Topics,
    Events,
    PublishMany,
    File,
}

impl Endpoint<'_> {
    fn find(path: &str) -> Endpoint<'_> {
        if let Some(rest) = path
            .strip_prefix("/v1/topics/")
            .filter(|rest| !rest.is_empty())
        {
            return match rest
                .strip_suffix("/history")
                .filter(|topic| !topic.is_empty())
            {
                Some(topic) => Endpoint::History(topic),
                None => Endpoint::Topic(rest),
            };
        }
        match path {
            "/healthz" => Endpoint::Health,
            "/readyz" => Endpoint::Ready,
            "/v1/topics" => Endpoint::Topics,
            "/v1/sse" => Endpoint::Events,
            "/v1/publish" => Endpoint::PublishMany,
            _ => Page::at(path).map_or(Endpoint::File, Endpoint::Page),
        }
    }

    /// The methods that are answered.
    fn allow(&self) -> &'static str {
        match self {
            Endpoint::Topic(_) => "GET, HEAD, POST, OPTIONS",
            Endpoint::PublishMany => "POST, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

impl Engine {
    /// Bytes of a connection that speaks HTTP.
    pub(super) fn on_http_bytes(&mut self, index: u32, bytes: &mut [u8]) {
        let limits = self.head_limits();
        let conn = &mut self.outlet.conns[index as usize];
        match conn.partial.take().map(|partial| *partial) {
            Some(Partial::Head(mut kept)) => {
                // No more than is needed: most heads come in one piece or two, and thousands may be half sent.
                kept.reserve_exact(bytes.len());
                kept.extend_from_slice(bytes);
                // A head ends with a line, and has a bounded number of lines: one that comes byte by byte is not parsed for each byte.
                let may_end = bytes.contains(&b'\n') || kept.len() > limits.head_bytes_max;
                let used = if may_end {
                    self.work_off(index, &mut kept)
                } else {
                    0
                };
                kept.drain(..used);
                self.keep(index, kept);
            }
            other => {
                conn.partial = other.map(Box::new);
                let used = self.work_off(index, bytes);
                self.keep(index, bytes[used..].to_vec());
            }
        }
    }

    /// Goes on with connections whose request was answered: what a long poll was subscribed to ends, and what was kept meanwhile is
    /// the next request. Called when nobody is in the middle of a topic's members.
    pub(super) fn resume_answered(&mut self) {
        while let Some(id) = self.answered.pop() {
            let Some(conn) = self.current(id).filter(|conn| conn.stage == Stage::Head) else {
                continue;
            };
            let mut subs = std::mem::take(&mut conn.subs);
            self.linger(subs);
            self.hub.unsubscribe_all(&mut subs);
            self.go_on(id.index);
        }
    }

    /// Whether a connection still waits for the answer to a request.
    pub(super) fn is_asking(&mut self, id: ConnId) -> bool {
        self.current(id)
            .is_some_and(|conn| conn.stage == Stage::Asking)
    }

    /// What was asked on behalf of a request, now that it is answered; `None`: nobody waits for it any more.
    fn take_asked(&mut self, ticket: Ticket) -> Option<Ask> {
        let ask = self.asks.try_remove(ticket.ask as usize);
        debug_assert!(ask.is_some(), "every ticket names a question");
        ask.filter(|ask| self.is_asking(ask.conn))
    }

    /// Goes on with what was kept while the request before it was answered.
    pub(super) fn go_on(&mut self, index: u32) {
        let conn = &mut self.outlet.conns[index as usize];
        if conn.stage != Stage::Head {
            return;
        }
        if let Some(Partial::Head(mut kept)) = conn.partial.take().map(|partial| *partial) {
            let used = self.work_off(index, &mut kept);
            kept.drain(..used);
            self.keep(index, kept);
        }
        self.end_if_done(index);
    }

    /// The peer has ended its side. What it asked for before is still answered, as far as the answer is known; whether it is still there
    /// to hear it nobody can tell.
    pub(super) fn on_http_end(&mut self, index: u32) {
        match self.outlet.conns[index as usize].stage {
            Stage::Head => self.go_on(index),
            Stage::Polling => self.end_wait(index),
            _ => self.end_if_done(index),
        }
    }

    /// The peer has ended its side, and nothing that it asked for is left to be carried out: the connection ends, too, once all is
    /// written. Half a request is none.
    fn end_if_done(&mut self, index: u32) {
        let conn = &self.outlet.conns[index as usize];
        if !conn.has(flag::EOF) || !matches!(conn.stage, Stage::Head | Stage::Body) {
            return;
        }
        if conn.outbox.is_empty() {
            self.finish(index, Disconnect::PeerGone);
        } else if conn.stage == Stage::Body || !self.is_backed_up(index) {
            self.end_after_answer(index, Disconnect::PeerGone);
        }
    }

    /// Whether a connection that was answered before has asked for nothing since.
    pub(super) fn is_between_requests(&self, index: u32) -> bool {
        let conn = &self.outlet.conns[index as usize];
        conn.stage == Stage::Head && conn.has(flag::KEEP) && !conn.has(flag::BEGUN)
    }

    /// Whether the next request has to wait until the answers before it are written.
    fn is_backed_up(&self, index: u32) -> bool {
        self.outlet.conns[index as usize].outbox.charged_bytes() > BACKLOG_BYTES
    }

    /// Carries out the requests in `bytes`, as far as they are whole and their turn has come. Returns how many bytes they were.
    fn work_off(&mut self, index: u32, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &mut bytes[used..];
            match self.outlet.conns[index as usize].stage {
                Stage::Head if self.is_backed_up(index) => break,
                Stage::Head => match self.begin_request(index, rest) {
                    Some(count) => used += count,
                    None => break,
                },
                Stage::Body => used += self.on_body_bytes(index, rest),
                // A client need not wait for our 101 before it sends its first frames.
                Stage::Open if !self.outlet.conns[index as usize].door.is_events() => {
                    self.on_frame_bytes(index, rest);
                    return bytes.len();
                }
                Stage::Asking | Stage::Polling => break,
                _ => return bytes.len(),
            }
            self.close_overflowed();
        }
        used
    }

    /// Keeps what belongs to a later read or a later turn.
    fn keep(&mut self, index: u32, rest: Vec<u8>) {
        let most = self.settings.body_bytes_max + self.settings.head_bytes_max;
        let (now, patience_ms) = (self.now, self.settings.handshake_timeout_ms);
        let conn = &mut self.outlet.conns[index as usize];
        if rest.is_empty() || !matches!(conn.stage, Stage::Head | Stage::Asking | Stage::Polling) {
            return;
        }
        if rest.len() > most {
            // Whoever asks for so much at once is answered what is under way, and no more: where the next request would begin
            // is lost with what is thrown away here.
            conn.flags &= !flag::KEEP;
            if conn.stage == Stage::Head {
                self.end_after_answer(index, Disconnect::Http(413));
            }
            return;
        }
        if conn.stage == Stage::Head && conn.has(flag::KEEP) && !conn.has(flag::BEGUN) {
            conn.flags |= flag::BEGUN;
            conn.last_seen = now.ms();
            self.due.set_earlier(index, now, patience_ms);
        }
        self.outlet.conns[index as usize].partial = Some(Box::new(Partial::Head(rest)));
    }

    fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            head_bytes_max: self.settings.head_bytes_max,
            // One line may be as long as half a head: a token in the query is long, but leaves room for the headers.
            line_bytes_max: self.settings.head_bytes_max / 2,
        }
    }

    /// Carries out the request whose head `bytes` begin with. `None`: it is incomplete.
    fn begin_request(&mut self, index: u32, bytes: &[u8]) -> Option<usize> {
        match self.take_proxy_header(index, bytes) {
            Some(0) => {}
            other => return other,
        }
        match handshake::parse_request(bytes, &self.head_limits()) {
            Ok(None) => None,
            Ok(Some((request, head_bytes))) => {
                let has_rest = bytes.len() > head_bytes;
                self.on_request(index, &request, has_rest);
                Some(head_bytes)
            }
            Err(error) => {
                let answer = Answer::plain(error.status(), format!("{error}\n"));
                self.respond(index, &answer.and_end());
                Some(bytes.len())
            }
        }
    }

    /// A whole head. `has_rest`: something lies behind it already.
    fn on_request(&mut self, index: u32, request: &Request<'_>, has_rest: bool) {
        let conn = &mut self.outlet.conns[index as usize];
        conn.flags &= !(flag::KEEP | flag::HEAD | flag::BEGUN);
        if request.version == 1 && !request.has_token("connection", "close") {
            conn.flags |= flag::KEEP;
        }
        if request.method == "HEAD" {
            conn.flags |= flag::HEAD;
        }
        if conn.has(flag::REFUSE) {
            // Spread over ten seconds, so that those turned away do not come back together.
            let after_s = 1 + conn.generation % 10;
            let answer = Answer::retry(503, "the server is full\n", after_s);
            return self.respond_and_end(index, &answer, Disconnect::Capacity);
        }
        let framing = match self.judge_head(request) {
            Ok(framing) => framing,
            Err(answer) => return self.respond(index, &answer.and_end()),
        };
        let admitted = self.admit(index, request);
        let admitted = admitted.and_then(|()| self.judge_rate(index, request));
        match admitted {
            Ok(()) => self.dispatch(index, request, framing, has_rest),
            // What follows a refused request's head is not read as anything.
            Err(answer) if framing != Framing::None => self.respond(index, &answer.and_end()),
            Err(answer) => self.respond(index, &answer),
        }
    }

    /// Whether a head is that of a request that two servers would understand alike (RFC 9112, sections 3.2 and 6.3).
    fn judge_head(&self, request: &Request<'_>) -> Result<Framing, Answer> {
        if request.version == 1 && request.header("host").is_none() {
            return Err(Answer::plain(400, "Host is missing\n"));
        }
        (request.framing()).map_err(|error| Answer::plain(error.status(), format!("{error}\n")))
    }

    /// Whether the connection may ask again so soon. What it asks as a WebSocket is counted there.
    fn judge_rate(&mut self, index: u32, request: &Request<'_>) -> Result<(), Answer> {
        if request.wants_upgrade() {
            return Ok(());
        }
        let is_value = request.method == "POST" && request.path.starts_with("/v1/topics/");
        let what = if is_value {
            Rated::Publish
        } else {
            Rated::Command
        };
        let Err(soon) = self.rates.take(index, what, self.now.mono_us) else {
            return Ok(());
        };
        self.counters.rate_limited += 1;
        let answer = Answer::fault(&(ErrorCode::Rate, "too many requests; wait".into()));
        let after_s = soon.retry_ms.div_ceil(1000).to_string();
        let answer = answer.with("Retry-After", after_s);
        Err(if soon.is_abuse {
            answer.and_end()
        } else {
            answer
        })
    }

    fn dispatch(&mut self, index: u32, request: &Request<'_>, framing: Framing, has_rest: bool) {
        if !self.is_served_to(index, request.path) {
            let answer = Answer::plain(404, "nothing is served at this path\n");
            return self.respond(index, &answer.and_end());
        }
        if request.wants_upgrade() {
            if let Some(target) = self.look_up(request.path) {
                return self.upgrade(index, request, target);
            }
            let answer = Answer::plain(404, "no WebSocket is spoken at this path\n");
            return self.respond(index, &answer.and_end());
        }
        let endpoint = Endpoint::find(request.path);
        let done = match (request.method, &endpoint) {
            ("POST", Endpoint::Topic(_) | Endpoint::PublishMany) => {
                let topic = match endpoint {
                    Endpoint::Topic(name) => Some(name),
                    _ => None,
                };
                self.begin_intake(index, request, topic, framing, has_rest)
            }
            // Nothing but a value takes a body: the connection cannot be read on behind another.
            ("GET" | "HEAD" | "OPTIONS", _) if framing != Framing::None => {
                Err(Answer::plain(413, "this request takes no body\n"))
            }
            ("OPTIONS", endpoint) => {
                self.answer_preflight(index, request, endpoint.allow());
                Ok(())
            }
            ("GET" | "HEAD", endpoint) => self.get(index, request, endpoint),
            (_, endpoint) => {
                let text = format!("{} is answered here\n", endpoint.allow());
                Err(Answer::plain(405, text).with("Allow", endpoint.allow().into()))
            }
        };
        match done {
            Ok(()) => {}
            Err(answer) if framing != Framing::None => self.respond(index, &answer.and_end()),
            Err(answer) => self.respond(index, &answer),
        }
    }

    fn get(
        &mut self,
        index: u32,
        request: &Request<'_>,
        endpoint: &Endpoint<'_>,
    ) -> Result<(), Answer> {
        let query = Query::parse(request.query);
        match *endpoint {
            Endpoint::Health => Err(Answer::plain(200, "ok\n")),
            Endpoint::Ready if self.is_stopping => Err(Answer::plain(503, "the server stops\n")),
            Endpoint::Ready => Err(Answer::plain(200, "ok\n")),
            Endpoint::Page(page) => {
                self.begin_census(index, page);
                Ok(())
            }
            Endpoint::Topic(name) => self.poll(index, name, request, &query),
            Endpoint::History(name) => self.begin_history(index, name, &query),
            Endpoint::Topics => self.begin_listing(index, &query),
            Endpoint::Events => self.begin_events(index, request, &query),
            Endpoint::PublishMany => Err(Answer::plain(405, "only POST is answered here\n")
                .with("Allow", "POST, OPTIONS".into())),
            Endpoint::File => self.answer_file(index, request),
        }
    }

    /// What a browser asks before it lets a page of another origin ask (Fetch Standard, section 3.2.2).
    fn answer_preflight(&mut self, index: u32, request: &Request<'_>, allow: &'static str) {
        let mut answer = Answer::empty(204).with("Allow", allow.into());
        if request.header("access-control-request-method").is_some() {
            answer = answer
                .with("Access-Control-Allow-Methods", allow.into())
                .with(
                    "Access-Control-Allow-Headers",
                    "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID"
                        .into(),
                )
                .with("Access-Control-Max-Age", "600".into());
        }
        self.respond(index, &answer);
    }
}
