//! Who is let in, asked for every request of HTTP before anything else: the page it comes from, the address, and whom it speaks for.
//!
//! An identity belongs to one request, or to the WebSocket or stream that the request becomes; there another token may follow
//! ([`Engine::authenticate`]), and the one that is there may expire. A connection that has said nothing speaks for anybody and has
//! no byte for it.

use std::collections::HashMap;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event;
use fanfare_wire::handshake::Request;
use fanfare_wire::proxy::{self, Source as ProxySource};

use super::Engine;
use super::commands::Fault;
use super::conn::{ConnId, Stage};
use super::disconnect::Disconnect;
use super::hashing::ByNumber;
use super::http::Answer;
use super::http::query::Query;
use super::rights::{Act, Identity, Scope, permits};
use super::subscribe::WantState;
use crate::addresses::{Address, Table, TooMuch, client_behind};
use crate::auth::{AuthError, Credential, Keyring};
use crate::clock::{Ms, Now};
use crate::origins::Verdict;

/// A token's end is told so long before, or when half of its time is over if that is later.
const NOTICE_US: i64 = 30_000_000;
/// Tokens that are remembered, so that one which comes with each request is checked once.
const REMEMBERED_MAX: usize = 1024;

/// When what a connection may do ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    /// Microseconds since 1970.
    at_us: i64,
    /// When the client is to be told.
    notice_us: i64,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    address: Address,
    /// A proxy that may say who stands before it.
    is_proxy: bool,
    /// It is to begin with the PROXY protocol, and has not yet.
    owes_header: bool,
    /// It counts among the connections of its address.
    is_counted: bool,
}

/// Addresses by connection, where anything depends on them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_index: HashMap<u32, Peer, ByNumber>,
    table: Option<Arc<Table>>,
}

/// Tokens that were found good.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    good: HashMap<Box<str>, (Arc<Identity>, Option<i64>)>,
    /// The keyring's count of changes when they were.
    version: u64,
}

impl Engine {
    /// Gives the engine keys to check tokens with; without, it takes none.
    #[must_use]
    pub fn with_keys(mut self, keys: Option<Arc<Keyring>>) -> Engine {
        self.keys = keys;
        self
    }

    /// Gives the engine the table that all shards count addresses in.
    #[must_use]
    pub fn with_addresses(mut self, table: Option<Arc<Table>>) -> Engine {
        self.peers.table = table;
        self
    }

    /// Tells where a connection comes from that was just [opened](Engine::on_open).
    pub fn note_peer(&mut self, id: ConnId, address: Address) {
        let settings = self.settings.clone();
        if self.peers.table.is_none() && !settings.proxy_protocol {
            return;
        }
        let is_proxy = settings
            .trusted_proxies
            .iter()
            .any(|network| network.holds(address));
        let peer = Peer {
            address,
            is_proxy,
            owes_header: settings.proxy_protocol,
            is_counted: false,
        };
        self.peers.by_index.insert(id.index, peer);
        if settings.proxy_protocol && !is_proxy {
            // Whoever is no proxy of ours could claim any address.
            return self.finish(id.index, Disconnect::Address);
        }
        if !is_proxy {
            self.count_peer(id.index);
        }
    }

    /// Counts the connection of an address that is known now. One too many is told so and ends.
    fn count_peer(&mut self, index: u32) {
        if let Err(much) = self.enter_peer(index) {
            self.respond_and_end(index, &too_much(much), Disconnect::Address);
        }
    }

    fn enter_peer(&mut self, index: u32) -> Result<(), TooMuch> {
        let Peers { by_index, table } = &mut self.peers;
        let (Some(peer), Some(table)) = (by_index.get_mut(&index), table) else {
            return Ok(());
        };
        table.knock(peer.address, self.now.mono_us)?;
        if !peer.is_counted {
            table.enter(peer.address, self.now.mono_us)?;
            peer.is_counted = true;
        }
        Ok(())
    }

    /// The connection goes: its address has one less.
    pub(super) fn forget_peer(&mut self, index: u32) {
        if self.peers.by_index.is_empty() {
            return;
        }
        let peer = self.peers.by_index.remove(&index);
        if let (Some(peer), Some(table)) = (peer.filter(|peer| peer.is_counted), &self.peers.table)
        {
            table.leave(peer.address);
        }
    }

    /// Whether a connection is to begin with the PROXY protocol, and has not yet. It stands in front of everything, TLS included.
    #[must_use]
    pub fn owes_proxy_header(&self, id: ConnId) -> bool {
        let peers = &self.peers.by_index;
        !peers.is_empty() && peers.get(&id.index).is_some_and(|peer| peer.owes_header)
    }

