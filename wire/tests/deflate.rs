//! Compressed messages: however they are cut they say the same, and what is none, or is too much, is refused.

mod support;

use fanfare_wire::deflate::{Deflater, Inflater};
use fanfare_wire::error::ProtocolError;
use fanfare_wire::frame::{Opcode, put_deflated_frame, put_masked_deflated_frame};
use fanfare_wire::reader::{Limits, Reader, Role};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;
use support::{Message, limits, put_fragment, put_fragment_with, read, read_inflating};

const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// A compressor that is used as zlib's manual says and knows nothing of ours: the form of a whole message, made with
/// flushes of this kind wherever `cuts` says, its context kept or not.
struct Peer {
    stream: Compress,
    keeps_context: bool,
}

impl Peer {
    fn new(level: u32, window_bits: u8, keeps_context: bool) -> Peer {
        Peer {
            stream: Compress::new_with_window_bits(Compression::new(level), false, window_bits),
            keeps_context,
        }
    }

    fn deflate(&mut self, payload: &[u8], cuts: &[usize], flush: FlushCompress) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 * payload.len() + 64 * (cuts.len() + 2));
        let mut begin = 0;
        for &cut in cuts {
            self.put(&payload[begin..cut], &mut out, flush);
            begin = cut;
        }
        self.put(&payload[begin..], &mut out, FlushCompress::Sync);
        if !out.ends_with(&[0, 0, 0xff, 0xff]) {
            // Nothing new was said, so nothing was flushed: an empty block (RFC 7692, section 7.2.1).
            out.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
        }
        out.truncate(out.len() - 4);
        if !self.keeps_context {
            self.stream.reset();
        }
        out
    }

    fn put(&mut self, piece: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
        let before = self.stream.total_in();
        self.stream.compress_vec(piece, out, flush).expect("room");
        assert_eq!(self.stream.total_in() - before, piece.len() as u64);
        assert!(out.len() < out.capacity());
    }
}

/// One whole compressed frame of a client.
fn frame(opcode: Opcode, deflated: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_masked_deflated_frame(&mut out, opcode, KEY, deflated);
    out
}

/// Reads at once and byte by byte, which must be the same.
fn read_both(bytes: &[u8], limits: &Limits) -> support::Outcome {
    let at_once = read_inflating(bytes, &[], limits, Inflater::new());
    let by_byte = read_inflating(bytes, &[1], limits, Inflater::new());
    assert_eq!(by_byte, at_once);
    at_once
}

fn says(bytes: &[u8]) -> Result<Vec<Message>, ProtocolError> {
    match read_both(bytes, &limits(Role::Server)) {
        (messages, None) => Ok(messages),
        (_, Some(fault)) => Err(fault),
    }
}

fn hello() -> Vec<Message> {
    vec![Message::Text("Hello".into())]
}

/// RFC 7692, section 7.2.3.1.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

#[test]
fn the_examples_of_the_rfc_are_understood() {
    // One block; one message in two frames.
    assert_eq!(says(&frame(Opcode::Text, &HELLO)), Ok(hello()));
    let mut bytes = Vec::new();
    put_fragment_with(
        &mut bytes,
        false,
        true,
        Opcode::Text,
        Some(KEY),
        &HELLO[..3],
    );
    put_fragment(
        &mut bytes,
        true,
        Opcode::Continuation,
        Some(KEY),
        &HELLO[3..],
    );
    assert_eq!(says(&bytes), Ok(hello()));
    // A block without compression (7.2.3.3).
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_eq!(says(&frame(Opcode::Text, &stored)), Ok(hello()));
    // A final block (7.2.3.4), and two blocks (7.2.3.5).
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(says(&frame(Opcode::Text, &last)), Ok(hello()));
    let two = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(says(&frame(Opcode::Text, &two)), Ok(hello()));
    // An empty message (7.2.3.6).
    let empty = vec![Message::Text(String::new())];
    assert_eq!(says(&frame(Opcode::Text, &[0])), Ok(empty.clone()));
    assert_eq!(says(&frame(Opcode::Text, &[])), Ok(empty));
}

