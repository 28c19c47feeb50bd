//! The thread that publishes: an open-loop schedule, spread over some connections. What is due is
//! queued whether or not the server has answered before; how late it was is measured. One thread is
//! enough for more updates than a small server takes.

mod answers;
pub mod line;
mod report;

pub use report::{PublisherReport, TopicAcks};

use crate::clock;
use crate::crew::{Books, Desk};
use crate::link::LinkError;
use crate::phase::{Load, Order};
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::sys::Timer;
use crate::tally::Figures;
use crate::{link::Link, payload};
use line::{Line, Pending};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

const ALARM: Token = Token(usize::MAX - 1);
const READ_BYTES: usize = 64 << 10;
const EVENTS: usize = 256;
/// Updates queued before the sockets are written and read again.
const BURST: usize = 256;

/// Connects the publishers, then publishes as ordered until it is ordered to finish.
pub fn run(plan: Arc<Plan>, poll: Poll, desk: Desk) -> io::Result<PublisherReport> {
    let timer = Timer::new()?;
    poll.registry()
        .register(&mut SourceFd(&timer.as_raw_fd()), ALARM, Interest::READABLE)?;
    let topics = plan.topics.len();
    let mut publisher = Publisher {
        lines: (0..plan.publishers).map(|_| Line::default()).collect(),
        answers_due_ns: clock::monotonic_ns() + plan.answer_timeout.as_nanos() as u64,
        plan,
        poll,
        timer,
        desk,
        buffer: vec![0; READ_BYTES].into_boxed_slice(),
        task: Task::Connect,
        due: None,
        held_back_until_ns: 0,
        is_held_back: false,
        payload: Vec::new(),
        command: Vec::new(),
        chosen: Vec::new(),
        report: PublisherReport {
            acks: vec![TopicAcks::default(); topics],
            ..Default::default()
        },
        bytes_in: 0,
    };
    publisher.connect();
    publisher.run()
}

#[derive(Debug)]
enum Task {
    /// Wait until the lines are open.
    Connect,
    /// Publish what is due.
    Publish,
    /// Publish what has fallen due before the order came, and wait for the answers.
    Quiet,
}

/// What is to be published: everything on the schedule before the load's end.
#[derive(Debug)]
struct Due {
    schedule: Schedule,
    load: Load,
}

impl Due {
    fn is_through(&self) -> bool {
        self.schedule.next_ns() >= self.load.end_ns
    }
}

struct Publisher {
    plan: Arc<Plan>,
    poll: Poll,
    timer: Timer,
    desk: Desk,
    buffer: Box<[u8]>,
    lines: Vec<Line>,
    task: Task,
    due: Option<Due>,
    /// When connections that are not open by then are given up.
    answers_due_ns: u64,
    /// No line has room: what falls due meanwhile is the server's delay, not ours.
    is_held_back: bool,
    held_back_until_ns: u64,
    payload: Vec<u8>,
    command: Vec<u8>,
    /// Scratch for a topic.
    chosen: Vec<u32>,
    report: PublisherReport,
    bytes_in: u64,
}

impl Publisher {
    fn run(mut self) -> io::Result<PublisherReport> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            while let Some(order) = self.desk.next_order() {
                match order {
                    Order::Publish(load) => {
                        let schedule = Schedule::new(load.start_ns, load.per_s);
                        self.due = Some(Due { schedule, load });
                        self.task = Task::Publish;
                    }
                    Order::Quiet => {
                        if let Some(due) = &mut self.due {
                            due.load.end_ns = due.load.end_ns.min(clock::monotonic_ns());
                        }
                        self.task = Task::Quiet;
                    }
                    Order::Finish => return Ok(self.finish()),
                    Order::Close(_) => self.close(),
                    Order::Account { .. } => self.hand_over(),
                    // The workers' business; what is being published goes on.
                    Order::Connect(_)
                    | Order::Join { .. }
                    | Order::Subscribe { .. }
                    | Order::Leave { .. }
                    | Order::Churn { .. }
                    | Order::Storm { .. }
                    | Order::Drain(_) => {
                        if matches!(self.task, Task::Connect) {
                            self.task = Task::Quiet;
                        }
                    }
                }
            }
            self.give_up_connecting();
            self.flush_all();
            self.publish_due();
            self.flush_all();
            self.desk.show(&self.figures());
            if self.is_settled() {
                self.desk.settle();
            }
            let timeout = self.timeout()?;
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if event.token().0 < self.lines.len() {
                    self.on_ready(event.token().0, event);
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        let links = || self.lines.iter().filter_map(|line| line.link.as_ref());
        match self.task {
            Task::Connect => links().all(Link::is_open),
            Task::Publish => true,
            Task::Quiet => {
                let is_through = self.due.as_ref().is_none_or(Due::is_through);
                (is_through || links().next().is_none()) && self.unanswered() == 0
            }
        }
    }