    /// What a connection began with that [owes a header](Engine::owes_proxy_header). Returns how many of the bytes it was; `None`: it
    /// is incomplete, or was none and the connection is over.
    pub fn on_proxy_header(&mut self, now: Now, id: ConnId, bytes: &[u8]) -> Option<usize> {
        self.now = now;
        self.current(id)?;
        self.take_proxy_header(id.index, bytes)
    }

    /// Takes the header of the PROXY protocol off what a connection begins with. Returns how many bytes it was; `None`: it is
    /// incomplete, or was none and the connection is over.
    pub(super) fn take_proxy_header(&mut self, index: u32, bytes: &[u8]) -> Option<usize> {
        let Some(peer) = self
            .peers
            .by_index
            .get_mut(&index)
            .filter(|peer| peer.owes_header)
        else {
            return Some(0);
        };
        match proxy::parse(bytes) {
            Ok(None) => None,
            Ok(Some((source, length))) => {
                peer.owes_header = false;
                match source {
                    ProxySource::Proxy => {}
                    ProxySource::V4(octets) => peer.address = octets.into(),
                    ProxySource::V6(octets) => peer.address = octets.into(),
                }
                if source != ProxySource::Proxy {
                    peer.is_proxy = false;
                    self.count_peer(index);
                }
                Some(length)
            }
            Err(_) => {
                self.finish(index, Disconnect::Address);
                None
            }
        }
    }

    /// Judges a request before it is looked at: its origin, its address, its token.
    pub(super) fn admit(&mut self, index: u32, request: &Request<'_>) -> Result<(), Answer> {
        self.forget_identity(index);
        self.admit_origin(index, request)?;
        self.admit_address(index, request)?;
        self.admit_token(index, request)
    }

    /// A browser lets any page send requests anywhere, with the cookies of whom it visits; which page it is stands in `Origin`.
    fn admit_origin(&mut self, index: u32, request: &Request<'_>) -> Result<(), Answer> {
        let mut named = request.headers.all("origin");
        let origin = named.next();
        let verdict = if named.next().is_some() {
            Verdict::Refused
        } else if origin.is_none() && !must_name_origin(request) {
            Verdict::Own
        } else {
            let host = request.header("host");
            self.settings.origins.judge(origin, host)
        };
        match verdict {
            Verdict::Own => Ok(()),
            Verdict::Foreign => {
                let cold = &mut self.outlet.conns[index as usize].cold;
                cold.get_or_insert_default().origin = origin.map(Into::into);
                Ok(())
            }
            Verdict::Refused => {
                let text = "pages of this origin may not ask here (--allow-origin)";
                Err(refusal(request, 403, &(ErrorCode::Forbidden, text.into())))
            }
        }
    }

    /// Behind a proxy, each WebSocket and each stream counts for the address that stands before it.
    fn admit_address(&mut self, index: u32, request: &Request<'_>) -> Result<(), Answer> {
        let Some(peer) = self
            .peers
            .by_index
            .get_mut(&index)
            .filter(|peer| peer.is_proxy)
        else {
            return Ok(());
        };
        // A proxy sends the requests of one client after another on the same connection: whom it was counted for has had his answer.
        if std::mem::take(&mut peer.is_counted)
            && let Some(table) = &self.peers.table
        {
            table.leave(peer.address);
        }
        let headers = &request.headers;
        let forwarded_for = headers.all("x-forwarded-for");
        let trusted = &self.settings.trusted_proxies;
        let Some(client) = client_behind(trusted, forwarded_for, headers.all("forwarded")) else {
            return Ok(());
        };
        if !request.wants_upgrade() && request.path != "/v1/sse" {
            return Ok(());
        }
        peer.address = client;
        self.enter_peer(index).map_err(too_much)
    }

    fn admit_token(&mut self, index: u32, request: &Request<'_>) -> Result<(), Answer> {
        let Some(keys) = self.keys.clone() else {
            return Ok(());
        };
        // Elsewhere nobody needs to be known, and an old cookie must keep nobody from the page where a new one is to be had. What asks
        // whether a page may ask carries no token of its own.
        let is_asked = request.wants_upgrade() || request.path.starts_with("/v1/");
        if !is_asked || request.method == "OPTIONS" {
            return Ok(());
        }
        let query = Query::parse(request.query);
        let Some(token) = self.token_of(request, &query) else {
            return Ok(());
        };
        let (identity, expires_s) = self
            .identity_of(&keys, token)
            .map_err(|error| refusal(request, 401, &fault(error)))?;
        self.take_identity(index, identity, expires_s);
        Ok(())
    }

