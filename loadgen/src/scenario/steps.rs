//! What each kind of phase does: orders to the crew, waits, and what is special in its summary.

use super::curve;
use super::file::{Aside, Step, Task};
use super::lead::Lead;
use super::summary::Detail;
use crate::clock;
use crate::conductor::{Finals, Patience};
use crate::phase::{Load, Order, Outcome, Pace};
use crate::topics::Popularity;
use std::sync::Arc;
use std::time::Duration;

/// How often to look whether an update has reached everybody; how long it took is measured where it
/// arrives.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Beyond its duration, for the last ones to come back.
const CHURN_GRACE: Duration = Duration::from_secs(60);

/// What became of a phase.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) detail: Detail,
    /// Where the topics stand, if that was asked.
    pub(super) finals: Option<Finals>,
}

impl Done {
    fn plain(outcome: Outcome) -> Done {
        Done {
            outcome,
            detail: Detail::default(),
            finals: None,
        }
    }
}

impl Lead<'_> {
    pub(super) fn carry_out(&mut self, step: &Step, batches: &mut usize) -> anyhow::Result<Done> {
        let plan = self.plan;
        match &step.task {
            Task::Connect {
                per_s, in_flight, ..
            } => {
                *batches = 1;
                self.connect(per_s.unwrap_or(plan.connect_rate_per_s), *in_flight)
            }
            Task::Idle { duration } => Ok(Done::plain(self.rest(*duration)?)),
            Task::Broadcast {
                topic,
                publishes,
                payload_bytes,
                pause,
                timeout,
            } => {
                let topic = self.notebook.script.common_topic(topic.as_deref())?;
                self.broadcast(topic, *publishes, *payload_bytes, *pause, *timeout)
            }
            Task::Subscribe { prefix, per_s, .. } => {
                let (batch, _) = self.notebook.script.batch(prefix)?;
                *batches = batch + 1;
                let pace = self.pace(*per_s);
                self.order(&Order::Subscribe { pace, batch })?;
                let patience = self.while_moving(*per_s);
                Ok(Done::plain(self.wait_settled(patience)?))
            }
            Task::Publish { .. } => self.publish_phase(&step.task),
            Task::Churn {
                percent_per_s,
                duration,
                aside,
            } => self.churn(*percent_per_s, *duration, aside),
            Task::Storm {
                percent,
                timeout,
                aside,
            } => self.storm(*percent, *timeout, aside),
            Task::Leave { percent, per_s } => {
                let (pace, percent) = (self.pace(*per_s), *percent);
                self.order(&Order::Leave { pace, percent })?;
                let patience = self.while_moving(*per_s);
                Ok(Done::plain(self.wait_settled(patience)?))
            }
            Task::Return { per_s } => {
                let (pace, batches) = (self.pace(*per_s), *batches);
                self.order(&Order::Join { pace, batches })?;
                let patience = self.while_moving(*per_s);
                Ok(Done::plain(self.wait_settled(patience)?))
            }
            Task::Verify => {
                // An interrupted scenario has the right to a verdict too; a second interrupt ends
                // this as well.
                self.is_interrupted = false;
                let (outcome, finals) = self.end_load()?;
                Ok(Done {
                    finals: Some(finals),
                    ..Done::plain(outcome)
                })
            }
        }
    }

    fn connect(&mut self, per_s: f64, in_flight: Option<u32>) -> anyhow::Result<Done> {
        let first_point = self.notebook.points.len();
        self.sample();
        let in_flight = in_flight.unwrap_or(self.plan.in_flight_max);
        let pace = Pace {
            in_flight_max: self.in_flight_max(in_flight),
            ..self.pace(per_s)
        };
        self.order(&Order::Join { pace, batches: 1 })?;
        let patience = self.while_moving(per_s);
        let mut done = Done::plain(self.wait_settled(patience)?);
        self.sample();
        let points = &self.notebook.points[first_point..];
        let population = u64::from(self.plan.connections);
        done.detail.handshakes_per_s_by_tenth = Some(curve::per_s_by_tenth(points, population));
        Ok(done)
    }

    fn broadcast(
        &mut self,
        topic: u32,
        publishes: u32,
        payload_bytes: usize,
        pause: Duration,
        timeout: Duration,
    ) -> anyhow::Result<Done> {
        let mut done = Done::plain(Outcome::Done);
        let mut times_us = Vec::new();
        for number in 0..publishes {
            let arrived = |lead: &Lead<'_>| {
                let figures = lead.crew.figures();
                (
                    figures.delivered.wrapping_add(figures.left_out),
                    figures.open(),
                )
            };
            let (before, _) = arrived(self);
            self.publish(self.load(topic, 1, None, 1.0, Duration::from_nanos(1), payload_bytes))?;
            let patience = Patience {
                look_every: LOOK_EVERY,
                ..Patience::at_most(timeout)
            };
            done.outcome = self.wait(patience, |lead| {
                let (now, open) = arrived(lead);
                now.wrapping_sub(before) >= open
            })?;
            // Nothing else is published, so the latest delivery of all is this update's last.
            let (_, _, delivery) = self.add_up(false)?;
            if done.outcome != Outcome::Done {
                break;
            }
            let last_ns = delivery.quantiles().max_ns;
            self.notebook
                .measured
                .time_to_last
                .record_between(0, last_ns);
            times_us.push(last_ns as f64 / 1000.0);
            if number + 1 < publishes {
                done.outcome = self.rest(pause)?;
            }
            if done.outcome != Outcome::Done {
                break;
            }
        }
        done.outcome = done.outcome.and(self.quiet()?);
        done.detail.times_to_last_us = Some(times_us);
        Ok(done)
    }

    fn publish_phase(&mut self, task: &Task) -> anyhow::Result<Done> {
        let Task::Publish {
            prefix,
            count,
            zipf,
            per_s,
            duration,
            payload_bytes,
            calibration,
        } = task
        else {
            return Ok(Done::plain(Outcome::Done));
        };
        let (batch, topics) = self.notebook.script.batch(prefix)?;
        let first_topic = self.plan.batches[batch].first_topic;
        let load = self.load(
            first_topic,
            count.unwrap_or(topics),
            *zipf,
            *per_s,
            *duration,
            *payload_bytes,
        );
        let mut done = Done::plain(Outcome::Done);
        let mut per_s = *per_s;
        if let Some(calibration) = calibration {
            let fan_out = self.fan_out(batch, topics);
            let (outcome, trials) = self.calibrate(calibration, &load, fan_out)?;
            per_s = trials.last().map_or(per_s, |trial| trial.next_per_s);
            done.detail.calibration = Some(trials);
            if outcome != Outcome::Done {
                return Ok(Done { outcome, ..done });
            }
            self.begin_measuring()?;
        }
        done.detail.rate_per_s = Some(per_s);
        self.publish(during(&load, per_s, *duration))?;
        done.outcome = self.rest(*duration)?;
        let usage = self.notebook.watch.usage();
        done.detail.server_cpu_cores =
            usage.map(|usage| (usage.cpu_user_s + usage.cpu_system_s) / duration.as_secs_f64());
        done.outcome = done.outcome.and(self.quiet()?);
        Ok(done)
    }

    /// How many subscribers an update has on average, every topic of the batch being as likely.
    fn fan_out(&self, batch: usize, topics: u32) -> f64 {
        let each = self.plan.batches[batch].count as f64;
        self.crew.figures().open() as f64 * each / f64::from(topics)
    }

    fn churn(
        &mut self,
        percent_per_s: f64,
        duration: Duration,
        aside: &Aside,
    ) -> anyhow::Result<Done> {
        let per_s = f64::from(self.plan.connections) * percent_per_s / 100.0;
        let at_most = duration + CHURN_GRACE;
        self.publish_aside(aside, at_most)?;
        let pace = self.pace(per_s);
        let end_ns = pace.start_ns + duration.as_nanos() as u64;
        self.order(&Order::Churn { pace, end_ns })?;
        let patience = Patience {
            at_most,
            ..self.while_moving(per_s)
        };
        let outcome = self.wait_settled(patience)?;
        Ok(Done::plain(outcome.and(self.quiet()?)))
    }

    fn storm(&mut self, percent: f64, timeout: Duration, aside: &Aside) -> anyhow::Result<Done> {
        self.publish_aside(aside, timeout)?;
        let pace = self.pace(0.0);
        self.order(&Order::Storm { pace, percent })?;
        let outcome = self.wait_settled(Patience::at_most(timeout))?;
        Ok(Done::plain(outcome.and(self.quiet()?)))
    }

    fn publish_aside(&mut self, aside: &Aside, at_most: Duration) -> anyhow::Result<()> {
        if aside.per_s == 0.0 {
            return Ok(());
        }
        let topic = self.notebook.script.common_topic(aside.topic.as_deref())?;
        self.publish(self.load(topic, 1, None, aside.per_s, at_most, aside.payload_bytes))
    }

    fn load(
        &self,
        first_topic: u32,
        topics: u32,
        zipf: Option<f64>,
        per_s: f64,
        length: Duration,
        payload_bytes: usize,
    ) -> Load {
        let start_ns = clock::monotonic_ns();
        Load {
            start_ns,
            end_ns: start_ns + length.as_nanos() as u64,
            per_s,
            first_topic,
            popularity: Arc::new(match zipf {
                Some(_) => Popularity::new(topics, zipf),
                None => Popularity::dispersed(topics),
            }),
            payload_bytes,
        }
    }
}

/// The same load, beginning now.
pub(super) fn during(load: &Load, per_s: f64, length: Duration) -> Load {
    let start_ns = clock::monotonic_ns();
    Load {
        start_ns,
        end_ns: start_ns + length.as_nanos() as u64,
        per_s,
        ..load.clone()
    }
}
