//! Where to connect: `ws://host:port/path`, resolved once before the run.

use std::net::{SocketAddr, ToSocketAddrs};

/// One address of the server under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address that connections go to: the first one that the name resolved to.
    pub address: SocketAddr,
    /// The `Host` header: as it stood in the URL.
    pub host: Box<str>,
    /// The request target: path and query, beginning with `/`.
    pub path: Box<str>,
}

/// Why a URL cannot be used, for the person who typed it.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It does not begin with `ws://`.
    #[error("{0:?} does not begin with ws:// (TLS is not supported)")]
    Scheme(String),
    /// Nothing stands between `ws://` and the path.
    #[error("{0:?} names no host")]
    Host(String),
    /// A fragment, a space or another byte that may not stand in a request line.
    #[error("the path of {0:?} holds a byte that may not be sent ({1:?})")]
    Path(String, char),
    /// The name is unknown, or the port is not a number.
    #[error("cannot resolve {0:?}: {1}")]
    Resolve(String, std::io::Error),
}

impl Target {
    /// Reads and resolves `ws://host[:port][/path]`; the port is 80 and the path `/` when they are
    /// left out. An IPv6 address stands in brackets.
    pub fn resolve(url: &str) -> Result<Target, TargetError> {
        let Some(rest) = url.strip_prefix("ws://") else {
            return Err(TargetError::Scheme(url.to_owned()));
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
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .and_then(|mut found| {
                found
                    .next()
                    .ok_or_else(|| std::io::ErrorKind::NotFound.into())
            })
            .map_err(|error| TargetError::Resolve(host.to_owned(), error))?;
        Ok(Target {
            address,
            host: host.into(),
            path: path.into(),
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ws://{}{}", self.host, self.path)
    }
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
            let target = Target::resolve(url).unwrap();
            assert_eq!(target.address, address.parse().unwrap(), "{url}");
            assert_eq!((&*target.host, &*target.path), (host, path), "{url}");
        }
    }

    #[test]
    fn wrong_urls_are_refused_with_the_reason() {
        for (url, reason) in [
            ("127.0.0.1:9001/ws", "does not begin with ws://"),
            ("wss://127.0.0.1:9001/ws", "TLS is not supported"),
            ("ws:///ws", "names no host"),
            ("ws://:9001/ws", "names no host"),
            ("ws://127.0.0.1:9001/a b", "may not be sent"),
            ("ws://127.0.0.1:9001/a#b", "may not be sent"),
            ("ws://127.0.0.1:port/ws", "cannot resolve"),
            ("ws://127.0.0.1:99999/ws", "cannot resolve"),
        ] {
            let error = Target::resolve(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
