//! What one worker has to say at the end, and how workers are added up.

use super::subscriptions::Subscriptions;
use super::waking::Woken;
use crate::class::{Class, Classes};
use crate::counts::Counts;
use crate::latency::Latency;
use crate::tally::Figures;
use crate::verify::{Examples, Totals};

/// The books of one worker, or of all of them merged.
#[derive(Clone, Debug, Default)]
pub struct WorkerReport {
    /// The running figures at the end.
    pub figures: Figures,
    /// Sums over all subscriptions.
    pub totals: Totals,
    /// The same by how clients read.
    pub by_class: Classes<Totals>,
    /// The first faults in words.
    pub examples: Examples,
    /// Connections neither open nor given up when the time for connecting was over.
    pub unfinished: u64,
    /// Failed attempts to connect, by kind.
    pub connect_errors: Counts,
    /// Connections that the server ended, by kind and by how they read.
    pub disconnects: Classes<Counts>,
    /// Errors that the server sent, by code, and messages not understood.
    pub errors: Counts,
    /// Subscriptions acknowledged.
    pub acked: u64,
    /// Subscriptions refused.
    pub refused: u64,
    /// Subscriptions whose command was not answered in time.
    pub unanswered: u64,
    /// Connections whose close frame was not answered in time.
    pub close_unanswered: u64,
    /// Subscriptions that should be acknowledged and are not, as of the last audit.
    pub missing: u64,
    /// Subscriptions that have reached the final seq with their books balanced, as of the last
    /// audit.
    pub verified: u64,
    /// Updates without the intended time that was looked for in them.
    pub untimed: u64,
    /// How far the connect schedule was behind at worst.
    pub connect_lag_max_ns: u64,
    /// Handshakes of TLS: full ones, and sessions that were resumed.
    pub tls: [u64; 2],
    /// From `connect` to the end of the handshake.
    pub handshake: Latency,
    /// From the subscribe command to the last of its acks.
    pub subscribe: Latency,
    /// From the first attempt to connect to the last ack.
    pub join: Latency,
    /// Deliveries.
    pub delivery: Classes<Latency>,
    /// From the cut to the last of the history, for each subscription that resumed.
    pub recovery: Latency,
    /// What stalled clients got when they woke up at the end.
    pub woken: Woken,
}

impl WorkerReport {
    /// Takes over what the subscriptions have booked.
    pub fn conclude(mut self, subscriptions: Subscriptions, figures: &Figures) -> WorkerReport {
        self.acked = subscriptions.acked();
        self.totals = subscriptions.ledger.total();
        self.by_class = subscriptions.ledger.totals;
        self.recovery = subscriptions.recovery.latency;
        self.woken = subscriptions.waking.sum();
        self.examples = subscriptions.ledger.examples;
        self.errors = subscriptions.errors;
        self.untimed = subscriptions.untimed;
        self.delivery = subscriptions.delivery;
        self.figures = Figures {
            delivered: self.totals.delivered,
            ..*figures
        };
        self
    }

    /// The books as they stand: latencies begin anew, everything else is counted on.
    pub fn hand_over(
        &mut self,
        subscriptions: &mut Subscriptions,
        figures: &Figures,
    ) -> WorkerReport {
        let (handshake, subscribe, join) = (
            std::mem::take(&mut self.handshake),
            std::mem::take(&mut self.subscribe),
            std::mem::take(&mut self.join),
        );
        WorkerReport {
            figures: *figures,
            totals: subscriptions.ledger.total(),
            by_class: subscriptions.ledger.totals,
            errors: subscriptions.errors.clone(),
            untimed: subscriptions.untimed,
            handshake,
            subscribe,
            join,
            delivery: std::mem::take(&mut subscriptions.delivery),
            // After the takes: what is copied here is small.
            ..self.clone()
        }
    }

    /// Connections that the server ended although they read what they were sent.
    pub fn cut_off(&self) -> u64 {
        self.disconnects[Class::Healthy].total()
    }

    /// Adds another worker.
    pub fn merge(&mut self, other: WorkerReport) {
        self.figures = [self.figures, other.figures].into_iter().sum();
        self.totals.merge(&other.totals);
        self.examples.merge(other.examples);
        self.unfinished += other.unfinished;
        self.connect_errors.merge(&other.connect_errors);
        self.by_class
            .merge(other.by_class, |sum, part| sum.merge(&part));
        self.disconnects
            .merge(other.disconnects, |sum, part| sum.merge(&part));
        self.errors.merge(&other.errors);
        self.acked += other.acked;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.close_unanswered += other.close_unanswered;
        self.missing += other.missing;
        self.verified += other.verified;
        self.untimed += other.untimed;
        self.connect_lag_max_ns = self.connect_lag_max_ns.max(other.connect_lag_max_ns);
        for (sum, part) in self.tls.iter_mut().zip(other.tls) {
            *sum += part;
        }
        self.handshake.merge(&other.handshake);
        self.subscribe.merge(&other.subscribe);
        self.join.merge(&other.join);
        self.delivery
            .merge(other.delivery, |sum, part| sum.merge(&part));
        self.recovery.merge(&other.recovery);
        self.woken = self.woken.and(other.woken);
    }
}
