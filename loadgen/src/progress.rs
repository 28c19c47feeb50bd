//! The progress line: on a terminal one line that changes, elsewhere a line a second, with
//! `--quiet` nothing.

use crate::plan::Plan;
use crate::tally::Figures;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Where progress goes.
#[derive(Debug)]
pub struct Progress {
    style: Style,
    connections: u32,
    last: (Instant, Figures),
}

#[derive(Debug)]
enum Style {
    Quiet,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// Progress to stderr, as the plan and the kind of stderr demand.
    pub fn new(plan: &Plan) -> Progress {
        let style = if plan.quiet {
            Style::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The template is fixed, and a bar without one still shows its message.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            Style::Bar(bar)
        } else {
            Style::Lines
        };
        Progress {
            style,
            connections: plan.connections,
            last: (Instant::now(), Figures::default()),
        }
    }

    /// Shows where the run is. Called for each sample.
    pub fn show(&mut self, phase: &str, figures: &Figures) {
        let elapsed = self.last.0.elapsed();
        if matches!(self.style, Style::Quiet) || elapsed < Duration::from_secs(1) && !self.is_bar()
        {
            return;
        }
        let per_s = |now: u64, before: u64| {
            now.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(0.001)
        };
        let before = &self.last.1;
        let text = format!(
            "{}: {}/{} open ({:.0}/s), {} failed, {} cut off, {} subscribed, {} published, {} delivered ({:.0}/s)",
            phase,
            figures.open(),
            self.connections,
            per_s(figures.opened, before.opened),
            figures.failed,
            figures.disconnected,
            figures.subscribed,
            figures.published,
            figures.delivered,
            per_s(figures.delivered, before.delivered),
        );
        self.last = (Instant::now(), *figures);
        match &self.style {
            Style::Quiet => {}
            Style::Lines => eprintln!("{text}"),
            Style::Bar(bar) => {
                bar.set_message(text);
                bar.tick();
            }
        }
    }

    /// Takes the line away, for the report.
    pub fn clear(&self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    fn is_bar(&self) -> bool {
        matches!(self.style, Style::Bar(_))
    }
}
