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
    /// A whole HTTP answer with a body, or without.
    Answer {
        head: String,
        body: String,
    },
    /// One of Server-Sent Events: what its id and its data say.
    Event {
        id: Option<String>,
        text: Option<String>,
        /// When the first byte of its data came, microseconds.
        data_us: u64,
    },
    /// A text message, or a binary one of `fanfare.v1.bin` in the words of the JSON protocol.
    Text(String),
    /// A record that tells a topic's number.
    Alias,
    Ping,
    Pong,
    Close(Option<u16>),
}

/// What comes from the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Speaks {
    /// Heads, and bodies as long as they say.
    #[default]
    Answers,
    /// A body that is a stream of events.
    Events,
    Frames,
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
    /// What has come of an answer or an event that is not whole.
    plain: Vec<u8>,
    speaks: Speaks,
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
        if self.speaks != Speaks::Frames {
            self.plain.append(&mut bytes);
            while let Some((one, end)) = self.next_plain() {
                let data_at = memchr::memmem::find(&self.plain[..end], b"data: ").unwrap_or(0);
                self.plain.drain(..end);
                let first_us = self.first_us(now_us);
                let mut one = one;
                if let Some(Heard::Event { data_us, .. }) = &mut one {
                    self.begin += data_at as u64;
                    *data_us = self.first_us(now_us);
                }
                self.begin = self.taken - self.plain.len() as u64;
                heard.extend(one.map(|one| (first_us, one)));
                if self.speaks == Speaks::Frames {
                    break;
                }
            }
            if self.speaks != Speaks::Frames {
                return heard;
            }
            bytes = std::mem::take(&mut self.plain);
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
            let first_us = self.first_us(now_us);
            self.begin = base + (total - input.len()) as u64;
            heard.push((first_us, one));
        }
    }
}

impl Socket {
    /// When the first byte of what is heard next came.
    fn first_us(&mut self, now_us: u64) -> u64 {
        while (self.stamps.front()).is_some_and(|(end, _)| *end <= self.begin) {
            self.stamps.pop_front();
        }
        self.stamps.front().map_or(now_us, |(_, at_us)| *at_us)
    }

    /// The next answer or event that is whole, if it is to be heard, and how many bytes it is.
    fn next_plain(&mut self) -> Option<(Option<Heard>, usize)> {
        // Behind a head frames may lie, which are none.
        let text = match std::str::from_utf8(&self.plain) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&self.plain[..error.valid_up_to()]).expect("text"),
        };
        if self.speaks == Speaks::Events {
            let end = text.find("\n\n")? + 2;
            return Some((read_event(&text[..end]), end));
        }
        let body_at = text.find("\r\n\r\n")? + 4;
        let head = text[..body_at].to_owned();
        if head.starts_with("HTTP/1.1 101") {
            self.speaks = Speaks::Frames;
            let is_compressed = head.contains("permessage-deflate; server_no_context_takeover");
            self.inflater = is_compressed.then(Inflater::new);
            return Some((Some(Heard::Head(head)), body_at));
        }
        if head.contains("text/event-stream") {
            self.speaks = Speaks::Events;
            return Some((Some(Heard::Head(head)), body_at));
        }
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |text| text.parse().expect("a number"));
        let body = text.get(body_at..body_at + length)?.to_owned();
        Some((Some(Heard::Answer { head, body }), body_at + length))
    }
}

/// One event (HTML Standard, section 9.2.6); `None`: nobody sees it.
fn read_event(block: &str) -> Option<Heard> {
    let (mut id, mut data) = (None, Vec::new());
    for line in block.lines() {
        if let Some(text) = line.strip_prefix("id: ") {
            id = Some(text.to_owned());
        } else if let Some(text) = line.strip_prefix("data: ") {
            data.push(text);
        } else {
            let is_known = line.is_empty() || line == ":" || line.starts_with("retry: ");
            assert!(is_known, "a line of an event: {line:?}");
        }
    }
    let text = (!data.is_empty()).then(|| data.join("\n"));
    (id.is_some() || text.is_some()).then_some(Heard::Event {
        id,
        text,
        data_us: 0,
    })
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
