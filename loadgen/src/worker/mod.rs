//! A thread that holds connections: one poller, one read buffer, one table of open files of its
//! own. Takes orders from the coordinator, tells it when one is settled, and shows running figures.

pub mod drive;
pub mod fleet;
mod recovery;
mod report;
pub mod subscriptions;
mod waking;

pub use report::WorkerReport;
pub use waking::Woken;

use crate::clock;
use crate::crew::{Books, Desk};
use crate::phase::Order;
use crate::plan::Plan;
use crate::sys;
use fleet::Fleet;
use mio::{Events, Poll};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// One read. Large enough that a fan-out of small frames is taken in one call.
const READ_BYTES: usize = 64 << 10;
/// Events of one turn.
const EVENTS: usize = 1024;

/// Runs worker `index` until it is ordered to finish. Called first thing in its thread.
///
/// `poll` was made before the thread had a file table of its own, so that the coordinator holds its
/// waker too; the sockets are opened after, and count against this thread's limit alone.
pub fn run(plan: Arc<Plan>, index: usize, poll: Poll, desk: Desk) -> io::Result<WorkerReport> {
    sys::unshare_files()?;
    Worker {
        fleet: Fleet::new(plan, index),
        poll,
        desk,
        buffer: vec![0; READ_BYTES].into_boxed_slice(),
        has_unread: false,
    }
    .run()
}

struct Worker {
    fleet: Fleet,
    poll: Poll,
    desk: Desk,
    buffer: Box<[u8]>,
    has_unread: bool,
}

impl Worker {
    fn run(mut self) -> io::Result<WorkerReport> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            while let Some(order) = self.desk.next_order() {
                match order {
                    Order::Finish => return Ok(self.fleet.finish()),
                    Order::Account { audit } => {
                        let report = self.fleet.hand_over(audit);
                        self.desk.hand_over(Books::Worker(report.into()));
                    }
                    order => self.fleet.on_order(&order),
                }
            }
            self.fleet.advance(self.poll.registry());
            self.desk.show(&self.fleet.figures());
            if self.fleet.is_settled() {
                self.desk.settle();
            }
            self.wait(&mut events)?;
            for event in events.iter().filter(|event| event.token() != Desk::WAKE) {
                self.fleet
                    .on_ready(event.token().0 as u32, event, &mut self.buffer);
            }
            self.has_unread = self.fleet.read_on(&mut self.buffer);
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = match self.fleet.next_ns() {
            _ if self.has_unread => Some(Duration::ZERO),
            Some(next_ns) => Some(Duration::from_nanos(
                next_ns.saturating_sub(clock::monotonic_ns()),
            )),
            None => None,
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}
