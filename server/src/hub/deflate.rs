//! Compressed frames (RFC 7692): made from plain ones, where that makes them shorter.
//!
//! Each message is compressed for itself, so what comes out depends on nothing but the message and serves every receiver
//! that has agreed to compression. A shard, which is a thread, has one compressor for all it makes.

use std::cell::RefCell;

use fanfare_wire::deflate::Deflater;
use fanfare_wire::frame::{self, Header, Opcode};

/// zlib's own choice: what is compressed once for all who get it may take its time.
const LEVEL: u32 = 6;

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::new(Compressor {
        deflater: Deflater::new(LEVEL),
        message: Vec::new(),
    });
}

#[cfg(test)]
thread_local! {
    /// How many messages this thread has compressed.
    pub(crate) static COMPRESSIONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

struct Compressor {
    deflater: Deflater,
    /// Where a message is put until its length is known.
    message: Vec<u8>,
}

/// How large a message must be to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold(u32);

impl Threshold {
    /// Nothing is compressed.
    pub const NEVER: Threshold = Threshold(u32::MAX);

    /// Messages of so many bytes and more are.
    #[must_use]
    pub fn from_bytes(bytes: u32) -> Threshold {
        Threshold(bytes.min(u32::MAX - 1))
    }

    /// Whether nothing is compressed.
    #[must_use]
    pub fn is_never(self) -> bool {
        self == Threshold::NEVER
    }

    /// That size; `None`: nothing is compressed.
    #[must_use]
    pub fn bytes(self) -> Option<u32> {
        (!self.is_never()).then_some(self.0)
    }

    fn covers(self, message_bytes: usize) -> bool {
        message_bytes >= self.0 as usize && !self.is_never()
    }
}

/// Appends a message as a compressed frame. False: it is shorter as it is, or too short to try; nothing is appended.
pub fn put_frame(out: &mut Vec<u8>, opcode: Opcode, message: &[u8], threshold: Threshold) -> bool {
    threshold.covers(message.len())
        && COMPRESSOR.with_borrow_mut(|compressor| {
            let deflated = &mut compressor.message;
            deflated.clear();
            #[cfg(test)]
            COMPRESSIONS.set(COMPRESSIONS.get() + 1);
            let pays = compressor.deflater.deflate(message, deflated);
            if pays {
                frame::put_deflated_frame(out, opcode, deflated);
            }
            pays
        })
}

/// The same frames with their messages compressed. `None`: none of them gets shorter. `plain` holds whole, unmasked frames
/// of messages in one piece each, as they are made here.
#[must_use]
pub fn frames(plain: &[u8], threshold: Threshold) -> Option<Box<[u8]>> {
    let mut out = Vec::new();
    let mut is_shorter = false;
    let mut rest = plain;
    while let Ok(Some((header, header_bytes))) = Header::decode(rest) {
        let (frame, behind) = rest.split_at(header_bytes + header.payload_bytes as usize);
        let message = &frame[header_bytes..];
        if put_frame(&mut out, header.opcode, message, threshold) {
            is_shorter = true;
        } else {
            out.extend_from_slice(frame);
        }
        rest = behind;
    }
    debug_assert!(rest.is_empty(), "frames are whole");
    is_shorter.then(|| out.into())
}

#[cfg(test)]
mod tests {
    use fanfare_wire::deflate::Inflater;
    use fanfare_wire::reader::{Item, Limits, Reader, Role};

    use super::*;

    /// The messages of these frames.
    fn read(frames: &[u8]) -> Vec<Vec<u8>> {
        let limits = Limits {
            role: Role::Client,
            frame_bytes_max: u64::MAX,
            message_bytes_max: usize::MAX,
            fragments_max: 1,
        };
        let mut bytes = frames.to_vec();
        let mut input = &mut bytes[..];
        let (mut reader, mut inflater) = (Reader::default(), Inflater::new());
        let mut messages = Vec::new();
        while let Some(item) = (reader.next_inflating(&limits, &mut input, &mut inflater)).unwrap()
        {
            messages.push(match item {
                Item::Text(text) => text.as_bytes().to_vec(),
                Item::Binary(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            });
        }
        messages
    }

    #[test]
    fn each_message_is_compressed_for_itself_if_it_gets_shorter() {
        let short = b"short".to_vec();
        let long = b"the same again, ".repeat(20);
        let mut plain = Vec::new();
        for message in [&short, &long] {
            frame::put_frame(&mut plain, Opcode::Binary, message);
        }
        for threshold in [0, 6, 320] {
            let made = frames(&plain, Threshold::from_bytes(threshold)).expect("one gets shorter");
            assert!(made.len() < plain.len() / 4);
            assert_eq!(made[..2 + short.len()], plain[..2 + short.len()]);
            assert_eq!(read(&made), [short.clone(), long.clone()]);
        }
        for threshold in [Threshold::from_bytes(321), Threshold::NEVER] {
            assert_eq!(frames(&plain, threshold), None);
        }
        assert_eq!(
            frames(&plain[..2 + short.len()], Threshold::from_bytes(0)),
            None
        );
    }

    #[test]
    fn never_is_never_whatever_the_length() {
        assert!(!Threshold::NEVER.covers(usize::MAX));
        assert!(Threshold::from_bytes(u32::MAX).covers(usize::MAX));
        assert!(Threshold::from_bytes(0).covers(0));
    }
}
