//! What a shard has done since it started.

use super::disconnect::LABELS;

/// Plain counts since the start, one set a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub opened: u64,
    /// Upgrades to a WebSocket.
    pub upgraded: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// Messages read from clients.
    pub messages_in: u64,
    /// Updates that came from owners for this shard's listeners.
    pub updates_in: u64,
    /// Updates queued to subscribers.
    pub deliveries: u64,
    /// Ends by [`Disconnect::ordinal`](super::disconnect::Disconnect::ordinal).
    pub disconnects: [u64; LABELS],
}

impl Counters {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            opened,
            upgraded,
            bytes_in,
            bytes_out,
            messages_in,
            updates_in,
            deliveries,
            disconnects,
        } = other;
        self.opened += opened;
        self.upgraded += upgraded;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.messages_in += messages_in;
        self.updates_in += updates_in;
        self.deliveries += deliveries;
        for (sum, count) in self.disconnects.iter_mut().zip(disconnects) {
            *sum += count;
        }
    }
}
