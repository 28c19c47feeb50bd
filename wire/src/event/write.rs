//! Events as JSON text. Every function appends one message to `out`, its keys in the order of the
//! protocol.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{DataKind, Encoding, GapWhy, Granted, Hello, Recovered, SkipWhy, TopicFault};
use crate::code::ErrorCode;
use crate::command::{Id, Options};
use crate::json::{put_escaped, put_i64, put_string, put_u64};

/// Appends `{"type":"update","topic":…,"seq":…,"ts":…,"data":…}`. `data` is JSON and spliced byte
/// for byte, or is made a string as `encoding` says; text that is not UTF-8 gets replacement
/// characters. `ts_us` is microseconds since 1970.
pub fn put_data(
    out: &mut Vec<u8>,
    kind: DataKind,
    topic: &str,
    seq: u64,
    ts_us: i64,
    encoding: Encoding,
    data: &[u8],
) {
    begin(out, kind.name());
    string(out, "topic", topic);
    unsigned(out, "seq", seq);
    signed(out, "ts", ts_us);
    if encoding != Encoding::Json {
        string(out, "encoding", encoding.name());
    }
    key(out, "data");
    match encoding {
        Encoding::Json => out.extend_from_slice(data),
        Encoding::Text => put_text(out, data),
        Encoding::Base64 => put_base64(out, data),
    }
    end(out);
}

