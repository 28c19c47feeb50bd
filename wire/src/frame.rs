//! Frame headers and whole frames (RFC 6455, section 5.2).
//!
//! [`Header::decode`] judges a header by itself: reserved bits, opcode, shortest length, the rules
//! for control frames. What depends on who sent it or on the frames before it (masks, continuation,
//! limits) is judged by [`crate::reader`]. The `put_*` functions append whole, unfragmented frames;
//! a server uses the unmasked ones, a client the masked one.

use crate::error::ProtocolError;
use crate::mask;

/// What a frame is for. The numbers are those on the wire.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// Goes on with the message begun before.
    Continuation = 0,
    /// Begins a message of UTF-8 text.
    Text = 1,
    /// Begins a message of bytes.
    Binary = 2,
    /// Ends the connection.
    Close = 8,
    /// Asks for a pong with the same payload.
    Ping = 9,
    /// Answers a ping, or is a sign of life.
    Pong = 10,
}

impl Opcode {
    /// Close, ping and pong: at most 125 bytes, never fragmented, allowed between the fragments of
    /// a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        self as u8 >= 8
    }

    fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return Err(ProtocolError::UnknownOpcode(bits)),
        })
    }
}

/// The longest header: 2 bytes, a 64-bit length, a mask.
pub const HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a close, ping or pong.
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// The message is compressed, if permessage-deflate was agreed on; a fault otherwise.
    pub rsv1: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The key its payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload that follow the header.
    pub payload_bytes: u64,
}

impl Header {
    /// Reads a header and its length in bytes off the front of `bytes`. `None`: more bytes are
    /// needed; a fault is reported as soon as its byte is there.
    ///
    /// # Errors
    /// RSV2 or RSV3, an unknown opcode, a length that is not minimal or has its top bit set, a
    /// control frame that is fragmented or longer than 125 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & RSV2_RSV3 != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0f)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(ProtocolError::ControlTooLong);
        }
        let Some((payload_bytes, rest)) = decode_length(short, &bytes[2..])? else {
            return Ok(None);
        };
        let (mask, rest) = match rest.split_first_chunk() {
            _ if second & MASKED == 0 => (None, rest),
            Some((key, rest)) => (Some(*key), rest),
            None => return Ok(None),
        };
        let header = Self {
            fin,
            rsv1: first & RSV1 != 0,
            opcode,
            mask,
            payload_bytes,
        };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Writes the header to the front of `out` and returns its length, 2 to 14 bytes.
    pub fn encode(&self, out: &mut [u8; HEADER_BYTES_MAX]) -> usize {
        debug_assert!(self.payload_bytes >> 63 == 0, "RFC 6455, section 5.2");
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        out[0] =
            self.opcode as u8 | if self.fin { FIN } else { 0 } | if self.rsv1 { RSV1 } else { 0 };
        let mut end = match self.payload_bytes {
            bytes @ 0..=125 => {
                out[1] = masked | bytes as u8;
                2
            }
            bytes @ 126..=0xffff => {
                out[1] = masked | LENGTH_16;
                out[2..4].copy_from_slice(&(bytes as u16).to_be_bytes());
                4
            }
            bytes => {
                out[1] = masked | LENGTH_64;
                out[2..10].copy_from_slice(&bytes.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.mask {
            out[end..end + 4].copy_from_slice(&key);
            end += 4;
        }
        end
    }
}

/// The payload's length and the bytes behind it, from the 7 bits of the second byte and what
/// follows that.
fn decode_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (length, rest, least) = match short {
        LENGTH_16 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest, 126),
            None => return Ok(None),
        },
        LENGTH_64 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest, 0x1_0000),
            None => return Ok(None),
        },
        short => (u64::from(short), rest, 0),
    };
    if length >> 63 != 0 {
        return Err(ProtocolError::LengthTopBit);
    }
    if length < least {
        return Err(ProtocolError::NonMinimalLength);
    }
    Ok(Some((length, rest)))
}

/// Appends the header of a final, unmasked frame.
pub fn put_header(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    put(out, opcode, payload_bytes);
}

/// Appends a whole unmasked frame, as a server sends it.
pub fn put_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    put(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a whole unmasked frame whose payload is a message compressed by
/// [`Deflater`](crate::deflate::Deflater).
pub fn put_deflated_frame(out: &mut Vec<u8>, opcode: Opcode, deflated: &[u8]) {
    put_any(out, opcode, None, true, deflated.len());
    out.extend_from_slice(deflated);
}

/// Appends a whole masked frame, as a client sends it. `key` should be unpredictable (section 5.3).
pub fn put_masked_frame(out: &mut Vec<u8>, opcode: Opcode, key: [u8; 4], payload: &[u8]) {
    put_masked(out, opcode, key, false, payload);
}

/// The same with a payload that is a compressed message.
pub fn put_masked_deflated_frame(out: &mut Vec<u8>, opcode: Opcode, key: [u8; 4], deflated: &[u8]) {
    put_masked(out, opcode, key, true, deflated);
}

fn put_masked(out: &mut Vec<u8>, opcode: Opcode, key: [u8; 4], rsv1: bool, payload: &[u8]) {
    put_any(out, opcode, Some(key), rsv1, payload.len());
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], key, 0);
}

