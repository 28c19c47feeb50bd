//! Any bytes, cut anywhere, say the same as in one piece; memory follows what has arrived; and what
//! was read is read again when it is written.
//!
//! The first eight bytes of the input choose role, limits and cuts, the rest is the stream.

#![no_main]

use fanfare_wire::error::ProtocolError;
use fanfare_wire::frame::{Opcode, put_frame};
use fanfare_wire::reader::{Item, Limits, Reader, Role};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, ref sizes @ ..], stream)) = data.split_first_chunk::<8>() else {
        return;
    };
    let limits = limits(choice);
    let at_once = read(stream, &[stream.len()], &limits);
    let sizes = sizes.map(|size| usize::from(size) + 1);
    assert_eq!(read(stream, &sizes, &limits), at_once);
    assert_eq!(read(stream, &[1], &limits), at_once);
    write_and_read_again(&at_once.0);
});

/// A message as opcode and payload; a close as the debug form of what it says.
type Message = (Opcode, Vec<u8>);

fn limits(choice: u8) -> Limits {
    let (frame_bytes_max, message_bytes_max) = match choice & 6 {
        0 => (u64::MAX, usize::MAX),
        2 => (u64::MAX, 300),
        _ => (100, 150),
    };
    Limits {
        role: if choice & 1 == 0 {
            Role::Server
        } else {
            Role::Client
        },
        frame_bytes_max,
        message_bytes_max,
        fragments_max: if choice & 8 == 0 { u32::MAX } else { 3 },
    }
}

fn read(stream: &[u8], sizes: &[usize], limits: &Limits) -> (Vec<Message>, Option<ProtocolError>) {
    let mut reader = Reader::default();
    let mut messages = Vec::new();
    let mut bytes = stream.to_vec();
    let mut rest = &mut bytes[..];
    let mut received = 0;
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut piece, behind) = rest.split_at_mut(size.min(rest.len()));
        rest = behind;
        received += piece.len();
        loop {
            match reader.next(limits, &mut piece) {
                Ok(Some(item)) => messages.push(owned(item)),
                Ok(None) => break,
                Err(fault) => return (messages, Some(fault)),
            }
            assert!(reader.buffered_bytes() <= 2 * received + 16);
        }
        assert!(piece.is_empty());
        assert!(reader.buffered_bytes() <= 2 * received + 16);
    }
    (messages, None)
}

fn owned(item: Item<'_>) -> Message {
    match item {
        Item::Text(text) => (Opcode::Text, text.into()),
        Item::Binary(bytes) => (Opcode::Binary, bytes.into()),
        Item::Ping(bytes) => (Opcode::Ping, bytes.into()),
        Item::Pong(bytes) => (Opcode::Pong, bytes.into()),
        Item::Close(close) => (Opcode::Close, format!("{close:?}").into()),
    }
}

fn write_and_read_again(messages: &[Message]) {
    let mut out = Vec::new();
    let messages: Vec<Message> = messages
        .iter()
        .filter(|(opcode, _)| *opcode != Opcode::Close)
        .cloned()
        .collect();
    for (opcode, payload) in &messages {
        put_frame(&mut out, *opcode, payload);
    }
    let limits = Limits {
        role: Role::Client,
        frame_bytes_max: u64::MAX,
        message_bytes_max: usize::MAX,
        fragments_max: 1,
    };
    assert_eq!(read(&out, &[out.len()], &limits), (messages, None));
}
