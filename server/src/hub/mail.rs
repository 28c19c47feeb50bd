//! What shards say to each other. Two lanes: requests go to owners, deliveries come from them.
//!
//! Handling a delivery never writes a delivery, so deliveries can always be taken in, and a jam of requests
//! can always be resolved: owners stop taking requests while deliveries of theirs are refused, and for no other reason.
//! Within a lane, mail from one shard to another keeps its order. Nothing is dropped.

use std::num::NonZeroU32;
use std::sync::Arc;

use fanfare_wire::code::ErrorCode;
use fanfare_wire::event::GapWhy;

use super::filters::FilterId;
use super::topics::TopicId;
use super::update::{Payload, Update};
use crate::metrics::Report;

/// A shard's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardId(pub u16);

/// The listening side of a topic on some shard. The generation tells a topic from one that used its place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRef {
    /// Its place on the listening shard.
    pub topic: TopicId,
    /// Which of the topics that were ever in this place.
    pub generation: NonZeroU32,
}

/// Whom an answer goes to; only the asking engine understands the two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The shard that asked.
    pub shard: ShardId,
    /// The question.
    pub ask: u32,
    /// The part of the question that this is about.
    pub part: u32,
}

/// Whether a publisher is told what became of its publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nobody waits for an answer.
    None,
    /// Only that it failed, by [`Delivery::Failed`].
    Failure(Ticket),
    /// By [`Delivery::Answer`].
    Always(Ticket),
}

/// How much a recovery may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Updates.
    pub count: u32,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// What was published since: everything up to where the stream stands, or why not all of it can be had.
pub type Missed = Result<Vec<Arc<Update>>, GapWhy>;

/// What is kept of a topic, or a part of it.
#[derive(Debug)]
pub struct Page {
    /// Where the topic stands.
    pub seq: u64,
    /// The oldest seq that is kept; one more than `seq` where nothing is.
    pub oldest: u64,
    /// What was asked for, oldest first, without a hole.
    pub updates: Vec<Arc<Update>>,
}

/// What one shard knows of the topics that a filter covers.
#[derive(Debug)]
pub struct Listing {
    /// Topics with a value that it owns, and where they stand.
    pub owned: Vec<(Arc<str>, u64)>,
    /// Topics that it listens to, and how many of its subscriptions bring each.
    pub listened: Vec<(Arc<str>, u64)>,
}

/// To the owner of a topic.
#[derive(Debug)]
pub enum Request {
    /// There are listeners now: answer [`Delivery::Joined`], then send every update.
    Join {
        /// The topic.
        topic: Arc<str>,
        /// The shard they are on.
        from: ShardId,
        /// What that shard calls it.
        listener: TopicRef,
    },
    /// There are none any more.
    Leave {
        /// The topic.
        topic: Arc<str>,
        /// The shard they were on.
        from: ShardId,
    },
    /// The shard has the topic by filters alone, and has heard nothing of it yet: if nothing was ever said, forget that it listens, and answer
    /// [`Delivery::Faded`]; it will be told of the birth. Otherwise it listens on, and what was said is on its way.
    Fade {
        /// The topic.
        topic: Arc<str>,
        /// The shard.
        from: ShardId,
        /// What that shard calls it.
        listener: TopicRef,
    },
    /// There are members of these filters now: send [`Delivery::Born`] for every topic that they cover, and from now on for
    /// each that is first published to; then answer [`Delivery::Watched`]. To every owner.
    Watch {
        /// What the shard calls each, and its text.
        filters: Arc<[(FilterId, Arc<str>)]>,
        /// The shard they are on.
        from: ShardId,
    },
    /// There are none any more. To every owner.
    Unwatch {
        /// Their texts.
        filters: Arc<[Arc<str>]>,
        /// The shard they were on.
        from: ShardId,
    },
    /// Number this payload and send it to all who joined.
    Publish {
        /// The topic.
        topic: Arc<str>,
        /// The value.
        payload: Payload,
        /// A key that was seen lately gets its first answer again, and nothing is published.
        key: Option<Box<str>>,
        /// Whom to tell what became of it.
        reply: Reply,
    },
    /// Send what was published since; follows the topic's join in the same lane.
    Recover {
        /// The topic.
        topic: Arc<str>,
        /// The last seq that the subscriber has.
        since: u64,
        /// More than this cannot be delivered at once, and is not sent.
        most: Most,
        /// Whom to tell.
        answer: Ticket,
    },
    /// Send what is kept of what was published since, oldest first.
    History {
        /// The topic.
        topic: Arc<str>,
        /// Nothing up to this seq is wanted.
        since: u64,
        /// No more is sent.
        most: Most,
        /// Whom to tell.
        answer: Ticket,
    },
    /// Tell of the topics that a filter covers; about no single topic. To every shard.
    Topics {
        /// The filter.
        filter: Arc<str>,
        /// Whom to tell.
        answer: Ticket,
    },
    /// Tell how this shard is; about no topic.
    Census {
        /// Whom to tell.
        answer: Ticket,
    },
    /// Tell the seq.
    Check {
        /// The topic.
        topic: Arc<str>,
        /// Whom to tell.
        answer: Ticket,
    },
}

