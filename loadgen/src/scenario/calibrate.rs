//! Finds the rate at which the server's process uses a given share of a core: a few short trials,
//! each at the rate that the one before suggests.

use super::file::Calibration;
use super::lead::{Lead, worse};
use super::steps::during;
use crate::phase::{Load, Outcome};
use serde::Serialize;
use std::time::Instant;

/// Trials of a calibration.
const TRIALS: u32 = 5;
/// How much a trial may ask more, or less, than the one before: far from the target the share says
/// little, and a server must not be run over by a guess.
const STEP_MAX: f64 = 4.0;
/// `/proc` counts CPU time in hundredths of a second.
const CPU_SHARE_MIN: f64 = 0.01;
/// As fast as one thread is asked to publish.
const RATE_MAX_PER_S: f64 = 200_000.0;

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Updates a second.
    pub rate_per_s: f64,
    /// Share of one core that the server used.
    pub server_cpu_cores: f64,
    /// What that suggests.
    pub next_per_s: f64,
}

impl Trial {
    /// What an update costs is taken from all trials so far: with topics of different popularity one
    /// trial alone may have had luck.
    fn new(before: &[Trial], rate_per_s: f64, server_cpu_cores: f64, target: f64) -> Trial {
        let sum = |part: fn(&Trial) -> f64| before.iter().map(part).sum::<f64>();
        let updates = sum(|trial| trial.rate_per_s) + rate_per_s;
        let cpu = sum(|trial| trial.server_cpu_cores) + server_cpu_cores;
        let next_per_s = target * updates / cpu.max(CPU_SHARE_MIN);
        let next_per_s = next_per_s.clamp(rate_per_s / STEP_MAX, rate_per_s * STEP_MAX);
        Trial {
            rate_per_s,
            server_cpu_cores,
            next_per_s: next_per_s.clamp(1.0, RATE_MAX_PER_S),
        }
    }
}

impl Lead<'_> {
    /// Carries out the trials; the last one tells the rate.
    pub(super) fn calibrate(
        &mut self,
        calibration: &Calibration,
        load: &Load,
    ) -> anyhow::Result<(Outcome, Vec<Trial>)> {
        let length = calibration.length / TRIALS;
        let mut per_s = load.per_s;
        let mut trials = Vec::new();
        for _ in 0..TRIALS {
            let before = (Instant::now(), self.watch.look().unwrap_or_default());
            self.publish(during(load, per_s, length))?;
            let mut outcome = self.rest(length)?;
            // What is queued by now belongs to the trial, too.
            outcome = worse(outcome, self.quiet()?);
            if outcome != Outcome::Done {
                return Ok((outcome, trials));
            }
            let used_s = self.watch.look().unwrap_or_default().cpu_s() - before.1.cpu_s();
            let asked_s = length.as_secs_f64().max(0.001);
            let trial = Trial::new(
                &trials,
                per_s,
                used_s / asked_s,
                calibration.target_server_cpu,
            );
            per_s = trial.next_per_s;
            trials.push(trial);
        }
        Ok((Outcome::Done, trials))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_converge_on_the_target_and_never_leap() {
        // A server that uses 5 % of a core anyhow, and 0.1 ms an update.
        let cpu = |rate: f64| 0.05 + rate * 0.0001;
        let (mut rate, mut trials) = (100.0, Vec::new());
        for _ in 0..TRIALS {
            let trial = Trial::new(&trials, rate, cpu(rate), 0.7);
            assert!(trial.next_per_s <= rate * STEP_MAX);
            rate = trial.next_per_s;
            trials.push(trial);
        }
        assert!((cpu(rate) - 0.7).abs() < 0.1, "{rate}");
    }

    #[test]
    fn a_server_that_shows_no_use_at_all_is_asked_for_more() {
        assert_eq!(Trial::new(&[], 100.0, 0.0, 0.7).next_per_s, 400.0);
        let capped = Trial::new(&[], 1e6, 0.0, 0.7);
        assert_eq!(capped.next_per_s, RATE_MAX_PER_S);
    }
}
