//! Counts by name: what failed and how often, for people and for JSON.

use serde::Serialize;
use std::collections::BTreeMap;

/// How many different names are kept; a server that invents new ones for ever fills one entry,
/// "other".
const NAMES_MAX: usize = 64;

/// How often each kind of event happened. Kinds are short phrases ("connection refused", "http
/// 503").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Counts one more event of this kind.
    pub fn add(&mut self, kind: &str) {
        self.add_many(kind, 1);
    }

    /// Counts `count` more events of this kind.
    pub fn add_many(&mut self, kind: &str, count: u64) {
        if count == 0 {
            return;
        }
        if let Some(so_far) = self.0.get_mut(kind) {
            *so_far += count;
            return;
        }
        let kind = if self.0.len() < NAMES_MAX {
            kind
        } else {
            "other"
        };
        *self.0.entry(kind.to_owned()).or_default() += count;
    }

    /// Adds another set of counts to this one.
    pub fn merge(&mut self, other: &Counts) {
        for (kind, count) in &other.0 {
            self.add_many(kind, *count);
        }
    }

    /// All events together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Kinds and counts in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(kind, count)| (kind.as_str(), *count))
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (kind, count)) in self.0.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{count} times {kind}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_two_workers_are_added_kind_by_kind() {
        let (mut one, mut two) = (Counts::default(), Counts::default());
        one.add("connection refused");
        two.add_many("connection refused", 2);
        two.add("http 503");
        one.merge(&two);
        assert_eq!(
            one.iter().collect::<Vec<_>>(),
            [("connection refused", 3), ("http 503", 1)]
        );
        assert_eq!(one.total(), 4);
    }

    #[test]
    fn names_without_end_share_one_entry() {
        let mut counts = Counts::default();
        for n in 0..10_000 {
            counts.add(&format!("reason {n}"));
        }
        assert_eq!(counts.0.len(), NAMES_MAX + 1);
        assert_eq!(counts.total(), 10_000);
    }
}