#[test]
fn the_example_of_a_kept_context_is_understood_with_one_and_refused_without() {
    // Section 7.2.3.2.
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let bytes = [frame(Opcode::Text, &HELLO), frame(Opcode::Text, &again)].concat();
    let limits = limits(Role::Server);
    for pieces in [&[][..], &[1], &[3]] {
        let outcome = read_inflating(&bytes, pieces, &limits, Inflater::with_context());
        assert_eq!(outcome, ([hello(), hello()].concat(), None));
        let outcome = read_inflating(&bytes, pieces, &limits, Inflater::new());
        assert_eq!(outcome, (hello(), Some(ProtocolError::BadDeflate)));
    }
}

#[test]
fn plain_and_compressed_messages_and_control_frames_stand_beside_each_other() {
    let mut bytes = Vec::new();
    put_fragment(&mut bytes, true, Opcode::Text, Some(KEY), b"plain");
    put_fragment_with(
        &mut bytes,
        false,
        true,
        Opcode::Binary,
        Some(KEY),
        &HELLO[..1],
    );
    put_fragment(&mut bytes, true, Opcode::Ping, Some(KEY), b"?");
    put_fragment(&mut bytes, false, Opcode::Continuation, Some(KEY), b"");
    put_fragment(
        &mut bytes,
        true,
        Opcode::Continuation,
        Some(KEY),
        &HELLO[1..],
    );
    put_fragment(&mut bytes, true, Opcode::Close, Some(KEY), b"");
    let expected = vec![
        Message::Text("plain".into()),
        Message::Ping(b"?".to_vec()),
        Message::Binary(b"Hello".to_vec()),
        Message::Close(None),
    ];
    assert_eq!(says(&bytes), Ok(expected));
}

#[test]
fn the_bit_stands_on_the_first_frame_of_a_message_and_nowhere_else() {
    use ProtocolError::ReservedBits;
    let compressed = frame(Opcode::Text, &HELLO);
    let server = limits(Role::Server);
    assert_eq!(
        read(&compressed, &[], &server),
        (vec![], Some(ReservedBits))
    );
    for control in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
        let mut bytes = Vec::new();
        put_fragment_with(&mut bytes, true, true, control, Some(KEY), b"");
        assert_eq!(says(&bytes), Err(ReservedBits), "{control:?}");
    }
    for (first_is_compressed, payload) in [(true, &HELLO[..]), (false, b"Hello")] {
        let mut bytes = Vec::new();
        let (front, back) = payload.split_at(3);
        put_fragment_with(
            &mut bytes,
            false,
            first_is_compressed,
            Opcode::Text,
            Some(KEY),
            front,
        );
        put_fragment_with(
            &mut bytes,
            true,
            true,
            Opcode::Continuation,
            Some(KEY),
            back,
        );
        assert_eq!(says(&bytes), Err(ReservedBits));
    }
}

#[test]
fn text_is_checked_when_it_has_been_inflated() {
    let mut peer = Peer::new(6, 15, false);
    for (bytes, is_text) in [
        (&b"gr\xc3\xbc\xc3\x9fe"[..], true),
        (b"\xff", false),
        (b"\xed\xa0\x80", false),
    ] {
        let deflated = peer.deflate(bytes, &[], FlushCompress::Sync);
        let said = says(&frame(Opcode::Text, &deflated));
        match is_text {
            true => assert_eq!(
                said,
                Ok(vec![Message::Text(
                    String::from_utf8(bytes.to_vec()).unwrap()
                )])
            ),
            false => assert_eq!(said, Err(ProtocolError::InvalidUtf8)),
        }
        let said = says(&frame(Opcode::Binary, &deflated));
        assert_eq!(said, Ok(vec![Message::Binary(bytes.to_vec())]));
    }
}

#[test]
fn what_is_no_compressed_message_or_is_cut_short_is_refused() {
    let mut peer = Peer::new(9, 15, false);
    let text: String = (0..200).map(|at| format!("{at} ")).collect();
    let whole = peer.deflate(text.as_bytes(), &[], FlushCompress::Sync);
    for cut in 1..whole.len() {
        let said = says(&frame(Opcode::Binary, &whole[..cut]));
        assert_eq!(
            said,
            Err(ProtocolError::BadDeflate),
            "{cut} of {}",
            whole.len()
        );
    }
    for noise in [&b"\xff"[..], b"\x06", b"plain text", &[0x12; 40]] {
        let said = says(&frame(Opcode::Binary, noise));
        assert_eq!(said, Err(ProtocolError::BadDeflate), "{noise:02x?}");
    }
    // With the tail that should have been left out.
    let with_tail = [&whole[..], &[0, 0, 0xff, 0xff]].concat();
    let said = says(&frame(Opcode::Text, &with_tail));
    assert_eq!(said, Err(ProtocolError::BadDeflate));
}

