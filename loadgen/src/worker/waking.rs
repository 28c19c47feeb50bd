//! What stalled clients get when they wake up after everything is published: the newest value of
//! each topic, and what had been under way to them when they stalled, which nobody can take back from
//! the kernel.

use serde::Serialize;
use std::collections::HashMap;

/// The stalled clients of one worker.
#[derive(Debug, Default)]
pub struct Waking {
    /// When they stalled, monotonic.
    stalled_ns: u64,
    /// By slot: newest values and others.
    values: HashMap<u32, [u64; 2]>,
    older_after_ns: u64,
}

/// The same, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Woken {
    /// Clients that got anything.
    pub clients: u64,
    /// Values that were the newest of their topics, of all clients.
    pub newest: u64,
    /// The most of them that one client got.
    pub newest_max: u64,
    /// Values that were not.
    pub older: u64,
    /// The most of them that one client got.
    pub older_max: u64,
    /// How long after the stall began the last of those was published.
    pub older_published_after_ns: u64,
}

impl Waking {
    /// They stall.
    pub fn begin(&mut self, now_ns: u64) {
        self.stalled_ns = now_ns;
    }

    /// One of them has got a value, intended to be published at that time.
    pub fn on_value(&mut self, slot: u32, is_newest: bool, intended_ns: Option<u64>) {
        let values = self.values.entry(slot).or_default();
        values[usize::from(!is_newest)] += 1;
        if let Some(intended_ns) = intended_ns.filter(|_| !is_newest) {
            let after_ns = intended_ns.saturating_sub(self.stalled_ns);
            self.older_after_ns = self.older_after_ns.max(after_ns);
        }
    }

    /// What they got.
    pub fn sum(&self) -> Woken {
        let parts = self.values.values().map(|[newest, older]| Woken {
            clients: 1,
            newest: *newest,
            newest_max: *newest,
            older: *older,
            older_max: *older,
            older_published_after_ns: self.older_after_ns,
        });
        parts.fold(Woken::default(), Woken::and)
    }
}

impl Woken {
    /// Together with those of another worker.
    pub fn and(self, other: Woken) -> Woken {
        Woken {
            clients: self.clients + other.clients,
            newest: self.newest + other.newest,
            newest_max: self.newest_max.max(other.newest_max),
            older: self.older + other.older,
            older_max: self.older_max.max(other.older_max),
            older_published_after_ns: self
                .older_published_after_ns
                .max(other.older_published_after_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_values_are_told_from_those_that_were_on_their_way() {
        let mut waking = Waking::default();
        waking.begin(1_000);
        for (slot, is_newest, intended_ns) in [
            (0, false, 1_500),
            (0, true, 9_000),
            (0, true, 9_500),
            (4, true, 9_900),
        ] {
            waking.on_value(slot, is_newest, Some(intended_ns));
        }
        let expected = Woken {
            clients: 2,
            newest: 3,
            newest_max: 2,
            older: 1,
            older_max: 1,
            older_published_after_ns: 500,
        };
        assert_eq!(waking.sum(), expected);
    }
}
