//! A connection's record: 64 bytes in the slab, no heap while idle.

use std::sync::Arc;

use fanfare_wire::deflate::Inflater;
use fanfare_wire::reader::Reader;

use super::admission::Expiry;
use super::http::{Body, Once};
use super::marks::WaitId;
use super::outbox::Outbox;
use super::rights::Identity;
use crate::clock::Ms;
use crate::hub::subs::SubList;
use crate::hub::update::Variant;

/// A connection's name: its place, and which of the connections that were ever in this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// Place in the slab.
    pub index: u32,
    /// Counts the connections of a shard, so that late mail and late events for an earlier one are told apart.
    pub generation: u32,
}

/// Where a connection stands in its life.
///
/// ```text
/// Head ──► Open ──► Closing ──► Parting ──► Gone      our Close, theirs, flush, close
///  ▲ │       │ └───────────────►   ▲                  their Close first
///  │ ├───────┴────► Failing ──► Linger ──► Gone       flush, half-close, drain what they still send
///  │ └► Body ─► Asking ─► Polling                     an HTTP request that takes a while
///  └───────┴───────┴────────┘                         answered, and the connection goes on
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// The head of a request is awaited: the first, or the next.
    Head,
    /// The body of a request is awaited.
    Body,
    /// Its HTTP question is being answered; what it sends meanwhile is kept.
    Asking,
    /// Its long poll waits for an update.
    Polling,
    /// It speaks WebSocket, or is sent events.
    Open,
    /// Our Close is sent or queued; theirs is awaited.
    Closing,
    /// Both sides are done: flush, then close.
    Parting,
    /// It broke a rule or got its HTTP answer: flush, then half-close. What it still sends is thrown away.
    Failing,
    /// Half-closed; its end of stream is awaited, because closing with unread input would destroy our last words on their way.
    Linger,
    /// The socket is to be closed, or is; the record is freed at the end of the tick.
    Gone,
}

/// What the connection came in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Door {
    /// Nothing yet, or plain HTTP.
    Http,
    /// The JSON protocol.
    Ws,
    /// The same with data as binary records.
    Binary,
    /// Commands in, bare payloads out.
    Raw,
    /// A raw room of one topic.
    Room,
    /// Echo.
    Echo,
    /// One topic as Server-Sent Events.
    Events,
    /// Several topics as Server-Sent Events.
    MixedEvents,
    /// One value of one topic, as an HTTP answer.
    Poll,
}

impl Door {
    /// All of them, each in the place of its number.
    pub(super) const ALL: [Door; 9] = [
        Door::Http,
        Door::Ws,
        Door::Binary,
        Door::Raw,
        Door::Room,
        Door::Echo,
        Door::Events,
        Door::MixedEvents,
        Door::Poll,
    ];

    /// What connections by it are counted as.
    pub(super) fn label(self) -> &'static str {
        match self {
            Door::Http => "http",
            Door::Ws => "ws",
            Door::Binary => "bin",
            Door::Raw => "raw",
            Door::Room => "room",
            Door::Echo => "echo",
            Door::Events | Door::MixedEvents => "sse",
            Door::Poll => "poll",
        }
    }

    /// What its subscriptions get, if it has not agreed to compression.
    fn variant(self) -> Variant {
        match self {
            Door::Ws => Variant::Json,
            Door::Binary => Variant::Binary,
            Door::Events => Variant::Events,
            Door::MixedEvents => Variant::MixedEvents,
            Door::Poll => Variant::Answer,
            Door::Http | Door::Raw | Door::Room | Door::Echo => Variant::Raw,
        }
    }

    /// Whether it speaks WebSocket.
    pub(super) fn is_websocket(self) -> bool {
        matches!(
            self,
            Door::Ws | Door::Binary | Door::Raw | Door::Room | Door::Echo
        )
    }

    /// Whether it is a stream of events.
    pub(super) fn is_events(self) -> bool {
        matches!(self, Door::Events | Door::MixedEvents)
    }

    /// Whether it is one of the two that speak the whole protocol, with hello, acks and heartbeats.
    pub(super) fn is_ws(self) -> bool {
        matches!(self, Door::Ws | Door::Binary)
    }
}

