//! What happened, counted: a simulator that never reaches a state tests nothing.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by what they count.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(BTreeMap<String, u64>);

/// What a thousand seeds must come to, each at least once.
pub(super) const WANTED: [&str; 62] = [
    "topic fading",
    "position of one topic",
    "position of several topics",
    "stream resumed",
    "stream for one answer",
    "stream ended with its first events",
    "stream ended without events",
    "stream closed 4103",
    "poll answered at once",
    "poll answered later",
    "poll without news",
    "pipelined request",
    "posted",
    "many posted",
    "key repeated by post",
    "history page",
    "no answer in time",
    "lane held back",
    "binary client",
    "alias record",
    "compressed client",
    "kept context",
    "published",
    "key repeated",
    "filter subscribed",
    "topic born under a filter",
    "topic refused",
    "skip slow",
    "skip rate",
    "skip stale",
    "gap epoch",
    "gap history",
    "gap overflow",
    "recovered full",
    "history frames",
    "recovered none",
    "slow entered",
    "slow left",
    "close 4103 at the deadline",
    "close 4103 at the limit",
    "close 4201",
    "close 1013",
    "short write",
    "refused write",
    "spurious writability",
    "refused mail",
    "paused read",
    "backlog",
    "torn frame",
    "left by close",
    "left by half-close",
    "left by reset",
    "left in mid-frame",
    "left in mid-handshake",
    "handshake timeout",
    "wall clock backwards",
    "jump",
    "server restart",
    "shard late",
    "set",
    "error 3001",
    "error 3004",
];

impl Tally {
    pub(super) fn add(&mut self, what: &str, happened: bool) {
        if happened {
            self.count(what, 1);
        }
    }

    pub(super) fn count(&mut self, what: &str, times: u64) {
        match self.0.get_mut(what) {
            Some(count) => *count += times,
            None if times > 0 => drop(self.0.insert(what.into(), times)),
            None => {}
        }
    }

    pub(super) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(super) fn join(&mut self, other: &Tally) {
        for (what, times) in &other.0 {
            self.count(what, *times);
        }
    }

    /// What never happened that should have.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let lacks = |what: &&str| !self.0.contains_key(*what);
        WANTED.into_iter().filter(lacks).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(what, times)| writeln!(f, "  {times:>9} {what}"))
    }
}