/// Appends the first frame of a connection.
pub fn put_hello(out: &mut Vec<u8>, hello: &Hello<'_>) {
    begin(out, "hello");
    unsigned(out, "version", 1);
    string(out, "conn", hello.conn);
    signed(out, "time", hello.time_us);
    unsigned(out, "heartbeat_s", u64::from(hello.heartbeat_s));
    string(out, "auth", hello.auth);
    out.extend_from_slice(br#","limits":{"subscriptions":"#);
    put_u64(out, u64::from(hello.subscriptions));
    unsigned(out, "frame_bytes", hello.frame_bytes);
    unsigned(out, "commands_per_s", u64::from(hello.commands_per_s));
    end(out);
    end(out);
}

/// Appends `{"type":"ok",…}`.
pub fn put_ok(out: &mut Vec<u8>, id: Option<Id<'_>>) {
    begin(out, "ok");
    put_id(out, id);
    end(out);
}

/// Appends `{"type":"error",…}`.
pub fn put_error(out: &mut Vec<u8>, id: Option<Id<'_>>, code: ErrorCode, message: &str) {
    begin(out, "error");
    put_id(out, id);
    unsigned(out, "code", u64::from(code.number()));
    string(out, "name", code.name());
    string(out, "message", message);
    end(out);
}

/// The same with `"retry_ms":…` at its end: after so many milliseconds the command may be tried again.
pub fn put_retry_error(
    out: &mut Vec<u8>,
    id: Option<Id<'_>>,
    code: ErrorCode,
    message: &str,
    retry_ms: u64,
) {
    put_error(out, id, code, message);
    // Its closing brace.
    out.pop();
    unsigned(out, "retry_ms", retry_ms);
    end(out);
}

/// Appends `{"type":"closed",…}`: what a stream of events ends with where a WebSocket is closed with a code.
pub fn put_closed(out: &mut Vec<u8>, code: u16, message: &str) {
    begin(out, "closed");
    unsigned(out, "code", u64::from(code));
    string(out, "message", message);
    end(out);
}

/// Appends `{"type":"heartbeat","time":…}`.
pub fn put_heartbeat(out: &mut Vec<u8>, time_us: i64) {
    begin(out, "heartbeat");
    signed(out, "time", time_us);
    end(out);
}

/// Appends `{"type":"pong",…}`; `ts` is the raw JSON number of the ping.
pub fn put_pong(out: &mut Vec<u8>, id: Option<Id<'_>>, ts: Option<&str>, time_us: i64) {
    begin(out, "pong");
    put_id(out, id);
    if let Some(ts) = ts {
        key(out, "ts");
        out.extend_from_slice(ts.as_bytes());
    }
    signed(out, "time", time_us);
    end(out);
}

/// Appends the answer to an `unsubscribe`: how many subscriptions ended.
pub fn put_unsubscribed(out: &mut Vec<u8>, id: Option<Id<'_>>, count: usize) {
    begin(out, "unsubscribed");
    put_id(out, id);
    unsigned(out, "count", count as u64);
    end(out);
}

/// Appends the answer to a `publish`.
pub fn put_published(out: &mut Vec<u8>, id: Option<Id<'_>>, topic: &str, epoch: &str, seq: u64) {
    begin(out, "published");
    put_id(out, id);
    put_position(out, ',', topic, epoch, seq);
    end(out);
}

/// Appends `{"type":"skip",…}`: the seqs `from` to `to`, both included, were conflated away.
pub fn put_skip(out: &mut Vec<u8>, topic: &str, from: u64, to: u64, why: SkipWhy) {
    begin(out, "skip");
    string(out, "topic", topic);
    unsigned(out, "from", from);
    unsigned(out, "to", to);
    string(out, "why", why.name());
    end(out);
}

/// Appends `{"type":"gap",…}`: what came from seq `from` on is lost; the topic goes on in `epoch`.
pub fn put_gap(out: &mut Vec<u8>, topic: &str, from: u64, why: GapWhy, epoch: &str) {
    begin(out, "gap");
    string(out, "topic", topic);
    unsigned(out, "from", from);
    string(out, "why", why.name());
    string(out, "epoch", epoch);
    end(out);
}

/// Appends the answer to a `subscribe`; `errors` are left out when there are none.
pub fn put_subscribed<'t>(
    out: &mut Vec<u8>,
    id: Option<Id<'_>>,
    lines: impl Iterator<Item = Granted<'t>>,
    errors: &[TopicFault<'_>],
) {
    begin(out, "subscribed");
    put_id(out, id);
    list(out, "topics", lines, |out, line| {
        let topic = match line {
            Granted::Topic(topic) => topic,
            Granted::Filter { filter, matched } => {
                out.extend_from_slice(br#"{"topic":"#);
                put_string(out, filter);
                unsigned(out, "matched", matched);
                return end(out);
            }
        };
        put_position(out, '{', topic.topic, topic.epoch, topic.seq);
        if let Some(alias) = topic.alias {
            unsigned(out, "alias", u64::from(alias));
        }
        match topic.recovered {
            None => {}
            Some(Recovered::None) => string(out, "recovered", "none"),
            Some(Recovered::Full(count)) => {
                string(out, "recovered", "full");
                unsigned(out, "count", count);
            }
        }
        end(out);
    });
    put_errors(out, errors);
    end(out);
}

/// Appends the answer to a `check`: name, epoch and seq of each topic.
pub fn put_state<'t>(
    out: &mut Vec<u8>,
    id: Option<Id<'_>>,
    topics: impl Iterator<Item = (&'t str, &'t str, u64)>,
    errors: &[TopicFault<'_>],
) {
    begin(out, "state");
    put_id(out, id);
    list(out, "topics", topics, |out, (topic, epoch, seq)| {
        put_position(out, '{', topic, epoch, seq);
        end(out);
    });
    put_errors(out, errors);
    end(out);
}

/// Appends the answer to a `list`: each subscription with the options that were given.
pub fn put_subscriptions<'t>(
    out: &mut Vec<u8>,
    id: Option<Id<'_>>,
    topics: impl Iterator<Item = (&'t str, &'t Options)>,
) {
    begin(out, "subscriptions");
    put_id(out, id);
    list(out, "topics", topics, |out, (topic, options)| {
        out.extend_from_slice(br#"{"topic":"#);
        put_string(out, topic);
        put_options(out, options);
        end(out);
    });
    end(out);
}

/// Appends the notice that the server will be emptied in `in_ms`, and within which bounds, in
/// milliseconds, a client should wait before it reconnects.
pub fn put_notice_drain(out: &mut Vec<u8>, in_ms: u32, reconnect_ms: (u32, u32)) {
    begin(out, "notice");
    string(out, "kind", "drain");
    unsigned(out, "in_ms", u64::from(in_ms));
    key(out, "reconnect_ms");
    out.push(b'[');
    put_u64(out, u64::from(reconnect_ms.0));
    out.push(b',');
    put_u64(out, u64::from(reconnect_ms.1));
    out.push(b']');
    end(out);
}

/// Appends the notice that the client's token ends soon: a new one is to be brought by `auth`.
pub fn put_notice_expiry(out: &mut Vec<u8>, in_ms: u64) {
    begin(out, "notice");
    string(out, "kind", "token_expires");
    unsigned(out, "in_ms", in_ms);
    end(out);
}

fn put_options(out: &mut Vec<u8>, options: &Options) {
    if let Some(snapshot) = options.snapshot {
        key(out, "snapshot");
        out.extend_from_slice(if snapshot { b"true" } else { b"false" });
    }
    if let Some(mode) = options.mode {
        string(out, "mode", mode.name());
    }
    if let Some(on_slow) = options.on_slow {
        string(out, "on_slow", on_slow.name());
    }
    if let Some(ms) = options.min_interval_ms {
        unsigned(out, "min_interval_ms", u64::from(ms));
    }
    if let Some(ms) = options.max_stale_ms {
        unsigned(out, "max_stale_ms", u64::from(ms));
    }
}

fn put_errors(out: &mut Vec<u8>, errors: &[TopicFault<'_>]) {
    if errors.is_empty() {
        return;
    }
    list(out, "errors", errors.iter(), |out, fault| {
        out.extend_from_slice(br#"{"topic":"#);
        put_string(out, fault.topic);
        unsigned(out, "code", u64::from(fault.code.number()));
        string(out, "message", fault.message);
        end(out);
    });
}

/// Appends `"topic":…,"epoch":…,"seq":…` behind `before`.
fn put_position(out: &mut Vec<u8>, before: char, topic: &str, epoch: &str, seq: u64) {
    out.push(before as u8);
    out.extend_from_slice(br#""topic":"#);
    put_string(out, topic);
    string(out, "epoch", epoch);
    unsigned(out, "seq", seq);
}

fn put_text(out: &mut Vec<u8>, data: &[u8]) {
    out.push(b'"');
    for chunk in data.utf8_chunks() {
        put_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn put_base64(out: &mut Vec<u8>, data: &[u8]) {
    /// A multiple of 3, so that only the last piece is padded.
    const PIECE_BYTES: usize = 768;
    let mut buffer = [0; PIECE_BYTES / 3 * 4];
    out.push(b'"');
    for piece in data.chunks(PIECE_BYTES) {
        // Cannot fail: the buffer holds the longest piece. Were it to, the piece is left out.
        if let Ok(bytes) = STANDARD.encode_slice(piece, &mut buffer) {
            out.extend_from_slice(&buffer[..bytes]);
        }
    }
    out.push(b'"');
}

fn begin(out: &mut Vec<u8>, kind: &str) {
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
}

fn end(out: &mut Vec<u8>) {
    out.push(b'}');
}

fn put_id(out: &mut Vec<u8>, id: Option<Id<'_>>) {
    if let Some(id) = id {
        key(out, "id");
        out.extend_from_slice(id.0.as_bytes());
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn string(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    put_string(out, value);
}

fn unsigned(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    put_u64(out, value);
}

fn signed(out: &mut Vec<u8>, name: &str, value: i64) {
    key(out, name);
    put_i64(out, value);
}

fn list<T>(
    out: &mut Vec<u8>,
    name: &str,
    items: impl Iterator<Item = T>,
    put: impl Fn(&mut Vec<u8>, T),
) {
    key(out, name);
    out.push(b'[');
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put(out, item);
    }
    out.push(b']');
}
