//! Listeners: one a shard and address, sharing the port by `SO_REUSEPORT`.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: SocketAddr,
    /// Whether what comes by it is the operator's: it gets metrics, stats and health, and nothing else.
    pub is_admin: bool,
    /// Connections that may wait for accept; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// `SO_RCVBUF` of every connection, bytes; the kernel's own choice if `None`.
    pub recv_buffer: Option<u32>,
    /// `SO_SNDBUF` of every connection, bytes.
    pub send_buffer: Option<u32>,
    /// `TCP_USER_TIMEOUT` of every connection, milliseconds: output that its peer does not acknowledge for so long ends it. 0 = the
    /// kernel's own patience, some 15 minutes.
    pub user_timeout_ms: u32,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

impl Listen {
    /// Finds out whether the address can be had, and which port a `:0` becomes, before any shard starts.
    ///
    /// Without `SO_REUSEPORT`: two servers on one port would silently share its connections, so a port that another
    /// program listens on must be an error.
    ///
    /// # Errors
    /// Whatever bind(2) reports.
    pub fn probe(&self) -> io::Result<SocketAddr> {
        let socket = self.socket()?;
        socket.bind(&self.address.into())?;
        let bound = socket.local_addr()?;
        // A bind alone succeeds beside a listener that set SO_REUSEADDR; listening does not.
        socket.listen(1)?;
        bound
            .as_socket()
            .ok_or_else(|| io::Error::other("the address is not an IP address"))
    }

    /// Listens. What is set here, connections inherit: no call for each of them.
    ///
    /// # Errors
    /// Whatever socket(2), bind(2) and listen(2) report.
    pub fn open(&self) -> io::Result<mio::net::TcpListener> {
        let socket = self.socket()?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = self.recv_buffer {
            socket.set_recv_buffer_size(bytes as usize)?;
        }
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes as usize)?;
        }
        if self.user_timeout_ms > 0 {
            let timeout = Duration::from_millis(self.user_timeout_ms.into());
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        socket.bind(&self.address.into())?;
        socket.listen(self.backlog.min(i32::MAX as u32) as i32)?;
        socket.set_nonblocking(true)?;
        Ok(mio::net::TcpListener::from_std(StdListener::from(socket)))
    }

    fn socket(&self) -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(self.address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if self.address.is_ipv6() {
            // [::]:9001 and 0.0.0.0:9001 may then stand side by side.
            socket.set_only_v6(true)?;
        }
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str) -> Listen {
        Listen {
            address: address.parse().unwrap(),
            is_admin: false,
            backlog: 16,
            recv_buffer: None,
            send_buffer: None,
            user_timeout_ms: 0,
            tls: false,
        }
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_refused_before_the_start() {
        let address = listen("127.0.0.1:0").probe().unwrap();
        let listener = Listen {
            address,
            ..listen("127.0.0.1:0")
        }
        .open()
        .unwrap();
        let again = Listen {
            address,
            ..listen("127.0.0.1:0")
        };
        assert_eq!(again.probe().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // Shards of one server do share it.
        again.open().unwrap();
        drop(listener);
    }

    #[test]
    fn what_is_set_on_a_listener_its_connections_inherit() {
        let mut listen = Listen {
            user_timeout_ms: 45_000,
            ..listen("127.0.0.1:0")
        };
        listen.address = listen.probe().unwrap();
        let listener = listen.open().unwrap();
        let _client = std::net::TcpStream::connect(listen.address).unwrap();
        // Loopback: the handshake is over when connect returns.
        let (accepted, _) = listener.accept().unwrap();
        let accepted = socket2::SockRef::from(&accepted);
        let timeout = Duration::from_millis(45_000);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(timeout));
        assert!(accepted.tcp_nodelay().unwrap());
    }
}
