//! Compressed messages of a link (RFC 7692). A thread has one inflater for all its links, unless their server keeps its context
//! from one message to the next: then each has its own, some 50 KB.

use super::Link;
use crate::target::Compression;
use fanfare_wire::deflate::{Agreement, ClientWindow, Deflater, Inflater, Offer, WINDOW_BITS_MAX};
use fanfare_wire::frame::{self, Opcode};
use std::cell::RefCell;

/// What every link offers that compresses at all: no context of the server, for the sake of memory, and none of ours.
const OFFER: Offer = Offer {
    server_no_context: true,
    client_no_context: true,
    server_window_bits: None,
    client_window: ClientWindow::Any,
};

/// What is offered, if anything.
pub(super) fn offer(compression: Compression) -> Option<Offer> {
    (compression != Compression::Off).then_some(OFFER)
}

thread_local! {
    static INFLATER: RefCell<Inflater> = RefCell::default();
    static DEFLATER: RefCell<Deflater> = RefCell::new(Deflater::new(6));
}

/// The link's own inflater, if it needs one.
pub(super) fn inflater(agreement: &Agreement) -> Option<Box<Inflater>> {
    (!agreement.server_no_context).then(|| Box::new(Inflater::with_context()))
}

impl Link {
    /// Whether compression was agreed on.
    pub fn is_compressed(&self) -> bool {
        self.window_bits > 0
    }

    /// What inflates the messages of a link with compression, until it is taken back.
    pub(super) fn lend_inflater(&mut self) -> Option<Inflater> {
        if !self.is_compressed() {
            return None;
        }
        let own = (self.cold.as_mut()).and_then(|cold| cold.inflater.as_deref_mut());
        Some(own.map_or_else(|| INFLATER.take(), std::mem::take))
    }

    pub(super) fn take_inflater_back(&mut self, lent: Option<Inflater>) {
        let Some(inflater) = lent else {
            return;
        };
        match (self.cold.as_mut()).and_then(|cold| cold.inflater.as_deref_mut()) {
            Some(own) => *own = inflater,
            None => {
                INFLATER.set(inflater);
            }
        }
    }

    /// Appends a message to what waits, compressed if that was agreed on and makes it shorter. We compress with the largest
    /// window, so where the server has asked for a smaller one, only what does not reach beyond that.
    pub fn queue_message(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut deflated = Vec::new();
        let reaches = self.window_bits == WINDOW_BITS_MAX || payload.len() <= 1 << self.window_bits;
        let pays = self.is_compressed()
            && reaches
            && DEFLATER.with_borrow_mut(|deflater| deflater.deflate(payload, &mut deflated));
        if !pays {
            return self.queue(opcode, payload);
        }
        let key = fastrand::u32(..).to_ne_bytes();
        let out = &mut self.cold.get_or_insert_default().out;
        frame::put_masked_deflated_frame(out, opcode, key, &deflated);
    }
}