fn put(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    put_any(out, opcode, None, false, payload_bytes);
}

fn put_any(
    out: &mut Vec<u8>,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    rsv1: bool,
    payload_bytes: usize,
) {
    debug_assert!(!opcode.is_control() || (payload_bytes <= CONTROL_BYTES_MAX && !rsv1));
    let header = Header {
        fin: true,
        rsv1,
        opcode,
        mask,
        payload_bytes: payload_bytes as u64,
    };
    let mut bytes = [0; HEADER_BYTES_MAX];
    let header_bytes = header.encode(&mut bytes);
    out.extend_from_slice(&bytes[..header_bytes]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProtocolError::*;

    fn header(opcode: Opcode, mask: Option<[u8; 4]>, payload_bytes: u64) -> Header {
        let (fin, rsv1) = (true, false);
        Header {
            fin,
            rsv1,
            opcode,
            mask,
            payload_bytes,
        }
    }

    #[test]
    fn every_form_of_length_is_written_in_its_shortest_form_and_read_back() {
        let table: &[(u64, &[u8])] = &[
            (0, &[0x82, 0]),
            (1, &[0x82, 1]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (
                i64::MAX as u64,
                &[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255],
            ),
        ];
        for &(payload_bytes, bytes) in table {
            let header = header(Opcode::Binary, None, payload_bytes);
            let mut out = [0; HEADER_BYTES_MAX];
            let header_bytes = header.encode(&mut out);
            assert_eq!(&out[..header_bytes], bytes);
            assert_eq!(Header::decode(bytes), Ok(Some((header, bytes.len()))));
        }
    }

    #[test]
    fn a_header_is_awaited_until_its_last_byte() {
        for payload_bytes in [0, 125, 126, 65_535, 65_536, 1 << 40] {
            let header = header(Opcode::Text, Some([1, 2, 3, 4]), payload_bytes);
            let mut out = [0; HEADER_BYTES_MAX];
            let header_bytes = header.encode(&mut out);
            for cut in 0..header_bytes {
                assert_eq!(
                    Header::decode(&out[..cut]),
                    Ok(None),
                    "{payload_bytes} at {cut}"
                );
            }
            assert_eq!(Header::decode(&out), Ok(Some((header, header_bytes))));
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_refused_at_the_first_byte_that_shows_it() {
        let table: &[(&[u8], ProtocolError)] = &[
            (&[0xa1], ReservedBits),
            (&[0x91], ReservedBits),
            (&[0xf1], ReservedBits),
            (&[0x83], UnknownOpcode(3)),
            (&[0x87], UnknownOpcode(7)),
            (&[0x8b], UnknownOpcode(11)),
            (&[0x8f], UnknownOpcode(15)),
            (&[0x08], FragmentedControl),
            (&[0x09], FragmentedControl),
            (&[0x0a], FragmentedControl),
            (&[0x88, 126], ControlTooLong),
            (&[0x89, 0x80 | 127], ControlTooLong),
            (&[0x81, 126, 0, 0], NonMinimalLength),
            (&[0x81, 126, 0, 125], NonMinimalLength),
            (&[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], NonMinimalLength),
            (&[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1], NonMinimalLength),
            (&[0x81, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], LengthTopBit),
            (
                &[0x81, 127, 0xff, 255, 255, 255, 255, 255, 255, 255],
                LengthTopBit,
            ),
        ];
        for &(bytes, fault) in table {
            assert_eq!(Header::decode(bytes), Err(fault), "{bytes:02x?}");
            assert_eq!(
                Header::decode(&bytes[..bytes.len() - 1]),
                Ok(None),
                "{bytes:02x?}"
            );
        }
    }

    #[test]
    fn rsv1_is_left_to_whoever_knows_the_extensions() {
        let (header, _) = Header::decode(&[0xc1, 0]).unwrap().unwrap();
        assert!(header.rsv1);
        let mut out = [0; HEADER_BYTES_MAX];
        assert_eq!(header.encode(&mut out), 2);
        assert_eq!(out[..2], [0xc1, 0]);
    }

    #[test]
    fn whole_frames_are_appended_behind_what_is_there() {
        let mut out = b"x".to_vec();
        put_frame(&mut out, Opcode::Text, b"Hello");
        assert_eq!(out, b"x\x81\x05Hello");
        put_header(&mut out, Opcode::Binary, 300);
        assert_eq!(out[8..], [0x82, 126, 1, 44]);
    }

    #[test]
    fn the_masked_example_of_the_rfc_is_written_as_it_says() {
        // RFC 6455, section 5.7.
        let mut out = Vec::new();
        put_masked_frame(&mut out, Opcode::Text, [0x37, 0xfa, 0x21, 0x3d], b"Hello");
        let expected = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(out, expected);
    }
}
