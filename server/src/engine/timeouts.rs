//! Deadlines: one byte a connection says in which step it is to be looked at next.
//!
//! A sweep searches the column for one value with SIMD (a list of boxed timers took 50 ms for a million).
//! What is due is then worked out from the connection's record, so a look that comes too early costs little and is never wrong.

use fanfare_wire::event;
use fanfare_wire::frame::{self, Opcode};

use super::Engine;
use super::conn::{Stage, flag};
use super::disconnect::Disconnect;
use super::http::Answer;
use super::surge;
use crate::clock::Now;
use crate::hub::broken::{self, Break};
use crate::hub::frames::FrameId;

/// How long a step is. Every deadline is met within one step.
const STEP_MS: u64 = 250;
/// Steps are numbered 1 to 255 round and round; 0 stands for no deadline.
const STEPS: u64 = 255;

/// The column of next looks.
#[derive(Debug)]
pub(super) struct Due {
    column: Vec<u8>,
    /// The last step swept.
    swept: u64,
}

impl Due {
    pub(super) fn with_capacity(connections_max: usize) -> Due {
        Due {
            column: Vec::with_capacity(connections_max),
            swept: 0,
        }
    }

    /// The connection is to be looked at in `in_ms`, or in a minute if that is sooner.
    pub(super) fn set(&mut self, index: u32, now: Now, in_ms: u32) {
        let steps_ahead = self.steps_ahead(now, in_ms);
        let index = index as usize;
        if index >= self.column.len() {
            self.column.resize(index + 1, 0);
        }
        self.column[index] = slot(self.swept + steps_ahead);
    }

    /// The same, unless a look is planned sooner.
    pub(super) fn set_earlier(&mut self, index: u32, now: Now, in_ms: u32) {
        let planned = self.column.get(index as usize).copied().unwrap_or(0);
        let planned_ahead = (u64::from(planned) + STEPS - u64::from(slot(self.swept))) % STEPS;
        if planned == 0 || self.steps_ahead(now, in_ms) < planned_ahead {
            self.set(index, now, in_ms);
        }
    }

    pub(super) fn clear(&mut self, index: u32) {
        self.column[index as usize] = 0;
    }

    /// When the next step begins.
    pub(super) fn next_us(&self) -> u64 {
        (self.swept + 1) * STEP_MS * 1000
    }

    /// How many places were ever used.
    pub(super) fn len(&self) -> usize {
        self.column.len()
    }

    fn steps_ahead(&self, now: Now, in_ms: u32) -> u64 {
        let due_step = (now.mono_us / 1000 + u64::from(in_ms)).div_ceil(STEP_MS);
        due_step.saturating_sub(self.swept).clamp(1, STEPS - 1)
    }

    /// Takes the connections to look at by `now` off the column.
    fn take(&mut self, now: Now) -> Vec<u32> {
        let mut hits = Vec::new();
        let step = now.mono_us / 1000 / STEP_MS;
        // After a long sleep each slot is swept once; more rounds would find nothing.
        self.swept = self.swept.max(step.saturating_sub(STEPS));
        while self.swept < step {
            self.swept += 1;
            hits.extend(
                memchr::memchr_iter(slot(self.swept), &self.column).map(|index| index as u32),
            );
        }
        for &index in &hits {
            self.column[index as usize] = 0;
        }
        hits
    }
}

fn slot(step: u64) -> u8 {
    (step % STEPS) as u8 + 1
}

/// What all looks of one sweep share: frames for many, made at first use, and whether newcomers come in a surge.
#[derive(Default)]
struct Shared {
    is_surge: bool,
    ping: Option<FrameId>,
    heartbeat: Option<FrameId>,
    comment: Option<FrameId>,
}

impl Engine {
    /// Looks at every connection whose step has come.
    pub(super) fn sweep(&mut self) {
        let mut shared = Shared::default();
        self.surge.note(self.counters.opened);
        shared.is_surge = self.surge.is_on(self.connection_count());
        for index in self.due.take(self.now) {
            if let Some(next_ms) = self.look_after(index, &mut shared) {
                self.due.set(index, self.now, next_ms);
            }
        }
        for frame in [shared.ping, shared.heartbeat, shared.comment]
            .into_iter()
            .flatten()
        {
            self.outlet.frames.release(frame);
        }
    }

    /// Carries out what is due for one connection; returns when to look again, unless that was set on the way.
    fn look_after(&mut self, index: u32, shared: &mut Shared) -> Option<u32> {
        let now = self.now.ms();
        let conn = &self.outlet.conns[index as usize];
        let silent_ms = now.since(conn.last_seen);
        match conn.stage {
            Stage::Head | Stage::Body | Stage::Asking | Stage::Polling => {
                self.look_after_request(index, silent_ms)
            }
            Stage::Open => self.look_after_open(index, silent_ms, shared),
            Stage::Parting | Stage::Failing if conn.is_sending_http() => {
                let left_ms = self.unsent_left_ms(index);
                if left_ms == 0 {
                    self.end_socket(index);
                    return None;
                }
                Some(left_ms)
            }
            Stage::Closing | Stage::Parting | Stage::Failing | Stage::Linger => {
                let left_ms = self.settings.close_timeout_ms.saturating_sub(silent_ms);
                if left_ms == 0 {
                    self.end_socket(index);
                    return None;
                }
                Some(left_ms)
            }
            Stage::Gone => None,
        }
    }

