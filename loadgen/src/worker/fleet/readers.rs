//! Clients that do not read as they should: from the moment the load begins some read so many bytes a
//! second, some nothing, and the hosts of some are gone. When everything is published, or before if
//! they are to wake up, those that are still there read all that waits for them.
//!
//! A host that is gone is a socket whose incoming segments the kernel drops before TCP sees them (a
//! socket filter that accepts nothing): no acknowledgement, no reset, no answer to a probe. That is
//! what a server sees of a phone in a tunnel, and needs no rights and no network of its own.

use super::{Fleet, Stage};
use crate::class::Class;
use crate::clock;
use std::collections::VecDeque;

/// Between two reads of a slow client.
const SLOW_READ_EVERY_NS: u64 = 100_000_000;

/// How the clients of a worker read at the moment.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Stalled clients read nothing.
    are_stalled: bool,
    /// The hosts of half-open ones are gone.
    are_gone: bool,
    /// When stalled clients wake up by themselves, monotonic.
    wake_ns: Option<u64>,
    /// Slow clients by when each reads next; in the order of their times.
    slow: VecDeque<(u64, u32)>,
}

impl Readers {
    /// Whether a client reads whatever there is.
    pub(super) fn read_freely(&self, class: Class) -> bool {
        match class {
            Class::Healthy => true,
            Class::Slow => self.slow.is_empty(),
            Class::Stalled => !self.are_stalled,
            Class::HalfOpen => !self.are_gone,
        }
    }

    /// When something is due, if nothing happens before.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let slow_ns = self.slow.front().map(|(at_ns, _)| *at_ns);
        [slow_ns, self.wake_ns].into_iter().flatten().min()
    }
}

impl Fleet {
    /// The load begins, and trouble with it. What a client has not read by now it reads late.
    pub(super) fn begin_trouble(&mut self, now_ns: u64) {
        self.readers.are_stalled = true;
        self.subscriptions.waking.begin(now_ns);
        if let Some(wake_after) = self.plan.readers.wake_after {
            self.readers.wake_ns = Some(now_ns + wake_after.as_nanos() as u64);
        }
        let slow: Vec<u32> = self.open_of(Class::Slow).collect();
        // Spread over the time between two reads.
        let step_ns = SLOW_READ_EVERY_NS / slow.len().max(1) as u64;
        let due = slow
            .into_iter()
            .enumerate()
            .map(|(place, slot)| (now_ns + place as u64 * step_ns, slot));
        self.readers.slow = due.collect();
        let gone: Vec<u32> = self.open_of(Class::HalfOpen).collect();
        for slot in gone {
            let link = &self.members[slot as usize].link;
            if let Some(Err(error)) = link.as_ref().map(|link| link.go_silent()) {
                self.on_end(slot, &error.into());
            }
        }
        self.readers.are_gone = true;
    }

    /// Stalled clients whose time has come read again.
    pub(super) fn wake_due(&mut self, now_ns: u64) {
        if self
            .readers
            .wake_ns
            .take_if(|at_ns| *at_ns <= now_ns)
            .is_some()
        {
            self.wake(Class::Stalled);
        }
    }

    /// Everything is published: whoever is there reads.
    pub(super) fn end_trouble(&mut self) {
        self.readers.wake_ns = None;
        self.wake(Class::Stalled);
        self.wake(Class::Slow);
    }

    /// Reads from the slow clients whose turn it is.
    pub(super) fn read_slowly(&mut self, buffer: &mut [u8]) {
        let now_ns = clock::monotonic_ns();
        let bytes_per_s = self.plan.readers.slow_bytes_per_s;
        let bytes = (bytes_per_s * SLOW_READ_EVERY_NS).div_ceil(1_000_000_000) as usize;
        let bytes = bytes.min(buffer.len());
        let is_due = |(at_ns, _): &mut (u64, u32)| *at_ns <= now_ns;
        while let Some((at_ns, slot)) = self.readers.slow.pop_front_if(is_due) {
            self.read_part(slot, &mut buffer[..bytes]);
            self.flush(slot);
            if self.members[slot as usize].link.is_some() {
                // On schedule: what was late is made up for, so the rate holds.
                let next = (at_ns + SLOW_READ_EVERY_NS, slot);
                self.readers.slow.push_back(next);
            }
        }
    }

    /// Whether the client is there to be waited for.
    pub(super) fn is_there(&self, slot: u32) -> bool {
        let member = &self.members[slot as usize];
        member.link.is_some() && !(member.class == Class::HalfOpen && self.readers.are_gone)
    }

    fn wake(&mut self, class: Class) {
        if self.readers.read_freely(class) {
            return;
        }
        match class {
            Class::Stalled => self.readers.are_stalled = false,
            Class::Slow => self.readers.slow.clear(),
            Class::Healthy | Class::HalfOpen => {}
        }
        let slots: Vec<u32> = self.open_of(class).collect();
        self.unread.extend(slots);
    }

    fn open_of(&self, class: Class) -> impl Iterator<Item = u32> {
        let members = self.members.iter().enumerate();
        let open = members.filter(move |(_, member)| {
            member.class == class && member.link.is_some() && member.stage != Stage::Connecting
        });
        open.map(|(slot, _)| slot as u32)
    }
}
