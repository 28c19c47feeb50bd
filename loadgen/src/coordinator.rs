//! Carries out a plan: leads the crew through the phases of a run, and hands everything to the
//! report.

use crate::clock;
use crate::conductor::{Conductor, Notebook, Patience};
use crate::phase::{Load, Note, Order, Outcome, Pace, Phase, SCENARIO};
use crate::plan::Plan;
use crate::report::{Course, Mark, Report};
use crate::tally::Figures;
use crate::topics::Popularity;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// Added to the time that members give an answer, so that they are the ones who notice.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// The coordinator of a run is a conductor who notes down its course.
type Coordinator<'a> = Conductor<'a, Course>;

impl Notebook for Course {
    fn sample(&mut self, _: Duration, figures: &Figures) {
        Course::sample(self, figures);
    }
}

/// Carries out the plan. `notes` is a channel whose sender the caller may use for
/// [`Note::Interrupt`].
pub fn run(plan: &Arc<Plan>, notes: (Sender<Note>, Receiver<Note>)) -> anyhow::Result<Report> {
    let (mut coordinator, seqs_before) = Conductor::start(plan, notes, Course::new(Vec::new()))?;
    coordinator.notebook.seqs_before = seqs_before;
    let mut has_failed = false;
    for phase in SCENARIO {
        // After a failure more load would prove nothing; the other phases bring the run to its end,
        // and have bounds of their own.
        coordinator.is_ending = !phase.is_load();
        if phase.is_load() && (has_failed || coordinator.must_end().is_some()) {
            continue;
        }
        let outcome = coordinator.carry_out(phase)?;
        has_failed |= matches!(outcome, Outcome::Stalled | Outcome::TimedOut);
    }
    coordinator.progress.clear();
    let Conductor {
        crew,
        control,
        notebook: mut course,
        was_interrupted,
        ..
    } = coordinator;
    course.is_interrupted = was_interrupted;
    control.close();
    let (workers, publishers) = crew.finish()?;
    Ok(Report::new(plan, course, workers, publishers))
}

impl Coordinator<'_> {
    fn carry_out(&mut self, phase: Phase) -> anyhow::Result<Outcome> {
        phase.name().clone_into(&mut self.label);
        let before = Mark::now(&self.crew)?;
        let plan = self.plan;
        let outcome = match phase {
            Phase::Assemble => self.wait_settled(Patience::at_most(2 * plan.answer_timeout))?,
            Phase::Connect => {
                let pace = self.pace(plan.connect_rate_per_s);
                self.order(&Order::Connect(pace))?;
                self.wait_settled(self.while_moving(plan.connect_rate_per_s))?
            }
            Phase::Subscribe => {
                let pace = self.pace(plan.subscribe_rate_per_s);
                self.order(&Order::Subscribe { pace, batch: 0 })?;
                self.wait_settled(self.while_moving(plan.subscribe_rate_per_s))?
            }
            Phase::Steady => self.steady()?,
            Phase::Drain => self.end_load()?,
            Phase::Close => self.close()?,
        };
        let after = Mark::now(&self.crew)?;
        self.notebook.add_phase(phase, outcome, &before, &after);
        Ok(outcome)
    }

    /// Publishes and listens for the plan's duration.
    fn steady(&mut self) -> anyhow::Result<Outcome> {
        let start_ns = clock::monotonic_ns();
        let end_ns = start_ns + self.plan.duration.as_nanos() as u64;
        self.order(&Order::Publish(Load {
            start_ns,
            end_ns,
            per_s: self.plan.publish_rate_per_s,
            first_topic: 0,
            popularity: Arc::new(Popularity::new(self.plan.topics.len() as u32, None)),
            payload_bytes: self.plan.payload_bytes,
        }))?;
        let end = Instant::now() + self.plan.duration;
        let mut cut_at = self
            .plan
            .readers
            .cut_after
            .map(|after| Instant::now() + after);
        loop {
            if let Some(outcome) = self.must_end() {
                return Ok(outcome);
            }
            if cut_at.take_if(|at| Instant::now() >= *at).is_some() {
                self.cut()?;
            }
            if Instant::now() >= end {
                break;
            }
            let figures = self.crew.figures();
            if figures.opened > 0 && figures.disconnected == figures.opened {
                return Ok(Outcome::Stalled);
            }
            let until = cut_at.unwrap_or(end).min(end);
            self.listen(until.saturating_duration_since(Instant::now()))?;
        }
        if self.plan.readers.cut_after.is_none() {
            return Ok(Outcome::Done);
        }
        // Whoever was cut and is not back by now is waited for.
        self.wait_settled(self.while_moving(0.0))
    }

    /// Cuts everybody who can resume; the publishing goes on.
    fn cut(&mut self) -> anyhow::Result<()> {
        let pace = self.pace(0.0);
        self.order(&Order::Storm {
            pace,
            percent: 100.0,
        })
    }

    /// Waits until every publish is answered, asks where the topics stand, and waits until
    /// everybody is there.
    fn end_load(&mut self) -> anyhow::Result<Outcome> {
        // An interrupted run has the right to a verdict too, so what is under way is waited for; a
        // second interrupt ends this as well.
        self.is_interrupted = false;
        self.order(&Order::Quiet)?;
        let quiet = self.wait_settled(Patience::at_most(self.plan.drain_timeout))?;
        let (drained, finals) = self.drain()?;
        match finals {
            Ok(finals) => self.notebook.finals = Some(finals),
            Err(error) => self.notebook.check_error = Some(error),
        }
        Ok(drained.and(quiet))
    }

    fn close(&mut self) -> anyhow::Result<Outcome> {
        let plan = self.plan;
        self.order(&Order::Close(Pace {
            answer_timeout_ns: plan.close_timeout.as_nanos() as u64,
            ..self.pace(0.0)
        }))?;
        self.wait_settled(Patience {
            stalled_after: plan.close_timeout + ANSWER_GRACE,
            ..self.while_moving(0.0)
        })
    }
}