    /// How much longer the socket may take nothing of an HTTP answer, which may be long.
    fn unsent_left_ms(&self, index: u32) -> u32 {
        let conn = &self.outlet.conns[index as usize];
        let unsent_ms = self.now.ms().since(conn.last_sent);
        self.settings.slow_timeout_ms.saturating_sub(unsent_ms)
    }

    /// A connection that asks, or may ask, something of HTTP.
    fn look_after_request(&mut self, index: u32, silent_ms: u32) -> Option<u32> {
        let conn = &self.outlet.conns[index as usize];
        let settings = &self.settings;
        let (patience_ms, late) = match conn.stage {
            Stage::Polling => {
                let left_ms = conn.last_seen.since(self.now.ms());
                if left_ms == 0 {
                    self.end_wait(index);
                    return None;
                }
                return Some(left_ms);
            }
            Stage::Head if conn.is_sending_http() => {
                let left_ms = self.unsent_left_ms(index);
                if left_ms == 0 {
                    self.finish(index, Disconnect::Slow);
                    return None;
                }
                return Some(left_ms);
            }
            Stage::Head if self.is_between_requests(index) => {
                (settings.keep_alive_timeout_ms, None)
            }
            Stage::Body => (
                settings.body_timeout_ms,
                Some(Answer::plain(408, "no whole body in time\n")),
            ),
            Stage::Asking => (
                settings.handshake_timeout_ms,
                Some(Answer::retry(503, "no answer in time\n", 1)),
            ),
            _ => (
                settings.handshake_timeout_ms,
                Some(Answer::plain(408, "no whole request in time\n")),
            ),
        };
        let left_ms = patience_ms.saturating_sub(silent_ms);
        if left_ms > 0 {
            return Some(left_ms);
        }
        match late {
            Some(answer) => self.respond_and_end(index, &answer, Disconnect::HandshakeTimeout),
            None => self.finish(index, Disconnect::Idle),
        }
        None
    }

    fn look_after_open(&mut self, index: u32, silent_ms: u32, shared: &mut Shared) -> Option<u32> {
        let settings = self.settings.clone();
        let mut next_ms = u32::MAX;
        let mut wait = |left_ms: u32| next_ms = next_ms.min(left_ms);

        let conn = &self.outlet.conns[index as usize];
        let unsent_ms = self.now.ms().since(conn.last_sent);
        // One that is not read cannot show a sign of life.
        let is_paused = self.jam.any && conn.has(flag::PAUSED);
        let is_events = conn.door.is_events();
        if settings.idle_timeout_ms > 0 && !is_paused && !is_events {
            if silent_ms >= settings.idle_timeout_ms {
                self.begin_close(index, Disconnect::Idle);
                return None;
            }
            wait(settings.idle_timeout_ms - silent_ms);
        }
        if self.has_identity_to_watch(index)
            && let Some(left_ms) = self.look_after_identity(index)
        {
            if left_ms == 0 {
                return None;
            }
            wait(left_ms);
        }
        if let Some(left_ms) = self.once_left_ms(index) {
            if left_ms == 0 {
                self.end_after_answer(index, Disconnect::Http(200));
                return None;
            }
            wait(left_ms);
        }
        if let Some(left_ms) = self.patience_left_ms(index) {
            if left_ms == 0 {
                self.begin_close(index, Disconnect::Slow);
                return None;
            }
            wait(left_ms);
        }
        let conn = &self.outlet.conns[index as usize];
        let heartbeat_after_ms = spread(settings.heartbeat_ms, index);
        let is_idle = conn.outbox.is_empty() && !conn.has(flag::BLOCKED);
        let has_heartbeat = conn.door.is_ws() || (is_events && !conn.has(flag::ONCE));
        if has_heartbeat && settings.heartbeat_ms > 0 && is_idle {
            if unsent_ms >= heartbeat_after_ms {
                let frame = if is_events {
                    self.comment(shared)
                } else {
                    self.heartbeat(shared)
                };
                self.outlet.push(index, frame);
                wait(heartbeat_after_ms);
            } else {
                wait(heartbeat_after_ms - unsent_ms);
            }
        }
        if settings.ping_interval_ms > 0 && !is_events {
            let mut ping_after_ms = spread(settings.ping_interval_ms, index);
            if shared.is_surge && silent_ms >= ping_after_ms {
                let longest_ms = spread_longest(settings.ping_interval_ms);
                let patience_ms = surge::patience_ms(longest_ms, settings.idle_timeout_ms);
                ping_after_ms = ping_after_ms.saturating_add(patience_ms);
            }
            let pinged = self.outlet.conns[index as usize].has(flag::PINGED);
            if silent_ms < ping_after_ms {
                wait(ping_after_ms - silent_ms);
            } else {
                if !pinged {
                    let frame = self.ping(shared);
                    self.outlet.push(index, frame);
                    self.outlet.conns[index as usize].flags |= flag::PINGED;
                }
                // If a pong comes right away, the next ping is due then.
                wait(ping_after_ms);
            }
        }
        Some(next_ms)
    }

