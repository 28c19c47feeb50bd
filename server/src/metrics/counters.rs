//! What a shard has done since it started.

use fanfare_wire::event::SkipWhy;

/// Room for so many reasons of an end. Their names are the engine's, and so is the check that they fit.
pub const REASONS_MAX: usize = 32;

/// Plain counts since the start, one set a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub opened: u64,
    /// Connections accepted only to be told that the server is full.
    pub refused: u64,
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
    /// Those of them that ended before they had.
    pub slow_ended: u64,
    /// Commands and publishes that came too soon after others.
    pub rate_limited: u64,
    /// Tokens and keys that were no good.
    pub refused_tokens: u64,
    /// How often mail of this shard was refused after a time in which none was.
    pub mail_jams: u64,
    /// Ends by [`Disconnect::ordinal`](crate::engine::disconnect::Disconnect::ordinal).
    pub disconnects: [u64; REASONS_MAX],
}

impl Counters {
    /// Counts updates that were left out.
    pub fn add_skipped(&mut self, why: SkipWhy, count: u64) {
        *match why {
            SkipWhy::Slow => &mut self.skipped_slow,
            SkipWhy::Rate => &mut self.skipped_rate,
            SkipWhy::Stale => &mut self.skipped_stale,
        } += count;
    }

    /// Connections that are slow now.
    #[must_use]
    pub fn slow_now(&self) -> u64 {
        self.slow_entered - self.slow_left - self.slow_ended
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            opened,
            refused,
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
            slow_ended,
            rate_limited,
            refused_tokens,
            mail_jams,
            disconnects,
        } = other;
        self.opened += opened;
        self.refused += refused;
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
        self.slow_ended += slow_ended;
        self.rate_limited += rate_limited;
        self.refused_tokens += refused_tokens;
        self.mail_jams += mail_jams;
        for (sum, count) in self.disconnects.iter_mut().zip(disconnects) {
            *sum += count;
        }
    }
}
