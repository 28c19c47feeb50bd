//! How one topic of a client stands beside what its account says: how it must open, and when its last update came.

use fanfare_wire::event::{RecoveredRead, SubscribedTopicRead};

use super::subscriber::Scene;

/// What must come next of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The stream.
    Stream,
    Snapshot(u64),
    Gap {
        from: u64,
        snapshot: u64,
    },
    History {
        left: u64,
    },
}

/// How one topic stands beside its [`Account`].
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) expect: Expect,
    /// When the last update came by the options that count now.
    pub(super) last_us: Option<u64>,
    /// Where a stream without seqs stands, if it has begun.
    pub(super) at: Option<u64>,
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            expect: Expect::Stream,
            last_us: None,
            at: None,
        }
    }
}

impl Stream {
    /// A topic was acked that the client did not have.
    pub(super) fn begin(
        &mut self,
        line: &SubscribedTopicRead<'_>,
        snapshot: bool,
        since: Option<&(String, u64)>,
        text: &str,
        scene: &mut Scene<'_>,
    ) {
        assert_eq!(line.epoch, scene.epoch, "{text}");
        assert!(line.seq <= scene.truth.newest(&line.topic), "{text}");
        let count = line.count.unwrap_or(0);
        *self = Stream {
            at: Some(line.seq - count),
            ..Stream::default()
        };
        self.expect = match (since, line.recovered) {
            (None, None) => opening(if snapshot { line.seq } else { 0 }),
            (Some((epoch, seq)), Some(RecoveredRead::Full)) => {
                assert_eq!(epoch, scene.epoch, "another epoch is not resumed: {text}");
                assert_eq!(line.seq - count, *seq, "from where it stood: {text}");
                scene.tally.add("recovered full", true);
                scene.tally.add("history frames", count > 0);
                match count {
                    0 => Expect::Stream,
                    left => Expect::History { left },
                }
            }
            (Some((_, seq)), Some(RecoveredRead::None)) => {
                scene.tally.add("recovered none", true);
                Expect::Gap {
                    from: seq + 1,
                    snapshot: line.seq,
                }
            }
            (since, recovered) => panic!("{since:?} and {recovered:?}: {text}"),
        };
    }

    /// An update came whose first byte was taken at `first_us`.
    pub(super) fn note_update(&mut self, first_us: u64, interval_ms: u32, text: &str) {
        if let Some(last_us) = self.last_us.replace(first_us) {
            let passed_us = first_us - last_us;
            assert!(
                passed_us >= u64::from(interval_ms) * 1000,
                "{passed_us} µs after the last: {text}"
            );
        }
    }
}

/// How a topic opens whose last value is of `seq`, if there is one and it is wanted.
pub(super) fn opening(seq: u64) -> Expect {
    if seq > 0 {
        Expect::Snapshot(seq)
    } else {
        Expect::Stream
    }
}
