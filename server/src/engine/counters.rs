//! What a shard has done since it started.

use fanfare_wire::event::SkipWhy;

use super::disconnect::LABELS;

/// Plain counts since the start, one set a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub opened: u64,
    /// Upgrades to a WebSocket.
    pub upgraded: u64,
    /// HTTP requests answered.
    pub requests: u64,
    /// Streams of events begun.
    pub streams: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// Messages read from clients.
    pub messages_in: u64,
    /// Updates that came from owners for this shard's listeners.
    pub updates_in: u64,
    /// Updates queued to subscribers, or written to them where they waited as marks.
    pub deliveries: u64,
    /// Updates left out because the subscriber had not taken an earlier one yet.
    pub skipped_slow: u64,
    /// Updates left out because the subscriber asked for an interval.
    pub skipped_rate: u64,
    /// Updates left out because they had become too old.
    pub skipped_stale: u64,
    /// Connections whose queue was full, so that their updates began to wait as marks.
    pub slow_entered: u64,
    /// Those of them that have caught up.
    pub slow_left: u64,
    /// Commands and publishes that came too soon after others.
    pub rate_limited: u64,
    /// Ends by [`Disconnect::ordinal`](super::disconnect::Disconnect::ordinal).
    pub disconnects: [u64; LABELS],
}

impl Counters {
    /// Counts updates that were left out.
    pub(super) fn add_skipped(&mut self, why: SkipWhy, count: u64) {
        *match why {
            SkipWhy::Slow => &mut self.skipped_slow,
            SkipWhy::Rate => &mut self.skipped_rate,
            SkipWhy::Stale => &mut self.skipped_stale,
        } += count;
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            opened,
            upgraded,
            requests,
            streams,
            bytes_in,
            bytes_out,
            messages_in,
            updates_in,
            deliveries,
            skipped_slow,
            skipped_rate,
            skipped_stale,
            slow_entered,
            slow_left,
            rate_limited,
            disconnects,
        } = other;
        self.opened += opened;
        self.upgraded += upgraded;
        self.requests += requests;
        self.streams += streams;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.messages_in += messages_in;
        self.updates_in += updates_in;
        self.deliveries += deliveries;
        self.skipped_slow += skipped_slow;
        self.skipped_rate += skipped_rate;
        self.skipped_stale += skipped_stale;
        self.slow_entered += slow_entered;
        self.slow_left += slow_left;
        self.rate_limited += rate_limited;
        for (sum, count) in self.disconnects.iter_mut().zip(disconnects) {
            *sum += count;
        }
    }
}
