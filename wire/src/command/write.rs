//! Commands as JSON text, for clients. Each function appends one message to `out`, without a frame
//! header.

use super::{Options, Since};
use crate::json::{put_string, put_u64};

/// Appends `{"action":"subscribe",…}`; `since` holds for all of the topics.
pub fn put_subscribe(
    out: &mut Vec<u8>,
    id: Option<u64>,
    topics: &[&str],
    snapshot: Option<bool>,
    since: Option<&Since<'_>>,
) {
    begin(out, "subscribe", id);
    put_topics(out, topics);
    put_options(
        out,
        &Options {
            snapshot,
            ..Options::default()
        },
    );
    if let Some(since) = since {
        put_since(out, since);
    }
    out.push(b'}');
}

/// Appends `{"action":"subscribe",…}` with a position of its own for each topic that has one; `options`
/// hold for all of them.
pub fn put_subscribe_each<'t>(
    out: &mut Vec<u8>,
    id: Option<u64>,
    topics: impl Iterator<Item = (&'t str, Option<Since<'t>>)>,
    options: &Options,
) {
    begin(out, "subscribe", id);
    out.extend_from_slice(br#","topics":["#);
    for (at, (topic, since)) in topics.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match since {
            None => put_string(out, topic),
            Some(since) => {
                out.extend_from_slice(br#"{"topic":"#);
                put_string(out, topic);
                put_since(out, &since);
                out.push(b'}');
            }
        }
    }
    out.push(b']');
    put_options(out, options);
    out.push(b'}');
}

fn put_since(out: &mut Vec<u8>, since: &Since<'_>) {
    out.extend_from_slice(br#","since":{"epoch":"#);
    put_string(out, &since.epoch);
    out.extend_from_slice(br#","seq":"#);
    put_u64(out, since.seq);
    out.push(b'}');
}

fn put_options(out: &mut Vec<u8>, options: &Options) {
    if let Some(snapshot) = options.snapshot {
        out.extend_from_slice(if snapshot {
            br#","snapshot":true"#
        } else {
            br#","snapshot":false"#
        });
    }
    if let Some(mode) = options.mode {
        out.extend_from_slice(br#","mode":"#);
        put_string(out, mode.name());
    }
    if let Some(on_slow) = options.on_slow {
        out.extend_from_slice(br#","on_slow":"#);
        put_string(out, on_slow.name());
    }
    if let Some(interval_ms) = options.min_interval_ms {
        out.extend_from_slice(br#","min_interval_ms":"#);
        put_u64(out, interval_ms.into());
    }
    if let Some(stale_ms) = options.max_stale_ms {
        out.extend_from_slice(br#","max_stale_ms":"#);
        put_u64(out, stale_ms.into());
    }
}

/// Appends `{"action":"unsubscribe",…}`.
pub fn put_unsubscribe(out: &mut Vec<u8>, id: Option<u64>, topics: &[&str]) {
    begin(out, "unsubscribe", id);
    put_topics(out, topics);
    out.push(b'}');
}

/// Appends `{"action":"check",…}`.
pub fn put_check(out: &mut Vec<u8>, id: Option<u64>, topics: &[&str]) {
    begin(out, "check", id);
    put_topics(out, topics);
    out.push(b'}');
}

/// Appends `{"action":"publish",…}`; `data` must be JSON, and is spliced as it is.
pub fn put_publish(
    out: &mut Vec<u8>,
    id: Option<u64>,
    topic: &str,
    data: &[u8],
    key: Option<&str>,
) {
    begin(out, "publish", id);
    out.extend_from_slice(br#","topic":"#);
    put_string(out, topic);
    if let Some(key) = key {
        out.extend_from_slice(br#","key":"#);
        put_string(out, key);
    }
    out.extend_from_slice(br#","data":"#);
    out.extend_from_slice(data);
    out.push(b'}');
}

/// Appends `{"action":"ping",…}`; `ts` comes back in the pong.
pub fn put_ping(out: &mut Vec<u8>, id: Option<u64>, ts: Option<u64>) {
    begin(out, "ping", id);
    if let Some(ts) = ts {
        out.extend_from_slice(br#","ts":"#);
        put_u64(out, ts);
    }
    out.push(b'}');
}

fn begin(out: &mut Vec<u8>, action: &str, id: Option<u64>) {
    out.extend_from_slice(br#"{"action":""#);
    out.extend_from_slice(action.as_bytes());
    out.push(b'"');
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        put_u64(out, id);
    }
}

fn put_topics(out: &mut Vec<u8>, topics: &[&str]) {
    out.extend_from_slice(br#","topics":["#);
    for (at, topic) in topics.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_string(out, topic);
    }
    out.push(b']');
}
