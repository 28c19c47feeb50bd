//! The reader's rules, one by one: what it joins, what it refuses and when, and what it keeps.

mod support;

use fanfare_wire::error::ProtocolError;
use fanfare_wire::frame::{Opcode, put_frame, put_masked_frame};
use fanfare_wire::reader::{Item, Limits, Reader, Role};
use support::{Message, limits, put_fragment, read};

const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// One frame of a client.
fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_fragment(&mut out, fin, opcode, Some(KEY), payload);
    out
}

/// Reads at once and byte by byte, which must be the same.
fn read_both(bytes: &[u8], limits: &Limits) -> support::Outcome {
    let at_once = read(bytes, &[], limits);
    assert_eq!(read(bytes, &[1], limits), at_once);
    at_once
}

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

#[test]
fn fragments_are_joined_and_control_frames_between_them_come_first() {
    let bytes = [
        frame(false, Opcode::Text, b"Hel"),
        frame(true, Opcode::Ping, b"?"),
        frame(false, Opcode::Continuation, b""),
        frame(true, Opcode::Pong, b""),
        frame(true, Opcode::Continuation, b"lo"),
        frame(true, Opcode::Binary, b"\x00\xff"),
        frame(true, Opcode::Close, b"\x03\xe8bye"),
    ]
    .concat();
    let (messages, fault) = read_both(&bytes, &limits(Role::Server));
    assert_eq!(fault, None);
    let expected = [
        Message::Ping(b"?".to_vec()),
        Message::Pong(vec![]),
        text("Hello"),
        Message::Binary(vec![0, 255]),
        Message::Close(Some((1000, "bye".into()))),
    ];
    assert_eq!(messages, expected);
}

#[test]
fn empty_messages_of_every_kind_are_messages() {
    let bytes = [
        frame(true, Opcode::Text, b""),
        frame(true, Opcode::Binary, b""),
        frame(false, Opcode::Text, b""),
        frame(true, Opcode::Continuation, b""),
        frame(true, Opcode::Ping, b""),
        frame(true, Opcode::Close, b""),
    ]
    .concat();
    let (messages, fault) = read_both(&bytes, &limits(Role::Server));
    assert_eq!(fault, None);
    let (ping, close) = (Message::Ping(vec![]), Message::Close(None));
    let expected = [text(""), Message::Binary(vec![]), text(""), ping, close];
    assert_eq!(messages, expected);
}

#[test]
fn every_length_around_a_change_of_form_is_read() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537] {
        let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let bytes = frame(true, Opcode::Binary, &payload);
        for pieces in [&[][..], &[1], &[7], &[1000]] {
            let (messages, fault) = read(&bytes, pieces, &limits(Role::Server));
            assert_eq!(fault, None);
            assert_eq!(
                messages,
                [Message::Binary(payload.clone())],
                "{length} {pieces:?}"
            );
        }
    }
}

#[test]
fn each_side_refuses_the_masking_of_the_other() {
    let mut unmasked = Vec::new();
    put_frame(&mut unmasked, Opcode::Text, b"x");
    let mut masked = Vec::new();
    put_masked_frame(&mut masked, Opcode::Text, KEY, b"x");
    let outcome = |bytes: &[u8], role| read_both(bytes, &limits(role));
    assert_eq!(outcome(&masked, Role::Server), (vec![text("x")], None));
    assert_eq!(outcome(&unmasked, Role::Client), (vec![text("x")], None));
    assert_eq!(
        outcome(&unmasked, Role::Server),
        (vec![], Some(ProtocolError::Unmasked))
    );
    assert_eq!(
        outcome(&masked, Role::Client),
        (vec![], Some(ProtocolError::Masked))
    );
}

