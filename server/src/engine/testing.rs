//! A small world for tests: several engines, mail between them, and clients whose sockets are byte queues.
//!
//! It does what the reactor does, with a clock that the test moves. A client takes what its window allows, so a stalled
//! reader is a window of 0.

use std::sync::Arc;

use fanfare_wire::binary::Aliases;
use fanfare_wire::deflate::{Deflater, Inflater};
use fanfare_wire::frame::{self, Opcode};
use fanfare_wire::reader::{Item, Limits, Reader, Role};

use super::settings::Settings;
use super::{ConnId, Engine, SocketOp};
use crate::clock::Now;
use crate::hub::Charter;
use crate::hub::mail::{Mail, ShardId};

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What is [held](World::held) when nobody is there.
pub(crate) const NOTHING: [usize; 13] = [0; 13];

/// Engines, their clients, and the time.
pub(crate) struct World {
    pub(crate) engines: Vec<Engine>,
    pub(crate) clients: Vec<Client>,
    pub(crate) now: Now,
    /// Mail between different shards is held back while set.
    pub(crate) mail_stopped: bool,
    /// Mail from one of these to the other is held back, the first being the writer.
    pub(crate) mail_held: Vec<(usize, usize)>,
}

/// A client's number in its world.
pub(crate) type ClientId = usize;

/// One client and its side of the connection.
pub(crate) struct Client {
    shard: usize,
    pub(crate) id: ConnId,
    /// Bytes it will still take; `None` = all.
    pub(crate) window: Option<usize>,
    /// What it has taken.
    pub(crate) taken: Vec<u8>,
    /// Keeps a frame of which only a part has come.
    reader: Reader,
    /// Compression was agreed to: inflates what the server sends.
    inflater: Option<Inflater>,
    /// How many messages came compressed.
    pub(crate) compressed: usize,
    /// Speaks the binary protocol: the numbers that it has been told.
    pub(crate) aliases: Option<Aliases>,
    /// Its kernel takes little ahead.
    pub(crate) fresh: bool,
    pub(crate) half_closed: bool,
    pub(crate) closed: bool,
}

/// What a client has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>),
}

impl World {
    pub(crate) fn new(shards: u16, settings: Settings) -> World {
        let settings = Arc::new(settings);
        let charter = Charter {
            shards,
            seed: 42,
            epoch: "e1".into(),
            topics_per_owner_max: settings.topics_max,
            kept_bytes_per_owner_max: settings.kept_bytes_max,
            filter_topics_max: settings.filter_topics_max,
            filters_per_topic_max: settings.filters_per_topic_max,
            keys: settings.keys,
            history: settings.history.clone().into(),
            threshold: settings.compression.threshold,
        };
        let engine = |shard| Engine::new(ShardId(shard), charter.clone(), settings.clone(), 64);
        World {
            engines: (0..shards).map(engine).collect(),
            clients: Vec::new(),
            now: Now {
                mono_us: 1_000_000,
                wall_us: 1_790_000_000_000_000,
            },
            mail_stopped: false,
            mail_held: Vec::new(),
        }
    }

    /// Accepts a connection that has sent nothing yet.
    pub(crate) fn open(&mut self, shard: usize) -> ClientId {
        self.open_as(shard, false)
    }

    pub(crate) fn open_as(&mut self, shard: usize, refuse: bool) -> ClientId {
        let id = self.engines[shard].on_open(self.now, refuse);
        let client = Client {
            shard,
            id,
            window: None,
            taken: Vec::new(),
            reader: Reader::default(),
            inflater: None,
            compressed: 0,
            aliases: None,
            fresh: false,
            half_closed: false,
            closed: false,
        };
        self.clients.push(client);
        self.clients.len() - 1
    }

    /// A connection upgraded at `path`; the 101 is taken off.
    pub(crate) fn connect(&mut self, shard: usize, path: &str) -> ClientId {
        self.connect_with(shard, &upgrade(path)).0
    }

    /// The same with this request; the head of the answer, too.
    pub(crate) fn connect_with(&mut self, shard: usize, request: &str) -> (ClientId, String) {
        let client = self.open(shard);
        self.send(client, request.as_bytes());
        self.settle();
        let head = self.take_head(client);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        (client, head)
    }

    /// A connection upgraded at `path` that offers `offer`; what was agreed to.
    pub(crate) fn connect_compressed(
        &mut self,
        shard: usize,
        path: &str,
        offer: &str,
    ) -> (ClientId, String) {
        let header = format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n");
        let request = upgrade(path).replacen("\r\n\r\n", &header, 1);
        let (client, head) = self.connect_with(shard, &request);
        let agreed = (head.lines())
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "))
            .unwrap_or_default();
        if !agreed.is_empty() {
            self.clients[client].inflater = Some(Inflater::new());
        }
        (client, agreed.to_owned())
    }