    /// How long to wait for events. The schedule has the timer, because a poller counts whole
    /// milliseconds.
    fn timeout(&mut self) -> io::Result<Option<Duration>> {
        let now_ns = clock::monotonic_ns();
        if matches!(self.task, Task::Connect) && !self.is_settled() {
            return Ok(Some(Duration::from_nanos(
                self.answers_due_ns.saturating_sub(now_ns),
            )));
        }
        match &self.due {
            Some(due) if !due.is_through() && !self.is_held_back => {
                if due.schedule.next_ns() <= now_ns {
                    return Ok(Some(Duration::ZERO));
                }
                self.timer.arm(due.schedule.next_ns())?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn connect(&mut self) {
        for index in 0..self.lines.len() {
            let target = &self.plan.targets[index % self.plan.targets.len()];
            let link = Link::connect(target, None, self.plan.dialect.subprotocol());
            let registered = link.and_then(|mut link| {
                link.register(self.poll.registry(), Token(index))?;
                Ok(link)
            });
            match registered {
                Ok(link) => self.lines[index].link = Some(link),
                Err(error) => self.on_end(index, false, &error.into()),
            }
        }
    }

    fn give_up_connecting(&mut self) {
        if !matches!(self.task, Task::Connect) || clock::monotonic_ns() < self.answers_due_ns {
            return;
        }
        for index in 0..self.lines.len() {
            if self.lines[index]
                .link
                .as_ref()
                .is_some_and(|link| !link.is_open())
            {
                self.on_end(index, false, &LinkError::TimedOut);
            }
        }
    }

    /// Queues what is due, as far as there is room for it.
    fn publish_due(&mut self) {
        let Publisher {
            plan,
            lines,
            due: Some(due),
            payload,
            command,
            report,
            ..
        } = self
        else {
            return;
        };
        let now_ns = clock::monotonic_ns();
        if std::mem::take(&mut self.is_held_back) {
            self.held_back_until_ns = now_ns;
        }
        for _ in 0..BURST {
            let number = due.schedule.taken() as usize;
            if due.is_through() || due.schedule.next_ns() > now_ns {
                return;
            }
            // In turn, but past those without room.
            let count = lines.len();
            let Some(index) = (number..number + count)
                .map(|n| n % count)
                .find(|n| lines[*n].has_room())
            else {
                self.is_held_back = true;
                return;
            };
            let Some(intended_ns) = due.schedule.take(now_ns) else {
                return;
            };
            // What the n-th connection would listen to is what the n-th update belongs to.
            due.load
                .popularity
                .choose(plan.seed, report.published, 1, &mut self.chosen);
            let topic = due.load.first_topic + self.chosen[0];
            payload::write(payload, intended_ns, due.load.payload_bytes);
            let pending = Pending { intended_ns, topic };
            lines[index].publish(
                plan.dialect,
                plan.topics.name(topic),
                payload,
                pending,
                command,
            );
            report.published += 1;
            if intended_ns < self.held_back_until_ns {
                report.held_back += 1;
            } else {
                report
                    .slip
                    .record_between(intended_ns, clock::monotonic_ns());
            }
        }
    }

    fn flush_all(&mut self) {
        for index in 0..self.lines.len() {
            let Some(link) = &mut self.lines[index].link else {
                continue;
            };
            if let Err(error) = link.flush() {
                let was_open = link.is_open();
                self.on_end(index, was_open, &error.into());
            }
        }
    }

    fn on_end(&mut self, index: usize, was_open: bool, error: &LinkError) {
        self.lines[index].link = None;
        let (counts, what) = if was_open {
            (&mut self.report.disconnects, "was cut off")
        } else {
            (&mut self.report.connect_errors, "cannot connect")
        };
        counts.add(&error.label());
        self.report
            .examples
            .add(what, || format!("publisher {index} {what}: {error}"));
    }

    fn close(&mut self) {
        self.task = Task::Quiet;
        let due = self.due.take();
        self.report.unpublished += due.map_or(0, |due| due.schedule.left_before(due.load.end_ns));
        for line in &mut self.lines {
            self.report.unanswered += line.unanswered() as u64;
            if let Some(link) = &mut line.link {
                link.queue_close();
                // The end of the run: whether the server still takes it is no longer our business.
                let _ = link.flush();
            }
            *line = Line::default();
        }
    }

    /// Latencies begin anew; everything else is counted on.
    fn hand_over(&mut self) {
        let slip = std::mem::take(&mut self.report.slip);
        let ack = std::mem::take(&mut self.report.ack);
        let report = PublisherReport {
            slip,
            ack,
            ..self.report.clone()
        };
        self.desk.hand_over(Books::Publisher(report.into()));
    }

    fn unanswered(&self) -> u64 {
        let live = self.lines.iter().filter(|line| line.link.is_some());
        live.map(|line| line.unanswered() as u64).sum()
    }

    fn figures(&self) -> Figures {
        Figures {
            published: self.report.published,
            acked: self.report.acked,
            bytes_in: self.bytes_in,
            ..Figures::default()
        }
    }

    fn finish(mut self) -> PublisherReport {
        self.close();
        self.report
    }
}
