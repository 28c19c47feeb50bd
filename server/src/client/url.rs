//! Where a client connects to: `ws://host:port/path?query`, or `wss://` for TLS.

use std::str::FromStr;

const WS_PORT: u16 = 80;
const WSS_PORT: u16 = 443;
/// What a URL without a path means, so that the line a server prints at its start can be used as it is.
const DEFAULT_TARGET: &str = "/ws";

/// A WebSocket URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `wss://`.
    pub tls: bool,
    /// A name or an address, an IPv6 address without its brackets.
    pub host: String,
    /// 80 when the URL has none, 443 with TLS.
    pub port: u16,
    /// Path and query.
    pub target: String,
}

/// Why a URL was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No scheme, or one nobody knows here.
    #[error("a URL begins with ws:// or wss://, for example ws://127.0.0.1:9001/ws")]
    Scheme,
    /// Nothing between the scheme and the path.
    #[error("the URL names no host")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// White space, control characters or a fragment, none of which a request line may hold.
    #[error("the URL holds a character that may not stand there")]
    Character,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Url, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme {
            "ws" => false,
            "wss" => true,
            _ => return Err(UrlError::Scheme),
        };
        if !rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(UrlError::Character);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = split_port(authority, default_port(tls))?;
        let target = match target {
            "" | "/" => DEFAULT_TARGET.to_owned(),
            query if query.starts_with('?') => format!("{DEFAULT_TARGET}{query}"),
            target => target.to_owned(),
        };
        Ok(Url {
            tls,
            host: host.to_owned(),
            port,
            target,
        })
    }
}

impl Url {
    /// As the `Host` header of a request wants it.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.tls) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { WSS_PORT } else { WS_PORT }
}

fn split_port(authority: &str, default: u16) -> Result<(&str, u16), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(UrlError::Host)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if host.is_empty() || host.contains('@') {
        return Err(UrlError::Host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(UrlError::Port),
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(UrlError::Port)?,
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (text, host, port, target, authority) in [
            (
                "ws://127.0.0.1:9001",
                "127.0.0.1",
                9001,
                "/ws",
                "127.0.0.1:9001",
            ),
            ("ws://example.org/", "example.org", 80, "/ws", "example.org"),
            ("ws://h:80/raw?x=1", "h", 80, "/raw?x=1", "h"),
            ("ws://h?x=1", "h", 80, "/ws?x=1", "h"),
            (
                "ws://[::1]:9001/room/a",
                "::1",
                9001,
                "/room/a",
                "[::1]:9001",
            ),
            ("ws://[::1]", "::1", 80, "/ws", "[::1]"),
            ("wss://h", "h", 443, "/ws", "h"),
            ("wss://h:80/raw", "h", 80, "/raw", "h:80"),
            ("ws://h:443/", "h", 443, "/ws", "h:443"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.target.as_str()),
                (host, port, target),
                "{text}"
            );
            assert_eq!(url.authority(), authority);
            assert_eq!(url.tls, text.starts_with("wss"));
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (text, error) in [
            ("127.0.0.1:9001", UrlError::Scheme),
            ("http://h/", UrlError::Scheme),
            ("https://h/", UrlError::Scheme),
            ("wss:///", UrlError::Host),
            ("ws://", UrlError::Host),
            ("ws://:9001", UrlError::Host),
            ("ws://[::1", UrlError::Host),
            ("ws://me@h", UrlError::Host),
            ("ws://h:", UrlError::Port),
            ("ws://h:0", UrlError::Port),
            ("ws://h:99999", UrlError::Port),
            ("ws://[::1]x", UrlError::Port),
            ("ws://h/a b", UrlError::Character),
            ("ws://h/a#b", UrlError::Character),
            ("ws://h/\r\nX: y", UrlError::Character),
        ] {
            assert_eq!(text.parse::<Url>(), Err(error), "{text:?}");
        }
    }
}
