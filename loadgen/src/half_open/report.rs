//! What became of the connections. The keys of the JSON are stable: snake_case, units last.

use super::plan::{Plan, Style};
use super::worker::{Outcome, Tally};
use crate::counts::Counts;
use crate::latency::Quantiles;
use crate::report::human::{count, time};
use crate::report::write_json;
use anyhow::Context as _;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Connections asked for.
    pub asked: u32,
    /// Those whose first bytes were sent.
    pub opened: u64,
    /// Those that were not opened, by kind.
    pub failed: Counts,
    /// Those that the server ended.
    pub ended: u64,
    /// Those that it had not when time was over.
    pub still_open: u64,
    /// By what they said; only styles that there were.
    pub styles: Vec<StyleReport>,
    /// How long it took in all.
    pub length_s: f64,
    /// Version of this program.
    pub version: &'static str,
    /// The command line.
    pub command: Vec<String>,
}

/// The connections that said the same.
#[derive(Debug, Serialize)]
pub struct StyleReport {
    /// What.
    pub style: Style,
    /// How many were opened.
    pub opened: u64,
    /// How many the server ended: by status, or by what else ended them.
    pub ended: Counts,
    /// From the first bytes to the end.
    pub after: Quantiles,
}

impl Report {
    pub(super) fn new(plan: &Plan, outcomes: Vec<Outcome>, length_ns: u64) -> Report {
        let mut sum = Outcome::default();
        for outcome in outcomes {
            sum.failed.merge(&outcome.failed);
            for (whole, part) in sum.tallies.iter_mut().zip(outcome.tallies) {
                whole.opened += part.opened;
                whole.ended.merge(&part.ended);
                whole.after.merge(&part.after);
            }
        }
        let opened: u64 = sum.tallies.iter().map(|tally| tally.opened).sum();
        let ended = sum.tallies.iter().map(|tally| tally.ended.total()).sum();
        let present = |(_, tally): &(Style, Tally)| tally.opened > 0;
        let styles = Style::ALL.into_iter().zip(sum.tallies).filter(present);
        Report {
            asked: plan.connections,
            opened,
            failed: sum.failed,
            ended,
            still_open: opened - ended,
            styles: styles
                .map(|(style, tally)| StyleReport {
                    style,
                    opened: tally.opened,
                    ended: tally.ended,
                    after: tally.after.quantiles(),
                })
                .collect(),
            length_s: length_ns as f64 / 1e9,
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
        }
    }

    /// Writes the report as JSON.
    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        write_json(path, self).context("--json")
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for StyleReport {
            style,
            opened,
            ended,
            after,
        } in &self.styles
        {
            write!(f, "{:<9}{} opened", style.name(), count(*opened))?;
            if ended.total() > 0 {
                let [first, last] = [after.min_ns, after.max_ns].map(time);
                write!(
                    f,
                    "; ended {ended}, {first} to {last} after their first bytes"
                )?;
            }
            writeln!(f)?;
        }
        if self.failed.total() > 0 {
            writeln!(f, "not opened: {}", self.failed)?;
        }
        writeln!(
            f,
            "{} of {} ended by the server, {} still open",
            count(self.ended),
            count(self.opened),
            count(self.still_open)
        )
    }
}
