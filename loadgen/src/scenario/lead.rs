//! Leads the crew through a scenario: what is noted down on the way, and the books that members
//! hand over. What the phases do with it is in `steps.rs`.

use super::Baseline;
use super::curve::Point;
use super::script::Script;
use super::server::Watch;
use crate::conductor::{Conductor, Finals, Notebook, Patience};
use crate::crew::Books;
use crate::latency::Latency;
use crate::phase::{Load, Note, Order, Outcome};
use crate::publisher::PublisherReport;
use crate::tally::Figures;
use crate::worker::WorkerReport;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// How long members may take to hand over their books: each looks at every subscription.
const BOOKS_TIMEOUT: Duration = Duration::from_secs(60);
/// Deliveries that have not moved for so long have all arrived.
const CALM: Duration = Duration::from_millis(100);

/// The leader of a scenario is a conductor who keeps its records.
pub(super) type Lead<'a> = Conductor<'a, Records<'a>>;

/// The script, and everything that is noted down about it.
#[derive(Debug)]
pub(super) struct Records<'a> {
    pub(super) script: &'a Script,
    pub(super) watch: Watch,
    pub(super) points: Vec<Point>,
    /// Latencies of the phase under way.
    pub(super) measured: Measured,
    /// Where the phase proper began, if something came before it that does not count.
    pub(super) begun_again: Option<Baseline>,
}

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

impl Notebook for Records<'_> {
    fn sample(&mut self, at: Duration, figures: &Figures) {
        let server = self.watch.look().unwrap_or_default();
        self.points.push(Point {
            t_ms: at.as_secs_f64() * 1000.0,
            opened: figures.opened,
            open: figures.open(),
            server_rss_bytes: server.rss_bytes,
        });
    }
}

/// The crew, ready; and where the topics stand.
pub(super) fn start(
    script: &Script,
    notes: (Sender<Note>, Receiver<Note>),
) -> anyhow::Result<(Lead<'_>, Vec<u64>)> {
    let records = Records {
        script,
        watch: Watch::new(script.server_pid),
        points: Vec::new(),
        measured: Measured::default(),
        begun_again: None,
    };
    let (mut lead, seqs_before) = Conductor::start(&script.plan, notes, records)?;
    lead.wait_settled(Patience::at_most(2 * script.plan.answer_timeout))?;
    lead.started = Instant::now();
    lead.notebook.points.clear();
    Ok((lead, seqs_before))
}

impl Lead<'_> {
    /// Begins to publish; what else is going on goes on.
    pub(super) fn publish(&mut self, load: Load) -> anyhow::Result<()> {
        self.order_publisher(&Order::Publish(load))
    }

    /// Publishes no more, waits for the answers, and until everything has arrived.
    pub(super) fn quiet(&mut self) -> anyhow::Result<Outcome> {
        let patience = Patience::at_most(self.plan.drain_timeout);
        self.order_publisher(&Order::Quiet)?;
        let outcome = self.wait_settled_by(1, patience)?;
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
        Ok(outcome.and(calm))
    }

    /// The books of all members together: counts are of the whole scenario so far, latencies are
    /// those since the last time and go to [`Records::measured`]. Returns the latencies of the
    /// deliveries once more.
    pub(super) fn add_up(
        &mut self,
        audit: bool,
    ) -> anyhow::Result<(WorkerReport, PublisherReport, Latency)> {
        let mut workers = WorkerReport::default();
        let mut publishers = PublisherReport::default();
        for books in self.account(audit, BOOKS_TIMEOUT)? {
            match books {
                Books::Worker(report) => workers.merge(*report),
                Books::Publisher(report) => publishers = *report,
            }
        }
        let measured = &mut self.notebook.measured;
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
        let (workers, publishers, _) = self.add_up(false)?;
        self.notebook.measured = Measured::default();
        self.notebook.watch.begin();
        self.notebook.begun_again = Some(Baseline {
            workers,
            publishers,
            ..Baseline::now()?
        });
        Ok(())
    }

    /// Publishes no more; where the topics stand, and whether everybody gets there.
    pub(super) fn end_load(&mut self) -> anyhow::Result<(Outcome, Finals)> {
        let quiet = self.quiet()?;
        let (drained, finals) = self.drain()?;
        Ok((quiet.and(drained), finals))
    }
}
