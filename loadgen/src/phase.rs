//! The phases of a run, and what the coordinator and the threads say to each other about them.
//!
//! The coordinator gives every member of the crew (workers and publisher) the same numbered
//! [`Order`]; each member does its part and answers with [`Note::Settled`] and that number. A new
//! kind of phase is a new order, a new arm in the members, and a new step in a coordinator: that of a
//! run ([`crate::coordinator`]) or that of a scenario ([`crate::scenario`]).

use crate::crew::Books;
use crate::topics::Popularity;
use serde::Serialize;
use std::sync::Arc;

/// One stretch of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Start the threads, make the tables, connect the publishers.
    Assemble,
    /// Open all connections.
    Connect,
    /// Subscribe on each of them.
    Subscribe,
    /// Publish on schedule, and listen.
    Steady,
    /// Stop publishing, and wait until everything has arrived.
    Drain,
    /// Close all connections.
    Close,
}

/// The order in which a run goes through its phases.
pub const SCENARIO: [Phase; 6] = [
    Phase::Assemble,
    Phase::Connect,
    Phase::Subscribe,
    Phase::Steady,
    Phase::Drain,
    Phase::Close,
];

impl Phase {
    /// Its name, as in the report.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Assemble => "assemble",
            Phase::Connect => "connect",
            Phase::Subscribe => "subscribe",
            Phase::Steady => "steady",
            Phase::Drain => "drain",
            Phase::Close => "close",
        }
    }

    /// Whether it puts load on the server: left out when the run is to end. The others bring it to
    /// an end.
    pub fn is_load(self) -> bool {
        matches!(self, Phase::Connect | Phase::Subscribe | Phase::Steady)
    }
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everybody has done their part, or the time of a timed phase is over.
    Done,
    /// Nothing succeeded any more.
    Stalled,
    /// The phase's own time, or the run's, was over.
    TimedOut,
    /// The operator asked for an end.
    Interrupted,
}

impl Outcome {
    /// The outcome that is further from done.
    #[must_use]
    pub fn and(self, other: Outcome) -> Outcome {
        if self == Outcome::Done { other } else { self }
    }

    /// The sentence about a phase of this name that failed; `None` if it did not.
    pub fn failure(self, phase: &str) -> Option<String> {
        let how = match self {
            Outcome::Done | Outcome::Interrupted => return None,
            Outcome::Stalled => "stalled",
            Outcome::TimedOut => "ran out of time",
        };
        Some(format!("the {phase} phase {how}"))
    }
}

/// What the members shall do next. It replaces what they were doing.
#[derive(Clone, Debug)]
pub enum Order {
    /// Open the connections.
    Connect(Pace),
    /// Open those that were never open or have left, and subscribe each to these batches of topics.
    Join {
        /// How fast.
        pace: Pace,
        /// So many batches, from the first.
        batches: usize,
    },
    /// Subscribe to a batch of topics on every open connection.
    Subscribe {
        /// How fast.
        pace: Pace,
        /// Which batch.
        batch: usize,
    },
    /// Close this share of all connections; they stay away until the next [`Order::Join`].
    Leave {
        /// How fast.
        pace: Pace,
        /// Of all connections of the run.
        percent: f64,
    },
    /// Until `end_ns`, connections leave in turn, as many a second as the pace says, and come back.
    Churn {
        /// How fast.
        pace: Pace,
        /// When the last one must have left, monotonic.
        end_ns: u64,
    },
    /// Cut this share of all connections at once, without a word; all of them come back.
    Storm {
        /// How fast they come back.
        pace: Pace,
        /// Of all connections of the run.
        percent: f64,
    },
    /// Publish; the publisher's alone. Goes on under the orders that follow, until its end or
    /// [`Order::Quiet`].
    Publish(Load),
    /// Publish no more; settled when every publish has been answered.
    Quiet,
    /// Wait until every subscription has reached the final seq of its topic, given by topic number.
    Drain(Arc<[u64]>),
    /// Close the connections.
    Close(Pace),
    /// Hand over the books as they stand; latencies begin anew. Answered with [`Note::Books`].
    Account {
        /// Look at every subscription: is it acknowledged, has it reached the last final seq?
        audit: bool,
    },
    /// End the thread and report.
    Finish,
}

/// What is published, and when.
#[derive(Clone, Debug)]
pub struct Load {
    /// When the first update is due, monotonic.
    pub start_ns: u64,
    /// When the last one must have been due.
    pub end_ns: u64,
    /// Updates a second.
    pub per_s: f64,
    /// Number of the first topic that is published to.
    pub first_topic: u32,
    /// How updates are spread over the topics from there on.
    pub popularity: Arc<Popularity>,
    /// Size of a payload.
    pub payload_bytes: usize,
}

/// How fast an order that concerns every connection is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When it begins, monotonic.
    pub start_ns: u64,
    /// Connections a second over all members; 0 for no limit but `in_flight_max`.
    pub per_s: f64,
    /// Unanswered ones at a time, of each member.
    pub in_flight_max: u32,
    /// How long one may wait for its answer. Zero: do not wait.
    pub answer_timeout_ns: u64,
}

/// What a member, or a signal, tells the coordinator.
#[derive(Debug)]
pub enum Note {
    /// The member has done its part of order `number`.
    Settled {
        /// The order's number.
        number: u32,
    },
    /// What a member has measured since it was last asked.
    Books(Books),
    /// The member's thread has failed; the run cannot go on.
    Broken {
        /// Name of the member.
        member: String,
        /// Why.
        error: std::io::Error,
    },
    /// The operator wants the run to end.
    Interrupt,
}
