//! A small blocking WebSocket client for `fanfare sub` and `fanfare pub`: one connection, one thread.
//!
//! It answers pings and closes, but only while somebody is inside [`Client::receive`]; who waits for something else must call it
//! now and then. It never reconnects. The server itself does not use it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use fanfare_tls::{Stream, Trust, TrustError};
use fanfare_wire::close::{CloseCode, put_close};
use fanfare_wire::error::ProtocolError;
use fanfare_wire::frame::{Opcode, put_masked_frame};
use fanfare_wire::handshake::{
    HeadLimits, ResponseError, new_key, parse_response, put_upgrade_request,
};
use fanfare_wire::reader::{Item, Limits, Reader, Role};

pub use url::{Url, UrlError};

mod url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that takes nothing for so long will not take the rest either.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const INPUT_BYTES: usize = 65_536;
const HEAD_LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16_384,
    line_bytes_max: 8_192,
};
const LIMITS: Limits = Limits {
    role: Role::Client,
    frame_bytes_max: 64 << 20,
    message_bytes_max: 64 << 20,
    fragments_max: 65_536,
};

/// An open connection.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    reader: Reader,
    input: Vec<u8>,
    /// What of `input` was received and not yet read.
    start: usize,
    end: usize,
}

/// What [`Client::receive`] waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// The deadline passed first.
    Timeout,
}

