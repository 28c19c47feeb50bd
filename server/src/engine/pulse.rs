//! `$sys.stats`: once a second each shard tells one of them how it is, and that one publishes the sum.
//!
//! The keeper of the stats is the topic's owner, so that publishing is mail to itself. It publishes a quarter of an interval
//! behind the reports, when all have come. A shard reports as long as it has connections, and otherwise only when something has
//! happened since it last did: a server without connections and feeds sleeps.

use super::Engine;
use crate::hub::mail::{Delivery, Reply, Request, ShardId};
use crate::hub::update::{Form, Payload};
use crate::ledger::{Ledger, Process};
use crate::metrics::rates::Past;
use crate::metrics::stats::{self, Heading};
use crate::metrics::{Gathered, Report};

/// The topic.
const TOPIC: &str = "$sys.stats";
/// Memory is counted once in so many intervals: that is a walk over all connections and topics.
const LEDGER_INTERVALS: u64 = 10;

/// What must have changed for a shard without connections to have news: connections, bytes in and out, updates published.
type Standing = [u64; 4];

/// The state of the second's beat.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// 0: it never beats.
    interval_us: u64,
    pub(super) past: Past,
    /// When it beats next, microseconds on the monotonic clock.
    next_us: u64,
    /// How things stood when this shard last reported.
    told: Standing,
    /// Where this shard's memory is, and when that was counted.
    ledger: Option<(u64, Ledger)>,
    /// Of the keeper: what each shard reported last.
    latest: Vec<Report>,
    /// Of the keeper: when it publishes.
    publish_us: Option<u64>,
    /// What the process held, and when that was read.
    process: Option<(u64, Process)>,
    /// Of the keeper: how often it has published; that alone is no news.
    published: u64,
}

impl Pulse {
    pub(super) fn new(interval_ms: u32) -> Pulse {
        Pulse {
            interval_us: u64::from(interval_ms) * 1000,
            ..Pulse::default()
        }
    }

    /// When it is due next, microseconds on the monotonic clock.
    pub(super) fn next_us(&self) -> Option<u64> {
        let beat_us = (self.interval_us > 0).then_some(self.next_us);
        beat_us.into_iter().chain(self.publish_us).min()
    }

    /// Whether the process's memory is to be read for what is published next.
    pub(super) fn wants_process(&self, now_us: u64) -> bool {
        let life_us = LEDGER_INTERVALS * self.interval_us;
        self.publish_us.is_some() && self.process_age_us(now_us) >= life_us
    }

    /// How long ago it was read.
    pub(super) fn process_age_us(&self, now_us: u64) -> u64 {
        (self.process.as_ref()).map_or(u64::MAX, |(read_us, _)| now_us - *read_us)
    }

    pub(super) fn set_process(&mut self, process: Process, now_us: u64) {
        self.process = Some((now_us, process));
    }

    /// What was read last.
    pub(super) fn process(&self) -> Process {
        let process = self.process.as_ref().map(|(_, process)| process.clone());
        process.unwrap_or_default()
    }

    /// The heap it holds, bytes.
    pub(super) fn held_bytes(&self) -> u64 {
        self.past.held_bytes() + (self.latest.len() * size_of::<Report>()) as u64
    }
}

impl Engine {
    /// Whether stats are still to be told although there are no connections: time must go on for so long.
    #[must_use]
    pub fn owes_stats(&self) -> bool {
        let has_news = self.pulse.interval_us > 0 && self.standing() != self.pulse.told;
        has_news || self.pulse.publish_us.is_some()
    }

    /// Takes a sample, reports, and publishes, each when it is due.
    pub(super) fn beat(&mut self) {
        let now_us = self.now.mono_us;
        let interval_us = self.pulse.interval_us;
        if interval_us > 0 && now_us >= self.pulse.next_us {
            self.pulse.next_us = (now_us / interval_us + 1) * interval_us;
            let has_news = self.connection_count() > 0 || self.standing() != self.pulse.told;
            // Where deliveries are refused, another would only lengthen the queue.
            if has_news && !self.jam.deliveries {
                self.tell_stats();
            }
            let sample = self.sample();
            self.pulse.past.keep(sample);
        }
        if self.pulse.publish_us.is_some_and(|at_us| now_us >= at_us) {
            self.publish_stats();
        }
    }

    fn standing(&self) -> Standing {
        let published = self
            .hub
            .owner
            .published()
            .wrapping_sub(self.pulse.published);
        let counters = &self.counters;
        [
            self.connection_count() as u64,
            counters.bytes_in,
            counters.bytes_out,
            published,
        ]
    }

    fn tell_stats(&mut self) {
        self.pulse.told = self.standing();
        let ledger = self.counted_ledger(LEDGER_INTERVALS * self.pulse.interval_us);
        let report = self.report(ledger);
        let keeper: ShardId = self.hub.charter().owner_of(TOPIC);
        if keeper == self.hub.shard() {
            self.on_stats(report);
        } else {
            let report = Box::new(report);
            self.hub
                .outgoing
                .deliver(keeper, Delivery::Stats { report });
        }
    }

    /// Where this shard's memory is, counted not longer ago than that.
    pub(super) fn counted_ledger(&mut self, life_us: u64) -> Ledger {
        let now_us = self.now.mono_us;
        match &self.pulse.ledger {
            Some((counted_us, ledger)) if now_us - *counted_us < life_us => ledger.clone(),
            _ => {
                let ledger = self.ledger();
                self.pulse.ledger = Some((now_us, ledger.clone()));
                ledger
            }
        }
    }

    /// A shard has reported to this one, which keeps the stats.
    pub(super) fn on_stats(&mut self, report: Report) {
        let pulse = &mut self.pulse;
        let known = pulse
            .latest
            .iter_mut()
            .find(|known| known.shard == report.shard);
        match known {
            Some(known) => *known = report,
            None => pulse.latest.push(report),
        }
        let beats = self.now.mono_us / pulse.interval_us.max(1);
        let at_us = beats * pulse.interval_us + pulse.interval_us / 4;
        // Whoever comes late is in the next.
        let later_us = if at_us > self.now.mono_us {
            at_us
        } else {
            at_us + pulse.interval_us
        };
        pulse.publish_us.get_or_insert(later_us);
    }

    fn publish_stats(&mut self) {
        self.pulse.publish_us = None;
        self.pulse.published += 1;
        let old_us = self.now.mono_us.saturating_sub(2 * self.pulse.interval_us);
        let mut gathered = Gathered {
            reports: self.pulse.latest.clone(),
            process: self.pulse.process(),
        };
        for report in gathered
            .reports
            .iter_mut()
            .filter(|report| report.at_us < old_us)
        {
            report.cool_down();
        }
        gathered.sort();
        let json = stats::page(&gathered, self.heading());
        let request = Request::Publish {
            topic: TOPIC.into(),
            payload: Payload::new(Form::Json, &json),
            key: None,
            reply: Reply::None,
        };
        self.hub.ask_owner(request);
    }

    /// What stands at the head of stats that are told now.
    pub(super) fn heading(&self) -> Heading<'_> {
        Heading {
            epoch: self.hub.epoch(),
            time_us: self.now.wall_us,
            uptime_us: self.now.mono_us,
        }
    }
}