#[test]
fn a_message_of_just_the_limit_is_inflated_and_one_byte_more_is_refused() {
    let mut peer = Peer::new(9, 15, false);
    for limit in [0, 1, 100, 256, 1000, 65_536, 200_000] {
        let limits = Limits {
            message_bytes_max: limit,
            ..limits(Role::Server)
        };
        for length in [limit, limit + 1, 100 * limit + 300] {
            let deflated = peer.deflate(&vec![b'x'; length], &[], FlushCompress::Sync);
            let (messages, fault) = read_both(&frame(Opcode::Binary, &deflated), &limits);
            if length == limit {
                assert_eq!(messages, [Message::Binary(vec![b'x'; length])]);
            } else {
                assert_eq!(
                    (messages, fault),
                    (vec![], Some(ProtocolError::MessageTooLarge))
                );
            }
        }
    }
}

#[test]
fn what_an_honest_compressor_makes_longer_is_within_the_limit() {
    let mut peer = Peer::new(1, 9, false);
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (at >> 3) as u8)
        .collect();
    for length in [10, 1000, 100_000] {
        let limits = Limits {
            message_bytes_max: length,
            ..limits(Role::Server)
        };
        let cuts: Vec<usize> = (1..length).step_by(1000.max(length / 10)).collect();
        let deflated = peer.deflate(&noise[..length], &cuts, FlushCompress::Sync);
        let (messages, fault) = read_both(&frame(Opcode::Binary, &deflated), &limits);
        assert_eq!(fault, None, "{} for {length}", deflated.len());
        assert_eq!(messages, [Message::Binary(noise[..length].to_vec())]);
    }
}

#[test]
fn a_bomb_costs_no_more_memory_than_the_limit() {
    let mut peer = Peer::new(9, 15, false);
    let deflated = peer.deflate(&vec![0; 50 << 20], &[], FlushCompress::Sync);
    assert!(deflated.len() < 60_000, "{}", deflated.len());
    let mut inflater = Inflater::new();
    let refusal = inflater.inflate(&deflated, 1 << 20);
    assert_eq!(refusal, Err(ProtocolError::MessageTooLarge));
    assert!(inflater.held_bytes() <= (1 << 20) + 1);
    // The next message is none the worse for it, and the memory is given back.
    assert_eq!(inflater.inflate(&HELLO, 5), Ok(&b"Hello"[..]));
    assert!(inflater.held_bytes() <= 1024, "{}", inflater.held_bytes());
}

#[test]
fn a_message_that_arrives_in_pieces_is_kept_compressed_and_then_not_at_all() {
    let mut peer = Peer::new(6, 15, false);
    let deflated = peer.deflate(&[b'x'; 100_000], &[], FlushCompress::Sync);
    let mut bytes = frame(Opcode::Text, &deflated);
    let (limits, mut inflater) = (limits(Role::Server), Inflater::new());
    let mut reader = Reader::default();
    let (mut front, mut back) = bytes.split_at_mut(40);
    let item = reader.next_inflating(&limits, &mut front, &mut inflater);
    assert_eq!(item, Ok(None));
    assert!(reader.buffered_bytes() < 200 && !reader.is_idle());
    assert!(
        reader
            .next_inflating(&limits, &mut back, &mut inflater)
            .unwrap()
            .is_some()
    );
    assert!(reader.is_idle());
    assert_eq!(
        reader.next_inflating(&limits, &mut back, &mut inflater),
        Ok(None)
    );
    assert_eq!(reader.buffered_bytes(), 0);
}

