//! Leads a crew: gives orders, and waits until they are settled. Every wait has an end: its own, the
//! deadline of the whole, or the operator's interrupt. Samples are taken on the way, and go into a
//! [`Notebook`].
//!
//! Which orders, and what they show, is for the coordinator of a run ([`crate::coordinator`]) and the
//! phases of a scenario ([`crate::scenario`]).

use crate::clock;
use crate::control::Control;
use crate::crew::{Books, Crew};
use crate::phase::{Note, Order, Outcome, Pace};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::tally::Figures;
use anyhow::bail;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often samples are taken.
pub const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Where the topics stand, by number; or why the server did not say.
pub type Finals = Result<Arc<[u64]>, String>;

/// What is noted down while somebody waits.
pub trait Notebook {
    /// The running figures, so long after the crew got ready.
    fn sample(&mut self, at: Duration, figures: &Figures);
}

/// A crew, and the way to everything that it does.
#[derive(Debug)]
pub struct Conductor<'a, N> {
    /// What is carried out.
    pub plan: &'a Plan,
    /// The members.
    pub crew: Crew,
    /// The question where the topics stand.
    pub control: Control<'a>,
    /// What is noted down.
    pub notebook: N,
    /// The operator wants what is under way to end.
    pub is_interrupted: bool,
    /// The operator has wanted that at any time.
    pub was_interrupted: bool,
    /// Nothing more is asked of the server: the deadline no longer counts, what follows has bounds
    /// of its own.
    pub is_ending: bool,
    /// When it began.
    pub started: Instant,
    /// The line on stderr.
    pub progress: Progress,
    /// What is under way, for that line.
    pub label: String,
    notes: Receiver<Note>,
    settled: usize,
    books: Vec<Books>,
    next_sample: Instant,
}

/// What ends a wait before it is over by itself.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The whole wait.
    pub at_most: Duration,
    /// The time in which nothing has moved.
    pub stalled_after: Duration,
    /// How often to look, besides when a member says something.
    pub look_every: Duration,
}

impl Patience {
    /// So long and no longer.
    pub fn at_most(at_most: Duration) -> Patience {
        Patience {
            at_most,
            stalled_after: Duration::MAX,
            look_every: SAMPLE_EVERY,
        }
    }
}

impl<'a, N: Notebook> Conductor<'a, N> {
    /// Asks where the topics stand, which also shows that the server is there, and starts the crew,
    /// which then gets ready. Returns the last seq of each topic, too.
    pub fn start(
        plan: &'a Arc<Plan>,
        notes: (Sender<Note>, Receiver<Note>),
        notebook: N,
    ) -> anyhow::Result<(Conductor<'a, N>, Vec<u64>)> {
        let mut control = Control::open(plan)?;
        let seqs_before = control.check_topics()?;
        let conductor = Conductor {
            crew: Crew::start(plan, &notes.0)?,
            control,
            notebook,
            is_interrupted: false,
            was_interrupted: false,
            is_ending: false,
            started: Instant::now(),
            progress: Progress::new(plan),
            label: "assemble".to_owned(),
            plan,
            notes: notes.1,
            settled: 0,
            books: Vec::new(),
            next_sample: Instant::now(),
        };
        Ok((conductor, seqs_before))
    }

    /// How fast an order is carried out that begins now.
    pub fn pace(&self, per_s: f64) -> Pace {
        Pace {
            start_ns: clock::monotonic_ns(),
            per_s,
            in_flight_max: self.in_flight_max(self.plan.in_flight_max),
            answer_timeout_ns: self.plan.answer_timeout.as_nanos() as u64,
        }
    }

    /// A member's part of what may wait for an answer.
    pub fn in_flight_max(&self, over_all: u32) -> u32 {
        over_all.div_ceil(self.plan.workers)
    }

    /// As long as something succeeds; a slow schedule is no stall.
    pub fn while_moving(&self, per_s: f64) -> Patience {
        let period = if per_s > 0.0 { 2.0 / per_s } else { 0.0 };
        let period = Duration::try_from_secs_f64(period).unwrap_or(self.plan.deadline);
        Patience {
            stalled_after: self.plan.stall_timeout + period,
            ..Patience::at_most(self.plan.deadline)
        }
    }

