//! Compressed messages of clients and for them (RFC 7692).
//!
//! The server begins each of its messages anew, and asks the same of clients: so a shard inflates everything with one
//! inflater, and a connection that is idle keeps nothing. If the operator allows some contexts, those who come first and want to keep one
//! get an inflater of their own.

use fanfare_wire::deflate::{Agreement, Inflater, Terms, WINDOW_BITS_MAX};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::Extension;

use super::Engine;
use super::conn::{Cold, flag};
use super::settings::Compression;
use crate::hub::deflate;
use crate::ledger::Ledger;

/// The inflaters of a shard.
#[derive(Debug)]
pub(super) struct Inflaters {
    /// For everybody who keeps no context.
    shared: Inflater,
    /// Connections that have one of their own, and how many may.
    own: u32,
    own_max: u32,
}

impl Inflaters {
    /// The shards of a server share the contexts it allows.
    pub(super) fn new(compression: Compression, shards: u16) -> Inflaters {
        Inflaters {
            shared: Inflater::new(),
            own: 0,
            own_max: compression.contexts_max.div_ceil(shards.into()),
        }
    }

    /// A connection is gone.
    pub(super) fn take_back(&mut self, cold: Option<Box<Cold>>) {
        if cold.is_some_and(|cold| cold.inflater.is_some()) {
            self.own -= 1;
        }
    }

    /// How many connections have one of their own.
    #[cfg(test)]
    pub(super) fn own(&self) -> usize {
        self.own as usize
    }

    /// Adds what they hold.
    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        ledger.buffer_bytes += self.shared.held_bytes() as u64;
    }
}

impl Engine {
    /// What is agreed to of what a client offers, if anything.
    pub(super) fn choose_compression(&self, offered: &[Extension<'_>]) -> Option<Agreement> {
        if self.settings.compression.threshold.is_never() {
            return None;
        }
        let terms = Terms {
            client_context: self.inflaters.own < self.inflaters.own_max,
            // A smaller window would take as much memory here.
            client_window_bits: WINDOW_BITS_MAX,
        };
        terms.choose(offered)
    }

    /// From now on messages may be compressed as agreed.
    pub(super) fn begin_compression(&mut self, index: u32, agreement: &Agreement) {
        let conn = &mut self.outlet.conns[index as usize];
        conn.flags |= flag::DEFLATE;
        if !agreement.client_no_context {
            let cold = conn.cold.get_or_insert_default();
            cold.inflater = Some(Box::new(Inflater::with_context()));
            self.inflaters.own += 1;
        }
        if let Ok(bytes) = u32::try_from(agreement.server_message_bytes_max()) {
            conn.flags |= flag::NARROW;
            conn.cold.get_or_insert_default().deflate_bytes_max = bytes;
        }
    }

    /// What inflates the connection's messages, until it is [taken back](Engine::take_inflater_back); `None` if they are not
    /// compressed.
    pub(super) fn lend_inflater(&mut self, index: u32) -> Option<Inflater> {
        let conn = &mut self.outlet.conns[index as usize];
        if !conn.deflates() {
            return None;
        }
        let own = (conn.cold.as_mut()).and_then(|cold| cold.inflater.as_deref_mut());
        Some(std::mem::take(own.unwrap_or(&mut self.inflaters.shared)))
    }

    pub(super) fn take_inflater_back(&mut self, index: u32, lent: Option<Inflater>) {
        let Some(mut inflater) = lent else {
            return;
        };
        inflater.relax();
        let conn = &mut self.outlet.conns[index as usize];
        let own = (conn.cold.as_mut()).and_then(|cold| cold.inflater.as_deref_mut());
        *own.unwrap_or(&mut self.inflaters.shared) = inflater;
    }

    /// Queues a message of the connection's own, compressed if that was agreed to and makes it shorter.
    pub(super) fn push_message(&mut self, index: u32, opcode: Opcode, message: &[u8]) {
        self.frame.clear();
        let conn = &self.outlet.conns[index as usize];
        let threshold = self.settings.compression.threshold;
        let is_deflated = conn.may_deflate(message.len())
            && deflate::put_frame(&mut self.frame, opcode, message, threshold);
        if !is_deflated {
            frame::put_frame(&mut self.frame, opcode, message);
        }
        self.outlet.push_own(index, &self.frame);
    }
}
