//! A client's socket: bytes towards the server that wait to be read, and room for those that come from it.

use std::collections::VecDeque;

use fanfare_wire::binary::Aliases;
use fanfare_wire::deflate::Inflater;
use fanfare_wire::reader::{Item, Limits, Reader, Role};
use fastrand::Rng;

/// How a client's side of the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It sends no more.
    Half,
    /// It is gone.
    Reset,
}

/// What a client has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The head of an HTTP answer.
    Head(String),
    /// A text message, or a binary one of `fanfare.v1.bin` in the words of the JSON protocol.
    Text(String),
    /// A record that tells a topic's number.
    Alias,
    Ping,
    Pong,
    Close(Option<u16>),
}

/// One socket, both sides of it.
#[derive(Default)]
pub(super) struct Socket {
    /// Sent by the client, not yet read by the server.
    pub(super) up: VecDeque<u8>,
    pub(super) end: Option<End>,
    /// So many bytes it will still take.
    pub(super) room: usize,
    /// It took less than it was offered, and the server waits to hear that it can take more.
    pub(super) is_blocked: bool,
    /// It took less than it was offered at some time.
    pub(super) was_blocked: bool,
    /// The server has closed it.
    pub(super) is_closed: bool,
    pub(super) half_closed: bool,
    /// Speaks the binary protocol: the numbers of topics that it has been told.
    pub(super) aliases: Option<Aliases>,
    /// Compression was agreed to.
    pub(super) inflater: Option<Inflater>,
    head: Vec<u8>,
    is_upgraded: bool,
    reader: Reader,
    /// How many bytes have come, and where in them the next message begins.
    taken: u64,
    begin: u64,
    /// Up to which byte came when, microseconds.
    stamps: VecDeque<(u64, u64)>,
}

impl Socket {
    /// The server writes; returns how much of it is taken.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        now_us: u64,
        (short, refused): (u8, u8),
        rng: &mut Rng,
    ) -> (usize, Vec<(u64, Heard)>) {
        let mut most = bytes.len().min(self.room);
        let dice = rng.u8(..100);
        if dice < refused {
            most = 0;
        } else if dice < refused + short {
            most = rng.usize(..=most);
        }
        self.room -= most;
        if most < bytes.len() {
            (self.is_blocked, self.was_blocked) = (true, true);
        }
        (most, self.hear(&bytes[..most], now_us))
    }

    /// What has come, each with the time of its first byte.
    fn hear(&mut self, bytes: &[u8], now_us: u64) -> Vec<(u64, Heard)> {
        let mut heard = Vec::new();
        if bytes.is_empty() {
            return heard;
        }
        self.taken += bytes.len() as u64;
        self.stamps.push_back((self.taken, now_us));
        let mut bytes = bytes.to_vec();
        if !self.is_upgraded {
            self.head.append(&mut bytes);
            let Some(end) = self.head.windows(4).position(|at| at == b"\r\n\r\n") else {
                return heard;
            };
            bytes = self.head.split_off(end + 4);
            let head = String::from_utf8(std::mem::take(&mut self.head)).expect("heads are text");
            self.is_upgraded = head.starts_with("HTTP/1.1 101");
            let is_compressed = head.contains("permessage-deflate; server_no_context_takeover");
            self.inflater = is_compressed.then(Inflater::new);
            heard.push((now_us, Heard::Head(head)));
            self.begin = self.taken - bytes.len() as u64;
            if !self.is_upgraded {
                return heard;
            }
        }
        let limits = Limits {
            role: Role::Client,
            frame_bytes_max: 1 << 24,
            message_bytes_max: 1 << 24,
            fragments_max: 1,
        };
        let base = self.taken - bytes.len() as u64;
        let total = bytes.len();
        let mut input = &mut bytes[..];
        loop {
            let item = match &mut self.inflater {
                None => self.reader.next(&limits, &mut input),
                Some(inflater) => self.reader.next_inflating(&limits, &mut input, inflater),
            };
            let one = match item.expect("the server keeps the protocol") {
                None => return heard,
                Some(Item::Text(text)) => {
                    self.aliases
                        .iter_mut()
                        .for_each(|aliases| aliases.learn_from(text));
                    Heard::Text(text.into())
                }
                Some(Item::Binary(bytes)) => put_in_words(self.aliases.as_mut(), bytes),
                Some(Item::Ping(_)) => Heard::Ping,
                Some(Item::Pong(_)) => Heard::Pong,
                Some(Item::Close(close)) => Heard::Close(close.map(|close| close.code.0)),
            };
            while self
                .stamps
                .front()
                .is_some_and(|(end, _)| *end <= self.begin)
            {
                self.stamps.pop_front();
            }
            let first_us = self.stamps.front().map_or(now_us, |(_, at_us)| *at_us);
            self.begin = base + (total - input.len()) as u64;
            heard.push((first_us, one));
        }
    }
}

/// What a record says, in the words of the JSON protocol.
fn put_in_words(aliases: Option<&mut Aliases>, bytes: &[u8]) -> Heard {
    let mut text = Vec::new();
    match aliases.map(|aliases| aliases.put_event(&mut text, bytes)) {
        Some(told) => told.expect("a record of a topic whose number was told"),
        None => panic!("nobody asked for bytes: {bytes:?}"),
    }
    if text.is_empty() {
        return Heard::Alias;
    }
    Heard::Text(String::from_utf8(text).expect("payloads are text"))
}
