//! TLS below a link: what it queues is sealed when the handshake is over, what arrives is opened before
//! anything else sees it. A secure link keeps its channel and what surrounds it, some 4 KB, and no
//! buffer while it is idle.

use super::{Link, LinkError, Message, Read};
use crate::target::Tls;
use fanfare_tls::ClientChannel;
use mio::net::TcpStream;
use std::io::{self, ErrorKind, Read as _, Write as _};

/// One link's TLS.
#[derive(Debug)]
pub(super) struct Secure {
    channel: ClientChannel,
    /// Ciphertext that waits for the socket; the first `sent` bytes have gone.
    sealed: Vec<u8>,
    sent: usize,
}

impl Secure {
    /// A channel that has its first words ready.
    pub(super) fn new(tls: &Tls) -> io::Result<Box<Secure>> {
        let mut secure = Secure {
            channel: ClientChannel::connect(tls.config.clone(), tls.host.clone())
                .map_err(io::Error::other)?,
            sealed: Vec::new(),
            sent: 0,
        };
        let said = (secure.channel).receive(&mut [], &mut Vec::new(), &mut secure.sealed);
        said.map_err(io::Error::other)?;
        Ok(Box::new(secure))
    }

    pub(super) fn is_resumed(&self) -> Option<bool> {
        self.channel.is_resumed()
    }

    pub(super) fn unsent_bytes(&self) -> usize {
        self.sealed.len() - self.sent
    }

    /// Seals `out`, unless the handshake is still under way, and sends what is sealed. Returns whether
    /// all is sent.
    pub(super) fn flush(&mut self, stream: &mut TcpStream, out: &mut Vec<u8>) -> io::Result<bool> {
        if !out.is_empty() && self.channel.is_open() {
            self.channel
                .seal(out, &mut self.sealed)
                .map_err(io::Error::other)?;
            out.clear();
        }
        while self.unsent_bytes() > 0 {
            match stream.write(&self.sealed[self.sent..]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Not connected yet, or full.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.sealed.clear();
        self.sent = 0;
        Ok(out.is_empty())
    }

    /// Gives back what is not needed while nothing is under way.
    pub(super) fn relax(&mut self) {
        if self.sealed.is_empty() {
            self.sealed = Vec::new();
        }
    }

    /// Opens `incoming` into `plain`. Returns whether the peer has ended its side.
    fn open(&mut self, incoming: &mut [u8], plain: &mut Vec<u8>) -> Result<bool, LinkError> {
        let kept = self.channel.kept_bytes();
        let received = if kept == 0 {
            self.channel.receive(incoming, plain, &mut self.sealed)
        } else {
            // A record that came in two pieces: seldom enough for a buffer of its own.
            let mut whole = vec![0; kept + incoming.len()];
            self.channel.restore(&mut whole);
            whole[kept..].copy_from_slice(incoming);
            self.channel.receive(&mut whole, plain, &mut self.sealed)
        };
        Ok(received?.ended)
    }
}

impl Link {
    /// [`Link::read`] of a secure link.
    pub(super) fn read_sealed(
        &mut self,
        times: usize,
        buffer: &mut [u8],
        to_the_end: bool,
        mut hear: impl FnMut(Message<'_>, u64),
    ) -> Read {
        let mut read = Read {
            more: true,
            ..Read::default()
        };
        let mut plain = Vec::new();
        for _ in 0..times {
            let bytes = match self.stream.read(buffer) {
                Ok(0) => {
                    read.ended = Some(LinkError::Ended);
                    return read;
                }
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    read.more = false;
                    return read;
                }
                Err(error) => {
                    read.ended = Some(error.into());
                    return read;
                }
            };
            read.bytes += bytes;
            plain.clear();
            let opened = match self.cold.as_mut().and_then(|cold| cold.tls.as_mut()) {
                Some(tls) => tls.open(&mut buffer[..bytes], &mut plain),
                None => Ok(true),
            };
            // The next part of the handshake, what waited for its end, or the alert that tells of a fault.
            let flushed = self.flush().map_err(LinkError::from);
            let heard = if plain.is_empty() {
                Ok(())
            } else {
                self.on_bytes(&mut plain, &mut read.opened, &mut hear)
            };
            let ended = heard.and(opened).and_then(|ended| flushed.map(|_| ended));
            match ended {
                Ok(false) => {}
                Ok(true) => read.ended = Some(LinkError::Ended),
                Err(error) => read.ended = Some(error),
            }
            if read.ended.is_some() {
                return read;
            }
            if bytes < buffer.len() && !to_the_end {
                read.more = false;
                return read;
            }
        }
        read
    }
}
