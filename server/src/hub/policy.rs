//! What subscribers asked for beside the topic, each combination kept once a shard.
//!
//! A subscription holds the number of its combination, so that its record stays small however many options there are.
//! Number 0 is the default, which most have; it is never counted and never freed. The others are counted by who holds them,
//! so a table is never longer than the subscriptions are many.

use std::collections::HashMap;

use fanfare_wire::command::{Mode, OnSlow};

use crate::ledger::Ledger;

const NONE: u32 = u32::MAX;

/// How one subscription is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubOptions {
    /// Every update, or the latest.
    pub mode: Mode,
    /// What becomes of a subscriber that reads too slowly.
    pub on_slow: OnSlow,
    /// At most one update in so many milliseconds, the newest; 0 = no such limit.
    pub min_interval_ms: u32,
    /// An update that is older than so many milliseconds is left out once there is a newer one; 0 = never.
    pub max_stale_ms: u32,
}

impl Default for SubOptions {
    fn default() -> Self {
        SubOptions {
            mode: Mode::All,
            on_slow: OnSlow::Conflate,
            min_interval_ms: 0,
            max_stale_ms: 0,
        }
    }
}

impl SubOptions {
    /// Whether its updates wait as marks even while the subscriber keeps up.
    #[must_use]
    pub fn is_conflating(&self) -> bool {
        self.mode == Mode::Latest || self.min_interval_ms > 0
    }

    /// Whether a fan-out must look at the subscription before it queues an update to it.
    #[must_use]
    pub fn is_special(&self) -> bool {
        self.is_conflating() || self.max_stale_ms > 0
    }
}

/// The number of a combination on its shard. It fits into 30 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyId(pub(super) u32);

impl PolicyId {
    /// The default options.
    pub const DEFAULT: PolicyId = PolicyId(0);
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    options: SubOptions,
    /// Subscriptions that hold it.
    refs: u32,
    /// In a free entry, the next free one.
    next_free: u32,
}

/// All combinations in use on one shard.
#[derive(Debug)]
pub struct Policies {
    entries: Vec<Entry>,
    by_options: HashMap<SubOptions, PolicyId>,
    free: u32,
}

impl Default for Policies {
    fn default() -> Self {
        let default = Entry {
            options: SubOptions::default(),
            refs: 1,
            next_free: NONE,
        };
        Policies {
            entries: vec![default],
            by_options: HashMap::new(),
            free: NONE,
        }
    }
}

impl Policies {
    /// The options behind a number.
    #[must_use]
    pub fn options(&self, id: PolicyId) -> SubOptions {
        self.entries[id.0 as usize].options
    }

    /// How many combinations are in use beside the default.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_options.len()
    }

    /// Whether nothing but the default is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_options.is_empty()
    }

    /// Adds a holder of `options`; to be [released](Policies::release) once.
    pub(super) fn hold(&mut self, options: SubOptions) -> PolicyId {
        if options == SubOptions::default() {
            return PolicyId::DEFAULT;
        }
        if let Some(&id) = self.by_options.get(&options) {
            self.entries[id.0 as usize].refs += 1;
            return id;
        }
        let entry = Entry {
            options,
            refs: 1,
            next_free: NONE,
        };
        let id = if self.free == NONE {
            self.entries.push(entry);
            PolicyId((self.entries.len() - 1) as u32)
        } else {
            let id = PolicyId(self.free);
            self.free = std::mem::replace(&mut self.entries[id.0 as usize], entry).next_free;
            id
        };
        self.by_options.insert(options, id);
        id
    }

    /// One holder less; the last one frees the entry.
    pub(super) fn release(&mut self, id: PolicyId) {
        if id == PolicyId::DEFAULT {
            return;
        }
        let entry = &mut self.entries[id.0 as usize];
        debug_assert!(entry.refs > 0, "every release follows a hold");
        entry.refs -= 1;
        if entry.refs == 0 {
            self.by_options.remove(&entry.options);
            entry.next_free = self.free;
            self.free = id.0;
        }
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        let by_options = self.by_options.capacity() * size_of::<(SubOptions, PolicyId)>();
        let entries = self.entries.capacity() * size_of::<Entry>();
        ledger.subscription_bytes += (by_options + entries) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(min_interval_ms: u32) -> SubOptions {
        SubOptions {
            min_interval_ms,
            ..SubOptions::default()
        }
    }

    #[test]
    fn a_combination_is_kept_once_and_only_while_somebody_holds_it() {
        let mut policies = Policies::default();
        let (a, b) = (policies.hold(every(5)), policies.hold(every(5)));
        assert_eq!((a, policies.len()), (b, 1));
        policies.release(a);
        assert_eq!(policies.options(b), every(5));
        policies.release(b);
        assert!(policies.is_empty());
        assert_eq!(policies.hold(every(7)), a, "its place is used again");
    }

    #[test]
    fn the_default_is_neither_counted_nor_freed() {
        let mut policies = Policies::default();
        let id = policies.hold(SubOptions::default());
        policies.release(id);
        policies.release(id);
        assert_eq!(id, PolicyId::DEFAULT);
        assert_eq!(policies.options(id), SubOptions::default());
        assert!(policies.is_empty());
    }

    #[test]
    fn only_what_can_hold_an_update_back_is_special() {
        let close = SubOptions {
            on_slow: OnSlow::Close,
            ..SubOptions::default()
        };
        assert!(!SubOptions::default().is_special() && !close.is_special());
        assert!(every(1).is_special() && every(1).is_conflating());
        let stale = SubOptions {
            max_stale_ms: 1,
            ..SubOptions::default()
        };
        assert!(stale.is_special() && !stale.is_conflating());
    }
}
