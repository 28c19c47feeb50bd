//! Messages that own what they say, and a reader fed with pieces.

use fanfare_wire::deflate::Inflater;
use fanfare_wire::error::ProtocolError;
use fanfare_wire::frame::{HEADER_BYTES_MAX, Header, Opcode};
use fanfare_wire::mask;
use fanfare_wire::reader::{Item, Limits, Reader, Role};

/// An [`Item`] that outlives the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Item<'_>> for Message {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Text(text) => Self::Text(text.to_owned()),
            Item::Binary(bytes) => Self::Binary(bytes.to_owned()),
            Item::Ping(bytes) => Self::Ping(bytes.to_owned()),
            Item::Pong(bytes) => Self::Pong(bytes.to_owned()),
            Item::Close(None) => Self::Close(None),
            Item::Close(Some(close)) => Self::Close(Some((close.code.0, close.reason.to_owned()))),
        }
    }
}

pub(crate) fn limits(role: Role) -> Limits {
    Limits {
        role,
        frame_bytes_max: 1 << 20,
        message_bytes_max: 1 << 20,
        fragments_max: 128,
    }
}

/// Everything a stream said before it ended or was refused.
pub(crate) type Outcome = (Vec<Message>, Option<ProtocolError>);

/// Reads `bytes` cut into pieces of the sizes in `pieces`, again and again; an empty list is one
/// piece.
pub(crate) fn read(bytes: &[u8], pieces: &[usize], limits: &Limits) -> Outcome {
    read_with(bytes, pieces, limits, None)
}

/// The same where permessage-deflate was agreed on.
#[allow(dead_code, reason = "not every test compresses")]
pub(crate) fn read_inflating(
    bytes: &[u8],
    pieces: &[usize],
    limits: &Limits,
    mut inflater: Inflater,
) -> Outcome {
    read_with(bytes, pieces, limits, Some(&mut inflater))
}

fn read_with(
    bytes: &[u8],
    pieces: &[usize],
    limits: &Limits,
    mut inflater: Option<&mut Inflater>,
) -> Outcome {
    let mut reader = Reader::default();
    let mut messages = Vec::new();
    let mut bytes = bytes.to_owned();
    let mut rest = &mut bytes[..];
    let mut sizes = pieces.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |&size| size.min(rest.len()));
        let (mut piece, behind) = rest.split_at_mut(size);
        rest = behind;
        loop {
            let outcome = match &mut inflater {
                Some(inflater) => reader.next_inflating(limits, &mut piece, inflater),
                None => reader.next(limits, &mut piece),
            };
            match outcome {
                Ok(Some(item)) => messages.push(item.into()),
                Ok(None) => break,
                Err(fault) => return (messages, Some(fault)),
            }
        }
        assert!(piece.is_empty(), "input was left over");
    }
    (messages, None)
}

/// Appends one frame, masked if there is a key.
pub(crate) fn put_fragment(
    out: &mut Vec<u8>,
    fin: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    payload: &[u8],
) {
    put_fragment_with(out, fin, false, opcode, mask, payload);
}

/// The same with the bit that says that the message is compressed.
pub(crate) fn put_fragment_with(
    out: &mut Vec<u8>,
    fin: bool,
    rsv1: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    payload: &[u8],
) {
    let header = Header {
        fin,
        rsv1,
        opcode,
        mask,
        payload_bytes: payload.len() as u64,
    };
    let mut bytes = [0; HEADER_BYTES_MAX];
    let header_bytes = header.encode(&mut bytes);
    out.extend_from_slice(&bytes[..header_bytes]);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        mask::apply(&mut out[start..], key, 0);
    }
}
