//! The PROXY protocol, versions 1 and 2 (HAProxy, `doc/proxy-protocol.txt`, 2020-03-05): a proxy says before everything else on a
//! connection whose it is.
//!
//! The header must be the first thing on the connection and is read whole or not at all. What a proxy adds to the addresses is left out.

/// Longest line of version 1, with its end.
const LINE_BYTES_MAX: usize = 107;
/// Longest header of version 2: its addresses, and so much of what a proxy adds.
pub const HEADER_BYTES_MAX: usize = 16 + 2048;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE_BEGIN: &[u8] = b"PROXY ";

/// Whom a connection is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The proxy speaks for itself (a health check), or does not know.
    Proxy,
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 address.
    V6([u8; 16]),
}

/// What stands at the beginning of the connection is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin with a PROXY header")]
pub struct NoHeader;

/// Reads the header and its length off the front of `bytes`. `None`: it is not complete; call again with the same bytes and what has
/// arrived since.
///
/// # Errors
/// As soon as the bytes cannot become a header any more.
pub fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoHeader> {
    let begins = |with: &[u8]| {
        let count = bytes.len().min(with.len());
        bytes[..count] == with[..count]
    };
    if begins(SIGNATURE) {
        return parse_binary(bytes);
    }
    if begins(LINE_BEGIN) {
        return parse_line(bytes);
    }
    Err(NoHeader)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`
fn parse_line(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoHeader> {
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', seen) else {
        return if bytes.len() < LINE_BYTES_MAX {
            Ok(None)
        } else {
            Err(NoHeader)
        };
    };
    let line = seen[..end].strip_suffix(b"\r").ok_or(NoHeader)?;
    let line = std::str::from_utf8(line).map_err(|_| NoHeader)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words[..] {
        // Whatever follows is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Source::Proxy,
        ["PROXY", "TCP4", from, to, from_port, to_port] => {
            judge_ports(from_port, to_port)?;
            parse_v4(to)?;
            Source::V4(parse_v4(from)?)
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] => {
            judge_ports(from_port, to_port)?;
            parse_v6(to)?;
            Source::V6(parse_v6(from)?)
        }
        _ => return Err(NoHeader),
    };
    Ok(Some((source, end + 1)))
}

fn judge_ports(from: &str, to: &str) -> Result<(), NoHeader> {
    let is_port = |text: &str| {
        let is_plain = text == "0" || !text.starts_with('0');
        is_plain && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
    };
    if is_port(from) && is_port(to) {
        Ok(())
    } else {
        Err(NoHeader)
    }
}

fn parse_v4(text: &str) -> Result<[u8; 4], NoHeader> {
    let address: core::net::Ipv4Addr = text.parse().map_err(|_| NoHeader)?;
    Ok(address.octets())
}

fn parse_v6(text: &str) -> Result<[u8; 16], NoHeader> {
    let address: core::net::Ipv6Addr = text.parse().map_err(|_| NoHeader)?;
    Ok(address.octets())
}

fn parse_binary(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoHeader> {
    const HEAD_BYTES: usize = 16;
    if let Some(&version_and_command) = bytes.get(12)
        && !matches!(version_and_command, 0x20 | 0x21)
    {
        return Err(NoHeader);
    }
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let whole = HEAD_BYTES + length;
    if whole > HEADER_BYTES_MAX {
        return Err(NoHeader);
    }
    let Some(addresses) = bytes.get(HEAD_BYTES..whole) else {
        return Ok(None);
    };
    let source = match (head[12] & 0x0f, head[13]) {
        // LOCAL: the addresses are to be ignored.
        (0, _) => Source::Proxy,
        // TCP over IPv4: two addresses and two ports.
        (1, 0x11) if length >= 12 => Source::V4(*addresses.first_chunk().ok_or(NoHeader)?),
        (1, 0x21) if length >= 36 => Source::V6(*addresses.first_chunk().ok_or(NoHeader)?),
        (1, 0x00) => Source::Proxy,
        _ => return Err(NoHeader),
    };
    Ok(Some((source, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same however much has come.
    fn parse_all(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoHeader> {
        let whole = parse(bytes);
        for end in 0..bytes.len() {
            match (parse(&bytes[..end]), whole) {
                (Ok(None), _) | (Err(NoHeader), Err(NoHeader)) => {}
                (early, Ok(Some((_, length)))) if end >= length => assert_eq!(early, whole),
                (early, _) => panic!("{early:?} with {end} of {bytes:?}, {whole:?} with all"),
            }
        }
        whole
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn lines_are_read_as_the_specification_writes_them() {
        for (line, source) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
                Source::V4([192, 0, 2, 1]),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
                Source::V6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ),
            ("PROXY UNKNOWN\r\n", Source::Proxy),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Source::Proxy),
        ] {
            let bytes = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(
                parse_all(bytes.as_bytes()),
                Ok(Some((source, line.len()))),
                "{line}"
            );
        }
    }

    #[test]
    fn records_are_read_as_the_specification_lays_them_out() {
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 187];
        let v6 = [7; 36];
        for (bytes, source) in [
            (binary(1, 0x11, &v4), Source::V4([1, 2, 3, 4])),
            (
                binary(1, 0x11, &[&v4[..], &[3, 0, 1, 9]].concat()),
                Source::V4([1, 2, 3, 4]),
            ),
            (binary(1, 0x21, &v6), Source::V6([7; 16])),
            (binary(0, 0x00, &[]), Source::Proxy),
            (binary(0, 0x11, &v4), Source::Proxy),
            (binary(1, 0x00, &[]), Source::Proxy),
        ] {
            let length = bytes.len();
            let bytes = [&bytes[..], b"GET"].concat();
            assert_eq!(parse_all(&bytes), Ok(Some((source, length))), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 187];
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(120));
        let lines = [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 443\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 443\r\n",
            "PROXY TCP4 ::1 ::1 1 443\r\n",
            "PROXY TCP6 192.0.2.1 ::1 1 443\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 443\r\n",
            "proxy UNKNOWN\r\n",
            &long,
        ];
        for line in lines {
            assert_eq!(parse_all(line.as_bytes()), Err(NoHeader), "{line}");
        }
        for bytes in [
            binary(2, 0x11, &v4),
            binary(1, 0x12, &v4),
            binary(1, 0x11, &v4[..11]),
            binary(1, 0x21, &v4),
            binary(1, 0x11, &[0; 3000]),
        ] {
            assert_eq!(parse_all(&bytes), Err(NoHeader), "{bytes:?}");
        }
    }
}