impl Request {
    /// The topic it is about; empty for what goes to every shard.
    #[must_use]
    pub fn topic(&self) -> &str {
        match self {
            Request::Join { topic, .. }
            | Request::Leave { topic, .. }
            | Request::Fade { topic, .. }
            | Request::Publish { topic, .. }
            | Request::Recover { topic, .. }
            | Request::History { topic, .. }
            | Request::Check { topic, .. } => topic,
            Request::Census { .. }
            | Request::Topics { .. }
            | Request::Watch { .. }
            | Request::Unwatch { .. } => "",
        }
    }
}

/// From the owner of a topic.
#[derive(Debug)]
pub enum Delivery {
    /// The answer to a join. All later updates follow.
    Joined {
        /// The listening side.
        listener: TopicRef,
        /// The topic's number.
        alias: u32,
        /// Where the stream stands.
        seq: u64,
        /// The value of that seq.
        last: Option<Arc<Update>>,
    },
    /// The join failed.
    Refused {
        /// The listening side.
        listener: TopicRef,
        /// What subscribers are told.
        code: ErrorCode,
        /// The same in words.
        message: &'static str,
    },
    /// The answer to a fade: nothing of the topic follows until it is born, or joined again.
    Faded {
        /// The listening side.
        listener: TopicRef,
    },
    /// A topic that a filter of the shard covers. All later updates follow, by name.
    Born {
        /// The topic.
        topic: Arc<str>,
        /// The topic's number.
        alias: u32,
        /// Where the stream stands.
        seq: u64,
        /// The value of that seq.
        last: Option<Arc<Update>>,
    },
    /// The answer to a watch: every topic that the filters cover has been told of.
    Watched {
        /// What the shard calls each, and how many topics it covers; `None`: more than may be, and it is not watched.
        filters: Box<[(FilterId, Option<u32>)]>,
    },
    /// The next update of a topic that the shard joined, or was told of.
    Update {
        /// The listening side; `None`: the one that has the update's topic.
        listener: Option<TopicRef>,
        /// The value.
        update: Arc<Update>,
    },
    /// What is kept of a topic.
    History {
        /// Who asked.
        ticket: Ticket,
        /// The answer.
        page: Box<Page>,
    },
    /// What a shard knows of the topics that a filter covers.
    Topics {
        /// Who asked.
        ticket: Ticket,
        /// Its part.
        listing: Box<Listing>,
    },
    /// How a shard is, as it was asked.
    Census {
        /// Its part.
        report: Box<Report>,
    },
    /// The same, as it tells once a second the shard that publishes the sum.
    Stats {
        /// Its part.
        report: Box<Report>,
    },
    /// A publish was numbered, or a check answered.
    Answer {
        /// Who asked.
        ticket: Ticket,
        /// The topic's seq, or why there is none.
        outcome: Result<u64, (ErrorCode, &'static str)>,
    },
    /// A publish whose failure alone was to be told has failed.
    Failed {
        /// Who published.
        ticket: Ticket,
    },
    /// The answer to a recovery. The topic stands, on the listening shard, just behind the last of the updates.
    Recovered {
        /// Who asked.
        ticket: Ticket,
        /// The updates in order.
        missed: Missed,
    },
}

/// What a letter counts towards limits of lanes and ticks.
pub trait Letter {
    /// One, and one more for each 256 bytes of values that it brings.
    fn weight(&self) -> usize;
}

/// So many bytes of values weigh as much as a letter.
const BYTES_A_LETTER: usize = 256;

impl Letter for Request {
    fn weight(&self) -> usize {
        match self {
            Request::Publish { payload, .. } => 1 + payload.bytes().len() / BYTES_A_LETTER,
            _ => 1,
        }
    }
}

impl Letter for Delivery {
    fn weight(&self) -> usize {
        let bytes = match self {
            Delivery::Update { update, .. } => update.payload_bytes(),
            Delivery::Born { last, .. } | Delivery::Joined { last, .. } => {
                last.as_ref().map_or(0, |last| last.payload_bytes())
            }
            Delivery::Recovered {
                missed: Ok(missed), ..
            } => missed.iter().map(|update| update.payload_bytes()).sum(),
            Delivery::History { page, .. } => page
                .updates
                .iter()
                .map(|update| update.payload_bytes())
                .sum(),
            _ => 0,
        };
        1 + bytes / BYTES_A_LETTER
    }
}

/// Mail for one shard.
#[derive(Debug, Default)]
pub struct Mail {
    /// For topics it owns.
    pub requests: Vec<Request>,
    /// For topics it listens to.
    pub deliveries: Vec<Delivery>,
}

impl Mail {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.deliveries.is_empty()
    }
}

