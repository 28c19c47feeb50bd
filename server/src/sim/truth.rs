//! What was published, as the owners numbered it.

use std::collections::{BTreeMap, BTreeSet};

use crate::hub::update::Update;
use crate::hub::witness;

/// One numbered value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The payload's number, which no other has.
    pub(super) value: u64,
    pub(super) ts_us: i64,
    /// The world's step in which it was numbered.
    pub(super) step: usize,
}

/// Everything that was published in this epoch.
#[derive(Default)]
pub(super) struct Truth {
    topics: BTreeMap<String, Vec<Entry>>,
    by_value: BTreeMap<u64, (String, u64)>,
    /// The values that were sent with a key to a topic.
    pub(super) keyed: BTreeMap<(String, String), BTreeSet<u64>>,
}

/// The number of a payload `{"v":17,…}`.
pub(super) fn value_of(payload: &str) -> Option<u64> {
    let rest = payload.strip_prefix(r#"{"v":"#)?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

impl Truth {
    /// Takes in what owners have numbered since.
    pub(super) fn learn(&mut self, step: usize) -> usize {
        let seen = witness::take();
        for update in &seen {
            self.add(update, step);
        }
        seen.len()
    }

    fn add(&mut self, update: &Update, step: usize) {
        let frame = update.frame(
            crate::hub::update::Variant::Raw,
            fanfare_wire::event::DataKind::Update,
        );
        let payload = String::from_utf8_lossy(&frame[frame.len() - update.payload_bytes()..]);
        let value = value_of(&payload).expect("only clients publish");
        let entries = self.topics.entry(update.topic.to_string()).or_default();
        entries.push(Entry {
            value,
            ts_us: update.ts_us,
            step,
        });
        assert_eq!(
            update.seq,
            entries.len() as u64,
            "seqs count from 1: {}",
            update.topic
        );
        let known = self
            .by_value
            .insert(value, (update.topic.to_string(), update.seq));
        assert!(known.is_none(), "a value is numbered once: {known:?}");
    }

    /// The newest seq of a topic; 0 = nothing was published.
    pub(super) fn newest(&self, topic: &str) -> u64 {
        self.topics
            .get(topic)
            .map_or(0, |entries| entries.len() as u64)
    }

    pub(super) fn get(&self, topic: &str, seq: u64) -> Option<&Entry> {
        let place = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.topics.get(topic)?.get(place)
    }

    /// Which topic and seq a value was given.
    pub(super) fn place_of(&self, value: u64) -> Option<(&str, u64)> {
        let (topic, seq) = self.by_value.get(&value)?;
        Some((topic, *seq))
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (&str, &[Entry])> {
        self.topics
            .iter()
            .map(|(name, entries)| (&**name, &**entries))
    }
}
