//! Carries out a plan: starts the crew, leads it through the scenario phase by phase, takes samples
//! on the way, and hands everything to the report. Every wait has an end: the phase's, the run's
//! deadline, or the operator's interrupt.

use crate::clock;
use crate::control::Control;
use crate::crew::Crew;
use crate::phase::{Load, Note, Order, Outcome, Pace, Phase, SCENARIO};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::{Course, Mark, Report};
use crate::topics::Popularity;
use anyhow::bail;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often samples of the connect curve are taken.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Added to the time that members give an answer, so that they are the ones who notice.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// Carries out the plan. `notes` is a channel whose sender the caller may use for
/// [`Note::Interrupt`].
pub fn run(plan: &Arc<Plan>, notes: (Sender<Note>, Receiver<Note>)) -> anyhow::Result<Report> {
    let mut control = Control::open(plan)?;
    let seqs_before = control.check_topics()?;
    let crew = Crew::start(plan, &notes.0)?;
    let mut coordinator = Coordinator {
        plan,
        crew,
        control,
        notes: notes.1,
        settled: 0,
        is_interrupted: false,
        has_failed: false,
        deadline: Instant::now() + plan.deadline,
        next_sample: Instant::now(),
        progress: Progress::new(plan),
        course: Course::new(seqs_before),
    };
    for phase in SCENARIO {
        coordinator.carry_out(phase)?;
    }
    coordinator.progress.clear();
    let Coordinator {
        crew,
        control,
        course,
        ..
    } = coordinator;
    control.close();
    let (workers, publishers) = crew.finish()?;
    Ok(Report::new(plan, course, workers, publishers))
}

struct Coordinator<'a> {
    plan: &'a Plan,
    crew: Crew,
    control: Control<'a>,
    notes: Receiver<Note>,
    /// Members that have settled the last order.
    settled: usize,
    is_interrupted: bool,
    /// A phase has not come to its end: more load would prove nothing.
    has_failed: bool,
    deadline: Instant,
    next_sample: Instant,
    progress: Progress,
    course: Course,
}

/// What ends a wait besides everybody being settled.
#[derive(Clone, Copy)]
struct Patience {
    /// The whole wait.
    at_most: Duration,
    /// The time in which nothing has moved.
    stalled_after: Duration,
}

impl Patience {
    const fn at_most(at_most: Duration) -> Patience {
        Patience {
            at_most,
            stalled_after: Duration::MAX,
        }
    }
}