#[derive(Clone, Debug)]
struct Sent {
    payload: Vec<u8>,
    flushes: Vec<usize>,
    flush: FlushCompress,
    fragments: Vec<prop::sample::Index>,
    is_compressed: bool,
    pings: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let words = prop::sample::select(vec![
        "price",
        "187.20",
        "{\"type\":",
        ",",
        " ",
        "ü",
        "AAPL",
        "\0",
    ]);
    let text = prop::collection::vec(words, 0..200).prop_map(|words| words.concat().into_bytes());
    let noise = "\\PC{0,120}".prop_map(String::into_bytes);
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let flush = prop::sample::select(vec![
        FlushCompress::Sync,
        FlushCompress::Full,
        FlushCompress::Partial,
    ]);
    (
        prop_oneof![text, noise],
        cuts.clone(),
        flush,
        cuts,
        prop::bool::weighted(0.8),
        any::<bool>(),
    )
        .prop_map(
            |(payload, flushes, flush, fragments, is_compressed, pings)| {
                let mut flushes: Vec<usize> = flushes
                    .iter()
                    .map(|at| at.index(payload.len() + 1))
                    .collect();
                flushes.sort_unstable();
                Sent {
                    payload,
                    flushes,
                    flush,
                    fragments,
                    is_compressed,
                    pings,
                }
            },
        )
}

impl Sent {
    fn put(&self, peer: &mut Peer, out: &mut Vec<u8>, said: &mut Vec<Message>) {
        let bytes = match self.is_compressed {
            true => peer.deflate(&self.payload, &self.flushes, self.flush),
            false => self.payload.clone(),
        };
        let mut cuts: Vec<usize> = self
            .fragments
            .iter()
            .map(|at| at.index(bytes.len() + 1))
            .collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut begin = 0;
        for (at, &cut) in cuts.iter().enumerate() {
            let (opcode, rsv1) = match at {
                0 => (Opcode::Text, self.is_compressed),
                _ => (Opcode::Continuation, false),
            };
            let fin = at + 1 == cuts.len();
            put_fragment_with(out, fin, rsv1, opcode, Some(KEY), &bytes[begin..cut]);
            if self.pings && !fin {
                put_fragment(out, true, Opcode::Ping, Some(KEY), b"between");
                said.push(Message::Ping(b"between".to_vec()));
            }
            begin = cut;
        }
        said.push(Message::Text(
            String::from_utf8(self.payload.clone()).expect("text"),
        ));
    }
}

proptest! {
    #[test]
    fn any_compressed_messages_cut_anywhere_are_read_as_they_were_sent(
        messages in prop::collection::vec(sent(), 0..6),
        level in 1..=9u32,
        window_bits in 9..=15u8,
        keeps_context in any::<bool>(),
        pieces in prop::collection::vec(1..60usize, 0..12),
    ) {
        let mut peer = Peer::new(level, window_bits, keeps_context);
        let (mut bytes, mut said) = (Vec::new(), Vec::new());
        for message in &messages {
            message.put(&mut peer, &mut bytes, &mut said);
        }
        let inflater = match keeps_context {
            true => Inflater::with_context(),
            false => Inflater::new(),
        };
        let outcome = read_inflating(&bytes, &pieces, &limits(Role::Server), inflater);
        prop_assert_eq!(outcome, (said, None));
    }

    #[test]
    fn any_payloads_are_judged_the_same_however_they_are_cut(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
        pieces in prop::collection::vec(1..60usize, 0..12),
        keeps_context in any::<bool>(),
    ) {
        let limits = Limits { message_bytes_max: 300, ..limits(Role::Server) };
        let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(Opcode::Text, payload)).collect();
        let inflater = || match keeps_context {
            true => Inflater::with_context(),
            false => Inflater::new(),
        };
        let at_once = read_inflating(&bytes, &[], &limits, inflater());
        prop_assert_eq!(read_inflating(&bytes, &pieces, &limits, inflater()), at_once.clone());
        prop_assert_eq!(read_inflating(&bytes, &[1], &limits, inflater()), at_once);
    }

    #[test]
    fn what_we_compress_we_inflate_and_it_is_shorter(
        payload in prop::collection::vec(prop::sample::select(b"abc\0\xff".to_vec()), 0..4000),
        level in 1..=9u32,
    ) {
        let mut out = Vec::new();
        if Deflater::new(level).deflate(&payload, &mut out) {
            prop_assert!(out.len() < payload.len());
            let mut bytes = Vec::new();
            put_deflated_frame(&mut bytes, Opcode::Binary, &out);
            let outcome = read_inflating(&bytes, &[7], &limits(Role::Client), Inflater::new());
            prop_assert_eq!(outcome, (vec![Message::Binary(payload)], None));
        } else {
            prop_assert!(out.is_empty() && payload.len() < 100);
        }
    }
}
