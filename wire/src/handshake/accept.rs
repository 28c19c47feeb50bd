//! `Sec-WebSocket-Accept`: the proof that a server understood the key (RFC 6455, section 4.2.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// Length of an accept value: 20 bytes of SHA-1 as base64.
pub const ACCEPT_BYTES: usize = 28;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The accept value, in ASCII, that answers `key`.
#[must_use]
pub fn accept_value(key: &str) -> [u8; ACCEPT_BYTES] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut value = [0; ACCEPT_BYTES];
    let written = STANDARD.encode_slice(digest, &mut value);
    debug_assert_eq!(written.ok(), Some(ACCEPT_BYTES));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_answered_as_it_says() {
        let value = accept_value("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(&value, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