impl Coordinator<'_> {
    fn carry_out(&mut self, phase: Phase) -> anyhow::Result<()> {
        if phase.is_load() && (self.has_failed || self.must_end().is_some()) {
            return Ok(());
        }
        let before = Mark::now(&self.crew)?;
        let plan = self.plan;
        let outcome = match phase {
            Phase::Assemble => self.wait(phase, Patience::at_most(2 * plan.answer_timeout))?,
            Phase::Connect => {
                let pace = self.pace(plan.connect_rate_per_s, plan.answer_timeout);
                self.order(&Order::Connect(pace))?;
                self.wait(phase, self.while_moving(plan.connect_rate_per_s))?
            }
            Phase::Subscribe => {
                let pace = self.pace(plan.subscribe_rate_per_s, plan.answer_timeout);
                self.order(&Order::Subscribe { pace, batch: 0 })?;
                self.wait(phase, self.while_moving(plan.subscribe_rate_per_s))?
            }
            Phase::Steady => self.steady()?,
            Phase::Drain => self.drain()?,
            Phase::Close => {
                let pace = self.pace(0.0, plan.close_timeout);
                self.order(&Order::Close(pace))?;
                self.wait(
                    phase,
                    self.while_moving_at_least(plan.close_timeout + ANSWER_GRACE),
                )?
            }
        };
        self.has_failed |= matches!(outcome, Outcome::Stalled | Outcome::TimedOut);
        let after = Mark::now(&self.crew)?;
        self.course.add_phase(phase, outcome, &before, &after);
        Ok(())
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
            self.listen(cut_at.unwrap_or(end).min(end), Phase::Steady)?;
        }
        if self.plan.readers.cut_after.is_none() {
            return Ok(Outcome::Done);
        }
        // Whoever was cut and is not back by now is waited for.
        self.wait(Phase::Steady, self.while_moving(0.0))
    }

    /// Cuts everybody who can resume; the publishing goes on.
    fn cut(&mut self) -> anyhow::Result<()> {
        let pace = self.pace(0.0, self.plan.answer_timeout);
        self.order(&Order::Storm {
            pace,
            percent: 100.0,
        })
    }

    /// Waits until every publish is answered, asks where the topics stand, and waits until
    /// everybody is there.
    fn drain(&mut self) -> anyhow::Result<Outcome> {
        let patience = Patience::at_most(self.plan.drain_timeout);
        // An interrupted run has the right to a verdict too, so what is under way is waited for; a
        // second interrupt ends this as well.
        self.is_interrupted = false;
        self.order(&Order::Quiet)?;
        let quiet = self.wait(Phase::Drain, patience)?;
        let finals: Arc<[u64]> = match self.control.check_topics() {
            Ok(seqs) => seqs.into(),
            Err(error) => {
                self.course.check_error = Some(format!("{error:#}"));
                return Ok(quiet);
            }
        };
        self.course.finals = Some(finals.clone());
        self.order(&Order::Drain(finals))?;
        let drained = self.wait(Phase::Drain, patience)?;
        Ok(if drained == Outcome::Done {
            quiet
        } else {
            drained
        })
    }

    fn pace(&self, per_s: f64, answer_timeout: Duration) -> Pace {
        Pace {
            start_ns: clock::monotonic_ns(),
            per_s,
            in_flight_max: self.plan.in_flight_max.div_ceil(self.plan.workers),
            answer_timeout_ns: answer_timeout.as_nanos() as u64,
        }
    }

    /// As long as connections succeed; a slow schedule is no stall.
    fn while_moving(&self, per_s: f64) -> Patience {
        let period = if per_s > 0.0 {
            Duration::try_from_secs_f64(2.0 / per_s)
        } else {
            Ok(Duration::ZERO)
        };
        self.while_moving_at_least(self.plan.stall_timeout + period.unwrap_or(self.plan.deadline))
    }

    fn while_moving_at_least(&self, stalled_after: Duration) -> Patience {
        Patience {
            at_most: self.plan.deadline,
            stalled_after,
        }
    }

    fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        self.settled = 0;
        Ok(self.crew.order(order)?)
    }

    /// Waits until every member has settled the last order.
    fn wait(&mut self, phase: Phase, patience: Patience) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let mut moved = (begun, self.crew.figures());
        while self.settled < self.crew.len() {
            match self.must_end() {
                Some(outcome) if phase.is_load() || outcome == Outcome::Interrupted => {
                    return Ok(outcome);
                }
                _ => {}
            }
            if begun.elapsed() >= patience.at_most {
                return Ok(Outcome::TimedOut);
            }
            let figures = self.crew.figures();
            if figures.successes() != moved.1.successes() {
                moved = (Instant::now(), figures);
            }
            if moved.0.elapsed() >= patience.stalled_after {
                return Ok(Outcome::Stalled);
            }
            self.listen(self.next_sample, phase)?;
        }
        Ok(Outcome::Done)
    }

    /// Waits for a note, at most until `until` or the next sample.
    fn listen(&mut self, until: Instant, phase: Phase) -> anyhow::Result<()> {
        let now = Instant::now();
        if now >= self.next_sample {
            let figures = self.crew.figures();
            self.course.sample(&figures);
            self.control.tend();
            self.progress.show(phase.name(), &figures);
            self.next_sample = now + SAMPLE_EVERY;
        }
        let wait = until.min(self.next_sample).saturating_duration_since(now);
        match self.notes.recv_timeout(wait) {
            Ok(Note::Settled { number }) => {
                self.settled += usize::from(number == self.crew.number());
            }
            Ok(Note::Broken { member, error }) => bail!("{member} has failed: {error}"),
            Ok(Note::Interrupt) => {
                self.is_interrupted = true;
                self.course.is_interrupted = true;
            }
            // A run asks for no books but at its end.
            Ok(Note::Books(_)) => {}
            // The crew holds a sender, so the channel is open.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        Ok(())
    }

    /// Whether the phases that put load on the server must end. What brings the run to its end has
    /// bounds of its own.
    fn must_end(&self) -> Option<Outcome> {
        if self.is_interrupted {
            return Some(Outcome::Interrupted);
        }
        (Instant::now() >= self.deadline).then_some(Outcome::TimedOut)
    }
}