/// Bits of [`Conn::flags`].
pub(super) mod flag {
    /// On the list of those to be written at the end of the tick.
    pub(in crate::engine) const DIRTY: u16 = 1;
    /// The socket took less than was offered: wait until it is writable.
    pub(in crate::engine) const BLOCKED: u16 = 2;
    /// A ping is out, and nothing has come since.
    pub(in crate::engine) const PINGED: u16 = 4;
    /// Came when the server was full: its request is answered 503.
    pub(in crate::engine) const REFUSE: u16 = 8;
    /// Asked something of an owner while mail is jammed: not read until the jam is over.
    pub(in crate::engine) const PAUSED: u16 = 16;
    /// The peer has ended its side of the stream.
    pub(in crate::engine) const EOF: u16 = 32;
    /// On the list of those to be read.
    pub(in crate::engine) const READABLE: u16 = 64;
    /// The end of its stream is near, and must be read up to.
    pub(in crate::engine) const ENDING: u16 = 128;
    /// Its queue was full and has not been empty since: updates wait as marks.
    pub(in crate::engine) const SLOW: u16 = 256;
    /// Something queued may be left out when it gets old.
    pub(in crate::engine) const FADING: u16 = 512;
    /// It has had a subscription that wants newest values rather than all: its kernel takes little ahead.
    pub(in crate::engine) const FRESH: u16 = 1024;
    /// HTTP: the connection goes on behind the answer; between requests, it has been answered before.
    pub(in crate::engine) const KEEP: u16 = 2048;
    /// HTTP: the answer has no body, because it is not wanted.
    pub(in crate::engine) const HEAD: u16 = 4096;
    /// HTTP: the client named what it has by its entity tag. On a stream: it ends with its first events.
    pub(in crate::engine) const TAGGED: u16 = 8192;
    pub(in crate::engine) const ONCE: u16 = TAGGED;
    /// HTTP: a part of the next request has come.
    pub(in crate::engine) const BEGUN: u16 = 16384;
    /// WebSocket: messages may be compressed, in both directions.
    pub(in crate::engine) const DEFLATE: u16 = HEAD;
    /// WebSocket: but only such as the small window reaches over that the client asked for; not the forms that all share.
    pub(in crate::engine) const NARROW: u16 = BEGUN;
    /// On a stream: the head of the answer may not be written yet.
    pub(in crate::engine) const HEADED: u16 = BEGUN;
}

/// Input that is not yet a whole request or message.
#[derive(Debug)]
pub(super) enum Partial {
    /// The beginning of an HTTP head, or requests whose turn has not come.
    Head(Vec<u8>),
    /// The beginning of a request's body.
    Body(Box<Body>),
    /// The beginning of a frame or message. Boxed, because a reader is five times as large as the others, and thousands of
    /// requests may be half sent.
    Message(Box<Reader>),
}
const _: () = assert!(size_of::<Partial>() <= 32);

/// What only some connections have.
#[derive(Debug, Default)]
pub(super) struct Cold {
    /// Whom it speaks for; `None` = for anybody.
    pub(super) identity: Option<Arc<Identity>>,
    /// Whom its certificate says it is: for whom it speaks where no request or command says otherwise.
    pub(super) vouched: Option<Arc<Identity>>,
    /// The topic of a room.
    pub(super) room: Option<Arc<str>>,
    /// Subscribe commands that wait for owners, by key.
    pub(super) subscribes: Vec<u32>,
    /// The origin of the page that asks, if it is another than ours and may read the answer.
    pub(super) origin: Option<Box<str>>,
    /// A stream of events that ends with its first ones.
    pub(super) once: Option<Once>,
    /// When what its identity allows ends.
    pub(super) expiry: Option<Expiry>,
    /// Until when it must say who it is.
    pub(super) speak_by: Option<Ms>,
    /// Came by an operator's listener.
    pub(super) is_admin: bool,
    /// What its client keeps from one compressed message to the next.
    pub(super) inflater: Option<Box<Inflater>>,
    /// The longest message that may be sent compressed to a connection with the flag NARROW.
    pub(super) deflate_bytes_max: u32,
}

