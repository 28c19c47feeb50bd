//! Where to connect: `ws://host:port/path`, or `wss://` with TLS, resolved once before the run.

use fanfare_tls::{ClientConfig, ServerName};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

/// One address of the server under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address that connections go to: the first one that the name resolved to.
    pub address: SocketAddr,
    /// The `Host` header: as it stood in the URL.
    pub host: Box<str>,
    /// The request target: path and query, beginning with `/`.
    pub path: Box<str>,
    /// With `wss://`.
    pub tls: Option<Tls>,
    /// Whether WebSockets compress (permessage-deflate).
    pub compression: Compression,
}

/// Whether WebSockets compress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// It is not offered.
    #[default]
    Off,
    /// It is offered.
    Offered,
    /// It is offered, and a server that does not agree to it is refused.
    Demanded,
}

/// What TLS wants to know of a server.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whom its certificate must stand for.
    pub host: ServerName<'static>,
    /// What all connections share: trust, and tickets.
    pub config: Arc<ClientConfig>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Tls) -> bool {
        self.host == other.host && Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for Tls {}

/// Why a URL cannot be used, for the person who typed it.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It does not begin with `ws://` or `wss://`.
    #[error("{0:?} does not begin with ws:// or wss://")]
    Scheme(String),
    /// Nothing stands between `ws://` and the path.
    #[error("{0:?} names no host")]
    Host(String),
    /// No name or address that a certificate could stand for.
    #[error("{0:?} is no host that has a certificate")]
    Certified(String),
    /// A fragment, a space or another byte that may not stand in a request line.
    #[error("the path of {0:?} holds a byte that may not be sent ({1:?})")]
    Path(String, char),
    /// The name is unknown, or the port is not a number.
    #[error("cannot resolve {0:?}: {1}")]
    Resolve(String, std::io::Error),
}

impl Target {
    /// Reads and resolves `ws://host[:port][/path]`, and `wss://` if there is a `config` for it; the port
    /// is 80, or 443, and the path `/` when they are left out. An IPv6 address stands in brackets.
    pub fn resolve(url: &str, config: Option<&Arc<ClientConfig>>) -> Result<Target, TargetError> {
        let (rest, config, port) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
            (Some(rest), _) => (rest, None, 80),
            (None, Some(rest)) if config.is_some() => (rest, config, 443),
            _ => return Err(TargetError::Scheme(url.to_owned())),
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(TargetError::Host(url.to_owned()));
        }
        if let Some(bad) = path.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            return Err(TargetError::Path(url.to_owned(), bad));
        }
        let has_port = host.rfind(':') > host.rfind(']');
        let with_port = if has_port {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let address = with_port
            .to_socket_addrs()
            .and_then(|mut found| {
                found
                    .next()
                    .ok_or_else(|| std::io::ErrorKind::NotFound.into())
            })
            .map_err(|error| TargetError::Resolve(host.to_owned(), error))?;
        let tls = match config {
            None => None,
            Some(config) => Some(Tls {
                host: certified(host).ok_or_else(|| TargetError::Certified(host.to_owned()))?,
                config: config.clone(),
            }),
        };
        Ok(Target {
            tls,
            compression: Compression::Off,
            address,
            host: host.into(),
            path: path.into(),
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.host, self.path)
    }
}

/// The host without its port and brackets.
fn certified(host: &str) -> Option<ServerName<'static>> {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    ServerName::try_from(name.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, address, host, path) in [
            (
                "ws://127.0.0.1:9001/ws",
                "127.0.0.1:9001",
                "127.0.0.1:9001",
                "/ws",
            ),
            (
                "ws://127.0.0.1:9001",
                "127.0.0.1:9001",
                "127.0.0.1:9001",
                "/",
            ),
            (
                "ws://127.0.0.1/a/b?c=d",
                "127.0.0.1:80",
                "127.0.0.1",
                "/a/b?c=d",
            ),
            ("ws://[::1]:9001/ws", "[::1]:9001", "[::1]:9001", "/ws"),
            ("ws://[::1]/ws", "[::1]:80", "[::1]", "/ws"),
        ] {
            let target = Target::resolve(url, None).unwrap();
            assert_eq!(target.address, address.parse().unwrap(), "{url}");
            assert_eq!((&*target.host, &*target.path), (host, path), "{url}");
        }
    }

    #[test]
    fn wrong_urls_are_refused_with_the_reason() {
        for (url, reason) in [
            ("127.0.0.1:9001/ws", "does not begin with ws://"),
            (
                "https://127.0.0.1:9001/ws",
                "does not begin with ws:// or wss://",
            ),
            ("ws:///ws", "names no host"),
            ("ws://:9001/ws", "names no host"),
            ("ws://127.0.0.1:9001/a b", "may not be sent"),
            ("ws://127.0.0.1:9001/a#b", "may not be sent"),
            ("ws://127.0.0.1:port/ws", "cannot resolve"),
            ("ws://127.0.0.1:99999/ws", "cannot resolve"),
        ] {
            let error = Target::resolve(url, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn a_secure_url_names_whom_the_certificate_must_stand_for() {
        let config = fanfare_tls::Trust::Anybody.config(true).unwrap();
        for (url, address, host) in [
            ("wss://127.0.0.1/ws", "127.0.0.1:443", "127.0.0.1"),
            ("wss://127.0.0.1:9443", "127.0.0.1:9443", "127.0.0.1"),
            ("wss://[::1]:9443/ws", "[::1]:9443", "::1"),
        ] {
            let target = Target::resolve(url, Some(&config)).unwrap();
            assert_eq!(target.address, address.parse().unwrap(), "{url}");
            assert_eq!(target.tls.unwrap().host, host.try_into().unwrap(), "{url}");
        }
    }
}
