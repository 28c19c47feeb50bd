//! One client end of a connection over a non-blocking socket: of a WebSocket with its handshake, frames,
//! pongs and close, of a stream of events, or of requests and answers on plain HTTP. Sixteen bytes
//! while nothing is going on; what a handshake, an unsent frame or an incomplete one needs is boxed
//! and given back afterwards.
//!
//! Whoever owns the [`Link`] registers it once, edge-triggered, for reading and writing, and then:
//! when it is writable, calls [`Link::flush`]; when it is readable, calls [`Link::read`]. Pings and
//! closes are answered here.

mod compression;
mod error;
mod plain;
mod secure;

pub use error::{LinkError, NO_PORT};

use crate::clock;
use crate::http::{Answer, AnswerReader, EventReader, HEAD_LIMITS};
use crate::sys;
use crate::target::{Compression, Target};
use fanfare_wire::close::CloseCode;
use fanfare_wire::deflate::{Inflater, WINDOW_BITS_MAX};
use fanfare_wire::error::ProtocolError;
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::{self, ResponseError};
use fanfare_wire::reader::{Item, Limits, Reader, Role};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use secure::Secure;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::time::Duration;

/// What a server may send. Generous: the limits of a server are its own tests' business.
const LIMITS: Limits = Limits {
    role: Role::Client,
    frame_bytes_max: 64 << 20,
    message_bytes_max: 64 << 20,
    fragments_max: 1 << 20,
};
/// Reads from one socket before others get their turn.
const READS_MAX: usize = 16;

/// A client's connection. Dropping it closes the socket.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    is_open: bool,
    framing: Framing,
    closing: Closing,
    /// Our window, as the logarithm of its size, if compression was agreed on; else 0.
    window_bits: u8,
    /// `None` while the link is open and idle.
    cold: Option<Box<Cold>>,
}

/// How far our own closing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// We have sent a close frame.
    Sent,
    /// It was answered: what remains is that the server ends the stream.
    Answered,
}

/// What the bytes that arrive are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Frames of a WebSocket, behind its handshake.
    WebSocket,
    /// Bytes of any kind, handed out as they come.
    Bytes,
    /// Server-Sent Events, behind the head of an answer.
    Events,
    /// Answers to requests, one behind the other.
    Answers,
}

