//! What becomes of an update for a member that a flat fan-out must not serve: queue it, hold it as a mark, or close.
//!
//! Called for those whose options ask for it (`mode: latest`, an interval, a greatest age), and for those that read too
//! slowly. The order of a topic's updates on a connection stands on one rule: while a mark of a topic exists, its
//! updates go nowhere else, and marks are written only when nothing is queued.

use std::sync::Arc;

use fanfare_wire::command::OnSlow;
use fanfare_wire::event::{DataKind, SkipWhy};

use super::conn::{Door, flag};
use super::marks::{Held, MarkId};
use super::{Engine, SocketOp};
use crate::hub::broken::{self, Break};
use crate::hub::frames::FrameId;
use crate::hub::members::Member;
use crate::hub::policy::SubOptions;
use crate::hub::subs::{Source, SubId};
use crate::hub::topics::TopicId;
use crate::hub::update::{Update, Variant};

/// The frame that the last of them was given: most of those put aside have the same options.
#[derive(Default)]
pub(super) struct LastFrame(Option<(Variant, u32, FrameId)>);

impl Engine {
    /// Serves the members that the fan-outs of a run of updates have put aside.
    pub(super) fn serve_aside(&mut self, topic: TopicId, run: &[Arc<Update>]) {
        let mut aside = std::mem::take(&mut self.outlet.aside);
        for update in run {
            let mut last = LastFrame::default();
            for member in &aside {
                self.serve_one(*member, topic, update, &mut last);
            }
            self.drop_last(&mut last);
        }
        aside.clear();
        self.outlet.aside = aside;
    }

    fn serve_one(
        &mut self,
        member: Member,
        topic: TopicId,
        update: &Arc<Update>,
        last: &mut LastFrame,
    ) {
        let (index, sub) = (member.member.0, member.sub());
        if matches!(
            self.outlet.conns[index as usize].door,
            Door::Poll | Door::Http
        ) {
            // It takes one, and of those that came together the newest. One that was answered in this turn is back at the door
            // for requests, and still a member until the turn ends: whatever else comes it asks for again.
            if update.seq == self.hub.topics[topic].seq {
                self.serve_poll(index, update);
            }
            return;
        }
        let options = self.hub.options(sub);
        let conn = &self.outlet.conns[index as usize];
        let is_marked = conn.wait.is_some() && self.marks.find(index, topic).is_some();
        let is_marked = is_marked && !broken::is(Break::MarkOvertaken);
        if !is_marked && (!options.is_conflating() || broken::is(Break::LatestQueued)) {
            if member.is_special() && !options.is_special() && !conn.wait.is_some() {
                // It had marks when its options became plain, and they have been served.
                self.hub.set_special(sub, false);
            }
            let frame = self.frame_for(index, options, update, last);
            let is_taken = if self.outlet.conns[index as usize].door == Door::MixedEvents {
                let mut line = Vec::new();
                self.put_positions(&mut line, index, &[(topic, update.seq)]);
                self.outlet.push_update_behind(index, &line, frame)
            } else {
                self.outlet.push_update(index, frame)
            };
            if is_taken {
                self.counters.deliveries += 1;
                self.lags.note(update.ts_us, 1, &self.outlet.turns);
                return;
            }
            if options.on_slow == OnSlow::Close {
                return self.outlet.overflowed.push(index);
            }
            self.enter_slow(index);
        }
        self.hold(index, topic, sub, options, update.seq);
    }

    /// Notes the update; its value will be read from the topic.
    fn hold(&mut self, index: u32, topic: TopicId, sub: SubId, options: SubOptions, seq: u64) {
        let conn = &mut self.outlet.conns[index as usize];
        let keeps_up = conn.flags & (flag::BLOCKED | flag::SLOW) == 0;
        let held = Held {
            conn: index,
            topic,
            sub,
            seq,
            why: if keeps_up && options.min_interval_ms > 0 {
                SkipWhy::Rate
            } else {
                SkipWhy::Slow
            },
        };
        if self
            .marks
            .hold(&mut conn.wait, held, self.now.mono_us / 1000)
        {
            self.outlet.mark_update(index);
        }
    }

