//! Unmasking beside `memcpy` of the same length, which is the least anything that touches every
//! byte can cost; and the candidates among which `mask::apply`'s chunk was chosen.
//!
//! `cargo bench -p fanfare-wire --bench mask`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

const LENGTHS: [usize; 5] = [20, 125, 1024, 16 * 1024, 64 * 1024];
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn main() {
    divan::main();
}

#[divan::bench(args = LENGTHS)]
fn memcpy(bencher: Bencher<'_, '_>, length: usize) {
    let source = vec![7_u8; length];
    let mut target = vec![0_u8; length];
    bencher
        .counter(BytesCount::new(length))
        .bench_local(|| black_box(&mut target[..]).copy_from_slice(black_box(&source)));
}

#[divan::bench(args = LENGTHS)]
fn apply(bencher: Bencher<'_, '_>, length: usize) {
    let mut data = vec![7_u8; length];
    bencher
        .counter(BytesCount::new(length))
        .bench_local(|| fanfare_wire::mask::apply(black_box(&mut data), black_box(KEY), 1));
}

/// Chunks of other sizes, without an offset; 1 is the rule of the RFC, byte by byte.
#[divan::bench(consts = [1, 8, 16, 32, 64], args = LENGTHS)]
fn chunks<const CHUNK_BYTES: usize>(bencher: Bencher<'_, '_>, length: usize) {
    let mut data = vec![7_u8; length];
    bencher
        .counter(BytesCount::new(length))
        .bench_local(|| apply_by::<CHUNK_BYTES>(black_box(&mut data), black_box(KEY)));
}

#[inline(never)]
fn apply_by<const CHUNK_BYTES: usize>(data: &mut [u8], key: [u8; 4]) {
    let wide: [u8; CHUNK_BYTES] = std::array::from_fn(|at| key[at % 4]);
    let (chunks, rest) = match CHUNK_BYTES {
        1 => (&mut [][..], data),
        _ => data.as_chunks_mut::<CHUNK_BYTES>(),
    };
    for chunk in chunks {
        for (byte, key) in chunk.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    for (at, byte) in rest.iter_mut().enumerate() {
        *byte ^= key[at % 4];
    }
}