/// What a link has heard.
#[derive(Debug)]
pub enum Message<'a> {
    /// A message of a WebSocket, the data of an event, bytes.
    Item(Item<'a>),
    /// The id of an event: where the stream stands now that the event has been heard.
    Id(&'a str),
    /// An answer to a request.
    Answer(&'a Answer<'a>),
}

/// What an idle link does not need.
#[derive(Debug, Default)]
struct Cold {
    /// With TLS, for as long as the link lives.
    tls: Option<Box<Secure>>,
    reader: Reader,
    events: EventReader,
    answers: AnswerReader,
    /// Bytes to be sent; the first `sent` of them have been.
    out: Vec<u8>,
    sent: usize,
    /// Until the handshake ends: the key, the subprotocol offered, and what has arrived of the
    /// answer.
    key: String,
    protocol: Option<&'static str>,
    compression: Compression,
    head: Vec<u8>,
    /// If the server keeps its context from one compressed message to the next.
    inflater: Option<Box<Inflater>>,
}

/// What came of [`Link::read`].
#[derive(Debug, Default)]
pub struct Read {
    /// Bytes taken from the socket.
    pub bytes: usize,
    /// The handshake was completed by this read.
    pub opened: bool,
    /// The socket may hold more, but others should have their turn: call again without waiting for
    /// an event.
    pub more: bool,
    /// The link has ended; drop it.
    pub ended: Option<LinkError>,
}

impl Link {
    /// Begins to connect, from `source` if one is given, and prepares the upgrade request, which
    /// offers `protocol`.
    pub fn connect(
        target: &Target,
        source: Option<IpAddr>,
        protocol: Option<&'static str>,
    ) -> io::Result<Link> {
        Link::connect_narrow(target, source, protocol, None)
    }

    /// The same with a receive buffer of so many bytes (`SO_RCVBUF`, which the kernel doubles).
    pub fn connect_narrow(
        target: &Target,
        source: Option<IpAddr>,
        protocol: Option<&'static str>,
        receive_buffer: Option<usize>,
    ) -> io::Result<Link> {
        let stream = stream(target, source, receive_buffer)?;
        let mut cold = Box::<Cold>::default();
        cold.tls = target.tls.as_ref().map(Secure::new).transpose()?;
        cold.key = handshake::new_key(fastrand::u128(..).to_ne_bytes());
        cold.protocol = protocol;
        cold.compression = target.compression;
        let extensions = compression::offer(cold.compression).map(|offer| offer.to_string());
        let extra: Vec<(&str, &str)> = (extensions.iter())
            .map(|offer| ("Sec-WebSocket-Extensions", offer.as_str()))
            .collect();
        handshake::put_upgrade_request(
            &mut cold.out,
            &target.host,
            &target.path,
            &cold.key,
            protocol.as_slice(),
            &extra,
        );
        Ok(Link {
            stream,
            is_open: false,
            framing: Framing::WebSocket,
            closing: Closing::No,
            window_bits: 0,
            cold: Some(cold),
        })
    }

    /// Begins to connect without a WebSocket; `request` goes out as soon as the socket is writable.
    /// Bytes of any kind are open from the beginning; a stream of events is with the head of its
    /// answer, requests and answers with the first answer.
    pub fn connect_plainly(
        target: &Target,
        source: Option<IpAddr>,
        receive_buffer: Option<usize>,
        framing: Framing,
        request: Vec<u8>,
    ) -> io::Result<Link> {
        debug_assert_ne!(framing, Framing::WebSocket, "which has a handshake");
        Ok(Link {
            stream: stream(target, source, receive_buffer)?,
            is_open: framing == Framing::Bytes,
            framing,
            closing: Closing::No,
            window_bits: 0,
            cold: Some(Box::new(Cold {
                tls: target.tls.as_ref().map(Secure::new).transpose()?,
                out: request,
                ..Cold::default()
            })),
        })
    }

    /// Registers the socket, once for all. Events for it may arrive at once.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(
            &mut self.stream,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )
    }

    /// Whether the handshake is completed.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// With TLS, once it is known: whether the session was resumed.
    pub fn is_resumed(&self) -> Option<bool> {
        let tls = self.cold.as_ref()?.tls.as_ref()?;
        tls.is_resumed()
    }

    /// Bytes that wait for the socket.
    pub fn unsent_bytes(&self) -> usize {
        let unsent = |cold: &Cold| {
            let sealed = cold.tls.as_ref().map_or(0, |tls| tls.unsent_bytes());
            sealed + cold.out.len() - cold.sent
        };
        self.cold.as_deref().map_or(0, unsent)
    }

    /// Appends a masked frame to what waits; [`Link::flush`] sends it.
    pub fn queue(&mut self, opcode: Opcode, payload: &[u8]) {
        let key = fastrand::u32(..).to_ne_bytes();
        frame::put_masked_frame(
            &mut self.cold.get_or_insert_default().out,
            opcode,
            key,
            payload,
        );
    }

    /// Appends frames that are already masked, or bytes of a protocol without frames.
    pub fn queue_made(&mut self, bytes: &[u8]) {
        let cold = self.cold.get_or_insert_default();
        cold.out.extend_from_slice(bytes);
    }

    /// Appends a close frame with 1000: the server answers with its own after all that it had
    /// queued before, and ends the stream first (RFC 6455 7.1.1), so that `TIME_WAIT` is its, not
    /// ours: [`Link::read`] reports [`LinkError::Ended`] then.
    pub fn queue_close(&mut self) {
        self.closing = Closing::Sent;
        self.queue(Opcode::Close, &CloseCode::NORMAL.0.to_be_bytes());
    }

    /// Ends the connection at once, without a close frame and with a reset: nothing of it stays in
    /// the kernel, no `TIME_WAIT` either.
    pub fn cut(self) {
        // It may have been reset already, which is as good.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// From now on the kernel drops every segment that arrives for this socket, unseen by TCP: nothing
    /// is acknowledged, nothing answered. For the peer, this host is gone.
    pub fn go_silent(&self) -> io::Result<()> {
        let accept_nothing =
            socket2::SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
        socket2::SockRef::from(&self.stream).attach_filter(&[accept_nothing])
    }

    /// Sends what waits, as far as the socket takes it. Returns whether all is sent; if not, call
    /// again when the socket is writable.
    pub fn flush(&mut self) -> io::Result<bool> {
        let Some(cold) = &mut self.cold else {
            return Ok(true);
        };
        if let Some(tls) = &mut cold.tls {
            return tls.flush(&mut self.stream, &mut cold.out);
        }
        while cold.sent < cold.out.len() {
            match self.stream.write(&cold.out[cold.sent..]) {
                Ok(bytes) => cold.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Not connected yet.
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        cold.out.clear();
        cold.sent = 0;
        Ok(true)
    }

    /// Gives back the memory that is not needed now. Links in great number call this after each
    /// event.
    pub fn relax(&mut self) {
        let idle = |cold: &Cold| {
            cold.reader.is_idle()
                && cold.events.is_idle()
                && cold.answers.is_idle()
                && cold.out.is_empty()
                && cold.inflater.is_none()
        };
        if !self.is_open || !self.cold.as_deref().is_some_and(idle) {
            return;
        }
        let tls = self.cold.as_mut().and_then(|cold| cold.tls.take());
        self.cold = tls.map(|mut tls| {
            tls.relax();
            Box::new(Cold {
                tls: Some(tls),
                ..Cold::default()
            })
        });
    }

    /// Reads through `buffer` and hands every message to `hear`, with the monotonic time of its
    /// arrival. Reads until the socket is empty; `to_the_end` says that the peer has
    /// ended its side (a read that does not fill the buffer then does not prove that there is no
    /// more).
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        to_the_end: bool,
        hear: impl FnMut(Message<'_>, u64),
    ) -> Read {
        self.read_times(READS_MAX, buffer, to_the_end, hear)
    }

    /// The same, but takes no more than fits into `buffer` once.
    pub fn read_once(&mut self, buffer: &mut [u8], hear: impl FnMut(Message<'_>, u64)) -> Read {
        self.read_times(1, buffer, false, hear)
    }

    fn read_times(
        &mut self,
        times: usize,
        buffer: &mut [u8],
        to_the_end: bool,
        mut hear: impl FnMut(Message<'_>, u64),
    ) -> Read {
        if self.cold.as_ref().is_some_and(|cold| cold.tls.is_some()) {
            return self.read_sealed(times, buffer, to_the_end, hear);
        }
        let mut read = Read {
            more: true,
            ..Read::default()
        };
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
            if let Err(error) = self.on_bytes(&mut buffer[..bytes], &mut read.opened, &mut hear) {
                read.ended = Some(error);
                return read;
            }
            if bytes < buffer.len() && !to_the_end {
                read.more = false;
                return read;
            }
        }
        read
    }

    fn on_bytes(
        &mut self,
        bytes: &mut [u8],
        opened: &mut bool,
        hear: &mut impl FnMut(Message<'_>, u64),
    ) -> Result<(), LinkError> {
        let now_ns = clock::monotonic_ns();
        match self.framing {
            Framing::WebSocket if self.is_open => return self.on_frames(bytes, now_ns, hear),
            Framing::WebSocket => {}
            Framing::Bytes => {
                hear(Message::Item(Item::Binary(bytes)), now_ns);
                return Ok(());
            }
            Framing::Events if self.is_open => return self.on_events(bytes, now_ns, hear),
            Framing::Events => return self.on_event_head(bytes, now_ns, opened, hear),
            Framing::Answers => return self.on_answers(bytes, now_ns, opened, hear),
        }
        let cold = self.cold.get_or_insert_default();
        cold.head.extend_from_slice(bytes);
        let (key, offer) = (&cold.key, compression::offer(cold.compression));
        let Some(accepted) =
            handshake::parse_response(&cold.head, key, &HEAD_LIMITS, offer.as_ref())?
        else {
            return Ok(());
        };
        if accepted.protocol.is_some() && accepted.protocol.as_deref() != cold.protocol {
            return Err(ResponseError::NotOffered.into());
        }
        if cold.compression == Compression::Demanded && accepted.deflate.is_none() {
            return Err(LinkError::Uncompressed);
        }
        let mut head = std::mem::take(&mut cold.head);
        cold.key = String::new();
        if let Some(agreement) = accepted.deflate {
            self.window_bits = agreement.client_window_bits.unwrap_or(WINDOW_BITS_MAX);
            cold.inflater = compression::inflater(&agreement);
        }
        self.is_open = true;
        *opened = true;
        self.on_frames(&mut head[accepted.head_bytes..], now_ns, hear)
    }

    fn on_frames(
        &mut self,
        mut bytes: &mut [u8],
        now_ns: u64,
        hear: &mut impl FnMut(Message<'_>, u64),
    ) -> Result<(), LinkError> {
        if self.closing == Closing::Answered {
            return Ok(());
        }
        let mut reader = self
            .cold
            .as_mut()
            .map(|cold| std::mem::take(&mut cold.reader))
            .unwrap_or_default();
        let mut inflater = self.lend_inflater();
        loop {
            let next = match &mut inflater {
                None => reader.next(&LIMITS, &mut bytes),
                Some(inflater) => reader.next_inflating(&LIMITS, &mut bytes, inflater),
            };
            let Some(item) = next? else {
                break;
            };
            match item {
                Item::Text(_) | Item::Binary(_) => hear(Message::Item(item), now_ns),
                Item::Ping(payload) => self.queue(Opcode::Pong, payload),
                Item::Pong(_) => {}
                Item::Close(_) if self.closing == Closing::Sent => {
                    self.closing = Closing::Answered;
                    return Ok(());
                }
                Item::Close(close) => {
                    let code = close.map(|close| close.code);
                    self.queue(
                        Opcode::Close,
                        &code.map_or(Vec::new(), |code| code.0.to_be_bytes().into()),
                    );
                    // The link ends now; whether the answer still reaches the server is no longer
                    // our business.
                    let _ = self.flush();
                    return Err(LinkError::Closed(code));
                }
            }
        }
        self.take_inflater_back(inflater);
        if !reader.is_idle() {
            self.cold.get_or_insert_default().reader = reader;
        }
        Ok(())
    }

    /// The server broke the protocol: it is told so, behind all that is queued (RFC 6455, section 7.1.7).
    pub fn refuse(&mut self, fault: ProtocolError) {
        self.queue(Opcode::Close, &fault.close_code().0.to_be_bytes());
        // Whether that still reaches it is no longer our business.
        let _ = self.flush();
    }
}

/// A socket that is connecting.
fn stream(
    target: &Target,
    source: Option<IpAddr>,
    receive_buffer: Option<usize>,
) -> io::Result<TcpStream> {
    let domain = socket2::Domain::for_address(target.address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_buffer {
        // Before the handshake, which tells the peer the window.
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        sys::bind_address_no_port(&socket)?;
        socket.bind(&std::net::SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&target.address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

// A million links are 16 MB. (Debug builds of mio keep a selector's id in each socket.)
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Link>() == 16);
