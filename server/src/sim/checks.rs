//! What is held against the engines after every step, beside what clients hear: queues within their limits, nobody kept waiting
//! or closed before their time, and nothing left over.

use super::subscriber::Tongue;
use super::world::World;
use crate::engine::Counters;
use crate::engine::disconnect::Disconnect;
use crate::engine::testing::NOTHING;

/// What surrounds a payload in a frame, and an outbox's charge for it, bytes.
const AROUND_BYTES: u32 = 700;
/// Deadlines are looked at in steps of so long, microseconds, and one that was set within a step is met in the next.
const STEPS_US: u64 = 600_000;

/// A client before a sweep: its number, how long it has waited, what is queued.
pub(super) type Waits = Vec<(u64, u64, u32)>;

impl World {
    /// Looks at every client of a shard after something was done to its engine. With `is_mail` only mail was.
    pub(super) fn look(&mut self, shard: usize, is_mail: bool) {
        let outbox = self.setup.settings.outbox_bytes_max;
        let message = self.setup.payload_bytes_max as u32 + AROUND_BYTES;
        let now_us = self.now.mono_us;
        let topics = self.engines[shard].topic_count();
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.shard == shard)
        {
            let Some(glimpse) = self.engines[shard].glimpse(client.id) else {
                continue;
            };
            let (before, name) = (&client.watch.glimpse, client.name);
            let (old, new) = (before.queued_bytes, glimpse.queued_bytes);
            assert!(glimpse.marks <= topics, "client {name}: one mark a topic");
            if before.is_blocked && glimpse.is_blocked {
                assert!(
                    new <= old.max(3 * outbox + message + 12_000),
                    "client {name} takes nothing, and {new} bytes wait, {old} before"
                );
            }
            let is_quiet = before.is_quiet && glimpse.is_quiet;
            if is_mail && is_quiet && before.is_blocked && glimpse.is_blocked {
                assert!(
                    new <= old.max(2 * outbox + message),
                    "client {name} takes nothing, and updates bring it from {old} to {new} bytes"
                );
                assert!(
                    new == old || !before.is_conflating,
                    "client {name} wants newest values, and payloads are queued: {old} to {new} bytes"
                );
            }
            client.watch.note(glimpse, now_us);
        }
    }

    /// Whoever waits for news of a topic has all that its shard has; a stream that has had its first events waits for no more.
    pub(super) fn check_waits(&self, shard: usize) {
        let engine = &self.engines[shard];
        let clients = self.clients.iter().filter(|client| client.shard == shard);
        for client in clients.filter(|client| client.is_live()) {
            let name = client.name;
            if let Some(poll) = client.view.web.waiting_poll()
                && engine.is_polling(client.id)
            {
                let stood = engine.stands_at(&poll.topic);
                let is_news = |seq| seq > 0 && Some(seq) != poll.has;
                assert!(
                    stood.is_some_and(|seq| !is_news(seq)),
                    "client {name} waits, and {stood:?} is news: {poll:?}"
                );
            }
            assert!(
                engine.has_dirty()
                    || client.watch.glimpse.is_blocked
                    || engine.glimpse(client.id).is_none()
                    || !client.view.should_have_ended(),
                "client {name} has had its first events, and the stream goes on"
            );
        }
    }

    /// What a reader has that takes everything: all that its shard has, but for intervals.
    pub(super) fn check_tick(&mut self, shard: usize) {
        let engine = &self.engines[shard];
        let is_done = !engine.has_dirty() && self.setup.settings.flush_interval_us == 0;
        for client in self.clients.iter().filter(|client| client.shard == shard) {
            let glimpse = &client.watch.glimpse;
            if !is_done
                || !client.is_live()
                || glimpse.is_blocked
                || engine.glimpse(client.id).is_none()
            {
                continue;
            }
            let name = client.name;
            assert!(
                glimpse.queued_bytes == 0 && glimpse.ready.is_empty(),
                "client {name} takes all, and {} bytes and {} marks wait",
                glimpse.queued_bytes,
                glimpse.ready.len()
            );
            for (topic, _) in self.truth.topics() {
                let (Some(stood), Some(at)) = (engine.stands_at(topic), client.view.at(topic))
                else {
                    continue;
                };
                let is_due =
                    client.view.covers(topic) && !client.view.may_rest(topic, self.now.mono_us);
                assert!(
                    at == stood || !is_due,
                    "client {name} takes all and has {topic} {at} of {stood}"
                );
            }
        }
    }

    /// How long clients of a shard have waited.
    pub(super) fn waits(&self, shard: usize) -> Waits {
        let engine = &self.engines[shard];
        let clients = self.clients.iter().filter(|client| client.shard == shard);
        clients
            .filter(|client| engine.glimpse(client.id).is_some())
            .map(|client| {
                let watch = &client.watch;
                (
                    client.name,
                    watch.waited_us(self.now.mono_us),
                    watch.glimpse.queued_bytes,
                )
            })
            .collect()
    }

    /// Nobody is closed for slowness in a sweep who has not waited for the timeout, or whose queue had room.
    pub(super) fn check_closes(&mut self, shard: usize, waits: &Waits, before: &Counters) {
        let slow = Disconnect::Slow.ordinal();
        let engine = &self.engines[shard];
        let closed = engine.counters().disconnects[slow] - before.disconnects[slow];
        let timeout_us = u64::from(self.setup.settings.slow_timeout_ms) * 1000;
        let outbox = self.setup.settings.outbox_bytes_max;
        let (mut at_deadline, mut at_limit) = (0, 0);
        for (name, waited_us, queued) in waits {
            let client = self.clients.iter().find(|client| client.name == *name);
            if client.is_some_and(|client| engine.glimpse(client.id).is_none()) {
                at_deadline += u64::from(*waited_us + 1000 >= timeout_us);
                at_limit += u64::from(*waited_us + 1000 < timeout_us && *queued >= outbox);
            }
        }
        // Answers that their askers do not take have a timeout of their own.
        let clients = self.clients.iter().filter(|client| client.shard == shard);
        let askers = clients.filter(|client| client.view.tongue == Tongue::Web);
        let gone = askers.filter(|client| engine.is_gone(client.id));
        let closed = closed.saturating_sub(gone.count() as u64);
        assert!(
            closed <= at_deadline + at_limit,
            "{closed} closed for slowness, {at_deadline} had waited long enough: {waits:?}"
        );
        self.tally
            .count("close 4103 at the deadline", closed.min(at_deadline));
        self.tally.count("close 4103 in a sweep", closed);
    }

    /// Nobody is kept waiting for more than twice the timeout.
    pub(super) fn check_patience(&self, shard: usize) {
        let timeout_us = u64::from(self.setup.settings.slow_timeout_ms) * 1000;
        let clients = self.clients.iter().filter(|client| client.shard == shard);
        for client in clients.filter(|client| self.engines[shard].glimpse(client.id).is_some()) {
            let waited_us = client.watch.stopped_us(self.now.mono_us);
            assert!(
                waited_us <= 2 * timeout_us + STEPS_US,
                "client {} has waited {waited_us} µs for its socket and is not closed",
                client.name
            );
        }
    }

    /// Everybody has left: nothing is held for anybody.
    pub(super) fn check_empty(&self) {
        assert!(
            self.clients.is_empty(),
            "{} are still there",
            self.clients.len()
        );
        for engine in &self.engines {
            assert_eq!(engine.held(), NOTHING, "something is left");
            assert_eq!(engine.listeners(), 0, "owners write to nobody");
            let held = engine.accounts();
            let bytes = [
                held.slab_bytes,
                held.outbox_bytes,
                held.frame_bytes,
                held.mark_bytes,
                held.input_bytes,
            ];
            assert_eq!(bytes, [0; 5], "bytes are left: {held:?}");
        }
    }
}
