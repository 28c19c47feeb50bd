//! A sink with virtual time, and files that vanish: what the feeds are tested with.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{Replay, Sink};

/// Waits by moving its clock; stops after `publishes_max` publishes.
#[derive(Debug)]
pub(super) struct VirtualSink {
    /// When, counted from the first wait; topic; payload.
    pub(super) published: Vec<(Duration, String, String)>,
    pub(super) waits: usize,
    publishes_max: usize,
    start: Option<Instant>,
    now: Duration,
}

impl VirtualSink {
    pub(super) fn new(publishes_max: usize) -> VirtualSink {
        VirtualSink {
            published: Vec::new(),
            waits: 0,
            publishes_max,
            start: None,
            now: Duration::ZERO,
        }
    }
}

impl Sink for VirtualSink {
    fn publish(&mut self, topic: &str, json: &[u8]) -> ControlFlow<()> {
        if self.published.len() == self.publishes_max {
            return ControlFlow::Break(());
        }
        let json = String::from_utf8(json.to_vec()).expect("payloads are text");
        serde_json::from_str::<serde::de::IgnoredAny>(&json).expect("payloads are JSON");
        self.published.push((self.now, topic.into(), json));
        ControlFlow::Continue(())
    }

    fn wait_until(&mut self, deadline: Instant) -> ControlFlow<()> {
        self.waits += 1;
        let start = *self.start.get_or_insert(deadline);
        self.now = self.now.max(deadline.saturating_duration_since(start));
        ControlFlow::Continue(())
    }
}

/// A file of its own that is removed at the end of the test.
#[derive(Debug)]
pub(super) struct TempFile(PathBuf);

impl TempFile {
    pub(super) fn new(content: &[u8]) -> TempFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("fanfare-feed-{}-{number}.csv", std::process::id()));
        std::fs::write(&path, content).expect("the temporary folder can be written");
        TempFile(path)
    }

    pub(super) fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Plays this file once, at its own pace.
    pub(super) fn replay(&self) -> Replay {
        Replay {
            path: Some(self.0.clone()),
            topic_column: None,
            time_column: None,
            topic_prefix: String::new(),
            speed: 1.0,
            repeat: false,
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // A file that stays behind in the temporary folder harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}
