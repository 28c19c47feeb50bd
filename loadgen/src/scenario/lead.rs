//! Leads the crew through a scenario: orders, waits that all have an end, samples on the way, and
//! the books that members hand over. What the phases do with it is in `steps.rs`.

use super::Baseline;
use super::curve::Point;
use super::script::Script;
use super::server::Watch;
use crate::clock;
use crate::control::Control;
use crate::crew::{Books, Crew};
use crate::latency::Latency;
use crate::phase::{Load, Note, Order, Outcome, Pace};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::publisher::PublisherReport;
use crate::tally::Figures;
use crate::worker::WorkerReport;
use anyhow::bail;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often the curve and the server are sampled.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// How long members may take to hand over their books: each looks at every subscription.
const BOOKS_TIMEOUT: Duration = Duration::from_secs(60);
/// Deliveries that have not moved for so long have all arrived.
const CALM: Duration = Duration::from_millis(100);

/// The crew, and everything that is noted down about it.
#[derive(Debug)]
pub(super) struct Lead<'a> {
    pub(super) script: &'a Script,
    pub(super) crew: Crew,
    pub(super) control: Control<'a>,
    pub(super) watch: Watch,
    pub(super) points: Vec<Point>,
    /// Latencies of the phase under way.
    pub(super) measured: Measured,
    pub(super) is_interrupted: bool,
    /// Nothing more is asked of the server: the deadline no longer counts, what follows has bounds
    /// of its own.
    pub(super) is_ending: bool,
    pub(super) started: Instant,
    pub(super) progress: Progress,
    /// Where the phase proper began, if something came before it that does not count.
    pub(super) begun_again: Option<Baseline>,
    /// The phase under way, for the progress line.
    pub(super) label: String,
    notes: Receiver<Note>,
    settled: usize,
    books: Vec<Books>,
    next_sample: Instant,
}

/// Where the topics stand, by number; or why the server did not say.
pub(super) type Finals = Result<Arc<[u64]>, String>;

/// Latencies, all members together.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) handshake: Latency,
    pub(super) subscribe: Latency,
    pub(super) join: Latency,
    pub(super) delivery: Latency,
    pub(super) slip: Latency,
    pub(super) time_to_last: Latency,
}

/// What ends a wait before it is over by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) at_most: Duration,
    /// The time in which nothing has moved.
    pub(super) stalled_after: Duration,
    /// How often to look, besides when a member says something.
    pub(super) look_every: Duration,
}

impl Patience {
    pub(super) fn at_most(at_most: Duration) -> Patience {
        Patience {
            at_most,
            stalled_after: Duration::MAX,
            look_every: SAMPLE_EVERY,
        }
    }
}

impl<'a> Lead<'a> {
    pub(super) fn start(
        script: &'a Script,
        notes: (Sender<Note>, Receiver<Note>),
    ) -> anyhow::Result<(Lead<'a>, Vec<u64>)> {
        let mut control = Control::open(&script.plan)?;
        let seqs_before = control.check_topics()?;
        let crew = Crew::start(&script.plan, &notes.0)?;
        let mut lead = Lead {
            script,
            crew,
            control,
            watch: Watch::new(script.server_pid),
            points: Vec::new(),
            measured: Measured::default(),
            is_interrupted: false,
            is_ending: false,
            started: Instant::now(),
            progress: Progress::new(&script.plan),
            begun_again: None,
            label: "assemble".to_owned(),
            notes: notes.1,
            settled: 0,
            books: Vec::new(),
            next_sample: Instant::now(),
        };
        lead.wait_settled(Patience::at_most(2 * script.plan.answer_timeout))?;
        lead.started = Instant::now();
        lead.points.clear();
        Ok((lead, seqs_before))
    }

