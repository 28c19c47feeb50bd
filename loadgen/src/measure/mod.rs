//! One shape of load on any push server, from one thread: subscribers and publisher together, so
//! that closed loops are exact and one core is all it takes. The course: connect and subscribe
//! everybody, warm up, count over a window (CPU of the server's processes first), stop, wait until
//! everything has arrived. Every wait has an end.
//!
//! | module | holds |
//! |---|---|
//! | `plan`, `pacing` | what the arguments mean; when the next update may be published |
//! | `session` | connections, and the loop |
//! | `account`, `recent`, `echo` | who has got what |
//! | `window`, `report` | what was used meanwhile; JSON and a few lines for people |

mod account;
mod echo;
mod pacing;
mod plan;
mod recent;
mod report;
mod session;
mod window;

pub use account::Sums;
pub use pacing::Shape;
pub use plan::Plan;
pub use report::Report;
pub use window::{ServerCpu, Window};

use crate::clock;
use anyhow::{bail, ensure};
use mio::Events;
use pacing::Pacing;
use report::Findings;
use session::Session;
use std::time::Duration;
use window::Mark;

/// How long nothing at all may happen.
const STALL: Duration = Duration::from_secs(10);
/// How often the loop looks at its deadlines.
const LOOK: Duration = Duration::from_millis(20);
/// How long subscriptions without acks may take to get their first update, for each try.
const FIRST_UPDATE: Duration = Duration::from_millis(500);
/// How often they are tried.
const FIRST_UPDATE_TRIES: u32 = 20;

/// Carries out a plan.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut course = Course {
        plan,
        session: Session::new(plan)?,
        events: Session::events(),
    };
    let before = course.mark()?;
    course.join()?;
    let joined = course.mark()?;
    let mut findings = Findings {
        join: before.until(&joined),
        joined: course.session.tally.joined,
        before: Some(before.memory()),
        ..Findings::default()
    };
    match plan.shape {
        Shape::Hold => {
            course.listen(plan.duration)?;
            let held = course.mark()?;
            findings.window = Some(joined.until(&held));
        }
        _ => course.load(&mut findings)?,
    }
    findings.held = Some(course.mark()?.memory());
    let report = Report::new(plan, &course.session, &findings);
    course.session.cut();
    Ok(report)
}

struct Course<'a> {
    plan: &'a Plan,
    session: Session<'a>,
    events: Events,
}

impl Course<'_> {
    /// Opens and subscribes all connections.
    fn join(&mut self) -> anyhow::Result<()> {
        self.session.begin_joining();
        let mut progress = Stall::new();
        while self.session.tally.joined < u64::from(self.plan.connections) {
            self.turn(LOOK)?;
            let tally = &self.session.tally;
            let (joined, all) = (tally.joined, self.plan.connections);
            ensure!(
                tally.ends.total() == 0,
                "{joined} of {all} connections joined, then: {}",
                tally.ends
            );
            if progress.is_stalled(joined) {
                bail!("{joined} of {all} connections joined, then nothing for {STALL:?}");
            }
        }
        Ok(())
    }

    /// Warms up, measures, and waits for what is under way.
    fn load(&mut self, findings: &mut Findings) -> anyhow::Result<()> {
        match self.plan.shape {
            Shape::Echo(_) => self.session.begin_echo(),
            Shape::Rejoin => self.session.begin_rejoining(),
            _ => {
                self.open_publisher()?;
                self.begin_subscriptions()?;
                self.session.pacing = Pacing::begin(self.plan.shape, clock::monotonic_ns());
            }
        }
        self.listen(self.plan.warm_up)?;
        self.session.begin_window();
        let begin = self.mark()?;
        findings.is_stalled = self.listen(self.plan.duration)?;
        let end = self.mark()?;
        findings.window = Some(begin.until(&end));
        findings.missing_at_end = self.session.account.missing();
        self.session.pacing = Pacing::Paused;
        self.session.end_rejoining();
        self.drain()
    }

    fn open_publisher(&mut self) -> anyhow::Result<()> {
        self.session.open_publisher()?;
        let mut progress = Stall::new();
        while !self.session.publisher_is_open() {
            self.turn(LOOK)?;
            if progress.is_stalled(0) || self.session.tally.ends.total() > 0 {
                bail!("the publisher cannot connect: {}", self.session.tally.ends);
            }
        }
        self.session.greet();
        Ok(())
    }

    /// Where nothing acknowledges a subscription, publishes until everybody has had an update of each
    /// of its topics.
    fn begin_subscriptions(&mut self) -> anyhow::Result<()> {
        for _ in 0..FIRST_UPDATE_TRIES {
            if self.session.account.has_begun() {
                self.session.account.forgive();
                return Ok(());
            }
            self.session.pacing = Pacing::Once(self.plan.topics.len() as u32);
            let end_ns = clock::monotonic_ns() + FIRST_UPDATE.as_nanos() as u64;
            while clock::monotonic_ns() < end_ns && self.session.account.under_way() > 0
                || matches!(self.session.pacing, Pacing::Once(1..))
            {
                self.turn(LOOK)?;
            }
        }
        bail!("some subscriptions have not got a first update in {FIRST_UPDATE_TRIES} tries");
    }

    /// Serves what happens for so long; ends early, and says so, when nothing happens any more.
    fn listen(&mut self, length: Duration) -> anyhow::Result<bool> {
        let end_ns = clock::monotonic_ns() + length.as_nanos() as u64;
        let mut progress = Stall::new();
        loop {
            let left_ns = end_ns.saturating_sub(clock::monotonic_ns());
            if left_ns == 0 {
                return Ok(false);
            }
            self.turn(LOOK.min(Duration::from_nanos(left_ns)))?;
            let is_loaded = !matches!(self.plan.shape, Shape::Hold);
            if is_loaded && progress.is_stalled(self.successes()) {
                return Ok(true);
            }
        }
    }

    fn drain(&mut self) -> anyhow::Result<()> {
        let end_ns = clock::monotonic_ns() + self.plan.drain_timeout.as_nanos() as u64;
        while self.session.account.under_way() > 0 && clock::monotonic_ns() < end_ns {
            self.turn(LOOK)?;
        }
        Ok(())
    }

    fn turn(&mut self, at_most: Duration) -> anyhow::Result<()> {
        Ok(self.session.turn(at_most, &mut self.events)?)
    }

    fn successes(&self) -> u64 {
        let session = &self.session;
        match self.plan.shape {
            Shape::Echo(_) => session.echo.as_ref().map_or(0, |echo| echo.returned),
            Shape::Rejoin => session.tally.joined,
            _ => session.account.sums.delivered,
        }
    }

    fn mark(&self) -> anyhow::Result<Mark> {
        let mut sums = self.session.account.sums;
        // What an echo delivers is what comes back, and a rejoin is a success of its own.
        sums.delivered = self.successes();
        let bytes_in = self.session.tally.bytes_in;
        Ok(Mark::now(self.plan.server_pid, sums, bytes_in)?)
    }
}

