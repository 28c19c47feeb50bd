//! The sections of the report, as they stand in the JSON.

use crate::counts::Counts;
use crate::latency::Quantiles;
use crate::verify::Totals;
use serde::Serialize;

/// Connections.
#[derive(Debug, Serialize)]
pub struct Connections {
    /// Asked for.
    pub asked: u32,
    /// Opened.
    pub opened: u64,
    /// Given up after all attempts.
    pub failed: u64,
    /// Neither when the time for connecting was over.
    pub unfinished: u64,
    /// Ended by the server.
    pub disconnected: u64,
    /// Opened a second, over the connect phase.
    pub opened_per_s: f64,
    /// Handshakes of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Handshakes>,
    /// How far the connect schedule was behind at worst.
    pub connect_lag_max_ns: u64,
    /// Failed attempts, by kind.
    pub connect_errors: Counts,
    /// Ends by the server, by kind.
    pub disconnects: Counts,
    /// Close frames that were not answered in time.
    pub close_unanswered: u64,
}

/// Handshakes of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Handshakes {
    /// With everything that belongs to one.
    pub full: u64,
    /// By the ticket of an earlier one.
    pub resumed: u64,
}

impl Handshakes {
    /// From full and resumed ones; `None` if there were none of either.
    pub(crate) fn of([full, resumed]: [u64; 2]) -> Option<Handshakes> {
        (full + resumed > 0).then_some(Handshakes { full, resumed })
    }
}

/// Subscriptions.
#[derive(Debug, Serialize)]
pub struct Subscriptions {
    /// On each connection.
    pub per_connection: usize,
    /// Different topics.
    pub topics: usize,
    /// Acknowledged.
    pub acked: u64,
    /// Refused.
    pub refused: u64,
    /// Not answered in time.
    pub unanswered: u64,
    /// Connections whose subscriptions were all answered.
    pub subscribers: u64,
    /// Errors that the server sent, by code.
    pub errors: Counts,
}

/// Updates published.
#[derive(Debug, Serialize)]
pub struct Publishing {
    /// Publishing connections.
    pub publishers: u32,
    /// Asked for.
    pub rate_per_s: f64,
    /// Size of a payload.
    pub payload_bytes: usize,
    /// Handed to the sockets.
    pub published: u64,
    /// Fallen due, and not handed to any socket until the end.
    pub unpublished: u64,
    /// Taken by the server.
    pub acked: u64,
    /// Without an answer.
    pub unanswered: u64,
    /// Late because the server took nothing for a while.
    pub held_back: u64,
    /// Refused, by code.
    pub refused: Counts,
    /// Ended by the server, by kind.
    pub disconnects: Counts,
    /// Not opened, by kind.
    pub connect_errors: Counts,
}

/// Updates delivered.
#[derive(Debug, Serialize)]
pub struct Deliveries {
    /// Sums over all subscriptions.
    #[serde(flatten)]
    pub totals: Totals,
    /// Delivered a second, over the steady phase.
    pub delivered_per_s: f64,
    /// Bytes received by all connections.
    pub in_bytes: u64,
    /// Updates without the intended time that was looked for in them.
    pub untimed: u64,
}

/// Latencies.
#[derive(Debug, Serialize)]
pub struct Latencies {
    /// From `connect` to the end of the handshake.
    pub handshake: Quantiles,
    /// From the subscribe command to the last of its acks.
    pub subscribe: Quantiles,
    /// From where [`Latencies::delivery_from`] says to the arrival, of the clients that read as fast as
    /// they can.
    pub delivery: Quantiles,
    /// `schedule`: the intended time of publication, monotonic clock. `server`: the frame's `ts`,
    /// wall clocks.
    pub delivery_from: &'static str,
    /// From the intended time of a publish to its answer.
    pub publish_ack: Quantiles,
}

/// What the generator itself used.
#[derive(Debug, Serialize)]
pub struct Generator {
    /// Threads that held connections.
    pub workers: u32,
    /// Source addresses; 1 if the kernel chose.
    pub source_addresses: usize,
    /// Seed of every random choice.
    pub seed: u64,
    /// CPU time in user mode, all phases.
    pub cpu_user_s: f64,
    /// CPU time in the kernel, all phases.
    pub cpu_system_s: f64,
    /// Share of all cores used in the steady phase, 0 to 1.
    pub steady_cpu_share: f64,
    /// How late updates were queued by the generator's own fault.
    pub slip: Quantiles,
    /// Resident memory, the most that was seen at the end of a phase.
    pub resident_bytes_max: u64,
    /// The same for each connection.
    pub resident_bytes_per_connection: u64,
}