    /// Where a request carries a token: a header, the query (browsers can give a WebSocket no header), or a cookie.
    fn token_of<'r>(&self, request: &Request<'r>, query: &'r Query<'_>) -> Option<&'r str> {
        let header = request
            .header("authorization")
            .and_then(|value| value.split_once(' '));
        let bearer = header.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let bearer = bearer.map(|(_, token)| token.trim());
        let cookie = || {
            let name = self.settings.auth_cookie.as_deref()?;
            let pairs = request
                .headers
                .all("cookie")
                .flat_map(|value| value.split(';'));
            let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        bearer.or_else(|| query.get("token")).or_else(cookie)
    }

    /// Whom a token speaks for, and until when.
    fn identity_of(
        &mut self,
        keys: &Keyring,
        token: &str,
    ) -> Result<(Arc<Identity>, Option<i64>), AuthError> {
        let now_s = self.now.wall_us.div_euclid(1_000_000);
        let version = keys.version();
        if self.tokens.version != version || self.tokens.good.len() >= REMEMBERED_MAX {
            self.tokens.good.clear();
            self.tokens.version = version;
        }
        if let Some((identity, expires_s)) = self.tokens.good.get(token) {
            if expires_s.is_some_and(|expires_s| expires_s <= now_s) {
                return Err(AuthError::Expired);
            }
            return Ok((identity.clone(), *expires_s));
        }
        let credential = keys.verify(token, now_s).inspect_err(|error| {
            self.counters.refused_tokens += 1;
            tracing::debug!(%error, "a token was refused");
        })?;
        let expires_s = credential.expires_s;
        let identity = Arc::new(Identity::from(credential));
        let entry = (identity.clone(), expires_s);
        self.tokens.good.insert(token.into(), entry);
        Ok((identity, expires_s))
    }

    fn take_identity(&mut self, index: u32, identity: Arc<Identity>, expires_s: Option<i64>) {
        let now_us = self.now.wall_us;
        let expiry = expires_s.map(|expires_s| {
            let at_us = expires_s.saturating_mul(1_000_000);
            let half_us = now_us + at_us.saturating_sub(now_us) / 2;
            let notice_us = half_us.max(at_us.saturating_sub(NOTICE_US));
            Expiry { at_us, notice_us }
        });
        let cold = (self.outlet.conns[index as usize].cold).get_or_insert_default();
        cold.identity = Some(identity);
        cold.expiry = expiry;
        cold.speak_by = None;
    }

    /// The next request on the connection may be somebody else's.
    fn forget_identity(&mut self, index: u32) {
        let conn = &mut self.outlet.conns[index as usize];
        if let Some(cold) = &mut conn.cold {
            (cold.identity, cold.expiry, cold.origin) = (cold.vouched.clone(), None, None);
            conn.cold.take_if(|cold| cold.is_empty());
        }
    }

    /// The `auth` action: from now on the connection speaks for whom the token names. What it has subscribed to and may not have any
    /// more ends, and it is told.
    pub(super) fn authenticate(&mut self, index: u32, token: &str) -> Result<(), Fault> {
        let Some(keys) = self.keys.clone() else {
            return Err((ErrorCode::BadToken, "this server takes no tokens".into()));
        };
        let (identity, expires_s) = self.identity_of(&keys, token).map_err(fault)?;
        self.take_identity(index, identity.clone(), expires_s);
        let next_ms = self.expiry_left_ms(index).unwrap_or(u32::MAX);
        self.due.set_earlier(index, self.now, next_ms);
        self.refuse_waiting(index, &identity);
        let list = self.outlet.conns[index as usize].subs;
        let lost: Vec<_> = (self.hub.subs.of(list))
            .filter_map(|sub| {
                let name = self.hub.source_name(self.hub.subs[sub].source()).clone();
                let refused = permits(&identity, Act::Subscribe, &name).is_err();
                refused.then_some((sub, name))
            })
            .collect();
        for (sub, name) in lost {
            self.hand_over_marks(index, sub);
            let subs = &mut self.outlet.conns[index as usize].subs;
            self.hub.unsubscribe(subs, sub);
            let text = format!("no longer allowed to subscribe to {name}; it has ended");
            self.say(index, |out| {
                event::put_error(out, None, ErrorCode::Forbidden, &text)
            });
        }
        Ok(())
    }

    /// Takes what is not allowed out of commands that wait for owners; their acks will say so.
    fn refuse_waiting(&mut self, index: u32, identity: &Identity) {
        let cold = self.outlet.conns[index as usize].cold.as_ref();
        for &key in cold.map_or(&[][..], |cold| &cold.subscribes) {
            for want in &mut self.subscribes[key as usize].wants {
                let name = self.hub.source_name(want.source);
                if want.state == WantState::Wanted
                    && let Err(refusal) = permits(identity, Act::Subscribe, name)
                {
                    want.state = WantState::Refused(refusal.code(), refusal.message());
                }
            }
        }
    }

    /// Whether a connection may do nothing before it has said who it is.
    pub(super) fn must_speak(&self, index: u32) -> bool {
        let anonymous = &self.settings.anonymous;
        let is_nobody =
            anonymous.subscribe == Scope::nothing() && anonymous.publish == Scope::nothing();
        self.keys.is_some() && is_nobody && !self.is_known(index)
    }

    /// Whether a connection has said who it is.
    pub(super) fn is_known(&self, index: u32) -> bool {
        let cold = self.outlet.conns[index as usize].cold.as_ref();
        cold.is_some_and(|cold| cold.identity.is_some())
    }

    /// A WebSocket was opened by nobody in particular who may do nothing: it has so long to say who it is.
    pub(super) fn await_token(&mut self, index: u32) {
        if self.must_speak(index) {
            let until = Ms(self.now.ms().0.wrapping_add(self.settings.auth_timeout_ms));
            let cold = &mut self.outlet.conns[index as usize].cold;
            cold.get_or_insert_default().speak_by = Some(until);
        }
    }

    /// How much longer what the connection may do lasts, until it is told or until it ends, or how long it may stay silent about
    /// who it is. `None`: for ever. Tells it, or begins to close it, if that is due; then nothing is left.
    pub(super) fn look_after_identity(&mut self, index: u32) -> Option<u32> {
        let cold = self.outlet.conns[index as usize].cold.as_ref()?;
        if let Some(until) = cold.speak_by {
            let left_ms = until.since(self.now.ms());
            if left_ms == 0 {
                self.begin_close(index, Disconnect::AuthTimeout);
            }
            return Some(left_ms);
        }
        let expiry = cold.expiry?;
        if expiry.at_us <= self.now.wall_us {
            self.begin_close(index, Disconnect::Expired);
            return Some(0);
        }
        if expiry.notice_us <= self.now.wall_us {
            self.tell_expiry(index, expiry);
        }
        self.expiry_left_ms(index)
    }

    fn tell_expiry(&mut self, index: u32, expiry: Expiry) {
        if let Some(cold) = &mut self.outlet.conns[index as usize].cold {
            cold.expiry = Some(Expiry {
                notice_us: i64::MAX,
                ..expiry
            });
        }
        let in_ms = (expiry.at_us - self.now.wall_us) / 1000;
        let door = self.outlet.conns[index as usize].door;
        if door.is_ws() || door.is_events() {
            self.say(index, |out| {
                event::put_notice_expiry(out, in_ms.max(0) as u64)
            });
        }
    }

    /// Until the next thing that is to be done about the token.
    fn expiry_left_ms(&self, index: u32) -> Option<u32> {
        let expiry = self.outlet.conns[index as usize].cold.as_ref()?.expiry?;
        let next_us = expiry.at_us.min(expiry.notice_us);
        let left_ms = next_us.saturating_sub(self.now.wall_us).div_euclid(1000) + 1;
        Some(left_ms.clamp(1, i64::from(u32::MAX)) as u32)
    }

    /// Whether a connection is one whose identity time can end.
    pub(super) fn has_identity_to_watch(&self, index: u32) -> bool {
        let conn = &self.outlet.conns[index as usize];
        conn.stage == Stage::Open
            && (conn.cold.as_ref())
                .is_some_and(|cold| cold.expiry.is_some() || cold.speak_by.is_some())
    }
}

