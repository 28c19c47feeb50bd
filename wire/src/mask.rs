//! The XOR that every client lays over its payloads (RFC 6455, section 5.3).
//!
//! One function, safe code only: whole chunks are XORed with the key repeated to the chunk's width, a shape
//! the compiler turns into vector instructions. Called by [`crate::reader`] on what arrives and by [`crate::frame`] on what a
//! client sends.

/// Bytes in one step. Chosen by measuring, see `benches/mask.rs`.
const CHUNK_BYTES: usize = 32;

/// XORs `data` with `key`, the first byte of `data` being byte `offset` of the payload. Masking and unmasking
/// are the same.
pub fn apply(data: &mut [u8], mut key: [u8; 4], offset: usize) {
    key.rotate_left(offset % 4);
    let wide: [u8; CHUNK_BYTES] = std::array::from_fn(|at| key[at % 4]);
    let (chunks, rest) = data.as_chunks_mut::<CHUNK_BYTES>();
    for chunk in chunks {
        for (byte, key) in chunk.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    // CHUNK_BYTES is a multiple of 4, so the rest begins with the key's first byte again.
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
}