#[test]
fn frames_out_of_order_are_refused() {
    use ProtocolError::*;
    let first = frame(false, Opcode::Text, b"a");
    let table = [
        (
            frame(true, Opcode::Continuation, b"a"),
            UnexpectedContinuation,
        ),
        (
            frame(false, Opcode::Continuation, b""),
            UnexpectedContinuation,
        ),
        (
            [&first[..], &frame(true, Opcode::Text, b"b")].concat(),
            ExpectedContinuation,
        ),
        (
            [&first[..], &frame(false, Opcode::Binary, b"b")].concat(),
            ExpectedContinuation,
        ),
        (
            [
                frame(true, Opcode::Text, b"a"),
                frame(true, Opcode::Continuation, b"b"),
            ]
            .concat(),
            UnexpectedContinuation,
        ),
    ];
    for (bytes, fault) in table {
        assert_eq!(
            read_both(&bytes, &limits(Role::Server)).1,
            Some(fault),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn a_compressed_frame_is_refused_as_no_extension_was_agreed_on() {
    let mut bytes = frame(true, Opcode::Text, b"x");
    bytes[0] |= 0x40;
    let (_, fault) = read_both(&bytes, &limits(Role::Server));
    assert_eq!(fault, Some(ProtocolError::ReservedBits));
}

#[test]
fn a_close_frame_is_judged_when_it_arrives_in_pieces_too() {
    use ProtocolError::*;
    let table: &[(&[u8], ProtocolError)] = &[
        (b"\x03", BadClosePayload),
        (b"\x03\xed", BadCloseCode(1005)),
        (b"\x03\xe8\xff", InvalidUtf8),
    ];
    for (payload, fault) in table {
        let bytes = frame(true, Opcode::Close, payload);
        assert_eq!(read_both(&bytes, &limits(Role::Server)).1, Some(*fault));
    }
}

#[test]
fn sizes_are_refused_by_the_header_alone() {
    let limits = Limits {
        frame_bytes_max: 1000,
        message_bytes_max: 1500,
        ..limits(Role::Server)
    };
    let whole = frame(true, Opcode::Binary, &[0; 1001]);
    let (_, fault) = read_both(&whole[..8], &limits);
    assert_eq!(fault, Some(ProtocolError::FrameTooLarge));

    let first = frame(false, Opcode::Binary, &[0; 1000]);
    let second = frame(true, Opcode::Continuation, &[0; 501]);
    let (_, fault) = read_both(&[&first[..], &second[..8]].concat(), &limits);
    assert_eq!(fault, Some(ProtocolError::MessageTooLarge));

    let second = frame(true, Opcode::Continuation, &[0; 500]);
    let (messages, fault) = read_both(&[first, second].concat(), &limits);
    assert_eq!((messages.len(), fault), (1, None));
}

#[test]
fn the_largest_length_there_is_is_refused_without_overflow() {
    let limits = Limits {
        frame_bytes_max: u64::MAX,
        message_bytes_max: 1 << 20,
        ..limits(Role::Server)
    };
    let first = frame(false, Opcode::Text, b"begun");
    let header = [
        0x80, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0,
    ];
    let (_, fault) = read_both(&[&first[..], &header].concat(), &limits);
    assert_eq!(fault, Some(ProtocolError::MessageTooLarge));
}

#[test]
fn a_message_of_too_many_frames_is_refused() {
    let limits = Limits {
        fragments_max: 3,
        ..limits(Role::Server)
    };
    let mut bytes = frame(false, Opcode::Text, b"1");
    bytes.extend(frame(false, Opcode::Continuation, b"2"));
    let three = [&bytes[..], &frame(true, Opcode::Continuation, b"3")].concat();
    // Each message is counted anew, and control frames are not counted.
    let twice = [&three[..], &frame(true, Opcode::Ping, b""), &three].concat();
    assert_eq!(read_both(&twice, &limits).1, None);
    bytes.extend(frame(false, Opcode::Continuation, b"3"));
    assert_eq!(read_both(&bytes, &limits).1, None);
    bytes.extend(frame(true, Opcode::Continuation, b""));
    assert_eq!(
        read_both(&bytes, &limits).1,
        Some(ProtocolError::TooManyFragments)
    );
}

#[test]
fn text_may_be_cut_inside_a_character_by_fragments() {
    let bytes = [
        frame(false, Opcode::Text, b"\xf0\x9f"),
        frame(true, Opcode::Ping, b""),
        frame(false, Opcode::Continuation, b"\x98"),
        frame(true, Opcode::Continuation, b"\x80"),
    ]
    .concat();
    let (messages, fault) = read_both(&bytes, &limits(Role::Server));
    assert_eq!(fault, None);
    assert_eq!(messages, [Message::Ping(vec![]), text("😀")]);
}

#[test]
fn text_that_ends_inside_a_character_is_refused() {
    let whole = frame(true, Opcode::Text, b"ab\xe2\x82");
    let fragments = [
        frame(false, Opcode::Text, b"ab\xe2"),
        frame(true, Opcode::Continuation, b"\x82"),
    ]
    .concat();
    for bytes in [whole, fragments] {
        let (_, fault) = read_both(&bytes, &limits(Role::Server));
        assert_eq!(fault, Some(ProtocolError::InvalidUtf8));
    }
}

/// Autobahn 6.4.1 to 6.4.4: the fault must be seen at the byte that makes it one, though frame and
/// message go on.
#[test]
fn text_that_cannot_become_right_is_refused_inside_an_unfinished_frame() {
    let good = "κόσμε".as_bytes();
    for (bad, seen_after) in [
        (&b"\xf4\x90\x80\x80"[..], 2),
        (b"\xed\xa0", 2),
        (b"\xff", 1),
    ] {
        let payload = [good, bad, b"and much more"].concat();
        let bytes = frame(true, Opcode::Text, &payload);
        let header_bytes = bytes.len() - payload.len();
        let last_good = header_bytes + good.len() + seen_after - 1;
        for pieces in [&[][..], &[1], &[3]] {
            let outcome = read(&bytes[..last_good], pieces, &limits(Role::Server));
            assert_eq!(outcome, (vec![], None));
            let outcome = read(&bytes[..=last_good], pieces, &limits(Role::Server));
            assert_eq!(outcome, (vec![], Some(ProtocolError::InvalidUtf8)));
        }
    }
}

#[test]
fn binary_may_be_anything() {
    let payload: Vec<u8> = (0..=255).collect();
    let bytes = [
        frame(false, Opcode::Binary, &payload),
        frame(true, Opcode::Continuation, &payload),
    ]
    .concat();
    let (messages, fault) = read_both(&bytes, &limits(Role::Server));
    assert_eq!(
        (messages, fault),
        (vec![Message::Binary(payload.repeat(2))], None)
    );
}

#[test]
fn a_whole_message_is_borrowed_from_the_input() {
    let mut bytes = frame(true, Opcode::Text, b"Hello");
    let range = bytes.as_ptr_range();
    let mut reader = Reader::default();
    let mut input = &mut bytes[..];
    let item = reader.next(&limits(Role::Server), &mut input).unwrap();
    let Some(Item::Text(text)) = item else {
        panic!("{item:?}");
    };
    assert!(range.contains(&text.as_ptr()));
    assert_eq!(text, "Hello");
    assert!(reader.is_idle());
    assert_eq!(reader.buffered_bytes(), 0);
}

#[test]
fn an_announced_gigabyte_reserves_nothing() {
    let limits = Limits {
        frame_bytes_max: u64::MAX,
        message_bytes_max: usize::MAX,
        ..limits(Role::Server)
    };
    for opcode in [0x81, 0x82] {
        let mut bytes = vec![opcode, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&[b'x'; 100]);
        let mut reader = Reader::default();
        let mut input = &mut bytes[..];
        assert_eq!(reader.next(&limits, &mut input), Ok(None));
        assert_eq!(reader.buffered_bytes(), 100);
        assert!(!reader.is_idle());
    }
}

#[test]
fn memory_at_most_doubles_what_was_received_and_ends_at_what_was_announced() {
    const ANNOUNCED: usize = 100_000;
    for opcode in [Opcode::Text, Opcode::Binary] {
        let mut bytes = frame(true, opcode, &[b'x'; ANNOUNCED]);
        let mut reader = Reader::default();
        let mut grown = 0;
        let mut last_capacity = 0;
        for (at, piece) in bytes.chunks_mut(10).enumerate() {
            let mut input = piece;
            let is_done = reader
                .next(&limits(Role::Server), &mut input)
                .unwrap()
                .is_some();
            let received = (at + 1) * 10;
            let capacity = reader.buffered_bytes();
            assert!(
                capacity <= ANNOUNCED.min(2 * received),
                "{capacity} for {received}"
            );
            grown += u32::from(capacity != last_capacity);
            last_capacity = capacity;
            assert_eq!(is_done, received >= ANNOUNCED + 14);
        }
        assert!(grown < 20, "{grown} times");
    }
}

#[test]
fn small_fragments_grow_the_buffer_seldom() {
    let limits = Limits {
        fragments_max: u32::MAX,
        ..limits(Role::Server)
    };
    let mut reader = Reader::default();
    let mut grown = 0;
    let mut last_capacity = 0;
    for at in 0..10_000 {
        let opcode = if at == 0 {
            Opcode::Binary
        } else {
            Opcode::Continuation
        };
        let mut bytes = frame(false, opcode, b"x");
        let mut input = &mut bytes[..];
        assert_eq!(reader.next(&limits, &mut input), Ok(None));
        grown += u32::from(reader.buffered_bytes() != last_capacity);
        last_capacity = reader.buffered_bytes();
    }
    assert!(grown < 20, "{grown} times");
}

#[test]
fn the_reader_is_idle_exactly_between_messages_and_frees_what_it_handed_out() {
    let mut bytes = [
        frame(false, Opcode::Text, b"a"),
        frame(true, Opcode::Ping, b"p"),
        frame(true, Opcode::Continuation, b"b"),
    ]
    .concat();
    let length = bytes.len();
    let mut reader = Reader::default();
    assert!(reader.is_idle());
    for (at, piece) in bytes.chunks_mut(1).enumerate() {
        let mut input = piece;
        let _ = reader.next(&limits(Role::Server), &mut input).unwrap();
        assert_eq!(reader.is_idle(), at + 1 == length, "byte {at}");
    }
    assert!(reader.buffered_bytes() > 0);
    assert_eq!(
        reader.next(&limits(Role::Server), &mut &mut [][..]),
        Ok(None)
    );
    assert_eq!(reader.buffered_bytes(), 0);
}
