//! Records as bytes. Every function appends one.

use super::{Data, GAP_WHYS, GapWhy, HEAD_BYTES, JSON, Kind, SKIP_WHYS, SkipWhy, number_of};

/// Appends a snapshot, history or update; its length is [`HEAD_BYTES`] and that of the payload.
pub fn put_data(out: &mut Vec<u8>, data: &Data<'_>) {
    let flags = if data.is_json { JSON } else { 0 };
    put_head(
        out,
        Kind::Data(data.kind),
        flags,
        data.alias,
        data.seq,
        data.ts_us,
    );
    out.extend_from_slice(data.payload);
}

/// Appends a skip: the seqs `from` to `to`, both included, were conflated away.
pub fn put_skip(out: &mut Vec<u8>, alias: u32, from: u64, to: u64, why: SkipWhy) {
    debug_assert!(1 <= from && from <= to, "a skip names at least one seq");
    put_head(out, Kind::Skip, 0, alias, from, 0);
    out.extend_from_slice(&to.to_le_bytes());
    out.push(number_of(&SKIP_WHYS, &why));
}

/// Appends a gap: what came from seq `from` on is lost; the topic goes on in `epoch`.
pub fn put_gap(out: &mut Vec<u8>, alias: u32, from: u64, why: GapWhy, epoch: &str) {
    put_head(out, Kind::Gap, 0, alias, from, 0);
    out.push(number_of(&GAP_WHYS, &why));
    out.extend_from_slice(epoch.as_bytes());
}

/// Appends an alias: from now on the number means the topic.
pub fn put_alias(out: &mut Vec<u8>, alias: u32, topic: &str) {
    put_head(out, Kind::Alias, 0, alias, 0, 0);
    out.extend_from_slice(topic.as_bytes());
}

fn put_head(out: &mut Vec<u8>, kind: Kind, flags: u8, alias: u32, seq: u64, ts_us: i64) {
    let mut head = [0; HEAD_BYTES];
    head[0] = kind.number();
    head[1] = flags;
    head[4..8].copy_from_slice(&alias.to_le_bytes());
    head[8..16].copy_from_slice(&seq.to_le_bytes());
    head[16..].copy_from_slice(&ts_us.to_le_bytes());
    out.extend_from_slice(&head);
}
