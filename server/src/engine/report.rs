//! What this shard tells of itself.

use super::Engine;
use super::conn::Door;
use super::disconnect::LABEL_NAMES;
use crate::ledger::Ledger;
use crate::metrics::rates::Sample;
use crate::metrics::report::{add_kind, keep_slowest};
use crate::metrics::{Entrance, Gauges, Report, Slow};

impl Engine {
    /// What the reactor's listeners have come to.
    pub fn set_entrance(&mut self, entrance: Entrance) {
        self.entrance = entrance;
    }

    /// What is held for connections by whoever carries their bytes, beside what is counted here: a part of this shard's ledger.
    pub fn set_carriage(&mut self, carriage: Ledger) {
        self.carriage = carriage;
    }

    /// Everything but where its memory is, which takes a walk over all connections and topics and was counted by whoever
    /// passes it in. Looks at those who wait, and at nobody else.
    pub(super) fn report(&self, ledger: Ledger) -> Report {
        let sample = self.sample();
        let past = &self.pulse.past;
        let (recent_tick, recent_lag) = past.durations(&sample, 10);
        let mut gauges = self.gauges();
        let slowest = self.look_at_waiting(&mut gauges);
        let mut kinds: Vec<(&'static str, u64)> = Vec::with_capacity(Door::ALL.len());
        for door in Door::ALL {
            add_kind(&mut kinds, door.label(), self.kinds[door as usize]);
        }
        Report {
            shard: self.hub.shard().0,
            at_us: self.now.mono_us,
            counters: self.counters.clone(),
            published: self.hub.owner.published(),
            reasons: &LABEL_NAMES,
            gauges,
            kinds,
            entrance: self.entrance,
            tick: self.tick.clone(),
            lag: self.lags.all.clone(),
            recent_tick,
            recent_lag,
            last_second: past.rates(&sample, 1),
            last_ten_seconds: past.rates(&sample, 10),
            slowest,
            ledger,
        }
    }

    /// What has happened up to now.
    pub(super) fn sample(&self) -> Sample {
        let published = self.hub.owner.published();
        let (tick, lag) = (&self.tick, &self.lags.all);
        Sample::new(self.now.mono_us, &self.counters, published, tick, lag)
    }

    fn gauges(&self) -> Gauges {
        let owner = &self.hub.owner;
        Gauges {
            connections: self.outlet.conns.len() as u64,
            subscriptions: self.hub.subs.len() as u64,
            topics: owner.topic_count() as u64,
            filters: self.hub.filters.len() as u64,
            history_updates: owner.history_count() as u64,
            kept_bytes: owner.kept_bytes(),
            waiting_connections: 0,
            queue_bytes: 0,
            queue_frames: self.outlet.frames.len() as u64,
            marks: self.marks.len() as u64,
            jammed: self.jam.any.into(),
        }
    }

    /// Counts those whose output waits for the socket, and names the slowest of them.
    fn look_at_waiting(&self, gauges: &mut Gauges) -> Vec<Slow> {
        let now_ms = self.now.mono_us / 1000;
        let mut waiting: Vec<(u32, u64, u32)> = Vec::new();
        for (index, wait) in self.marks.waiting() {
            let queued_bytes = self.outlet.conns[index as usize].outbox.charged_bytes();
            let waited_ms = self.marks.waited_ms(wait, now_ms);
            // One whose marks all rest waits for nobody.
            if queued_bytes > 0 || waited_ms.is_some() {
                gauges.waiting_connections += 1;
                gauges.queue_bytes += u64::from(queued_bytes);
                waiting.push((queued_bytes, waited_ms.unwrap_or(0), index));
            }
        }
        waiting.sort_unstable_by(|one, other| other.cmp(one));
        let mut slowest = waiting
            .iter()
            .take(20)
            .map(|line| self.slow(*line))
            .collect();
        keep_slowest(&mut slowest);
        slowest
    }

    fn slow(&self, (queued_bytes, waited_ms, index): (u32, u64, u32)) -> Slow {
        let conn = &self.outlet.conns[index as usize];
        Slow {
            conn: self.name_of(index),
            kind: conn.door.label(),
            waiting_bytes: queued_bytes.into(),
            waiting_marks: self.marks.ready(conn.wait).count() as u64,
            waited_ms,
            subscriptions: conn.subs.len(),
        }
    }
}
