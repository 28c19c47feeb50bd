//! The phases of a run, and what the coordinator and the threads say to each other about them.
//!
//! The coordinator gives every member of the crew (workers and publisher) the same numbered
//! [`Order`]; each member does its part and answers with [`Note::Settled`] and that number. A new
//! kind of phase (a churn, a reconnect storm) is a new order, a new arm in the members, and a new
//! step in the coordinator's scenario.

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

/// What the members shall do next. It replaces what they were doing.
#[derive(Clone, Debug)]
pub enum Order {
    /// Open the connections.
    Connect(Pace),
    /// Subscribe on every open connection.
    Subscribe(Pace),
    /// Publish what is due from `start_ns` until before `end_ns`.
    Publish {
        /// When the first update is due, monotonic.
        start_ns: u64,
        /// When the last one must have been due.
        end_ns: u64,
    },
    /// Publish no more; settled when every publish has been answered.
    Quiet,
    /// Wait until every subscription has reached the final seq of its topic, given by topic number.
    Drain(Arc<[u64]>),
    /// Close the connections.
    Close(Pace),
    /// End the thread and report.
    Finish,
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
