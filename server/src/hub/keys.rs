//! Idempotency keys: a publish that comes again with the key of an earlier one gets that one's answer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The idempotency keys of the latest publishes, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Keys {
    seqs: HashMap<(Arc<str>, Box<str>), u64>,
    order: VecDeque<(Arc<str>, Box<str>)>,
}

impl Keys {
    /// How many keys an owner remembers.
    pub(super) const MAX: usize = 4096;

    pub(super) fn held_bytes(&self) -> u64 {
        let entry = 2 * size_of::<(Arc<str>, Box<str>)>() + size_of::<u64>();
        let text: usize = self.order.iter().map(|(_, key)| 2 * key.len()).sum();
        (self.order.len() * entry + text) as u64
    }

    pub(super) fn find(&self, topic: &Arc<str>, key: &str) -> Option<u64> {
        self.seqs.get(&(topic.clone(), key.into())).copied()
    }

    pub(super) fn remember(&mut self, topic: Arc<str>, key: Box<str>, seq: u64) {
        if self.order.len() >= Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seqs.remove(&oldest);
        }
        self.order.push_back((topic.clone(), key.clone()));
        self.seqs.insert((topic, key), seq);
    }
}
