//! What an engine needs to know before its first connection: limits, timeouts, routes.
//!
//! Plain data. The command line and the config file are lowered to it; nothing in here reads either.

use fanfare_wire::topic::{self, TopicError};

use super::rights::Identity;
use crate::addresses::Network;
use crate::origins::Origins;

pub use crate::hub::deflate::Threshold;
pub use crate::hub::history::{
    Limits as HistoryLimits, Rule as HistoryRule, Rules as HistoryRules,
};
pub use crate::hub::keys::Window as KeyWindow;

/// Limits, timeouts and routes of one server. The defaults are the documented ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Configured paths, looked up after the built-in ones (`/ws`, `/raw`, `/room/…`, `/echo`).
    pub routes: Vec<Route>,
    /// What a connection may do that has not said who it is.
    pub anonymous: Identity,
    /// Which pages may ask.
    pub origins: Origins,
    /// The cookie that may carry a token.
    pub auth_cookie: Option<Box<str>>,
    /// How long a connection that may do nothing yet has to say who it is, milliseconds.
    pub auth_timeout_ms: u32,
    /// The key of a room's messages that names their sender.
    pub room_user: Option<Box<str>>,
    /// Proxies that may say who stands before them.
    pub trusted_proxies: Vec<Network>,
    /// Whether connections begin with the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whether `/echo` answers. Off unless asked for: it is a tool for tests.
    pub echo: bool,
    /// Largest payload of one frame from a client, bytes.
    pub frame_bytes_max: u64,
    /// Largest message from a client, all fragments together, bytes.
    pub message_bytes_max: usize,
    /// Most fragments a message may come in.
    pub fragments_max: u32,
    /// Largest value that may be published, bytes.
    pub payload_bytes_max: usize,
    /// Commands a second of one connection, publishes not counted; ten times as many at once. 0 = any number.
    pub commands_per_s: u32,
    /// Publishes a second of one connection, the same way.
    pub publishes_per_s: u32,
    /// Pings a second that are answered, with ten times as many at once; 0 = any number.
    pub pings_per_s: u32,
    /// Most subscriptions of one connection.
    pub subscriptions_max: u32,
    /// Most topics of the whole server.
    pub topics_max: u32,
    /// Values of all topics that the server keeps, last values and history, bytes.
    pub kept_bytes_max: u64,
    /// How much history is kept of which topic.
    pub history: HistoryRules,
    /// Which idempotency keys each shard remembers for the topics that it owns.
    pub keys: KeyWindow,
    /// Most different filters that a shard's connections may have between them.
    pub filters_max: u32,
    /// Most different filters of one shard that may cover a topic which is known when they are subscribed to.
    pub filters_per_topic_max: u32,
    /// Most topics that a filter may cover when it is subscribed to.
    pub filter_topics_max: u32,
    /// Output waiting for a connection whose socket takes no more, bytes, each frame counted with 64 bytes of bookkeeping.
    /// Whoever has so much waiting and is sent more is closed (4103).
    pub outbox_bytes_max: u32,
    /// Updates are written at most once in so many microseconds; 0 = at the end of every tick.
    pub flush_interval_us: u32,
    /// Whether and how messages are compressed.
    pub compression: Compression,
    /// Largest head of an HTTP request, bytes.
    pub head_bytes_max: usize,
    /// From accept to the end of the request head, milliseconds.
    pub handshake_timeout_ms: u32,
    /// From the end of a request's head to the end of its body, milliseconds.
    pub body_timeout_ms: u32,
    /// How long a connection may wait between two HTTP requests, milliseconds.
    pub keep_alive_timeout_ms: u32,
    /// Longest body of a request, bytes.
    pub body_bytes_max: usize,
    /// How long a long poll may wait, milliseconds; more is shortened.
    pub wait_max_ms: u32,
    /// A connection silent for so long is sent a ping, milliseconds; 0 = never.
    pub ping_interval_ms: u32,
    /// A connection silent for so long is closed (4201), milliseconds; 0 = never.
    pub idle_timeout_ms: u32,
    /// A `/ws` connection that was sent nothing for so long gets a heartbeat frame, milliseconds; 0 = never.
    pub heartbeat_ms: u32,
    /// A connection with output waiting that takes none of it for so long is closed (4103), milliseconds.
    pub slow_timeout_ms: u32,
    /// How long a close handshake may take, milliseconds.
    pub close_timeout_ms: u32,
    /// Metrics, stats and memory are told to those who come by an operator's listener alone.
    pub has_admin_port: bool,
    /// `$sys.stats` is published once in so long, milliseconds; 0 = never.
    pub stats_interval_ms: u32,
}

/// Whether messages are compressed, and what it may cost (RFC 7692).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// From which size on messages are compressed; [`Threshold::NEVER`]: compression is not agreed to at all.
    pub threshold: Threshold,
    /// Most clients of the whole server that may keep their context from one message to the next, each with an inflater of
    /// its own.
    pub contexts_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            routes: Vec::new(),
            anonymous: Identity::unlimited(),
            origins: Origins::default(),
            auth_cookie: None,
            auth_timeout_ms: 10_000,
            room_user: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            echo: false,
            frame_bytes_max: 65_536,
            message_bytes_max: 1_048_576,
            fragments_max: 128,
            payload_bytes_max: 1_048_576,
            commands_per_s: 100,
            publishes_per_s: 0,
            pings_per_s: 20,
            subscriptions_max: 1024,
            topics_max: 1_000_000,
            kept_bytes_max: 2 << 30,
            history: HistoryRules::default(),
            keys: KeyWindow {
                count: 4096,
                age_ms: 300_000,
            },
            filters_max: 10_000,
            filters_per_topic_max: 64,
            filter_topics_max: 50_000,
            outbox_bytes_max: 1_048_576,
            flush_interval_us: 0,
            compression: Compression {
                threshold: Threshold::NEVER,
                contexts_max: 0,
            },
            head_bytes_max: 16_384,
            handshake_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            keep_alive_timeout_ms: 75_000,
            body_bytes_max: 4 << 20,
            wait_max_ms: 60_000,
            ping_interval_ms: 30_000,
            idle_timeout_ms: 75_000,
            heartbeat_ms: 15_000,
            slow_timeout_ms: 30_000,
            close_timeout_ms: 2_000,
            has_admin_port: false,
            stats_interval_ms: 0,
        }
    }
}