    /// How much longer what is queued or marked may wait for the connection's socket; `None` when nothing does.
    fn patience_left_ms(&mut self, index: u32) -> Option<u32> {
        let conn = &self.outlet.conns[index as usize];
        if conn.has(flag::BLOCKED) && !conn.outbox.is_empty() {
            // Something may have been queued since the socket was tried last.
            self.note_progress(index, 0);
        }
        let wait = self.outlet.conns[index as usize].wait;
        let waited_ms = self.marks.waited_ms(wait, self.now.mono_us / 1000)?;
        let waited_ms = u32::try_from(waited_ms).unwrap_or(u32::MAX);
        let waited_ms = waited_ms << u8::from(broken::is(Break::DeadlineEarly));
        Some(self.settings.slow_timeout_ms.saturating_sub(waited_ms))
    }

    fn ping(&mut self, shared: &mut Shared) -> FrameId {
        *shared.ping.get_or_insert_with(|| {
            self.frame.clear();
            frame::put_frame(&mut self.frame, Opcode::Ping, b"");
            held(&mut self.outlet.frames, &self.frame)
        })
    }

    /// What a stream of events gets where a WebSocket gets a heartbeat: nobody is told of it.
    fn comment(&mut self, shared: &mut Shared) -> FrameId {
        *(shared.comment).get_or_insert_with(|| held(&mut self.outlet.frames, b":\n\n"))
    }

    fn heartbeat(&mut self, shared: &mut Shared) -> FrameId {
        *shared.heartbeat.get_or_insert_with(|| {
            self.text.clear();
            event::put_heartbeat(&mut self.text, self.now.wall_us);
            self.frame.clear();
            frame::put_frame(&mut self.frame, Opcode::Text, &self.text);
            held(&mut self.outlet.frames, &self.frame)
        })
    }
}

/// A frame that the sweep itself holds until it is over.
fn held(frames: &mut crate::hub::frames::Frames, bytes: &[u8]) -> FrameId {
    let frame = frames.own(bytes.into());
    frames.retain(frame, 1);
    frame
}

/// An interval lengthened by up to a quarter, by a phase of the connection's own: after an update that all got at once,
/// their next heartbeats must not come at once too.
fn spread(interval_ms: u32, index: u32) -> u32 {
    let phase = index.wrapping_mul(0x9E37_79B9) >> 16;
    interval_ms + ((u64::from(interval_ms) * u64::from(phase)) >> 18) as u32
}

/// What no interval is lengthened beyond.
fn spread_longest(interval_ms: u32) -> u32 {
    interval_ms.saturating_add(interval_ms / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            mono_us: ms * 1000,
            wall_us: 0,
        }
    }

    #[test]
    fn a_deadline_is_met_within_a_step_and_never_early() {
        let mut due = Due::with_capacity(4);
        due.set(2, at(100), 1000);
        assert!(due.take(at(1000)).is_empty());
        assert_eq!(due.take(at(1100 + STEP_MS)), [2]);
        assert!(due.take(at(100_000)).is_empty());
    }

    #[test]
    fn a_distant_deadline_is_looked_at_early_rather_than_forgotten() {
        let mut due = Due::with_capacity(1);
        due.set(0, at(0), 10_000_000);
        assert_eq!(due.take(at(STEP_MS * STEPS)), [0]);
    }

    #[test]
    fn a_time_jump_finds_everything_that_is_due_once() {
        let mut due = Due::with_capacity(3);
        due.set(0, at(0), 500);
        due.set(1, at(0), 30_000);
        let mut hits = due.take(at(3_600_000));
        hits.sort_unstable();
        assert_eq!(hits, [0, 1]);
    }

    #[test]
    fn an_earlier_deadline_wins_over_a_later_one_and_not_the_reverse() {
        let mut due = Due::with_capacity(1);
        due.set(0, at(0), 10_000);
        due.set_earlier(0, at(0), 1000);
        assert_eq!(due.take(at(1250)), [0]);
        due.set(0, at(1250), 1000);
        due.set_earlier(0, at(1250), 10_000);
        assert_eq!(due.take(at(2500)), [0]);
    }

    #[test]
    fn intervals_are_spread_over_a_quarter() {
        let spreads: Vec<u32> = (0..1000).map(|index| spread(1000, index)).collect();
        assert!(spreads.iter().all(|ms| (1000..1250).contains(ms)));
        assert!(spreads.iter().max().unwrap() - spreads.iter().min().unwrap() > 240);
    }
}