    /// A `/ws` connection that speaks the binary protocol, past its hello. What it hears in records is told in the words of the JSON
    /// protocol; a record whose alias it has not been told fails the test.
    pub(crate) fn connect_binary(&mut self, shard: usize) -> ClientId {
        let offer = "Sec-WebSocket-Protocol: fanfare.v1.bin\r\n\r\n";
        let request = upgrade("/ws").replacen("\r\n\r\n", &format!("\r\n{offer}"), 1);
        let (client, head) = self.connect_with(shard, &request);
        assert!(head.contains(offer.trim_end()), "{head}");
        self.clients[client].aliases = Some(Aliases::default());
        let hello = self.texts(client);
        assert!(hello[0].starts_with(r#"{"type":"hello""#), "{hello:?}");
        client
    }

    /// The same, with the hello taken off.
    pub(crate) fn connect_ws(&mut self, shard: usize) -> ClientId {
        let client = self.connect(shard, "/ws");
        let hello = self.texts(client);
        assert!(
            hello.len() == 1 && hello[0].starts_with(r#"{"type":"hello""#),
            "{hello:?}"
        );
        client
    }

    /// A name that begins with `prefix` and that `owner` owns.
    pub(crate) fn topic_of(&self, prefix: &str, owner: usize) -> String {
        let charter = self.engines[0].hub.charter();
        (0..)
            .map(|n| format!("{prefix}{n}"))
            .find(|name| usize::from(charter.owner_of(name).0) == owner)
            .expect("every shard owns some name")
    }

    /// Bytes from a client, as one read.
    pub(crate) fn send(&mut self, client: ClientId, bytes: &[u8]) {
        let client = &self.clients[client];
        self.engines[client.shard].on_bytes(self.now, client.id, &mut bytes.to_vec());
    }

    /// A text message from a client, carried out with all its consequences.
    pub(crate) fn say(&mut self, client: ClientId, text: &str) {
        self.send(client, &masked(Opcode::Text, text.as_bytes()));
        self.settle();
    }

    pub(crate) fn end(&mut self, client: ClientId) {
        let client = &self.clients[client];
        self.engines[client.shard].on_end(self.now, client.id);
    }

    /// Lets a stalled client take `bytes` more (or all).
    pub(crate) fn open_window(&mut self, client: ClientId, bytes: Option<usize>) {
        let client = &mut self.clients[client];
        client.window = bytes;
        self.engines[client.shard].on_writable(client.id);
        self.settle();
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now.mono_us += ms * 1000;
        self.now.wall_us += ms as i64 * 1000;
        for engine in &mut self.engines {
            engine.on_time(self.now);
        }
        self.settle();
    }

    /// Ticks until no engine has anything left to do.
    pub(crate) fn settle(&mut self) {
        while self.tick() {}
    }

    /// One tick of every engine. True: there is more to do.
    pub(crate) fn tick(&mut self) -> bool {
        let mut busy = false;
        for shard in 0..self.engines.len() {
            self.engines[shard].on_mail(self.now, Mail::default());
            busy |= self.carry_mail(shard);
            busy |= self.flush(shard);
            self.engines[shard].end_tick(self.now);
            // What the end of the last connection had to say.
            busy |= self.carry_mail(shard);
            busy |= self.engines[shard].has_backlog() || self.engines[shard].has_answered();
        }
        busy
    }

    fn carry_mail(&mut self, from: usize) -> bool {
        let mut carried = false;
        for to in self.engines[from].outgoing().addressees() {
            let mail = self.engines[from].outgoing().take(to);
            if self.mail_stopped || self.mail_held.contains(&(from, usize::from(to.0))) {
                self.engines[from].outgoing().put_back(to, mail);
                continue;
            }
            self.engines[usize::from(to.0)].on_mail(self.now, mail);
            carried = true;
        }
        carried
    }

    fn flush(&mut self, shard: usize) -> bool {
        let mut busy = false;
        while let Some(id) = self.engines[shard].poll_dirty() {
            busy = true;
            let client = self
                .clients
                .iter_mut()
                .find(|client| client.shard == shard && client.id == id);
            let client = client.expect("the engine writes only to those who are there");
            loop {
                let bytes = self.engines[shard].poll_write(id);
                if bytes.is_empty() {
                    self.engines[shard].on_flushed(id);
                    break;
                }
                let (offered, taken) = (
                    bytes.len(),
                    bytes.len().min(client.window.unwrap_or(usize::MAX)),
                );
                client.taken.extend_from_slice(&bytes[..taken]);
                client.window = client.window.map(|window| window - taken);
                self.engines[shard].on_written(self.now, id, offered, taken);
                if taken < offered {
                    break;
                }
            }
        }
        while let Some((id, op)) = self.engines[shard].poll_socket() {
            busy = true;
            let client = self
                .clients
                .iter_mut()
                .find(|client| client.shard == shard && client.id == id);
            let client = client.expect("the engine closes only those who are there");
            match op {
                SocketOp::ShutdownWrite => client.half_closed = true,
                SocketOp::KeepFresh(on) => client.fresh = on,
                SocketOp::Close => client.closed = true,
            }
        }
        busy
    }

    /// Takes an HTTP head off what the client was sent.
    pub(crate) fn take_head(&mut self, client: ClientId) -> String {
        let taken = &mut self.clients[client].taken;
        let end = taken
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .map_or(taken.len(), |at| at + 4);
        String::from_utf8(taken.drain(..end).collect()).expect("heads are text")
    }

    /// Takes and decodes what the client was sent since.
    pub(crate) fn heard(&mut self, client: ClientId) -> Vec<Heard> {
        let limits = Limits {
            role: Role::Client,
            frame_bytes_max: 1 << 24,
            message_bytes_max: 1 << 24,
            fragments_max: 1,
        };
        let mut taken = std::mem::take(&mut self.clients[client].taken);
        let mut heard = Vec::new();
        let Client {
            reader,
            aliases,
            inflater,
            compressed,
            ..
        } = &mut self.clients[client];
        let mut input = &mut taken[..];
        loop {
            // The bit stands in the first byte of a frame.
            let is_compressed = input.first().is_some_and(|first| first & 0x40 != 0);
            let item = match inflater {
                None => reader.next(&limits, &mut input),
                Some(inflater) => reader.next_inflating(&limits, &mut input, inflater),
            };
            let Some(item) = item.expect("the server keeps the protocol") else {
                break;
            };
            *compressed += usize::from(is_compressed);
            heard.push(match item {
                Item::Text(text) => {
                    if let Some(aliases) = aliases {
                        assert!(!is_data(text), "data come as records: {text}");
                        aliases.learn_from(text);
                    }
                    Heard::Text(text.into())
                }
                Item::Binary(bytes) => match aliases {
                    Some(aliases) => match in_words(aliases, bytes) {
                        Some(text) => Heard::Text(text),
                        None => continue,
                    },
                    None => Heard::Binary(bytes.into()),
                },
                Item::Ping(_) => Heard::Ping,
                Item::Pong(payload) => Heard::Pong(payload.into()),
                Item::Close(close) => Heard::Close(close.map(|close| close.code.0)),
            });
        }
        heard
    }

    /// The same, where nothing but text is expected.
    pub(crate) fn texts(&mut self, client: ClientId) -> Vec<String> {
        let text = |heard| match heard {
            Heard::Text(text) => text,
            other => panic!("expected text, heard {other:?}"),
        };
        self.heard(client).into_iter().map(text).collect()
    }

    /// Everything that engines hold for connections; all zero when the last has left.
    pub(crate) fn held(&self) -> [usize; NOTHING.len()] {
        let mut held = NOTHING;
        for engine in &self.engines {
            let parts = engine.held();
            for (sum, part) in held.iter_mut().zip(parts) {
                *sum += part;
            }
        }
        held
    }
}

/// A record in the words of the JSON protocol; `None`: it was an alias.
fn in_words(aliases: &mut Aliases, record: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    let put = aliases.put_event(&mut text, record);
    put.unwrap_or_else(|error| panic!("{error}: {record:02x?}"));
    (!text.is_empty()).then(|| String::from_utf8(text).expect("JSON is UTF-8"))
}

/// Whether a text says what on a binary connection only records say.
fn is_data(text: &str) -> bool {
    let kinds = ["snapshot", "history", "update", "skip", "gap"];
    let begins = |kind| text.starts_with(&format!(r#"{{"type":"{kind}""#));
    kinds.into_iter().any(begins)
}

/// A client's frame.
pub(crate) fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put_masked_frame(&mut bytes, opcode, [1, 2, 3, 4], payload);
    bytes
}

/// The same compressed, if that is shorter.
pub(crate) fn masked_and_deflated(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let (mut bytes, mut deflated) = (Vec::new(), Vec::new());
    if !Deflater::new(6).deflate(payload, &mut deflated) {
        return masked(opcode, payload);
    }
    frame::put_masked_deflated_frame(&mut bytes, opcode, [1, 2, 3, 4], &deflated);
    bytes
}

/// An upgrade request.
pub(crate) fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}
