//! Compressing the payload of a message.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{TAIL, WINDOW_BITS_MAX};

/// Compresses messages, each for itself, with the largest window. Its tables, some 300 KB, are made
/// at the first message.
#[derive(Debug)]
pub struct Deflater {
    level: u32,
    stream: Option<Compress>,
}

impl Deflater {
    /// `level` from 1, the fastest, to 9, the smallest.
    #[must_use]
    pub fn new(level: u32) -> Self {
        let level = level.clamp(1, 9);
        Self {
            level,
            stream: None,
        }
    }

    /// Appends the compressed form of `payload`, as it stands in a frame, to `out` if it is shorter than
    /// `payload`; otherwise appends nothing and returns false.
    pub fn deflate(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let level = Compression::new(self.level);
        let stream = self
            .stream
            .get_or_insert_with(|| Compress::new_with_window_bits(level, false, WINDOW_BITS_MAX));
        let start = out.len();
        // One byte more than a form that pays can have: while some of it is left, all has been said.
        out.reserve(payload.len() + TAIL.len());
        let outcome = stream.compress_vec(payload, out, FlushCompress::Sync);
        let took_all = stream.total_in() == payload.len() as u64;
        stream.reset();
        let made = &out[start..];
        let pays = matches!(outcome, Ok(Status::Ok))
            && took_all
            && made.ends_with(&TAIL)
            && made.len() - TAIL.len() < payload.len();
        out.truncate(if pays { out.len() - TAIL.len() } else { start });
        pays
    }
}

#[cfg(test)]
mod tests {
    use super::super::Inflater;
    use super::*;

    #[test]
    fn what_repeats_itself_gets_shorter_and_is_read_back() {
        let mut deflater = Deflater::new(6);
        let mut inflater = Inflater::new();
        for length in [30, 1000, 100_000, 3_000_000] {
            let payload: Vec<u8> = b"price 187.20; "
                .iter()
                .copied()
                .cycle()
                .take(length)
                .collect();
            let mut out = b"before".to_vec();
            assert!(deflater.deflate(&payload, &mut out), "{length}");
            assert!(out.len() < 6 + payload.len() && out.starts_with(b"before"));
            let inflated = inflater.inflate(&out[6..], payload.len()).unwrap();
            assert!(inflated == payload, "{length}");
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_left_alone() {
        let mut deflater = Deflater::new(6);
        let mut seed = 1_u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        for length in [0, 1, 2, 5, 100, 5_000, 200_000] {
            let payload: Vec<u8> = (0..length).map(|_| noise()).collect();
            let mut out = b"before".to_vec();
            assert!(!deflater.deflate(&payload, &mut out), "{length}");
            assert_eq!(out, b"before");
        }
        // And the next message is none the worse for it.
        let mut out = Vec::new();
        assert!(deflater.deflate(&[b'x'; 100], &mut out));
        assert_eq!(
            Inflater::new().inflate(&out, 100).as_deref(),
            Ok(&[b'x'; 100][..])
        );
    }

    #[test]
    fn a_message_is_compressed_the_same_whatever_was_before_it() {
        let payload = b"the same words, the same words, the same words";
        let mut first = Vec::new();
        Deflater::new(6).deflate(payload, &mut first);
        let mut deflater = Deflater::new(6);
        for before in [&b"the same words"[..], &[7; 70_000], payload] {
            deflater.deflate(before, &mut Vec::new());
            let mut again = Vec::new();
            assert!(deflater.deflate(payload, &mut again));
            assert_eq!(again, first);
        }
    }
}
