//! An echo load: every connection has one message under way, and says it again as soon as it is
//! back. What comes back is compared byte for byte with what was said.

use crate::clock;
use crate::latency::Latency;
use crate::link::Link;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::reader::Item;
use std::collections::HashMap;

/// The message, and the books.
#[derive(Debug)]
pub(super) struct Echo {
    message: Vec<u8>,
    /// The message as a frame, masked once: the mask is the client's work, which is not measured.
    frame: Vec<u8>,
    /// When each connection said it last.
    said_ns: HashMap<u32, u64>,
    /// Messages that came back as they were said.
    pub(super) returned: u64,
    /// Messages that came back altered.
    pub(super) altered: u64,
    /// There and back.
    pub(super) round_trip: Latency,
}

impl Echo {
    /// A message of so many bytes.
    pub(super) fn new(bytes: usize) -> Echo {
        // Letters, so that a server that takes text alone can have it; no two places alike for long.
        let letter = |place: usize| b'a' + ((place / 7 + place * place) % 26) as u8;
        let message: Vec<u8> = (0..bytes).map(letter).collect();
        let mut whole = Vec::new();
        frame::put_masked_frame(&mut whole, Opcode::Text, [0x37, 0xfa, 0x21, 0x3d], &message);
        Echo {
            message,
            frame: whole,
            said_ns: HashMap::new(),
            returned: 0,
            altered: 0,
            round_trip: Latency::default(),
        }
    }

    /// Says it; the link is to be flushed.
    pub(super) fn say(&mut self, slot: u32, link: &mut Link) {
        self.said_ns.insert(slot, clock::monotonic_ns());
        link.queue_made(&self.frame);
    }

    /// Something has come back; returns whether it is time to say it again.
    pub(super) fn on_message(&mut self, slot: u32, message: Item<'_>, at_ns: u64) -> bool {
        let Item::Text(text) = message else {
            self.altered += 1;
            return true;
        };
        if text.as_bytes() == self.message {
            self.returned += 1;
        } else {
            self.altered += 1;
        }
        match self.said_ns.remove(&slot) {
            Some(said_ns) => {
                self.round_trip.record_between(said_ns, at_ns);
                true
            }
            // It had not been said: nothing is under way that this could be.
            None => {
                self.altered += 1;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_compared_with_what_was_said() {
        let mut echo = Echo::new(300);
        let text = String::from_utf8(echo.message.clone()).unwrap();
        let cut = &text[1..];
        echo.said_ns.insert(3, 10);
        assert!(echo.on_message(3, Item::Text(&text), 25));
        assert_eq!((echo.returned, echo.altered), (1, 0));
        // Again, although it was said once.
        assert!(!echo.on_message(3, Item::Text(&text), 26));
        assert_eq!(echo.altered, 1);
        echo.said_ns.insert(3, 30);
        assert!(echo.on_message(3, Item::Text(cut), 35));
        assert_eq!((echo.returned, echo.altered), (2, 2));
        assert_eq!(echo.round_trip.quantiles().count, 2);
    }
}