    /// The registered frame of an update for one connection and its options.
    fn frame_for(
        &mut self,
        index: u32,
        options: SubOptions,
        update: &Arc<Update>,
        last: &mut LastFrame,
    ) -> FrameId {
        let conn = &mut self.outlet.conns[index as usize];
        let (variant, max_stale_ms) = (conn.variant(), options.max_stale_ms);
        if max_stale_ms > 0 {
            conn.flags |= flag::FADING;
        }
        match last.0 {
            Some((known, ms, frame)) if (known, ms) == (variant, max_stale_ms) => return frame,
            _ => self.drop_last(last),
        }
        let frames = &mut self.outlet.frames;
        let frame = if max_stale_ms > 0 {
            frames.fading(update.clone(), variant, max_stale_ms)
        } else {
            frames.data(update.clone(), variant, DataKind::Update)
        };
        // Held here, too, until the next one is made.
        frames.retain(frame, 1);
        last.0 = Some((variant, max_stale_ms, frame));
        frame
    }

    fn drop_last(&mut self, last: &mut LastFrame) {
        if let Some((_, _, frame)) = last.0.take() {
            self.outlet.frames.release(frame);
        }
    }

    /// The connection's queue is full: from now on its updates wait as marks, until all that waits is written.
    fn enter_slow(&mut self, index: u32) {
        let conn = &mut self.outlet.conns[index as usize];
        if !conn.has(flag::SLOW) {
            conn.flags |= flag::SLOW;
            self.counters.slow_entered += 1;
            self.keep_fresh(index, true);
            tracing::debug!(conn = index, "slow: its updates wait as marks");
        }
    }

    /// All of the connection's output is written, and no mark is ready.
    pub(super) fn leave_slow(&mut self, index: u32) {
        if self.outlet.conns[index as usize].has(flag::SLOW) {
            self.counters.slow_left += 1;
            self.keep_fresh(index, false);
            tracing::debug!(conn = index, "no longer slow");
        }
        let conn = &mut self.outlet.conns[index as usize];
        conn.flags &= !(flag::SLOW | flag::FADING);
        self.marks.release(&mut conn.wait);
    }

    /// A subscription with these options begins. Where it wants newest values, the kernel's buffer must not fill up with old ones;
    /// who wants all is better off with a buffer that takes a burst.
    pub(super) fn prepare_for(&mut self, index: u32, options: SubOptions) {
        if options.is_special() && !self.outlet.conns[index as usize].has(flag::FRESH) {
            self.keep_fresh(index, true);
            self.outlet.conns[index as usize].flags |= flag::FRESH;
        }
    }

    fn keep_fresh(&mut self, index: u32, on: bool) {
        if !self.outlet.conns[index as usize].has(flag::FRESH) {
            let id = self.id_of(index);
            self.socket_ops.push_back((id, SocketOp::KeepFresh(on)));
        }
    }

    /// Gives a subscription other options, from the next update on; an interval under way is shortened or lengthened.
    pub(super) fn change_options(&mut self, index: u32, sub: SubId, options: SubOptions) {
        self.prepare_for(index, options);
        let old = self.hub.options(sub);
        if old == options {
            // A command may name a filter with many marks a thousand times.
            return;
        }
        self.hub.set_options(sub, options);
        for id in self.marks_by(index, sub) {
            self.keep_to(index, id, sub, old.min_interval_ms);
        }
        self.release_idle(index);
    }

    /// A subscription to a topic has begun that came by a filter until now: what is held of it goes on by the new one.
    pub(super) fn take_over_mark(&mut self, index: u32, topic: TopicId, sub: SubId) {
        if let Some(id) = self.mark_of(index, topic) {
            let old_ms = self.hub.options(self.marks.get(id).sub).min_interval_ms;
            self.keep_to(index, id, sub, old_ms);
            self.release_idle(index);
        }
    }

    /// Subscriptions to filters have begun: what is held goes on by those whose options count now.
    pub(super) fn take_over_marks(&mut self, index: u32) {
        let conn = &self.outlet.conns[index as usize];
        let (marked, subs): (Vec<MarkId>, _) = (self.marks.of(conn.wait).collect(), conn.subs);
        if marked.is_empty() {
            return;
        }
        let known = self.known(index, usize::MAX);
        for id in marked {
            let mark = *self.marks.get(id);
            let counts = known.by_which(&self.hub, subs, mark.topic).next();
            if let Some(sub) = counts.filter(|sub| *sub != mark.sub) {
                let old_ms = self.hub.options(mark.sub).min_interval_ms;
                self.keep_to(index, id, sub, old_ms);
            }
        }
        self.release_idle(index);
    }

