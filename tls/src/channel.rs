//! One end of a TLS connection, as a machine that turns bytes into bytes.

use std::ops::DerefMut;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, HandshakeKind, ServerConfig};

/// The most plaintext that one record carries (RFC 8446, section 5.1).
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a record is longer than its plaintext at most: header, explicit nonce, content type, tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 8 + 1 + 16;
/// What is kept at most of records, and of handshake messages in several records, that have not come whole: one record of the
/// greatest length (RFC 5246, section 6.2.3), or a long chain of client certificates.
const KEPT_BYTES_MAX: usize = 24 * 1024;
/// What rustls has on the heap for a server's end: its keys, what the peer said of itself, the state of the handshake. It does not
/// tell, so these are measured (`tests/memory.rs` holds them to it): open it is 2,081 bytes with TLS 1.2 and 2,185 with 1.3; before
/// that it is 792 when nothing has come, and 1,401 or 2,665 in the middle of the handshake.
const OPEN_HEAP_BYTES: usize = 2_130;
const HANDSHAKE_HEAP_BYTES: usize = 1_700;

/// The channel of a server.
pub type ServerChannel = Channel<ServerConnectionData>;
/// The channel of a client.
pub type ClientChannel = Channel<ClientConnectionData>;

/// Which end of a connection: the two differ only in how rustls calls them.
pub trait Role: Sized {
    /// The connection of that end.
    type Connection: DerefMut<Target = UnbufferedConnectionCommon<Self>>;

    /// Processes the records that `incoming` begins with, up to the next state.
    fn process<'c, 'i>(
        connection: &'c mut Self::Connection,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self>;
}

impl Role for ServerConnectionData {
    type Connection = UnbufferedServerConnection;

    fn process<'c, 'i>(
        connection: &'c mut UnbufferedServerConnection,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self> {
        connection.process_tls_records(incoming)
    }
}

impl Role for ClientConnectionData {
    type Connection = UnbufferedClientConnection;

    fn process<'c, 'i>(
        connection: &'c mut UnbufferedClientConnection,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self> {
        connection.process_tls_records(incoming)
    }
}

/// Why a channel is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The peer broke the protocol, sent an alert, or is not who it should be.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The peer's handshake message is longer than is taken.
    #[error("a handshake message is too long")]
    TooLong,
    /// The keys are used up, and the version has no way to get new ones (TLS 1.2 after some 2^24 records).
    #[error("the keys are used up")]
    Exhausted,
    /// Data before the handshake is over, or after a fault.
    #[error("the channel is not open")]
    NotOpen,
}

/// What came of [`Channel::receive`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The handshake ended in this step.
    pub opened: bool,
    /// The peer has ended its side (`close_notify`); we may still send.
    pub ended: bool,
}

/// One end of a TLS connection. Idle it owns what rustls keeps of it, its keys first of all, and no buffer.
pub struct Channel<R: Role> {
    connection: R::Connection,
    /// Ciphertext that is the beginning of something.
    kept: Vec<u8>,
    /// The peer has ended its side.
    has_ended: bool,
    /// After a fault rustls must not be asked again: it would find the fault once more, in what is no longer there.
    is_broken: bool,
}

impl<R: Role> std::fmt::Debug for Channel<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("handshaking", &self.connection.is_handshaking())
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

impl ServerChannel {
    /// A server's end, before anything has come.
    ///
    /// # Errors
    /// A configuration that contradicts itself.
    pub fn accept(config: Arc<ServerConfig>) -> Result<ServerChannel, Fault> {
        UnbufferedServerConnection::new(config)
            .map(Channel::new)
            .map_err(Fault::Tls)
    }

    /// What it keeps beyond its own size, bytes: its buffer and the peer's certificates exactly, and a measured constant for the rest
    /// of what rustls keeps.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let rustls = if self.is_open() {
            OPEN_HEAP_BYTES
        } else {
            HANDSHAKE_HEAP_BYTES
        };
        let chain = self.peer_certificates().unwrap_or_default();
        let chain: usize = chain
            .iter()
            .map(|certificate| size_of_val(certificate) + certificate.len())
            .sum();
        rustls + chain + self.kept.capacity()
    }
}

impl ClientChannel {
    /// A client's end. [`Channel::receive`] nothing, and it says what is to be sent first.
    ///
    /// # Errors
    /// A configuration that contradicts itself.
    pub fn connect(
        config: Arc<ClientConfig>,
        server: ServerName<'static>,
    ) -> Result<ClientChannel, Fault> {
        UnbufferedClientConnection::new(config, server)
            .map(Channel::new)
            .map_err(Fault::Tls)
    }
}

impl<R: Role> Channel<R> {
    fn new(connection: R::Connection) -> Channel<R> {
        Channel {
            connection,
            kept: Vec::new(),
            has_ended: false,
            is_broken: false,
        }
    }