/// A configured path and what it answers as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `/stocks`, or `/document/*` for everything below a folder.
    pub path: Box<str>,
    /// What stands behind it.
    pub target: Target,
}

/// What a WebSocket path speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The JSON protocol.
    Ws,
    /// The same commands, bare payloads back.
    Raw,
    /// Echoes messages.
    Echo,
    /// A raw room of this topic. A `*` in it stands for what the path's `*` matched, `/` turned into `.`.
    Room(Box<str>),
}

/// Why a route text was refused; `Display` is one clear sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No `=` in it.
    #[error("a route is PATH=TARGET, for example /stocks=/raw; {0:?} has no '='")]
    NoEquals(String),
    /// The path is not absolute, holds a query or white space, or a `*` anywhere but at its end.
    #[error("the path {0:?} must begin with '/', and may hold '*' only as its last segment")]
    Path(String),
    /// The target is none of the built-in endpoints.
    #[error("the target {0:?} is none of /ws, /raw, /echo, /room/<topic>")]
    Target(String),
    /// The room's topic is not a topic.
    #[error("the room of {0:?} is not a topic: {1}")]
    Topic(String, TopicError),
    /// `*` stands on one side only.
    #[error("'*' must stand in both the path and the room's topic, or in neither: {0:?}")]
    Star(String),
}

impl Route {
    /// Reads `PATH=TARGET`, such as `/stocks=/raw` or `/document/*=/room/document.*`.
    ///
    /// # Errors
    /// A [`RouteError`] that names what is wrong.
    pub fn parse(text: &str) -> Result<Route, RouteError> {
        let (path, target) = text
            .split_once('=')
            .ok_or_else(|| RouteError::NoEquals(text.into()))?;
        let stem = path.strip_suffix("/*").unwrap_or(path);
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '*' | '?' | '#');
        let well_formed = path.starts_with('/') && stem.chars().all(plain);
        if !well_formed {
            return Err(RouteError::Path(path.into()));
        }
        let target = Target::parse(target)?;
        let path_has_star = path.ends_with("/*");
        let target_has_star = matches!(&target, Target::Room(topic) if topic.contains('*'));
        // A starred path may lead to one place (`/app/*=/ws`), but a starred room needs something to fill in.
        if target_has_star && !path_has_star {
            return Err(RouteError::Star(text.into()));
        }
        Ok(Route {
            path: path.into(),
            target,
        })
    }

    /// What this route makes of `path`, if it matches.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<Target> {
        let Some(stem) = self.path.strip_suffix('*') else {
            return (*self.path == *path).then(|| self.target.clone());
        };
        let rest = path.strip_prefix(stem).filter(|rest| !rest.is_empty())?;
        match &self.target {
            Target::Room(pattern) => Some(Target::Room(
                pattern.replace('*', &rest.replace('/', ".")).into(),
            )),
            target => Some(target.clone()),
        }
    }
}

impl Target {
    fn parse(text: &str) -> Result<Target, RouteError> {
        match text {
            "/ws" => Ok(Target::Ws),
            "/raw" => Ok(Target::Raw),
            "/echo" => Ok(Target::Echo),
            _ => {
                let topic = text
                    .strip_prefix("/room/")
                    .ok_or_else(|| RouteError::Target(text.into()))?;
                // Checked with the star filled in, as it will be when a path has matched.
                topic::check_topic(&topic.replacen('*', "x", 1))
                    .map_err(|error| RouteError::Topic(text.into(), error))?;
                Ok(Target::Room(topic.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_names_a_path_and_a_target() {
        let route = Route::parse("/stocks=/raw").unwrap();
        assert_eq!(route.resolve("/stocks"), Some(Target::Raw));
        assert_eq!(route.resolve("/stocks/"), None);
        assert_eq!(route.resolve("/stock"), None);
    }

    #[test]
    fn a_star_fills_the_rooms_topic_with_the_rest_of_the_path() {
        let route = Route::parse("/document/*=/room/document.*").unwrap();
        assert_eq!(
            route.resolve("/document/a/b"),
            Some(Target::Room("document.a.b".into()))
        );
        assert_eq!(route.resolve("/document/"), None);
        assert_eq!(route.resolve("/document"), None);
    }

    #[test]
    fn what_is_no_route_is_refused_with_a_reason() {
        for (text, part) in [
            ("/stocks", "no '='"),
            ("stocks=/raw", "must begin with '/'"),
            ("/a*b=/raw", "only as its last segment"),
            ("/a?x=/raw", "must begin with '/'"),
            ("/a=/nowhere", "none of /ws"),
            ("/a=/room/", "not a topic"),
            ("/a=/room/x..y", "not a topic"),
            ("/a=/room/x.*", "in both"),
        ] {
            let error = Route::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