/// Why there is no connection, or no longer one; with its sources behind colons it is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("cannot connect to {authority}")]
    Connect {
        /// Host and port.
        authority: String,
        /// Of the last address tried.
        source: io::Error,
    },
    /// There is nobody to believe that a server is who it says.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The server's TLS, or its certificate, is of no use.
    #[error("cannot connect to {authority} with TLS")]
    Tls {
        /// Host and port.
        authority: String,
        /// What was wrong.
        source: io::Error,
    },
    /// The server did not open a WebSocket.
    #[error("{authority} opened no WebSocket at {target}")]
    Handshake {
        /// Host and port.
        authority: String,
        /// Path and query.
        target: String,
        /// What was wrong with its answer.
        source: ResponseError,
    },
    /// The server opened a WebSocket without the subprotocol that was asked for.
    #[error("{authority} does not speak {protocol} at {target}")]
    NotSpoken {
        /// Host and port.
        authority: String,
        /// Path and query.
        target: String,
        /// What was asked for.
        protocol: &'static str,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The server sent what is no WebSocket frame.
    #[error("the server broke the WebSocket protocol")]
    Protocol(#[from] ProtocolError),
    /// The server closed, with a close frame.
    #[error("the server closed the connection{}", told(.code, .reason))]
    Closed {
        /// Its code, if it gave one.
        code: Option<CloseCode>,
        /// Its reason, often empty.
        reason: String,
    },
}

fn told(code: &Option<CloseCode>, reason: &str) -> String {
    match code {
        None => String::new(),
        Some(code) if reason.is_empty() => format!(" with code {code}"),
        Some(code) => format!(" with code {code}: {reason}"),
    }
}

impl Client {
    /// Connects and opens a WebSocket. Gives up after a few seconds.
    ///
    /// # Errors
    /// Nobody answers, or what answers opens no WebSocket.
    pub fn connect(url: &Url, trust: &Trust) -> Result<Client, ClientError> {
        Client::connect_speaking(url, trust, None)
    }

    /// The same with this subprotocol, or not at all.
    ///
    /// # Errors
    /// As [`Client::connect`], and that the server does not choose it.
    pub fn connect_speaking(
        url: &Url,
        trust: &Trust,
        protocol: Option<&'static str>,
    ) -> Result<Client, ClientError> {
        let stream = connect_tcp(url).map_err(|source| ClientError::Connect {
            authority: url.authority(),
            source,
        })?;
        // A publish is one small write; it must not wait for the answer to the one before.
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let stream = if url.tls {
            stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
            Stream::secure(stream, trust.config(false)?, &url.host).map_err(|source| {
                ClientError::Tls {
                    authority: url.authority(),
                    source,
                }
            })?
        } else {
            Stream::Plain(stream)
        };
        let mut client = Client {
            stream,
            reader: Reader::default(),
            input: vec![0; INPUT_BYTES],
            start: 0,
            end: 0,
        };
        client.open(url, protocol)?;
        Ok(client)
    }

    fn open(&mut self, url: &Url, protocol: Option<&'static str>) -> Result<(), ClientError> {
        let key = new_key(std::array::from_fn(|_| fastrand::u8(..)));
        let mut request = Vec::new();
        let offered = protocol.as_slice();
        put_upgrade_request(
            &mut request,
            &url.authority(),
            &url.target,
            &key,
            offered,
            &[],
        );
        self.stream.write_all(&request)?;
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let refused = |source| ClientError::Handshake {
            authority: url.authority(),
            target: url.target.clone(),
            source,
        };
        loop {
            let head = &self.input[..self.end];
            if let Some(accepted) =
                parse_response(head, &key, &HEAD_LIMITS, None).map_err(refused)?
            {
                self.start = accepted.head_bytes;
                return match protocol {
                    Some(name) if accepted.protocol.as_deref() != protocol => {
                        Err(ClientError::NotSpoken {
                            authority: url.authority(),
                            target: url.target.clone(),
                            protocol: name,
                        })
                    }
                    _ => Ok(()),
                };
            }
            if !self.fill(Some(deadline))? {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        }
    }

    /// Sends one text message, whole.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send_text(&mut self, text: &[u8]) -> Result<(), ClientError> {
        self.send(Opcode::Text, text)
    }

    fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), ClientError> {
        let mut frame = Vec::with_capacity(payload.len() + 14);
        // Masks protect proxies from what web pages send (RFC 6455, section 10.3). This is no browser: any key will do.
        put_masked_frame(&mut frame, opcode, fastrand::u32(..).to_ne_bytes(), payload);
        Ok(self.stream.write_all(&frame)?)
    }

    /// Waits for the next message; without a deadline for ever. Answers pings meanwhile.
    ///
    /// # Errors
    /// The connection ended; nothing can be received any more.
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<Received, ClientError> {
        loop {
            match self.take_item()? {
                Some(Taken::Message(message)) => return Ok(message),
                Some(Taken::Ping(payload)) => self.send(Opcode::Pong, &payload)?,
                Some(Taken::Pong) => {}
                Some(Taken::Close(code, reason)) => {
                    // The answer completes the close handshake. A server that is gone already does not mind.
                    let _ = self.send_close(code.unwrap_or(CloseCode::NORMAL));
                    return Err(ClientError::Closed { code, reason });
                }
                None if self.fill(deadline)? => {}
                None => return Ok(Received::Timeout),
            }
        }
    }

    /// Says good-bye and waits a moment for the server to say it too.
    pub fn close(mut self) {
        if self.send_close(CloseCode::NORMAL).is_err() {
            return;
        }
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        // What was under way is not wanted any more; the error that ends this is the close.
        while matches!(
            self.receive(Some(deadline)),
            Ok(Received::Text(_) | Received::Binary(_))
        ) {}
    }

    fn send_close(&mut self, code: CloseCode) -> Result<(), ClientError> {
        let mut payload = Vec::new();
        put_close(&mut payload, code, "");
        self.send(Opcode::Close, &payload)
    }

    fn take_item(&mut self) -> Result<Option<Taken>, ClientError> {
        let mut input = &mut self.input[self.start..self.end];
        let taken = self.reader.next(&LIMITS, &mut input)?.map(Taken::from_item);
        let left_bytes = input.len();
        self.start = self.end - left_bytes;
        Ok(taken)
    }

    /// Receives more into the free end of `input`; `false` when the deadline passed first.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<bool, ClientError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let timeout =
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Ok(false),
                timeout => timeout,
            };
        self.stream.socket().set_read_timeout(timeout)?;
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up").into()),
            Ok(bytes) => {
                self.end += bytes;
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// An [`Item`] that borrows nothing, so that it may be answered.
enum Taken {
    Message(Received),
    Ping(Vec<u8>),
    Pong,
    Close(Option<CloseCode>, String),
}

impl Taken {
    fn from_item(item: Item<'_>) -> Taken {
        match item {
            Item::Text(text) => Taken::Message(Received::Text(text.to_owned())),
            Item::Binary(bytes) => Taken::Message(Received::Binary(bytes.to_vec())),
            Item::Ping(payload) => Taken::Ping(payload.to_vec()),
            Item::Pong(_) => Taken::Pong,
            Item::Close(None) => Taken::Close(None, String::new()),
            Item::Close(Some(close)) => Taken::Close(Some(close.code), close.reason.to_owned()),
        }
    }
}

/// Tries every address of the host, as browsers do: `localhost` may be `::1` first, where nobody listens.
fn connect_tcp(url: &Url) -> io::Result<TcpStream> {
    let addresses = (url.host.as_str(), url.port).to_socket_addrs()?;
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match connect_address(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn connect_address(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_wire::frame::put_frame;
    use fanfare_wire::handshake::{parse_request, put_response, put_switching};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    /// A server for one connection: answers the handshake with `status`, sends `frames`, reads until the client hangs up.
    fn serve_once(status: u16, frames: Vec<u8>) -> (Url, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url {
            tls: false,
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            target: "/ws".into(),
        };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let mut head = vec![0; 4096];
            let mut head_bytes = 0;
            let mut answer = Vec::new();
            while answer.is_empty() {
                head_bytes += stream.read(&mut head[head_bytes..]).unwrap();
                if let Some((request, _)) =
                    parse_request(&head[..head_bytes], &HEAD_LIMITS).unwrap()
                {
                    match status {
                        101 => {
                            put_switching(&mut answer, request.upgrade().unwrap().key, None, None)
                        }
                        status => put_response(&mut answer, status, &[], "text/plain", b"no"),
                    }
                }
            }
            answer.extend_from_slice(&frames);
            stream.write_all(&answer).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        (url, server)
    }

    fn frames(frames: &[(Opcode, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (opcode, payload) in frames {
            put_frame(&mut out, *opcode, payload);
        }
        out
    }

    /// The sentence a person reads.
    fn told_whole(error: ClientError) -> String {
        format!("{:#}", anyhow::Error::new(error))
    }

    #[test]
    fn messages_that_come_with_the_answer_to_the_handshake_are_not_lost() {
        let (url, server) = serve_once(
            101,
            frames(&[(Opcode::Text, b"one"), (Opcode::Binary, b"two")]),
        );
        let mut client = Client::connect(&url, &Trust::System).unwrap();
        assert_eq!(client.receive(None).unwrap(), Received::Text("one".into()));
        assert_eq!(
            client.receive(None).unwrap(),
            Received::Binary(b"two".to_vec())
        );
        assert_eq!(
            client.receive(Some(Instant::now())).unwrap(),
            Received::Timeout
        );
        drop(client);
        server.join().unwrap();
    }

    #[test]
    fn a_ping_is_answered_and_a_close_is_answered_and_told() {
        let mut close = Vec::new();
        put_close(&mut close, CloseCode::SLOW, "too slow");
        let (url, server) = serve_once(
            101,
            frames(&[(Opcode::Ping, b"hi"), (Opcode::Close, &close)]),
        );
        let mut client = Client::connect(&url, &Trust::System).unwrap();
        let error = client.receive(None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server closed the connection with code 4103: too slow"
        );
        drop(client);
        let mut received = server.join().unwrap();
        let mut input = received.as_mut_slice();
        let mut reader = Reader::default();
        let limits = Limits {
            role: Role::Server,
            ..LIMITS
        };
        assert_eq!(
            reader.next(&limits, &mut input).unwrap(),
            Some(Item::Pong(b"hi"))
        );
        assert!(matches!(
            reader.next(&limits, &mut input).unwrap(),
            Some(Item::Close(Some(_)))
        ));
    }

    #[test]
    fn a_server_that_opens_no_websocket_is_told_with_its_status() {
        let (url, server) = serve_once(404, Vec::new());
        let error = told_whole(Client::connect(&url, &Trust::System).unwrap_err());
        assert!(
            error.ends_with("opened no WebSocket at /ws: the server answered 404"),
            "{error}"
        );
        server.join().unwrap();
    }

    #[test]
    fn nobody_listening_is_told_with_the_address() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let url = Url {
            tls: false,
            host: "127.0.0.1".into(),
            port,
            target: "/ws".into(),
        };
        let error = told_whole(Client::connect(&url, &Trust::System).unwrap_err());
        assert!(
            error.starts_with(&format!("cannot connect to 127.0.0.1:{port}: ")),
            "{error}"
        );
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let (url, server) = serve_once(101, Vec::new());
        let mut client = Client::connect(&url, &Trust::System).unwrap();
        client
            .stream
            .socket()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        let error = told_whole(client.receive(None).unwrap_err());
        assert_eq!(error, "the connection broke: the server hung up");
        server.join().unwrap();
    }
}
