//! Commands as JSON text, for clients. Each function appends one message to `out`, without a frame
//! header.

use super::Since;
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
    if let Some(snapshot) = snapshot {
        out.extend_from_slice(if snapshot {
            br#","snapshot":true"#
        } else {
            br#","snapshot":false"#
        });
    }
    if let Some(since) = since {
        out.extend_from_slice(br#","since":{"epoch":"#);
        put_string(out, &since.epoch);
        out.extend_from_slice(br#","seq":"#);
        put_u64(out, since.seq);
        out.push(b'}');
    }
    out.push(b'}');
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
