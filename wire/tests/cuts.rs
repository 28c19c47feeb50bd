//! However a stream is cut, it says the same.

mod support;

use fanfare_wire::frame::{HEADER_BYTES_MAX, Header, Opcode};
use fanfare_wire::reader::{Limits, Role};
use proptest::prelude::*;
use support::{Message, limits, put_fragment, read};

/// A message as a peer sends it: its bytes, where it is cut into fragments, and the pings between
/// them.
#[derive(Clone, Debug)]
struct Sent {
    is_text: bool,
    payload: Vec<u8>,
    cuts: Vec<usize>,
    pings: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let text = "\\PC{0,80}".prop_map(|text| (true, text.into_bytes()));
    let binary = prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (false, bytes));
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    (prop_oneof![text, binary], cuts, any::<bool>()).prop_map(
        |((is_text, payload), cuts, pings)| {
            let mut cuts: Vec<usize> = cuts
                .iter()
                .map(|cut| cut.index(payload.len() + 1))
                .collect();
            cuts.sort_unstable();
            Sent {
                is_text,
                payload,
                cuts,
                pings,
            }
        },
    )
}

impl Sent {
    /// Appends the frames to `out`, and to `said` what a reader makes of them.
    fn put(&self, out: &mut Vec<u8>, said: &mut Vec<Message>, mask: Option<[u8; 4]>) {
        let mut opcode = if self.is_text {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        let mut start = 0;
        for &cut in &self.cuts {
            put_fragment(out, false, opcode, mask, &self.payload[start..cut]);
            if self.pings {
                put_fragment(out, true, Opcode::Ping, mask, b"between");
                said.push(Message::Ping(b"between".to_vec()));
            }
            opcode = Opcode::Continuation;
            start = cut;
        }
        put_fragment(out, true, opcode, mask, &self.payload[start..]);
        said.push(match String::from_utf8(self.payload.clone()) {
            Ok(text) if self.is_text => Message::Text(text),
            _ => Message::Binary(self.payload.clone()),
        });
    }
}

/// Bytes that are often nearly frames.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(vec![
        0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0xc1,
    ]);
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "\\PC{0,20}".prop_map(String::into_bytes),
    ];
    let frame = (opcode, payload, 0..20u8).prop_map(|(first, payload, lie)| {
        let length = payload.len() as u8 + u8::from(lie == 0);
        let mut bytes = vec![first, 0x80 | length, 0, 0, 0, 0];
        bytes.extend(payload);
        bytes
    });
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    let part = prop_oneof![9 => frame, 1 => noise];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..60usize, 0..12)
}

proptest! {
    #[test]
    fn any_messages_cut_anywhere_are_read_as_they_were_sent(
        messages in prop::collection::vec(sent(), 0..6),
        key in prop::option::of(any::<[u8; 4]>()),
        pieces in pieces(),
    ) {
        let (mut bytes, mut said) = (Vec::new(), Vec::new());
        for message in &messages {
            message.put(&mut bytes, &mut said, key);
        }
        let role = if key.is_some() { Role::Server } else { Role::Client };
        prop_assert_eq!(read(&bytes, &pieces, &limits(role)), (said, None));
    }

    #[test]
    fn any_bytes_are_judged_the_same_however_they_are_cut(
        bytes in hostile(),
        pieces in pieces(),
        frame_bytes_max in 20..60u64,
    ) {
        let limits = Limits { frame_bytes_max, message_bytes_max: 70, fragments_max: 3, ..limits(Role::Server) };
        let at_once = read(&bytes, &[], &limits);
        prop_assert_eq!(read(&bytes, &pieces, &limits), at_once.clone());
        prop_assert_eq!(read(&bytes, &[1], &limits), at_once);
    }

    #[test]
    fn any_header_is_read_back(
        fin in any::<bool>(),
        rsv1 in any::<bool>(),
        opcode in prop::sample::select(vec![Opcode::Continuation, Opcode::Text, Opcode::Binary]),
        mask in prop::option::of(any::<[u8; 4]>()),
        length_bits in 0..64u32,
        length in any::<u64>(),
    ) {
        let payload_bytes = (length >> 1) >> (63 - length_bits);
        let header = Header { fin, rsv1, opcode, mask, payload_bytes };
        let mut bytes = [0; HEADER_BYTES_MAX];
        let header_bytes = header.encode(&mut bytes);
        prop_assert_eq!(Header::decode(&bytes[..header_bytes]), Ok(Some((header, header_bytes))));
        for cut in 0..header_bytes {
            prop_assert_eq!(Header::decode(&bytes[..cut]), Ok(None));
        }
    }

    #[test]
    fn any_bytes_that_are_a_header_are_the_only_way_to_write_it(bytes in any::<[u8; HEADER_BYTES_MAX]>()) {
        if let Ok(Some((header, header_bytes))) = Header::decode(&bytes) {
            let mut written = [0; HEADER_BYTES_MAX];
            prop_assert_eq!(header.encode(&mut written), header_bytes);
            prop_assert_eq!(&written[..header_bytes], &bytes[..header_bytes]);
        }
    }
}
