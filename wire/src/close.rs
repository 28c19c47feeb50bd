//! The payload of a close frame: a code and a reason (RFC 6455, sections 5.5.1 and 7.4).
//!
//! Refuses codes that must not stand on the wire and reasons that are not UTF-8. Called by
//! [`crate::reader`] for what a peer sends and by whoever closes a connection.

use crate::error::ProtocolError;
use crate::frame::CONTROL_BYTES_MAX;

/// Why a connection is closed, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// 1003: a kind of data that is not taken here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: against the rules of this server.
    pub const POLICY: Self = Self(1008);
    /// 1009: too large to be taken.
    pub const TOO_LARGE: Self = Self(1009);
    /// 1011: a fault of the server.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the service restarts.
    pub const RESTART: Self = Self(1012);
    /// 1013: overloaded, try again later.
    pub const TRY_LATER: Self = Self(1013);
    /// 4001: not authenticated. Do not reconnect.
    pub const AUTH: Self = Self(4001);
    /// 4002: did not authenticate in time. Do not reconnect.
    pub const AUTH_TIMEOUT: Self = Self(4002);
    /// 4003: this origin is not allowed. Do not reconnect.
    pub const ORIGIN: Self = Self(4003);
    /// 4100: the server is full. Reconnect later.
    pub const CAPACITY: Self = Self(4100);
    /// 4101: too many commands. Reconnect later.
    pub const RATE: Self = Self(4101);
    /// 4103: the client reads too slowly. Reconnect later.
    pub const SLOW: Self = Self(4103);
    /// 4200: the server is being emptied. Reconnect now.
    pub const DRAIN: Self = Self(4200);
    /// 4201: nothing was heard for too long. Reconnect now.
    pub const NO_SIGN_OF_LIFE: Self = Self(4201);
    /// 4202: the connection reached its age. Reconnect now.
    pub const LIFETIME: Self = Self(4202);

    /// Whether the code may stand in a close frame. 1004 is reserved; 1005, 1006 and 1015 are only
    /// reported to an application, never sent; 1016 to 2999 have no meaning yet; 3000 to 4999 are
    /// free (section 7.4). 1012 to 1014 are in IANA's registry.
    #[must_use]
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a close frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// Why, as a number.
    pub code: CloseCode,
    /// Why, in words; at most 123 bytes, often empty.
    pub reason: &'a str,
}

/// Reads the payload of a close frame. `None`: it is empty, the peer gave no code (1005).
///
/// # Errors
/// A single byte, a code that may not be sent, a reason that is not UTF-8.
pub fn parse(payload: &[u8]) -> Result<Option<Close<'_>>, ProtocolError> {
    let (code, reason) = match *payload {
        [] => return Ok(None),
        [_] => return Err(ProtocolError::BadClosePayload),
        [high, low, ref reason @ ..] => (CloseCode(u16::from_be_bytes([high, low])), reason),
    };
    if !code.may_be_sent() {
        return Err(ProtocolError::BadCloseCode(code.0));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
    Ok(Some(Close { code, reason }))
}

/// Appends the payload of a close frame. A reason of more than 123 bytes is cut, at a character's
/// boundary.
pub fn put_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    debug_assert!(code.may_be_sent(), "close code {code}");
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_allowed_or_refused_as_the_rfc_and_its_registry_say() {
        let allowed: Vec<u16> = [1000, 1001, 1002, 1003, 1007, 1008, 1009]
            .into_iter()
            .chain([1010, 1011, 1012, 1013, 1014])
            .chain(3000..=4999)
            .collect();
        for code in 0..=u16::MAX {
            let payload = code.to_be_bytes();
            if allowed.contains(&code) {
                let (code, reason) = (CloseCode(code), "");
                assert_eq!(parse(&payload), Ok(Some(Close { code, reason })));
            } else {
                assert_eq!(parse(&payload), Err(ProtocolError::BadCloseCode(code)));
            }
        }
    }

    #[test]
    fn every_named_code_may_be_sent() {
        use CloseCode as C;
        let named = [
            C::NORMAL,
            C::GOING_AWAY,
            C::PROTOCOL,
            C::UNSUPPORTED,
            C::INVALID_DATA,
            C::POLICY,
            C::TOO_LARGE,
            C::INTERNAL,
            C::RESTART,
            C::TRY_LATER,
            C::AUTH,
            C::AUTH_TIMEOUT,
            C::ORIGIN,
            C::CAPACITY,
            C::RATE,
            C::SLOW,
            C::DRAIN,
            C::NO_SIGN_OF_LIFE,
            C::LIFETIME,
        ];
        assert!(named.iter().all(|code| code.may_be_sent()));
    }

    #[test]
    fn an_empty_payload_gives_no_code_and_a_single_byte_is_refused() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"\x03"), Err(ProtocolError::BadClosePayload));
    }

    #[test]
    fn a_reason_that_is_not_utf8_is_refused() {
        assert_eq!(parse(b"\x03\xe8\xce"), Err(ProtocolError::InvalidUtf8));
        assert_eq!(
            parse(b"\x03\xe8\xed\xa0\x80"),
            Err(ProtocolError::InvalidUtf8)
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        put_close(&mut out, CloseCode::SLOW, "μ too slow");
        let (code, reason) = (CloseCode::SLOW, "μ too slow");
        assert_eq!(parse(&out), Ok(Some(Close { code, reason })));
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        for padding in 0..4 {
            let reason = format!("{}{}", "x".repeat(padding), "€".repeat(60));
            let mut out = Vec::new();
            put_close(&mut out, CloseCode::POLICY, &reason);
            assert!((CONTROL_BYTES_MAX - 2..=CONTROL_BYTES_MAX).contains(&out.len()));
            let close = parse(&out).unwrap().unwrap();
            assert!(reason.starts_with(close.reason));
        }
    }
}
