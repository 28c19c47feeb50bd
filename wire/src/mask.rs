//! The XOR that every client lays over its payloads (RFC 6455, section 5.3).
//!
//! One function, safe code only: whole chunks are XORed with the key repeated to the chunk's width,
//! a shape the compiler turns into vector instructions. Called by [`crate::reader`] on what arrives
//! and by [`crate::frame`] on what a client sends.

/// XORs `data` with `key`, the first byte of `data` being byte `offset` of the payload. Masking and
/// unmasking are the same.
pub fn apply(data: &mut [u8], key: [u8; 4], offset: usize) {
    // As a number: rotating the array is a call that costs more than unmasking 20 bytes.
    let key = u32::from_be_bytes(key)
        .rotate_left(8 * (offset % 4) as u32)
        .to_be_bytes();
    // 32 makes long payloads fast, 4 the short ones, most of which are below 125 bytes
    // (`benches/mask.rs`).
    let rest = apply_chunks::<32>(data, key);
    let rest = apply_chunks::<4>(rest, key);
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// XORs whole chunks, whose size is a multiple of the key's, and returns the bytes that are left.
fn apply_chunks<const BYTES: usize>(data: &mut [u8], key: [u8; 4]) -> &mut [u8] {
    let wide: [u8; BYTES] = std::array::from_fn(|at| key[at % 4]);
    let (chunks, rest) = data.as_chunks_mut::<BYTES>();
    for chunk in chunks {
        for (byte, key) in chunk.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule of the RFC, byte by byte.
    fn apply_slowly(data: &mut [u8], key: [u8; 4], offset: usize) {
        for (at, byte) in data.iter_mut().enumerate() {
            *byte ^= key[(offset + at) % 4];
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 + at / 256) as u8).collect()
    }

    #[test]
    fn every_length_at_every_offset_is_masked_as_the_rfc_says() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..=300 {
            for offset in 0..=15 {
                let mut fast = pattern(length);
                let mut slow = fast.clone();
                apply(&mut fast, key, offset);
                apply_slowly(&mut slow, key, offset);
                assert_eq!(fast, slow, "length {length}, offset {offset}");
            }
        }
    }

    #[test]
    fn every_alignment_in_memory_gives_the_same() {
        for start in 0..64 {
            let mut fast = pattern(400);
            let mut slow = fast.clone();
            apply(&mut fast[start..], [1, 2, 3, 4], start);
            apply_slowly(&mut slow[start..], [1, 2, 3, 4], start);
            assert_eq!(fast, slow, "start {start}");
        }
    }

    #[test]
    fn masking_in_two_pieces_is_masking_at_once() {
        for cut in 0..=100 {
            let mut at_once = pattern(100);
            let mut in_pieces = at_once.clone();
            apply(&mut at_once, [9, 8, 7, 6], 0);
            let (front, back) = in_pieces.split_at_mut(cut);
            apply(front, [9, 8, 7, 6], 0);
            apply(back, [9, 8, 7, 6], cut);
            assert_eq!(in_pieces, at_once, "cut {cut}");
        }
    }

    #[test]
    fn the_largest_offset_does_not_overflow() {
        let mut data = [0; 5];
        apply(&mut data, [1, 2, 3, 4], usize::MAX);
        assert_eq!(data, [4, 1, 2, 3, 4]);
    }
}
