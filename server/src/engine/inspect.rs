//! Test only: what a simulation looks at beside what clients hear.

use super::Engine;
use super::conn::{ConnId, Stage, flag};
use super::testing::NOTHING;
use crate::hub::topics;
use crate::ledger::Ledger;

/// What an engine holds for one open connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Glimpse {
    /// What is queued, charged bytes.
    pub(crate) queued_bytes: u32,
    /// Its socket is known to take nothing.
    pub(crate) is_blocked: bool,
    /// Topics whose marks are ready.
    pub(crate) ready: Vec<u32>,
    /// How many marks it has, ready and resting.
    pub(crate) marks: usize,
    /// No owner has still to answer anything of its.
    pub(crate) is_quiet: bool,
    /// All of its subscriptions wait as marks.
    pub(crate) is_conflating: bool,
}

impl Engine {
    /// Looks at a connection; `None`: it is not open.
    pub(crate) fn glimpse(&self, id: ConnId) -> Option<Glimpse> {
        let conn = self.outlet.conns.get(id.index as usize)?;
        if conn.generation != id.generation || conn.stage != Stage::Open {
            return None;
        }
        let asks = self.asks.iter().any(|(_, ask)| ask.conn == id);
        let ready = self.marks.ready(conn.wait);
        Some(Glimpse {
            queued_bytes: conn.outbox.charged_bytes(),
            is_blocked: conn.has(flag::BLOCKED),
            ready: ready.map(|mark| self.marks.get(mark).topic.0).collect(),
            marks: self.marks.of(conn.wait).count(),
            is_quiet: conn.pending_topics == 0 && !asks,
            is_conflating: (self.hub.subs.of(conn.subs))
                .all(|sub| self.hub.options(sub).is_conflating()),
        })
    }

    /// Whether its long poll waits for an update.
    pub(crate) fn is_polling(&self, id: ConnId) -> bool {
        let conn = self.outlet.conns.get(id.index as usize);
        conn.is_some_and(|conn| conn.generation == id.generation && conn.stage == Stage::Polling)
    }

    /// Whether nothing more is said to it.
    pub(crate) fn is_gone(&self, id: ConnId) -> bool {
        let conn = self.outlet.conns.get(id.index as usize);
        conn.is_none_or(|conn| conn.generation != id.generation || conn.stage == Stage::Gone)
    }

    /// Where a topic stands here, if its stream has begun.
    pub(crate) fn stands_at(&self, topic: &str) -> Option<u64> {
        let id = self.hub.topics.find(topic)?;
        let topic = &self.hub.topics[id];
        (topic.stage == topics::Stage::Live).then_some(topic.seq)
    }

    /// Whether an owner has still to agree that a topic is forgotten.
    pub(crate) fn has_fading(&self) -> bool {
        let mut topics = self.hub.topics.iter();
        topics.any(|(_, topic)| topic.stage == topics::Stage::Fading)
    }

    /// How many topics it listens to.
    pub(crate) fn topic_count(&self) -> usize {
        self.hub.topics.len()
    }

    /// Everything that it holds for connections; all zero when the last has left.
    pub(crate) fn held(&self) -> [usize; NOTHING.len()] {
        [
            self.outlet.conns.len(),
            self.outlet.frames.len(),
            self.hub.subs.len(),
            self.hub.topics.len(),
            self.subscribes.len(),
            self.asks.len(),
            self.marks.len(),
            self.marks.waits(),
            self.hub.policies.len(),
            self.hub.filters.len(),
            self.hub.filters.sets.len(),
            self.hub.owner.filter_count(),
            self.inflaters.own(),
        ]
    }

    /// The same in bytes.
    pub(crate) fn accounts(&self) -> Ledger {
        self.ledger()
    }

    /// How many listening sides the topics it owns have.
    pub(crate) fn listeners(&self) -> usize {
        self.hub.owner.listener_count()
    }
}