    pub(super) fn plan(&self) -> &'a Plan {
        &self.script.plan
    }

    /// How fast an order is carried out that begins now.
    pub(super) fn pace(&self, per_s: f64, in_flight: Option<u32>) -> Pace {
        let plan = self.plan();
        let in_flight_max = in_flight.unwrap_or(plan.in_flight_max);
        Pace {
            start_ns: clock::monotonic_ns(),
            per_s,
            in_flight_max: in_flight_max.div_ceil(plan.workers),
            answer_timeout_ns: plan.answer_timeout.as_nanos() as u64,
        }
    }

    /// As long as something succeeds; a slow schedule is no stall.
    pub(super) fn while_moving(&self, per_s: f64) -> Patience {
        let plan = self.plan();
        let period = if per_s > 0.0 { 2.0 / per_s } else { 0.0 };
        let period = Duration::try_from_secs_f64(period).unwrap_or(plan.deadline);
        Patience {
            stalled_after: plan.stall_timeout + period,
            ..Patience::at_most(plan.deadline)
        }
    }

    pub(super) fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        self.settled = 0;
        Ok(self.crew.order(order)?)
    }

    /// Begins to publish; what else is going on goes on.
    pub(super) fn publish(&mut self, load: Load) -> anyhow::Result<()> {
        self.settled = 0;
        Ok(self.crew.order_publisher(&Order::Publish(load))?)
    }

    /// Publishes no more, waits for the answers, and until everything has arrived.
    pub(super) fn quiet(&mut self) -> anyhow::Result<Outcome> {
        let patience = Patience::at_most(self.plan().drain_timeout);
        self.settled = 0;
        self.crew.order_publisher(&Order::Quiet)?;
        let outcome = self.wait(patience, |lead| lead.settled >= 1)?;
        let mut moved = (Instant::now(), 0);
        let look = Patience {
            look_every: CALM / 4,
            ..patience
        };
        let arrivals = |figures: Figures| figures.delivered.wrapping_add(figures.left_out);
        let calm = self.wait(look, |lead| {
            let arrived = arrivals(lead.crew.figures());
            if arrived != moved.1 {
                moved = (Instant::now(), arrived);
            }
            moved.0.elapsed() >= CALM
        })?;
        Ok(worse(outcome, calm))
    }

    /// Waits until every member has settled the last order.
    pub(super) fn wait_settled(&mut self, patience: Patience) -> anyhow::Result<Outcome> {
        self.wait(patience, |lead| lead.settled >= lead.crew.len())
    }

    /// Lets time pass.
    pub(super) fn rest(&mut self, length: Duration) -> anyhow::Result<Outcome> {
        let end = Instant::now() + length;
        let patience = Patience {
            look_every: length.min(SAMPLE_EVERY),
            ..Patience::at_most(Duration::MAX)
        };
        self.wait(patience, |_| Instant::now() >= end)
    }

    pub(super) fn wait(
        &mut self,
        patience: Patience,
        mut is_done: impl FnMut(&Lead<'_>) -> bool,
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

    /// The books of all members together: counts are of the whole scenario so far, latencies are
    /// those since the last time and go to [`Lead::measured`]. Returns the latencies of the
    /// deliveries once more.
    pub(super) fn account(
        &mut self,
        audit: bool,
    ) -> anyhow::Result<(WorkerReport, PublisherReport, Latency)> {
        self.books.clear();
        self.order(&Order::Account { audit })?;
        let end = Instant::now() + BOOKS_TIMEOUT;
        while self.books.len() < self.crew.len() {
            if Instant::now() >= end {
                bail!("a member does not hand over its books");
            }
            self.listen(SAMPLE_EVERY)?;
        }
        let mut workers = WorkerReport::default();
        let mut publishers = PublisherReport::default();
        for books in std::mem::take(&mut self.books) {
            match books {
                Books::Worker(report) => workers.merge(*report),
                Books::Publisher(report) => publishers = *report,
            }
        }
        let measured = &mut self.measured;
        measured.handshake.merge(&workers.handshake);
        measured.subscribe.merge(&workers.subscribe);
        measured.join.merge(&workers.join);
        let delivery = std::mem::take(&mut workers.delivery.healthy);
        measured.delivery.merge(&delivery);
        measured.slip.merge(&publishers.slip);
        Ok((workers, publishers, delivery))
    }

    /// What was measured so far does not count.
    pub(super) fn begin_measuring(&mut self) -> anyhow::Result<()> {
        let (workers, publishers, _) = self.account(false)?;
        self.measured = Measured::default();
        self.watch.begin();
        self.begun_again = Some(Baseline {
            workers,
            publishers,
            ..Baseline::now()?
        });
        Ok(())
    }

    /// Where the topics stand, and whether everybody gets there.
    pub(super) fn drain(&mut self) -> anyhow::Result<(Outcome, Finals)> {
        let patience = Patience::at_most(self.plan().drain_timeout);
        let quiet = self.quiet()?;
        let finals: Arc<[u64]> = match self.control.check_topics() {
            Ok(seqs) => seqs.into(),
            Err(error) => return Ok((Outcome::TimedOut, Err(format!("{error:#}")))),
        };
        self.order(&Order::Drain(finals.clone()))?;
        let drained = self.wait_settled(patience)?;
        Ok((worse(quiet, drained), Ok(finals)))
    }

    /// Adds a point to the curve.
    pub(super) fn sample(&mut self) {
        let figures = self.crew.figures();
        let server = self.watch.look().unwrap_or_default();
        self.points.push(Point {
            t_ms: self.started.elapsed().as_secs_f64() * 1000.0,
            opened: figures.opened,
            open: figures.open(),
            server_rss_bytes: server.rss_bytes,
        });
        self.progress.show(&self.label, &figures);
    }

    fn listen(&mut self, at_most: Duration) -> anyhow::Result<()> {
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
            Ok(Note::Interrupt) => self.is_interrupted = true,
            // The crew holds a sender, so the channel is open.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        Ok(())
    }

    pub(super) fn must_end(&self) -> Option<Outcome> {
        if self.is_interrupted {
            return Some(Outcome::Interrupted);
        }
        let is_over = !self.is_ending && self.started.elapsed() >= self.plan().deadline;
        is_over.then_some(Outcome::TimedOut)
    }
}

/// The outcome that is further from done.
pub(super) fn worse(one: Outcome, other: Outcome) -> Outcome {
    if one == Outcome::Done { other } else { one }
}
