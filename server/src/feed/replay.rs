//! Plays a recorded file: every row goes out at its own time, the whole at `speed`.
//!
//! Rows of one time go out together. The schedule is counted from the first row, so errors do not add up. A repeated
//! file begins again one step after its last row, a step being its last gap between two times.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::recording::Recording;
use super::{Replay, Report, Sink, source};

/// Between the passes of a file whose rows all have one time.
const STEP_WITHOUT_GAP: Duration = Duration::from_secs(1);
/// A deadline beyond this is put here. Only an absurd `speed` gets there, and `Instant` must not overflow.
const AHEAD_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Whether the file can be opened, its columns found and at least one row published.
///
/// # Errors
/// What the operator has to change, naming the file and, where it helps, its columns.
pub fn check(replay: &Replay) -> anyhow::Result<()> {
    source::check(replay)
}

/// Publishes the file until its end, or for ever when it repeats, or until `sink` breaks.
///
/// # Errors
/// Those of [`check`], and a file that cannot be read to its end.
pub fn run(replay: &Replay, sink: &mut dyn Sink) -> anyhow::Result<Report> {
    let recording = Recording::open(replay)?;
    let mut report = Report {
        bad_rows: recording.bad_rows,
        ..Report::default()
    };
    let mut pace = Pace::new(Instant::now(), replay.speed);
    loop {
        let end = recording.each_row(&mut |row| {
            if let Some(deadline) = pace.advance(row.time_us) {
                sink.wait_until(deadline)?;
            }
            sink.publish(row.topic, row.json)?;
            report.published += 1;
            ControlFlow::Continue(())
        })?;
        if end.is_break() {
            return Ok(report);
        }
        report.passes += 1;
        if !replay.repeat {
            return Ok(report);
        }
        pace.begin_again();
    }
}

/// Turns recorded times into deadlines.
#[derive(Debug)]
struct Pace {
    speed: f64,
    /// When the first row of this pass goes out.
    pass_start: Instant,
    /// Recorded times of this pass: its first row and the row at hand.
    times: Option<(i64, i64)>,
    /// The last gap between two different times, of the recording.
    gap_us: i64,
}

impl Pace {
    fn new(start: Instant, speed: f64) -> Pace {
        Pace {
            speed,
            pass_start: start,
            times: None,
            gap_us: 0,
        }
    }

    /// The deadline of a row of `time_us`, if it differs from that of the row before.
    fn advance(&mut self, time_us: i64) -> Option<Instant> {
        match &mut self.times {
            None => self.times = Some((time_us, time_us)),
            // Behind: the file was changed while it was streamed. The row goes out at once.
            Some((_, last_us)) if time_us <= *last_us => return None,
            Some((_, last_us)) => {
                self.gap_us = time_us.saturating_sub(*last_us);
                *last_us = time_us;
            }
        }
        Some(self.deadline())
    }

    fn deadline(&self) -> Instant {
        let (first_us, last_us) = self.times.unwrap_or_default();
        self.pass_start + self.real(last_us.saturating_sub(first_us))
    }

    fn begin_again(&mut self) {
        let step = if self.gap_us > 0 {
            self.real(self.gap_us)
        } else {
            STEP_WITHOUT_GAP
        };
        self.pass_start = self.deadline() + step;
        self.times = None;
    }

    fn real(&self, recorded_us: i64) -> Duration {
        let seconds = recorded_us as f64 / 1e6 / self.speed;
        Duration::try_from_secs_f64(seconds).map_or(AHEAD_MAX, |real| real.min(AHEAD_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::testing::{TempFile, VirtualSink};

    /// When each row went out, milliseconds, and its topic.
    fn play(replay: &Replay, publishes_max: usize) -> (Vec<(u128, String)>, Report) {
        let mut sink = VirtualSink::new(publishes_max);
        let report = run(replay, &mut sink).unwrap();
        (
            sink.published
                .into_iter()
                .map(|(at, topic, _)| (at.as_millis(), topic))
                .collect(),
            report,
        )
    }

    #[test]
    fn rows_go_out_at_their_own_times() {
        let file = TempFile::new(b"symbol,time\nA,100\nB,100\nA,101.5\nB,104\n");
        let (rows, report) = play(&file.replay(), 99);
        assert_eq!(
            rows.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            [0, 0, 1500, 4000]
        );
        assert_eq!(
            report,
            Report {
                published: 4,
                bad_rows: 0,
                passes: 1
            }
        );
    }

    #[test]
    fn a_speed_of_86_400_is_one_day_a_second() {
        let file =
            TempFile::new(b"symbol,date\nA,2000-03-01\nA,2000-03-02\nB,2000-03-01\nB,2000-03-06\n");
        let (rows, _) = play(
            &Replay {
                speed: 86_400.0,
                ..file.replay()
            },
            99,
        );
        let expected = [(0, "A"), (0, "B"), (1000, "A"), (5000, "B")]
            .map(|(at, topic)| (at, topic.to_owned()));
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_repeated_file_begins_again_one_step_after_its_end() {
        let file = TempFile::new(b"symbol,time\nA,100\nA,107\nA,109\n");
        let (rows, report) = play(
            &Replay {
                repeat: true,
                ..file.replay()
            },
            7,
        );
        assert_eq!(
            rows.iter().map(|(at, _)| at / 1000).collect::<Vec<_>>(),
            [0, 7, 9, 11, 18, 20, 22]
        );
        assert_eq!(
            report,
            Report {
                published: 7,
                bad_rows: 0,
                passes: 2
            }
        );
    }

    #[test]
    fn a_repeated_file_of_one_time_does_not_spin() {
        let file = TempFile::new(b"symbol,time\nA,100\nB,100\n");
        let (rows, _) = play(
            &Replay {
                repeat: true,
                ..file.replay()
            },
            5,
        );
        assert_eq!(
            rows.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            [0, 0, 1000, 1000, 2000]
        );
    }

    #[test]
    fn a_sink_that_breaks_ends_the_replay() {
        let file = TempFile::new(b"symbol,time\nA,100\nA,101\nA,102\n");
        let (_, report) = play(&file.replay(), 2);
        assert_eq!(
            report,
            Report {
                published: 2,
                bad_rows: 0,
                passes: 0
            }
        );
    }

    #[test]
    fn an_absurd_speed_is_no_panic() {
        let file = TempFile::new(b"symbol,time\nA,0\nA,9999999999\n");
        for speed in [1e-300, f64::MIN_POSITIVE, 1e300] {
            assert_eq!(
                play(
                    &Replay {
                        speed,
                        ..file.replay()
                    },
                    99
                )
                .1
                .published,
                2,
                "{speed}"
            );
        }
    }

    #[test]
    fn the_built_in_recording_lasts_thirteen_years_at_its_own_pace() {
        let file = TempFile::new(b"");
        let (rows, report) = play(
            &Replay {
                path: None,
                speed: 86_400.0,
                ..file.replay()
            },
            usize::MAX,
        );
        assert_eq!(report.published, 12_154);
        assert_eq!(
            rows.last().unwrap().0,
            4748 * 1000,
            "days from 2000-03-01 to 2013-03-01"
        );
    }
}