    /// Whether data can be sent and received.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether the session was resumed; `None` before that is known.
    #[must_use]
    pub fn is_resumed(&self) -> Option<bool> {
        self.connection
            .handshake_kind()
            .map(|kind| kind == HandshakeKind::Resumed)
    }

    /// The peer's certificates, its own first; `None` when it showed none.
    #[must_use]
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.connection.peer_certificates()
    }

    /// Bytes of incomplete records that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.kept.len()
    }

    /// Puts what is kept at the front of `buffer`; what is read from the socket goes behind the so many bytes that are returned. All
    /// of it together is then handed to [`Channel::receive`]. `buffer` must be longer than 32 KB.
    pub fn restore(&self, buffer: &mut [u8]) -> usize {
        buffer[..self.kept.len()].copy_from_slice(&self.kept);
        self.kept.len()
    }

    /// Takes `incoming`, decrypting it in place. Appends data to `plain`, and to `out` what is to be sent for it: the next part of
    /// the handshake, or after a fault the alert that tells the peer.
    ///
    /// # Errors
    /// The [`Fault`] that ends the channel; data in front of it has been appended.
    pub fn receive(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Received, Fault> {
        if self.is_broken {
            return Err(Fault::NotOpen);
        }
        let was_open = self.is_open();
        let mut received = Received::default();
        let mut start = 0;
        let result = loop {
            let UnbufferedStatus {
                mut discard, state, ..
            } = R::process(&mut self.connection, &mut incoming[start..]);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            discard += record.discard;
                            plain.extend_from_slice(record.payload);
                        }
                        Some(Err(error)) => break Some(Err(error.into())),
                        None => break None,
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, out);
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    (received.ended, self.has_ended) = (true, true);
                    None
                }
                Ok(_) => Some(Ok(())),
                Err(error) => Some(Err(error.into())),
            };
            start += discard;
            if let Some(result) = step {
                break result;
            }
        };
        let kept = result.and_then(|()| self.keep(&incoming[start..]));
        if let Err(fault) = kept {
            self.put_alerts(&mut incoming[start..], out);
            self.kept = Vec::new();
            self.is_broken = true;
            return Err(fault);
        }
        received.opened = !was_open && self.is_open();
        Ok(received)
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), Fault> {
        // What comes behind the end of the peer's stream is not looked at.
        if rest.is_empty() || self.has_ended {
            self.kept = Vec::new();
            return Ok(());
        }
        if rest.len() > KEPT_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        self.kept.clear();
        self.kept.extend_from_slice(rest);
        Ok(())
    }

    /// After a fault: what there is to be told to the peer, which stands in front of everything else.
    fn put_alerts(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            match R::process(&mut self.connection, rest).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
                _ => return,
            }
        }
    }

    /// Appends `plain` to `out` as records of up to 16 KB.
    ///
    /// # Errors
    /// A [`Fault`]; nothing was appended then.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let records = plain.len().div_ceil(RECORD_BYTES_MAX);
        let longest = plain.len() + records * RECORD_OVERHEAD_BYTES;
        self.write(longest, out, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Appends a `close_notify`: we send no more.
    ///
    /// # Errors
    /// A [`Fault`]; nothing was appended then.
    pub fn seal_end(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.write(2 + RECORD_OVERHEAD_BYTES, out, |traffic, room| {
            traffic.queue_close_notify(room)
        })
    }

    fn write(
        &mut self,
        longest: usize,
        out: &mut Vec<u8>,
        mut put: impl FnMut(&mut WriteTraffic<'_, R>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Fault> {
        if self.is_broken {
            return Err(Fault::NotOpen);
        }
        // rustls may hold places in what is kept, so it is shown just that. What is in it has been processed.
        let UnbufferedStatus { discard, state, .. } =
            R::process(&mut self.connection, &mut self.kept);
        debug_assert_eq!(discard, 0, "what is kept is incomplete");
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else {
            return Err(Fault::NotOpen);
        };
        let begin = out.len();
        out.resize(begin + longest, 0);
        let mut written = put(&mut traffic, &mut out[begin..]);
        // An answer to the peer's change of keys goes in front, now and then.
        if let Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) =
            written
        {
            out.resize(begin + required_size, 0);
            written = put(&mut traffic, &mut out[begin..]);
        }
        out.truncate(begin + written.as_ref().unwrap_or(&0));
        written.map(drop).map_err(|_| Fault::Exhausted)
    }
}

fn encode<R>(data: &mut EncodeTlsData<'_, R>, out: &mut Vec<u8>) {
    let begin = out.len();
    loop {
        match data.encode(&mut out[begin..]) {
            Ok(written) => return out.truncate(begin + written),
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                out.resize(begin + required_size, 0);
            }
            Err(EncodeError::AlreadyEncoded) => return,
        }
    }
}