/// Mail written in this tick, by addressee; handed to the mesh once a tick.
#[derive(Debug)]
pub struct Outgoing {
    by_shard: Vec<Mail>,
    /// Shards with anything in their `Mail`; may name one twice.
    touched: Vec<ShardId>,
    waiting: usize,
    /// The weight of what was written since [`Outgoing::addressees`] was last asked.
    written: usize,
}

impl Outgoing {
    /// Empty boxes for `shards` addressees.
    #[must_use]
    pub fn new(shards: u16) -> Outgoing {
        Outgoing {
            by_shard: (0..shards).map(|_| Mail::default()).collect(),
            touched: Vec::new(),
            waiting: 0,
            written: 0,
        }
    }

    /// Writes to the owner `to`.
    pub fn request(&mut self, to: ShardId, request: Request) {
        self.written += request.weight();
        self.touch(to).requests.push(request);
    }

    /// Writes to the listening shard `to`.
    pub fn deliver(&mut self, to: ShardId, delivery: Delivery) {
        self.written += delivery.weight();
        self.touch(to).deliveries.push(delivery);
    }

    /// Counts work as if it were so many letters: a tick that did much of it should be over, too.
    pub fn weigh(&mut self, letters: usize) {
        self.written += letters;
    }

    /// How many letters wait, for all shards together.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The [weight](Letter::weight) of what was written in this tick, and what else was [weighed](Outgoing::weigh).
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// The shards with mail waiting; a new tick's count begins.
    pub fn addressees(&mut self) -> Vec<ShardId> {
        self.written = 0;
        let mut touched = std::mem::take(&mut self.touched);
        touched.retain(|shard| !self.by_shard[usize::from(shard.0)].is_empty());
        touched
    }

    /// Takes all mail for one shard.
    pub fn take(&mut self, to: ShardId) -> Mail {
        let mail = std::mem::take(&mut self.by_shard[usize::from(to.0)]);
        self.waiting -= mail.requests.len() + mail.deliveries.len();
        mail
    }

    /// Puts back what could not be handed over, ahead of what was written since.
    pub fn put_back(&mut self, to: ShardId, mut mail: Mail) {
        if mail.is_empty() {
            return;
        }
        let rest = self.take(to);
        mail.requests.extend(rest.requests);
        mail.deliveries.extend(rest.deliveries);
        self.waiting += mail.requests.len() + mail.deliveries.len();
        self.by_shard[usize::from(to.0)] = mail;
        self.touched.push(to);
    }

    fn touch(&mut self, to: ShardId) -> &mut Mail {
        self.waiting += 1;
        let mail = &mut self.by_shard[usize::from(to.0)];
        if mail.is_empty() {
            self.touched.push(to);
        }
        mail
    }
}
