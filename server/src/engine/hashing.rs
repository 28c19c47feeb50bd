//! A hash of the shard's own numbers, which no peer chooses: one multiplication, folded, in place of a keyed hash.

use std::hash::{BuildHasherDefault, Hasher};

/// For tables whose keys are places of the shard's own tables.
pub(super) type ByNumber = BuildHasherDefault<NumberHasher>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, key: u32) {
        self.write_u64(key.into());
    }

    fn write_u64(&mut self, key: u64) {
        let wide = u128::from(self.0 ^ key) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