    /// Gives every member an order.
    pub fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        self.settled = 0;
        Ok(self.crew.order(order)?)
    }

    /// Gives the publisher alone an order; what else is going on goes on.
    pub fn order_publisher(&mut self, order: &Order) -> anyhow::Result<()> {
        self.settled = 0;
        Ok(self.crew.order_publisher(order)?)
    }

    /// Waits until every member has settled the last order.
    pub fn wait_settled(&mut self, patience: Patience) -> anyhow::Result<Outcome> {
        self.wait_settled_by(self.crew.len(), patience)
    }

    /// Waits until so many members have.
    pub fn wait_settled_by(
        &mut self,
        members: usize,
        patience: Patience,
    ) -> anyhow::Result<Outcome> {
        self.wait(patience, |conductor| conductor.settled >= members)
    }

    /// Lets time pass.
    pub fn rest(&mut self, length: Duration) -> anyhow::Result<Outcome> {
        let end = Instant::now() + length;
        let patience = Patience {
            look_every: length.min(SAMPLE_EVERY),
            ..Patience::at_most(Duration::MAX)
        };
        self.wait(patience, |_| Instant::now() >= end)
    }

    /// Waits until it is done.
    pub fn wait(
        &mut self,
        patience: Patience,
        mut is_done: impl FnMut(&Self) -> bool,
    ) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        let mut moved = (begun, self.crew.figures());
        while !is_done(self) {
            if let Some(outcome) = self.must_end() {
                return Ok(outcome);
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
            self.listen(patience.look_every)?;
        }
        Ok(Outcome::Done)
    }

    /// The books of all members, one by one.
    pub fn account(&mut self, audit: bool, at_most: Duration) -> anyhow::Result<Vec<Books>> {
        self.books.clear();
        self.order(&Order::Account { audit })?;
        let end = Instant::now() + at_most;
        while self.books.len() < self.crew.len() {
            if Instant::now() >= end {
                bail!("a member does not hand over its books");
            }
            self.listen(SAMPLE_EVERY)?;
        }
        Ok(std::mem::take(&mut self.books))
    }

    /// When nothing is published any more: where the topics stand, and whether everybody gets there.
    pub fn drain(&mut self) -> anyhow::Result<(Outcome, Finals)> {
        let patience = Patience::at_most(self.plan.drain_timeout);
        let finals: Arc<[u64]> = match self.control.check_topics() {
            Ok(seqs) => seqs.into(),
            Err(error) => return Ok((Outcome::TimedOut, Err(format!("{error:#}")))),
        };
        self.order(&Order::Drain(finals.clone()))?;
        Ok((self.wait_settled(patience)?, Ok(finals)))
    }

    /// Takes a sample now.
    pub fn sample(&mut self) {
        let figures = self.crew.figures();
        self.notebook.sample(self.started.elapsed(), &figures);
        self.progress.show(&self.label, &figures);
    }

    /// Waits for a note, at most so long or until the next sample.
    pub fn listen(&mut self, at_most: Duration) -> anyhow::Result<()> {
        let now = Instant::now();
        if now >= self.next_sample {
            self.sample();
            self.control.tend();
            self.next_sample = now + SAMPLE_EVERY;
        }
        let wait = at_most.min(self.next_sample.saturating_duration_since(now));
        match self.notes.recv_timeout(wait) {
            Ok(Note::Settled { number }) => {
                self.settled += usize::from(number == self.crew.number());
            }
            Ok(Note::Books(books)) => self.books.push(books),
            Ok(Note::Broken { member, error }) => bail!("{member} has failed: {error}"),
            Ok(Note::Interrupt) => (self.is_interrupted, self.was_interrupted) = (true, true),
            // The crew holds a sender, so the channel is open.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        Ok(())
    }

    /// Whether what is under way must end.
    pub fn must_end(&self) -> Option<Outcome> {
        if self.is_interrupted {
            return Some(Outcome::Interrupted);
        }
        let is_over = !self.is_ending && self.started.elapsed() >= self.plan.deadline;
        is_over.then_some(Outcome::TimedOut)
    }
}
