//! Idempotency keys: a publish that comes again with the key of an earlier one gets that one's answer.
//!
//! An owner remembers the keys of its topics in a window of so many and so long. Nothing in here looks at a clock: ages are measured
//! against the time that is passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many keys an owner remembers, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Most keys; 0 = none is remembered.
    pub count: u32,
    /// Greatest age, milliseconds.
    pub age_ms: u32,
}

/// A topic and a key.
type Name = (Arc<str>, Box<str>);

/// The idempotency keys of the latest publishes, the oldest forgotten first.
#[derive(Debug)]
pub(super) struct Keys {
    window: Window,
    seqs: HashMap<Arc<Name>, u64>,
    /// With the time of each, microseconds since 1970.
    order: VecDeque<(Arc<Name>, i64)>,
}

impl Keys {
    pub(super) fn new(window: Window) -> Keys {
        Keys {
            window,
            seqs: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let tables = self.order.capacity() * size_of::<(Arc<Name>, i64)>()
            + self.seqs.capacity() * (size_of::<(Arc<Name>, u64)>() + 1);
        // Two counts beside what is shared.
        let name = |(name, _): &(Arc<Name>, i64)| size_of::<Name>() + 16 + name.1.len();
        (tables + self.order.iter().map(name).sum::<usize>()) as u64
    }

    /// The seq that was given to the publish with this key.
    pub(super) fn find(&mut self, topic: &Arc<str>, key: &str, wall_us: i64) -> Option<u64> {
        self.forget_old(wall_us);
        self.seqs.get(&(topic.clone(), key.into())).copied()
    }

    pub(super) fn remember(&mut self, topic: Arc<str>, key: Box<str>, seq: u64, wall_us: i64) {
        let most = self.window.count as usize;
        if most == 0 {
            return;
        }
        if self.order.len() >= most {
            self.forget_oldest();
        }
        let name = Arc::new((topic, key));
        self.order.push_back((name.clone(), wall_us));
        self.seqs.insert(name, seq);
    }

    fn forget_old(&mut self, wall_us: i64) {
        let earliest_us = wall_us - i64::from(self.window.age_ms) * 1000;
        while self
            .order
            .front()
            .is_some_and(|(_, at_us)| *at_us <= earliest_us)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((oldest, _)) = self.order.pop_front() {
            self.seqs.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: u32, age_ms: u32) -> Keys {
        Keys::new(Window { count, age_ms })
    }

    #[test]
    fn a_key_is_of_one_topic() {
        let (mut keys, a, b): (_, Arc<str>, Arc<str>) = (keys(10, 1000), "a".into(), "b".into());
        keys.remember(a.clone(), "k".into(), 7, 0);
        assert_eq!(keys.find(&a, "k", 0), Some(7));
        assert_eq!(keys.find(&b, "k", 0), None);
        assert_eq!(keys.find(&a, "other", 0), None);
    }

    #[test]
    fn no_more_are_remembered_than_fit_the_window_and_the_oldest_go_first() {
        let (mut keys, topic): (_, Arc<str>) = (keys(100, 1000), "a".into());
        for n in 0..1000_u64 {
            keys.remember(topic.clone(), n.to_string().into(), n, 0);
            let oldest = n.saturating_sub(99);
            assert_eq!(keys.find(&topic, &oldest.to_string(), 0), Some(oldest));
            assert_eq!(
                (keys.order.len(), keys.seqs.len()),
                ((n + 1).min(100) as usize, keys.order.len())
            );
        }
        assert!(keys.held_bytes() < 100 * 200);
        assert_eq!(keys.find(&topic, "899", 0), None);
    }

    #[test]
    fn a_key_is_forgotten_when_it_is_too_old_whatever_room_there_is() {
        let (mut keys, topic): (_, Arc<str>) = (keys(100, 1000), "a".into());
        for n in 0..10_i64 {
            keys.remember(topic.clone(), n.to_string().into(), n as u64, n * 100_000);
        }
        assert_eq!(keys.find(&topic, "0", 999_999), Some(0));
        assert_eq!(keys.find(&topic, "0", 1_000_000), None);
        assert_eq!(keys.find(&topic, "1", 1_000_000), Some(1));
        assert_eq!(keys.find(&topic, "9", 1_900_000), None);
        assert!(keys.seqs.is_empty());
    }

    #[test]
    fn without_a_window_nothing_is_remembered() {
        let (mut keys, topic): (_, Arc<str>) = (keys(0, 1000), "a".into());
        keys.remember(topic.clone(), "k".into(), 1, 0);
        assert_eq!(keys.find(&topic, "k", 0), None);
    }
}