    /// A subscription is about to end: what is held by it goes on by another that covers the topic, or is dropped.
    pub(super) fn hand_over_marks(&mut self, index: u32, sub: SubId) {
        let marked = self.marks_by(index, sub);
        if marked.is_empty() {
            return;
        }
        let conn = &self.outlet.conns[index as usize];
        let (wait, subs) = (conn.wait, conn.subs);
        let old_ms = self.hub.options(sub).min_interval_ms;
        // Where there are no filters, nothing else can cover a topic.
        let known = (!self.hub.filters.is_empty()).then(|| self.known(index, usize::MAX));
        for id in marked {
            let topic = self.marks.get(id).topic;
            let others = known.as_ref();
            let others = others.map(|known| known.by_which(&self.hub, subs, topic));
            match others.and_then(|mut others| others.find(|other| *other != sub)) {
                Some(heir) => self.keep_to(index, id, heir, old_ms),
                None => self.marks.remove(wait, id),
            }
        }
        self.release_idle(index);
    }

    /// Makes a mark one of `sub`, whose interval may be another than the one it rests for.
    fn keep_to(&mut self, index: u32, id: MarkId, sub: SubId, old_ms: u32) {
        self.marks.set_sub(id, sub);
        // Updates must go on to the mark until it is served.
        self.hub.set_special(sub, true);
        let wait = self.outlet.conns[index as usize].wait;
        let intervals = (old_ms, self.hub.options(sub).min_interval_ms);
        let now_ms = self.now.mono_us / 1000;
        if self.marks.retune(wait, id, intervals, now_ms) {
            self.outlet.mark(index);
        }
    }

    /// The marks whose updates came by a subscription.
    fn marks_by(&self, index: u32, sub: SubId) -> Vec<MarkId> {
        let is_by = |id: &MarkId| self.marks.get(*id).sub == sub;
        match self.hub.subs[sub].source() {
            Source::Topic(topic) => self
                .mark_of(index, topic)
                .into_iter()
                .filter(is_by)
                .collect(),
            Source::Filter(_) => {
                let wait = self.outlet.conns[index as usize].wait;
                self.marks.of(wait).filter(is_by).collect()
            }
        }
    }

    /// The last value of a topic, for one who has just come to it by a filter and has no room for a snapshot: it waits
    /// as if it came now.
    pub(super) fn hold_snapshot(&mut self, index: u32, topic: TopicId, sub: SubId, seq: u64) {
        self.enter_slow(index);
        let options = self.hub.options(sub);
        self.hold(index, topic, sub, options, seq);
    }

    /// Where the connection stands in a topic that stands at `seq`: the last that it was sent, or is queued for it.
    pub(super) fn position(&self, index: u32, topic: TopicId, seq: u64) -> u64 {
        let mark = self.mark_of(index, topic).map(|id| self.marks.get(id));
        mark.filter(|mark| mark.first > 0)
            .map_or(seq, |mark| mark.first - 1)
    }

    /// Marks that have rested long enough become ready.
    pub(super) fn wake_marks(&mut self) {
        let now_ms = self.now.mono_us / 1000;
        while let Some(id) = self.marks.pop_due(now_ms) {
            let index = self.marks.get(id).conn;
            let wait = self.outlet.conns[index as usize].wait;
            if self.marks.end_rest(wait, id, now_ms) {
                self.outlet.mark(index);
            } else {
                self.release_idle(index);
            }
        }
    }

    /// A mark has gone, and it may have been the last thing that the connection waited for.
    fn release_idle(&mut self, index: u32) {
        let conn = &mut self.outlet.conns[index as usize];
        if conn.outbox.is_empty() {
            self.marks.release(&mut conn.wait);
        }
    }

    fn mark_of(&self, index: u32, topic: TopicId) -> Option<MarkId> {
        let conn = &self.outlet.conns[index as usize];
        conn.wait
            .is_some()
            .then(|| self.marks.find(index, topic))
            .flatten()
    }
}
