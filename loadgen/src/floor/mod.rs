//! The floor: a push server that does nothing for an update but `send` a prepared buffer to each
//! subscriber's socket. It keeps no promise about slow readers, limits or order between publishers;
//! it only shows what the kernel alone takes, so that real servers can be compared with it.
//!
//! Commands are `sub NAME,NAME…`, answered by `ok`, and `pub NAME PAYLOAD`; on the path `/echo` every
//! message comes back. Subscribers with the same topics share one buffer: what is published in one
//! turn of the loop is framed into it once and goes out with one `send` for each of them.

mod groups;

use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::handshake::{self, HeadLimits};
use fanfare_wire::reader::{Item, Limits, Reader, Role};
use groups::Groups;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

const LISTENER: Token = Token(usize::MAX);
const LIMITS: Limits = Limits {
    role: Role::Server,
    frame_bytes_max: 64 << 20,
    message_bytes_max: 64 << 20,
    fragments_max: 1 << 16,
};
const HEAD_LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16 << 10,
    line_bytes_max: 8 << 10,
};
const READ_BYTES: usize = 256 << 10;
const BACKLOG: i32 = 4096;

/// Serves until it is ended from outside. Prints `listening on ws://ADDRESS`, then `ready`.
pub fn serve(address: SocketAddr) -> anyhow::Result<()> {
    crate::sys::raise_open_files()?;
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let mut listener = TcpListener::from_std(socket.into());
    let poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut out = io::stdout();
    writeln!(out, "listening on ws://{}\nready", listener.local_addr()?)?;
    out.flush()?;
    let floor = Floor {
        poll,
        listener,
        peers: Vec::new(),
        free: Vec::new(),
        groups: Groups::default(),
        buffer: vec![0; READ_BYTES],
    };
    Ok(floor.run()?)
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    groups: Groups,
    buffer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    /// The request so far; `None` once it is answered.
    head: Option<Vec<u8>>,
    reader: Reader,
    /// What the socket had not taken at once; the first `sent` bytes of it went later.
    unsent: Vec<u8>,
    sent: usize,
    is_echo: bool,
}

impl Floor {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(number) => {
                        if event.is_writable() {
                            self.send(number, &[]);
                        }
                        if event.is_readable() || event.is_read_closed() || event.is_error() {
                            self.read(number);
                        }
                    }
                }
            }
            self.deliver();
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // It left before it was taken in.
                Err(_) => continue,
            };
            stream.set_nodelay(true)?;
            let number = self.free.pop().unwrap_or(self.peers.len());
            if number == self.peers.len() {
                self.peers.push(None);
            }
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut stream, Token(number), both)?;
            self.peers[number] = Some(Peer {
                stream,
                head: Some(Vec::new()),
                reader: Reader::default(),
                unsent: Vec::new(),
                sent: 0,
                is_echo: false,
            });
        }
    }

    /// Reads to the end of what the socket has.
    fn read(&mut self, number: usize) {
        loop {
            let Some(Some(peer)) = self.peers.get_mut(number) else {
                return;
            };
            match peer.stream.read(&mut self.buffer) {
                Ok(0) => return self.drop_peer(number),
                Ok(bytes) => {
                    let mut answer = Vec::new();
                    let input = &mut self.buffer[..bytes];
                    let Some(()) = peer.take(input, number, &mut self.groups, &mut answer) else {
                        return self.drop_peer(number);
                    };
                    if !answer.is_empty() {
                        self.send(number, &answer);
                    }
                    if bytes < self.buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.drop_peer(number),
            }
        }
    }

    /// Sends every group's buffer to its members.
    fn deliver(&mut self) {
        let mut groups = std::mem::take(&mut self.groups);
        for (buffer, members) in groups.dirty() {
            for member in members {
                self.send(*member, buffer);
            }
        }
        groups.clean();
        self.groups = groups;
    }

    fn send(&mut self, number: usize, bytes: &[u8]) {
        let Some(Some(peer)) = self.peers.get_mut(number) else {
            return;
        };
        if peer.send(bytes).is_err() {
            self.drop_peer(number);
        }
    }

    fn drop_peer(&mut self, number: usize) {
        if self.peers[number].take().is_some() {
            self.groups.leave(number);
            self.free.push(number);
        }
    }
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Straight from the prepared buffer, unless something waits before it.
        let mut sent = 0;
        while self.unsent.is_empty() && sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.extend_from_slice(&bytes[sent..]);
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }

    /// Takes what was read; `None` if the peer has ended or does not speak WebSocket.
    fn take(
        &mut self,
        mut input: &mut [u8],
        number: usize,
        groups: &mut Groups,
        answer: &mut Vec<u8>,
    ) -> Option<()> {
        if let Some(head) = &mut self.head {
            head.extend_from_slice(input);
            let Some((request, _)) = handshake::parse_request(head, &HEAD_LIMITS).ok()? else {
                return Some(());
            };
            let upgrade = request.upgrade().ok()?;
            handshake::put_switching(answer, upgrade.key, None, None);
            self.is_echo = request.path == "/echo";
            // Our clients say nothing before they are answered.
            self.head = None;
            return Some(());
        }
        while let Some(item) = self.reader.next(&LIMITS, &mut input).ok()? {
            match item {
                Item::Text(text) if self.is_echo => {
                    frame::put_frame(answer, Opcode::Text, text.as_bytes());
                }
                Item::Binary(bytes) if self.is_echo => {
                    frame::put_frame(answer, Opcode::Binary, bytes);
                }
                Item::Text(text) => command(text, number, groups, answer),
                Item::Ping(payload) => frame::put_frame(answer, Opcode::Pong, payload),
                Item::Binary(_) | Item::Pong(_) => {}
                Item::Close(_) => return None,
            }
        }
        Some(())
    }
}

fn command(text: &str, number: usize, groups: &mut Groups, answer: &mut Vec<u8>) {
    let reply = match text.split_once(' ') {
        Some(("sub", names)) => {
            groups.join(number, names);
            "ok"
        }
        Some(("pub", rest)) if rest.contains(' ') => {
            let (name, payload) = rest.split_once(' ').unwrap_or((rest, ""));
            groups.publish(name, payload.as_bytes());
            return;
        }
        _ => "what?",
    };
    frame::put_frame(answer, Opcode::Text, reply.as_bytes());
}