/// Notices when nothing has moved for too long.
struct Stall {
    successes: u64,
    since_ns: u64,
}

impl Stall {
    fn new() -> Stall {
        Stall {
            successes: 0,
            since_ns: clock::monotonic_ns(),
        }
    }

    fn is_stalled(&mut self, successes: u64) -> bool {
        let now_ns = clock::monotonic_ns();
        if successes != self.successes {
            (self.successes, self.since_ns) = (successes, now_ns);
        }
        now_ns - self.since_ns > STALL.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::plan::Host;
    use clap::Parser as _;

    /// The plan that these arguments of `measure` make, on a host of 20,000 open files.
    pub(super) fn plan(arguments: &str) -> anyhow::Result<Plan> {
        let words = ["fanfare-loadgen", "measure"]
            .into_iter()
            .chain(arguments.split_whitespace());
        let Command::Measure(args) = Cli::try_parse_from(words)?.command else {
            bail!("no measure");
        };
        let host = Host {
            open_files_max: 20_000,
            cores: 2,
            local_ports: 28_232,
        };
        Plan::new(*args, &host)
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_sentence() {
        for (arguments, sentence) in [
            ("--payload-bytes 40", "--payload-bytes must be at least"),
            ("--subscriptions 2", "more than the 1 topics"),
            ("--connections 5 --topics 6", "without a subscriber"),
            ("--connections 30000", "one thread holds at most"),
            (
                "--payload-from /nowhere",
                "--payload-from: /nowhere: No such file",
            ),
            ("--payload-from /dev/null", "/dev/null is empty"),
            ("--rate 0", "--rate must be more than 0"),
            ("--echo 0", "--echo must be at least 1 byte"),
            ("--rate 5 --burst 5", "cannot be used with"),
            ("--rejoin --rate 5", "cannot be used with"),
            ("--rejoin --connections 9", "needs more --connections"),
            ("--protocol raw-json", "needs --subscribe-template"),
            (
                "--protocol fanfare-poll --topics 2 --subscriptions 2",
                "a poll is of one topic",
            ),
        ] {
            let error = format!("{:#}", plan(arguments).unwrap_err());
            assert!(error.contains(sentence), "{arguments}: {error}");
        }
    }

    #[test]
    fn connections_take_the_topics_in_turn() {
        let plan = plan("--connections 3 --topics 4 --subscriptions 3").unwrap();
        let topics: Vec<String> = (0..3)
            .map(|slot| plan.topics_of(slot).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(topics, ["t0 t1 t2", "t3 t0 t1", "t2 t3 t0"]);
    }
}