impl From<Credential> for Identity {
    fn from(credential: Credential) -> Identity {
        Identity {
            name: credential.name,
            subscribe: Scope::Filters(credential.subscribe.into()),
            publish: Scope::Filters(credential.publish.into()),
        }
    }
}

/// What a page could do harm with. Browsers name no origin when a page gets something from its own server, but they say that it is so
/// (Fetch Metadata), and no page can say it in their stead.
fn must_name_origin(request: &Request<'_>) -> bool {
    let acts = request.wants_upgrade() || request.method == "POST" || request.path == "/v1/sse";
    acts && request.header("sec-fetch-site") != Some("same-origin")
}

/// A refusal in the words of the path that was asked for.
fn refusal(request: &Request<'_>, status: u16, fault: &Fault) -> Answer {
    if request.path.starts_with("/v1/") {
        return Answer::fault(fault).with_status(status);
    }
    let answer = Answer::plain(status, format!("{}\n", fault.1));
    if status == 401 {
        return answer.with("WWW-Authenticate", "Bearer".into());
    }
    answer
}

fn fault(error: AuthError) -> Fault {
    let code = match error {
        AuthError::Expired => ErrorCode::Expired,
        _ => ErrorCode::BadToken,
    };
    (code, error.to_string().into())
}

fn too_much(much: TooMuch) -> Answer {
    match much {
        TooMuch::Connections => {
            Answer::retry(429, "your address has as many connections as it may\n", 10).and_end()
        }
        TooMuch::Handshakes { retry_s } => {
            Answer::retry(429, "your address connects too often\n", retry_s).and_end()
        }
    }
}
