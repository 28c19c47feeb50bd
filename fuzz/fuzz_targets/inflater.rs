//! Any payload is inflated the same however its frames are cut, within the limit, and as another inflater
//! does it; and what is compressed is inflated again.
//!
//! The first eight bytes of the input choose limits and cuts, the rest is the payload of a message.

#![no_main]

use fanfare_wire::deflate::{Deflater, Inflater};
use fanfare_wire::error::ProtocolError;
use fanfare_wire::frame::Opcode;
use fanfare_wire::frame::put_deflated_frame;
use fanfare_wire::reader::{Item, Limits, Reader, Role};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, ref sizes @ ..], payload)) = data.split_first_chunk::<8>() else {
        return;
    };
    let bytes_max = [0, 100, 4_000, 1_000_000][usize::from(choice & 3)];
    let inflater = || match choice & 4 {
        0 => Inflater::new(),
        _ => Inflater::with_context(),
    };
    let at_once = read(payload, &[usize::MAX], bytes_max, inflater());
    let sizes = sizes.map(|size| usize::from(size) + 1);
    assert_eq!(read(payload, &sizes, bytes_max, inflater()), at_once);
    assert_eq!(read(payload, &[1], bytes_max, inflater()), at_once);
    if let (Ok(ours), 0) = (&at_once, choice & 4) {
        judge(payload, ours);
    }
    there_and_back(payload);
});

/// Twice the same message on one connection.
fn read(
    payload: &[u8],
    sizes: &[usize],
    bytes_max: usize,
    mut inflater: Inflater,
) -> Result<Vec<u8>, ProtocolError> {
    let limits = Limits {
        role: Role::Client,
        frame_bytes_max: u64::MAX,
        message_bytes_max: bytes_max,
        fragments_max: 1,
    };
    let mut bytes = Vec::new();
    put_deflated_frame(&mut bytes, Opcode::Binary, payload);
    put_deflated_frame(&mut bytes, Opcode::Binary, payload);
    let mut rest = &mut bytes[..];
    let (mut reader, mut heard) = (Reader::default(), Vec::new());
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut piece, behind) = rest.split_at_mut(size.min(rest.len()));
        rest = behind;
        loop {
            match reader.next_inflating(&limits, &mut piece, &mut inflater)? {
                Some(Item::Binary(message)) => {
                    assert!(message.len() <= bytes_max);
                    heard.extend_from_slice(message);
                }
                Some(item) => panic!("{item:?}"),
                None => break,
            }
            assert!(inflater.held_bytes() <= (bytes_max + 1).max(64 * 1024));
        }
    }
    Ok(heard)
}

/// Another inflater understands at least what stands before the first final block.
fn judge(payload: &[u8], ours: &[u8]) {
    let stream = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    if !payload.is_empty()
        && let Ok(theirs) = miniz_oxide::inflate::decompress_to_vec_with_limit(&stream, 2_000_000)
    {
        let (first, second) = ours.split_at(ours.len() / 2);
        assert_eq!(first, second);
        assert!(first.starts_with(&theirs));
    }
}

fn there_and_back(payload: &[u8]) {
    let mut deflated = Vec::new();
    if Deflater::new(6).deflate(payload, &mut deflated) {
        assert!(deflated.len() < payload.len());
        let again = Inflater::new()
            .inflate(&deflated, payload.len())
            .map(<[u8]>::to_vec);
        assert_eq!(again.as_deref(), Ok(payload));
    }
}
