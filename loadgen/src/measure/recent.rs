//! Messages that were read a moment ago, and the update that each of them brought. A broadcast brings
//! the same bytes to thousands of subscribers; comparing them takes a tenth of the time that it takes
//! to read them again, so that more of the core is left for receiving.
//!
//! Nothing is assumed: the whole message is compared, and what differs in one byte is read.

use super::account::Update;

/// More than are under way in any load; a power of two.
const PLACES: usize = 4096;
/// The part of a message that decides its place: updates differ before their filling begins.
const HASHED_BYTES: usize = 128;
/// Longer messages are not kept: reading them is little beside copying them from the socket.
const BYTES_MAX: usize = 1024;

/// The messages, each in the one place where it can be.
#[derive(Debug)]
pub(super) struct Recent {
    places: Box<[Place]>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    /// Empty: nothing is kept here.
    message: Vec<u8>,
    update: Update,
}

impl Recent {
    /// Nothing read yet.
    pub(super) fn new() -> Recent {
        Recent {
            places: vec![Place::default(); PLACES].into_boxed_slice(),
        }
    }

    /// The update that just this message brought before.
    pub(super) fn find(&self, message: &[u8]) -> Option<Update> {
        let place = &self.places[place_of(message)];
        (place.message == message && !message.is_empty()).then_some(place.update)
    }

    /// This message brings this update and says nothing else.
    pub(super) fn keep(&mut self, message: &[u8], update: Update) {
        if message.len() > BYTES_MAX {
            return;
        }
        let place = &mut self.places[place_of(message)];
        place.message.clear();
        place.message.extend_from_slice(message);
        place.update = update;
    }
}

/// Two lanes, so that one multiplication need not wait for the other (the mixing of FxHash).
fn place_of(message: &[u8]) -> usize {
    const FACTOR: u64 = 0x517c_c1b7_2722_0a95;
    let mix = |lane: u64, word: u64| (lane.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let hashed = &message[..message.len().min(HASHED_BYTES)];
    let (pairs, rest) = hashed.as_chunks::<16>();
    let mut lanes = [message.len() as u64, 0];
    for pair in pairs {
        let both = u128::from_le_bytes(*pair);
        lanes[0] = mix(lanes[0], both as u64);
        lanes[1] = mix(lanes[1], (both >> 64) as u64);
    }
    for byte in rest {
        lanes[0] = mix(lanes[0], u64::from(*byte));
    }
    let hash = mix(lanes[0], lanes[1]);
    // The highest bits are the best mixed ones.
    (hash >> (u64::BITS - PLACES.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{self, Filling};

    fn message(number: u64, bytes: usize) -> (Vec<u8>, Update) {
        let mut message = Vec::new();
        let intended_ns = 1_000_000_000 + number;
        payload::write_numbered(&mut message, intended_ns, number, bytes, &Filling::Letter);
        let update = Update {
            number,
            intended_ns,
        };
        (message, update)
    }

    #[test]
    fn a_message_is_found_until_another_one_takes_its_place() {
        let mut recent = Recent::new();
        for number in 0..50_000 {
            let (message, update) = message(number, 100);
            assert_eq!(recent.find(&message), None, "{number}");
            recent.keep(&message, update);
            assert_eq!(recent.find(&message), Some(update), "{number}");
        }
    }

    #[test]
    fn one_byte_anywhere_makes_another_message() {
        let mut recent = Recent::new();
        let (message, update) = message(7, 300);
        recent.keep(&message, update);
        for at in 0..message.len() {
            let mut other = message.clone();
            other[at] ^= 1;
            assert_eq!(recent.find(&other), None, "byte {at}");
        }
        assert_eq!(recent.find(&message[..message.len() - 1]), None);
        assert_eq!(recent.find(&message), Some(update));
    }

    #[test]
    fn what_is_under_way_at_once_mostly_has_places_of_its_own() {
        let mut recent = Recent::new();
        let messages: Vec<_> = (0..100).map(|number| message(number, 100)).collect();
        for (message, update) in &messages {
            recent.keep(message, *update);
        }
        let found = messages
            .iter()
            .filter(|(message, update)| recent.find(message) == Some(*update));
        // By chance, 100 of 4,096 places collide about once.
        assert!(found.count() > 90);
    }

    #[test]
    fn nothing_and_long_messages_are_not_kept() {
        let mut recent = Recent::new();
        assert_eq!(recent.find(b""), None);
        let (message, update) = message(7, BYTES_MAX + 1);
        recent.keep(&message, update);
        assert_eq!(recent.find(&message), None);
    }
}
