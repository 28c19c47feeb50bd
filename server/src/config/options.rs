//! What an operator may set, as it was written: the flags of `fanfare serve` and the keys of a config file.
//!
//! One list for both, so that they cannot drift apart. Everything is optional here; what was left out gets its default when
//! the options are lowered to a [`Config`](super::Config). The numbers in the help texts are checked against
//! those defaults by a test.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Deserializer, Serialize};

use super::history::History;
use super::identity::Anonymous;
use super::quantity::{Bytes, Millis, Shards};

/// Every flag of `fanfare serve` that is also a key, in the order of the help.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// Address to listen on, IPv4 or IPv6, port 0 for a free one; may be repeated [default: 127.0.0.1:9001]
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub listen: Vec<SocketAddr>,

    /// Address to listen on with TLS, beside or instead of the others; may be repeated
    #[arg(long, value_name = "ADDRESS", help_heading = "TLS")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tls_listen: Vec<SocketAddr>,

    /// Certificate chain in PEM form, the server's own first. May be repeated, each with its key: the name that a client
    /// asks for chooses among them, and the first serves all others. Read anew when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tls_cert: Vec<PathBuf>,

    /// Private key of the certificate at the same place, in PEM form; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tls_key: Vec<PathBuf>,

    /// Authorities in PEM form whose client certificates are accepted. A client need not show one; one that does is who its
    /// certificate says
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub tls_client_ca: Option<PathBuf>,

    /// What a client may do whose certificate says NAME (its common name, or else its first alternative name), or who is named
    /// by no other of these; may be repeated. Without any, whoever has a certificate may do everything
    #[arg(
        long,
        value_name = "NAME|* sub=FILTER,… pub=FILTER,…",
        help_heading = "TLS"
    )]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tls_client_rights: Vec<String>,

    /// Address for /metrics, /v1/stats and /v1/memory, which then are told nowhere else; may be repeated. Without it, every address
    /// tells them
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub admin_listen: Vec<SocketAddr>,

    /// Threads that serve connections: "auto" or a number [default: auto]
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub shards: Option<Shards>,

    /// Connections at most, of all shards together; when not given, what one shard a core has open files for, up to 100000
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub max_connections: Option<usize>,

    /// Connections the kernel may hold until they are accepted [default: 4096]
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub backlog: Option<u32>,

    /// The kernel's receive buffer of a connection; left to the kernel when not given
    #[arg(long, value_name = "SIZE", help_heading = "Network")]
    pub recv_buffer: Option<Bytes>,

    /// The kernel's send buffer of a connection; left to the kernel when not given
    #[arg(long, value_name = "SIZE", help_heading = "Network")]
    pub send_buffer: Option<Bytes>,

    /// Unsent bytes with which the kernel takes no more for a connection that wants newest values, so that what
    /// waits can be replaced by newer ones; 0 = as much as its send buffer holds [default: 16k]
    #[arg(long, value_name = "SIZE", help_heading = "Network")]
    pub notsent_lowat: Option<Bytes>,

    /// Output that a peer's host does not acknowledge for so long ends the connection; 0 = the kernel's own
    /// limit, some 15 minutes [default: 1m]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub user_timeout: Option<Millis>,

    /// A path of your own, such as /stocks=/raw or /document/*=/room/document.*; may be repeated
    #[arg(long, value_name = "PATH=TARGET", help_heading = "Endpoints")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub route: Vec<String>,

    /// Answer /echo, which returns every message [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Endpoints")]
    pub echo: Option<bool>,

    /// Serve the files of this folder instead of the built-in pages. They are kept in memory, up to 256 MiB of them, and read
    /// again when they change
    #[arg(long = "static", value_name = "DIR", help_heading = "Endpoints")]
    #[serde(rename = "static")]
    pub site: Option<PathBuf>,

    /// Key of clients' tokens (JWT): a public key in PEM form (RSA, P-256, Ed25519), or a secret of at least 32 bytes; may be
    /// repeated. Read again on SIGHUP, as are the other files of keys
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub jwt_key: Vec<PathBuf>,

    /// Set of keys of clients' tokens, as JSON (JWKS)
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub jwks: Option<PathBuf>,

    /// What the aud of a token must name
    #[arg(long, value_name = "NAME", help_heading = "Identity")]
    pub jwt_audience: Option<String>,

    /// What the iss of a token must be
    #[arg(long, value_name = "NAME", help_heading = "Identity")]
    pub jwt_issuer: Option<String>,

    /// API keys, a line each: name, hash, and what it may do, as 'fanfare hash-key' prints them
    #[arg(long, value_name = "FILE", help_heading = "Identity")]
    pub api_keys: Option<PathBuf>,

    /// A cookie that may carry a token
    #[arg(long, value_name = "NAME", help_heading = "Identity")]
    pub auth_cookie: Option<String>,

    /// How long a WebSocket that may do nothing yet has to say who it is [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Identity")]
    pub auth_timeout: Option<Millis>,

    /// What may be done by those who do not say who they are. With keys configured nothing; without, everything, as long as
    /// the server listens on loopback alone
    #[arg(long, value_name = "WHAT", help_heading = "Identity")]
    pub allow_anonymous: Option<Anonymous>,

    /// Put the name of its sender into each message of a room that is a JSON object, under this key
    #[arg(long, value_name = "KEY", help_heading = "Identity")]
    pub room_user: Option<String>,

    /// Origin of pages that may ask beside our own, such as `https://example.com` or `https://*.example.com`, or * for any; may
    /// be repeated
    #[arg(long, value_name = "ORIGIN", help_heading = "Identity")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub allow_origin: Vec<String>,

    /// Let those ask who name no origin, as programs other than browsers do [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Identity")]
    pub allow_missing_origin: Option<bool>,

    /// Connections at once of one address, or of one /64 of IPv6; 0 = any number [default: 0]
    #[arg(long, value_name = "N", help_heading = "Identity")]
    pub max_connections_per_address: Option<u32>,

    /// Connections a second of one address, ten times as many at once; 0 = any number [default: 0]
    #[arg(long, value_name = "N", help_heading = "Identity")]
    pub max_handshakes_per_address: Option<u32>,

    /// Network of proxies that may say whose a connection is, by X-Forwarded-For, Forwarded or the PROXY protocol; may be repeated
    #[arg(long, value_name = "NETWORK", help_heading = "Identity")]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub trusted_proxy: Vec<String>,

    /// Connections begin with the PROXY protocol, version 1 or 2 [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Identity")]
    pub proxy_protocol: Option<bool>,

    /// Publish a recorded CSV file, plain or gzip, or "builtin": daily prices of five stocks. A file in order
    /// of time is streamed, any other is read into memory whole and sorted
    #[arg(long, value_name = "FILE.csv|builtin", help_heading = "Feeds")]
    pub replay: Option<String>,

    /// Column whose value is a row's topic; found by name when not given
    #[arg(long, value_name = "NAME", help_heading = "Feeds")]
    pub topic_column: Option<String>,

    /// Column whose value is a row's time; found by name or looks when not given
    #[arg(long, value_name = "NAME", help_heading = "Feeds")]
    pub time_column: Option<String>,

    /// Text before every topic of the replay
    #[arg(long, value_name = "TEXT", help_heading = "Feeds")]
    pub topic_prefix: Option<String>,

    /// Recorded seconds in a second; 86400 plays one day a second [default: 1]
    #[arg(long, value_name = "FACTOR", help_heading = "Feeds")]
    pub speed: Option<f64>,

    /// Begin the replay again after its last row [default: false]
    #[arg(long = "loop", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Feeds")]
    #[serde(rename = "loop")]
    pub repeat: Option<bool>,

    /// Publish a simulated market of so many symbols
    #[arg(long, value_name = "SYMBOLS", help_heading = "Feeds")]
    pub sim: Option<u32>,

    /// What the simulated market's random numbers start from [default: 1]
    #[arg(long, value_name = "N", help_heading = "Feeds")]
    pub sim_seed: Option<u64>,

    /// Updates a second of the simulated market, all symbols together; twice its symbols when not given
    #[arg(long, value_name = "N", help_heading = "Feeds")]
    pub sim_rate: Option<f64>,

    /// Largest payload of one frame from a client [default: 64k]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_frame_bytes: Option<Bytes>,

    /// Largest message from a client, all its fragments together [default: 1m]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_message_bytes: Option<Bytes>,

    /// Largest body of an HTTP request [default: 4m]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_body_bytes: Option<Bytes>,

    /// Largest value that may be published, whatever it is wrapped in [default: 1m]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_payload_bytes: Option<Bytes>,

    /// Commands a second of one connection, publishes not counted; ten times as many may come at once; 0 = any number
    /// [default: 100]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_commands_per_s: Option<u32>,

    /// Publishes a second of one connection; ten times as many may come at once; 0 = any number [default: 0]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_publishes_per_s: Option<u32>,

    /// Pings a second of one connection that are answered; ten times as many may come at once; 0 = any number [default: 20]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_pings_per_s: Option<u32>,

    /// Fragments a message may come in; 0 = any number [default: 128]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_fragments: Option<u32>,

    /// Subscriptions of one connection [default: 1024]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_subscriptions: Option<u32>,

    /// Topics of the whole server [default: 1000000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_topics: Option<u32>,

    /// Idempotency keys that each shard remembers for the topics it owns; 0 = none [default: 4096]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_keys: Option<u32>,

    /// How long an idempotency key is remembered at most [default: 5m]
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    pub key_age: Option<Millis>,

    /// Different filters that the connections of one shard may have between them [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_filters: Option<u32>,

    /// Different filters of one shard's connections that may cover one topic; those of up to five segments cannot have more than the
    /// default [default: 64]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_filters_per_topic: Option<u32>,

    /// Topics that a filter may cover when it is subscribed to [default: 50000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_filter_topics: Option<u32>,

    /// Values that the server keeps: the last of every topic, and history, each with all forms that it may be sent in. The oldest
    /// history goes first; what then still has no room is refused [default: 2g]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_kept_bytes: Option<Bytes>,

    /// Updates that are kept behind a topic's last value, for subscribers that resume; the first rule that covers a topic
    /// holds; may be repeated
    #[arg(
        long,
        value_name = "TOPICS,count=N[,bytes=SIZE][,age=DURATION]",
        help_heading = "History"
    )]
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub history: Vec<History>,

    /// The same count for all topics that no rule covers [default: 0]
    #[arg(long, value_name = "N", help_heading = "History")]
    pub history_count: Option<u32>,

    /// Output that may wait for one connection before its updates are conflated, or it is closed [default: 1m]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_outbox_bytes: Option<Bytes>,

    /// Compress messages for clients that offer it (permessage-deflate), each once for all who get it [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Delivery")]
    pub compress: Option<bool>,

    /// The shortest message that is compressed [default: 256]
    #[arg(long, value_name = "SIZE", help_heading = "Delivery")]
    pub compress_threshold: Option<Bytes>,

    /// Clients that may keep their context from one compressed message to the next; each costs the server some 50 KB [default: 0]
    #[arg(long, value_name = "N", help_heading = "Delivery")]
    pub compress_contexts: Option<u32>,

    /// Write updates at most once in so many microseconds: fewer writes for a later arrival; up to 1000000 [default: 0]
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Delivery")]
    pub flush_interval_us: Option<u32>,

    /// Largest head of an HTTP request [default: 16k]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_head_bytes: Option<Bytes>,

    /// From accepting a connection to the end of its request head [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub handshake_timeout: Option<Millis>,

    /// From the end of a request's head to the end of its body [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub body_timeout: Option<Millis>,

    /// How long a connection may wait between two HTTP requests [default: 75s]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub keep_alive_timeout: Option<Millis>,

    /// How long a long poll may wait at most [default: 1m]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub max_wait: Option<Millis>,

    /// A connection silent for so long is sent a ping; 0 = never [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub ping_interval: Option<Millis>,

    /// A connection silent for so long is closed; 0 = never [default: 75s]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub idle_timeout: Option<Millis>,

    /// A /ws connection sent nothing for so long gets a heartbeat; 0 = never [default: 15s]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub heartbeat: Option<Millis>,

    /// A connection whose newest values wait for so long is closed as too slow [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub slow_timeout: Option<Millis>,

    /// How long a close handshake may take [default: 2s]
    #[arg(long, value_name = "DURATION", help_heading = "Timeouts")]
    pub close_timeout: Option<Millis>,

    /// How log lines look, on standard error [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = "Log")]
    pub log_format: Option<LogFormat>,

    /// What is logged: this and everything graver [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = "Log")]
    pub log_level: Option<LogLevel>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line of text, for people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// From what gravity on something is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What made the server fail.
    Error,
    /// What an operator should look into.
    Warn,
    /// Start, stop, feeds.
    #[default]
    Info,
    /// Single connections.
    Debug,
    /// Everything.
    Trace,
}

/// `listen = "…"` as well as `listen = ["…", "…"]`.
fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    use serde::de::{IntoDeserializer as _, SeqAccess, Visitor};

    struct OneOrMany<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("text in quotes or a list of such texts")
        }

        fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Vec<T>, E> {
            T::deserialize(one.into_deserializer()).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut many: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = many.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_any(OneOrMany(std::marker::PhantomData))
}

#[cfg(test)]
impl Options {
    /// What `fanfare serve` with these flags would read.
    pub(super) fn from_flags(flags: &[&str]) -> Options {
        use clap::FromArgMatches as _;

        let command = Options::augment_args(clap::Command::new("serve"));
        let arguments = std::iter::once("serve").chain(flags.iter().copied());
        let matches = command.try_get_matches_from(arguments);
        Options::from_arg_matches(&matches.expect("flags that exist")).expect("values that fit")
    }
}
