//! Commands of clients that wait for their answers, and the options in them.

use std::collections::BTreeMap;

use fanfare_wire::command::{Mode, OnSlow};

use crate::hub::policy::SubOptions;

/// A client's command that waits for its answer.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Subscribe {
        change: Change,
        snapshot: bool,
        /// What it has, by topic: epoch and seq.
        since: BTreeMap<String, (String, u64)>,
    },
    Unsubscribe(String),
    Set(String, Change),
    Publish {
        value: u64,
        key: Option<String>,
    },
    List,
    Other,
}

/// Options that a command names; the others stay.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    pub(super) mode: Option<Mode>,
    pub(super) on_slow: Option<OnSlow>,
    pub(super) min_interval_ms: Option<u32>,
    pub(super) max_stale_ms: Option<u32>,
}

impl Change {
    /// The options that hold afterwards.
    pub(super) fn apply(self, old: SubOptions) -> SubOptions {
        SubOptions {
            mode: self.mode.unwrap_or(old.mode),
            on_slow: self.on_slow.unwrap_or(old.on_slow),
            min_interval_ms: self.min_interval_ms.unwrap_or(old.min_interval_ms),
            max_stale_ms: self.max_stale_ms.unwrap_or(old.max_stale_ms),
        }
    }

    /// As it stands in a command, a comma before each.
    pub(super) fn text(self) -> String {
        let mut text = String::new();
        if let Some(mode) = self.mode {
            text += if mode == Mode::Latest {
                r#","mode":"latest""#
            } else {
                r#","mode":"all""#
            };
        }
        if let Some(on_slow) = self.on_slow {
            let close = on_slow == OnSlow::Close;
            text += if close {
                r#","on_slow":"close""#
            } else {
                r#","on_slow":"conflate""#
            };
        }
        for (name, ms) in [
            ("min_interval_ms", self.min_interval_ms),
            ("max_stale_ms", self.max_stale_ms),
        ] {
            if let Some(ms) = ms {
                text += &format!(r#","{name}":{ms}"#);
            }
        }
        text
    }
}
