//! What concerns one subscriber alone, skips and gaps, as the door of its connection says it.
//!
//! Each function appends whole frames, or nothing: raw connections get payloads and nothing else. `text` is where JSON is put
//! together.

use fanfare_wire::binary;
use fanfare_wire::event::{self, GapWhy, SkipWhy};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::sse;

use super::conn::Door;
use crate::hub::update::{self, Update};

/// A topic by name and number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'t> {
    pub(super) topic: &'t str,
    pub(super) alias: u32,
}

impl<'t> Named<'t> {
    /// The topic of an update.
    pub(super) fn of(update: &'t Update) -> Named<'t> {
        Named {
            topic: &update.topic,
            alias: update.alias,
        }
    }
}

/// The seqs from the first to the last were left out. Where the first update is among them, so is the alias that it would
/// have brought, and it is told here.
pub(super) fn put_skip(
    out: &mut Vec<u8>,
    text: &mut Vec<u8>,
    door: Door,
    Named { topic, alias }: Named<'_>,
    (from, to): (u64, u64),
    why: SkipWhy,
) {
    match door {
        Door::Ws => {
            text.clear();
            event::put_skip(text, topic, from, to, why);
            frame::put_frame(out, Opcode::Text, text);
        }
        Door::Binary => {
            if from == 1 {
                update::put_alias(out, alias, topic);
            }
            frame::put_header(out, Opcode::Binary, binary::SKIP_BYTES);
            binary::put_skip(out, alias, from, to, why);
        }
        Door::Events | Door::MixedEvents => {
            text.clear();
            event::put_skip(text, topic, from, to, why);
            sse::put_event(out, text);
        }
        Door::Http | Door::Raw | Door::Room | Door::Echo | Door::Poll => {}
    }
}

/// What came from a seq on is lost; the topic goes on in `epoch`.
pub(super) fn put_gap(
    out: &mut Vec<u8>,
    text: &mut Vec<u8>,
    door: Door,
    Named { topic, alias }: Named<'_>,
    from: u64,
    why: GapWhy,
    epoch: &str,
) {
    match door {
        Door::Ws => {
            text.clear();
            event::put_gap(text, topic, from, why, epoch);
            frame::put_frame(out, Opcode::Text, text);
        }
        Door::Binary => {
            frame::put_header(out, Opcode::Binary, binary::GAP_BYTES + epoch.len());
            binary::put_gap(out, alias, from, why, epoch);
        }
        Door::Events | Door::MixedEvents => {
            text.clear();
            event::put_gap(text, topic, from, why, epoch);
            sse::put_event(out, text);
        }
        Door::Http | Door::Raw | Door::Room | Door::Echo | Door::Poll => {}
    }
}