impl Cold {
    /// Whether there is nothing in it worth keeping it for.
    pub(super) fn is_empty(&self) -> bool {
        self.identity.is_none()
            && self.vouched.is_none()
            && self.room.is_none()
            && self.subscribes.is_empty()
            && self.origin.is_none()
            && self.once.is_none()
            && self.expiry.is_none()
            && self.speak_by.is_none()
            && !self.is_admin
            && self.inflater.is_none()
            && self.deflate_bytes_max == 0
    }
}

/// One connection. Its alignment keeps a record on one cache line; without it, most lie across two.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Conn {
    /// Input kept from earlier reads; `None` between messages.
    pub(super) partial: Option<Box<Partial>>,
    pub(super) cold: Option<Box<Cold>>,
    /// What waits to be written.
    pub(super) outbox: Outbox,
    pub(super) subs: SubList,
    /// What waits because the socket takes nothing, or because the time for it has not come.
    pub(super) wait: WaitId,
    pub(super) generation: u32,
    /// When bytes last came; in `Head`, when it was accepted or last answered, or when a later request began to come; in `Body`,
    /// `Asking` and from `Closing` on, when that began; in `Polling`, until when it waits.
    pub(super) last_seen: Ms,
    /// When the socket last took bytes, or began to take none.
    pub(super) last_sent: Ms,
    /// Topics asked for whose owner has not answered yet; they count towards the subscription limit.
    pub(super) pending_topics: u32,
    pub(super) stage: Stage,
    pub(super) door: Door,
    pub(super) flags: u16,
}

/// The slab's own wrapper must fit its mark of a free place into the record's spare values.
#[allow(dead_code, reason = "only its size matters")]
enum SlabEntry {
    Vacant(usize),
    Occupied(Conn),
}
const _: () = assert!(size_of::<SlabEntry>() <= 64);

impl Conn {
    pub(super) fn new(generation: u32, now: Ms, refuse: bool) -> Conn {
        Conn {
            partial: None,
            cold: None,
            outbox: Outbox::default(),
            subs: SubList::default(),
            wait: WaitId::NONE,
            generation,
            last_seen: now,
            last_sent: now,
            pending_topics: 0,
            stage: Stage::Head,
            door: Door::Http,
            flags: if refuse { flag::REFUSE } else { 0 },
        }
    }

    /// What its subscriptions get.
    pub(super) fn variant(&self) -> Variant {
        let plain = self.door.variant();
        if self.deflates() && !self.has(flag::NARROW) {
            plain.deflated()
        } else {
            plain
        }
    }

    /// Whether messages of this size may be sent to it compressed.
    pub(super) fn may_deflate(&self, message_bytes: usize) -> bool {
        let narrow = self.cold.as_ref().filter(|_| self.has(flag::NARROW));
        self.deflates()
            && narrow.is_none_or(|cold| message_bytes <= cold.deflate_bytes_max as usize)
    }

    /// Whether compression was agreed to. The flag means something else where no WebSocket is spoken.
    pub(super) fn deflates(&self) -> bool {
        self.has(flag::DEFLATE) && self.door.is_websocket()
    }

    /// Whether its socket has stopped in the middle of an HTTP answer.
    pub(super) fn is_sending_http(&self) -> bool {
        let is_http = matches!(
            self.door,
            Door::Http | Door::Events | Door::MixedEvents | Door::Poll
        );
        self.has(flag::BLOCKED) && is_http && !self.outbox.is_empty()
    }

    pub(super) fn has(&self, bit: u16) -> bool {
        self.flags & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_is_in_its_place() {
        for (place, door) in Door::ALL.into_iter().enumerate() {
            assert_eq!(door as usize, place, "{door:?}");
        }
    }
}
