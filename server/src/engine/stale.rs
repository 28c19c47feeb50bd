//! `max_stale_ms`: what has grown old in the queue, and has been superseded, is left out and named by a skip.
//!
//! Only connections that have had such an update queued are looked at, and only when their socket is to be written to
//! after it had stopped. The newest value of a topic is never left out, however old it is.
//!
//! A skip names updates that stood behind each other, with nothing between them that says where the stream is: an ack, or the position of
//! another topic's event, would say that they had come.

use std::sync::Arc;

use fanfare_wire::event::SkipWhy;

use super::Engine;
use super::asides::{self, Named};
use super::conn::Door;
use super::outbox::Fate;
use crate::hub::broken::{self, Break};
use crate::hub::frames::{FrameId, Frames};
use crate::hub::topics::Topics;
use crate::hub::update::Update;

/// Seqs of one topic, one after the other, that are left out together.
struct Run {
    topic: Arc<str>,
    alias: u32,
    from: u64,
    to: u64,
    /// The skip that takes the last one's place; none on `/raw`.
    skip: Option<FrameId>,
}

impl Engine {
    /// Looks through what the next write may come to.
    pub(super) fn leave_out_stale(&mut self, index: u32) {
        let wall_us = self.now.wall_us;
        let is_stale = |topics: &Topics, frames: &Frames, frame| {
            frames.as_fading(frame).is_some_and(|(update, ms)| {
                wall_us.saturating_sub(update.ts_us)
                    > (i64::from(ms) * 1000) >> (4 * u8::from(broken::is(Break::StaleEarly)))
                    && is_superseded(topics, update)
            })
        };
        let frames = &self.outlet.frames;
        let is_mixed = self.outlet.conns[index as usize].door == Door::MixedEvents;
        let mut runs: Vec<Run> = Vec::new();
        // Runs ahead of this place are not lengthened: behind them stands what says where the stream is.
        let mut closed = 0;
        for frame in self.outlet.waiting(index) {
            let Some((update, _)) = frames.as_fading(frame) else {
                if frames.is_own(frame) || is_mixed {
                    let is_position = is_mixed && frames.bytes(frame).starts_with(b"id: ");
                    closed = if is_position { closed } else { runs.len() };
                }
                continue;
            };
            // The position of one topic's event names the others, too.
            let is_other = runs.last().is_some_and(|run| run.topic != update.topic);
            if is_mixed && is_other {
                closed = runs.len();
            }
            if is_stale(&self.hub.topics, frames, frame) {
                add(&mut runs, closed, update);
            } else if is_mixed {
                closed = runs.len();
            }
        }
        if runs.is_empty() {
            return;
        }
        self.put_skips(index, &mut runs);
        let topics = &self.hub.topics;
        self.outlet.sift(index, |frames, frame| {
            let Some((update, _)) = frames.as_fading(frame) else {
                return Fate::Stays;
            };
            if !is_stale(topics, frames, frame) {
                return Fate::Stays;
            }
            let run = runs.iter().find(|run| run.covers(update));
            match run {
                Some(Run {
                    to,
                    skip: Some(skip),
                    ..
                }) if *to == update.seq => Fate::Becomes(*skip),
                _ => Fate::Goes,
            }
        });
    }

    /// Registers the skip of each run, once held by the place it will take.
    fn put_skips(&mut self, index: u32, runs: &mut [Run]) {
        let door = self.outlet.conns[index as usize].door;
        for run in runs {
            self.counters
                .add_skipped(SkipWhy::Stale, run.to - run.from + 1);
            let topic = Named {
                topic: &run.topic,
                alias: run.alias,
            };
            self.frame.clear();
            asides::put_skip(
                &mut self.frame,
                &mut self.text,
                door,
                topic,
                (run.from, run.to),
                SkipWhy::Stale,
            );
            if self.frame.is_empty() {
                continue;
            }
            let skip = self.outlet.frames.own(self.frame.as_slice().into());
            self.outlet.frames.retain(skip, 1);
            run.skip = Some(skip);
        }
    }
}

impl Run {
    fn covers(&self, update: &Update) -> bool {
        (self.from..=self.to).contains(&update.seq) && self.topic == update.topic
    }
}

fn is_superseded(topics: &Topics, update: &Update) -> bool {
    topics
        .find(&update.topic)
        .is_some_and(|topic| topics[topic].seq > update.seq)
}

/// Adds an update to the run that it continues, of those from the place `closed` on; else it begins one.
fn add(runs: &mut Vec<Run>, closed: usize, update: &Update) {
    let follows = |run: &&mut Run| run.to + 1 == update.seq && run.topic == update.topic;
    match runs[closed..].iter_mut().find(follows) {
        Some(run) => run.to = update.seq,
        None => runs.push(Run {
            topic: update.topic.clone(),
            alias: update.alias,
            from: update.seq,
            to: update.seq,
            skip: None,
        }),
    }
}
