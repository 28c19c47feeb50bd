//! The threads of a run, and the two ends of each one's desk: the coordinator gives numbered orders
//! and sees figures, the member takes orders and says when one is settled.

use crate::phase::{Note, Order};
use crate::plan::Plan;
use crate::publisher::{self, PublisherReport};
use crate::tally::{Figures, Tally};
use crate::worker::{self, WorkerReport};
use mio::{Poll, Token, Waker};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

/// A member's end of its desk.
#[derive(Debug)]
pub struct Desk {
    orders: Receiver<(u32, Order)>,
    notes: Sender<Note>,
    tally: Arc<Tally>,
    /// Number of the order that is being carried out; 0 is to get ready.
    number: u32,
    is_told: bool,
}

impl Desk {
    /// The token under which a member's poller reports that there is an order.
    pub const WAKE: Token = Token(usize::MAX);

    /// The next order, if there is one.
    pub fn next_order(&mut self) -> Option<Order> {
        let (number, order) = self.orders.try_recv().ok()?;
        self.number = number;
        self.is_told = false;
        Some(order)
    }

    /// The last order is settled; said once.
    pub fn settle(&mut self) {
        if !self.is_told {
            self.is_told = true;
            // Nobody listens when the coordinator has given up; then there is nothing to tell.
            let _ = self.notes.send(Note::Settled {
                number: self.number,
            });
        }
    }

    /// Hands over the books.
    pub fn hand_over(&self, books: Books) {
        // As above.
        let _ = self.notes.send(Note::Books(books));
    }

    /// Shows running figures.
    pub fn show(&self, figures: &Figures) {
        self.tally.show(figures);
    }
}

/// What a member has measured: handed over when asked, and left behind at the end.
#[derive(Debug)]
pub enum Books {
    /// A worker's.
    Worker(Box<WorkerReport>),
    /// The publisher's.
    Publisher(Box<PublisherReport>),
}

/// The coordinator's end of one desk.
#[derive(Debug)]
struct Seat {
    name: String,
    orders: Sender<(u32, Order)>,
    waker: Waker,
    tally: Arc<Tally>,
    thread: JoinHandle<Option<Books>>,
}

/// All members.
#[derive(Debug)]
pub struct Crew {
    seats: Vec<Seat>,
    number: u32,
}

impl Crew {
    /// Starts the threads of a plan; they get ready and settle order 0. `notes` is where they
    /// report.
    ///
    /// All pollers and wakers are made before the first thread: a worker has a file table of its
    /// own, and what is opened there cannot be reached from here.
    pub fn start(plan: &Arc<Plan>, notes: &Sender<Note>) -> io::Result<Crew> {
        let names = (0..plan.workers).map(|index| format!("worker-{index}"));
        let publisher = (plan.publishers > 0).then(|| "publisher".to_owned());
        let named = names.chain(publisher).map(|name| {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), Desk::WAKE)?;
            Ok((name, poll, waker))
        });
        let named = named.collect::<io::Result<Vec<_>>>()?;
        let seats = named
            .into_iter()
            .enumerate()
            .map(|(index, (name, poll, waker))| {
                let (orders, inbox) = mpsc::channel();
                let tally = Arc::<Tally>::default();
                let desk = Desk {
                    orders: inbox,
                    notes: notes.clone(),
                    tally: tally.clone(),
                    number: 0,
                    is_told: false,
                };
                let thread = spawn(&name, index, plan.clone(), poll, desk)?;
                Ok(Seat {
                    name,
                    orders,
                    waker,
                    tally,
                    thread,
                })
            });
        Ok(Crew {
            seats: seats.collect::<io::Result<Vec<_>>>()?,
            number: 0,
        })
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The number of the last order.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Gives every member an order.
    pub fn order(&mut self, order: &Order) -> io::Result<()> {
        self.number += 1;
        for seat in &self.seats {
            // A member whose thread has ended has sent a note about it.
            let _ = seat.orders.send((self.number, order.clone()));
            seat.waker.wake()?;
        }
        Ok(())
    }

    /// Gives the publisher alone an order; the workers, who hold the connections that are measured,
    /// are left in peace.
    pub fn order_publisher(&mut self, order: &Order) -> io::Result<()> {
        self.number += 1;
        // It has the last seat.
        let Some(seat) = self.seats.last() else {
            return Ok(());
        };
        let _ = seat.orders.send((self.number, order.clone()));
        seat.waker.wake()
    }

    /// The figures of all members together.
    pub fn figures(&self) -> Figures {
        self.seats.iter().map(|seat| seat.tally.look()).sum()
    }

    /// Ends the threads and adds up what they have to say.
    pub fn finish(mut self) -> anyhow::Result<(WorkerReport, PublisherReport)> {
        self.order(&Order::Finish)?;
        let mut workers = WorkerReport::default();
        let mut publishers = PublisherReport::default();
        for seat in self.seats {
            match seat.thread.join() {
                Ok(Some(Books::Worker(report))) => workers.merge(*report),
                Ok(Some(Books::Publisher(report))) => publishers = *report,
                Ok(None) => anyhow::bail!("{} has failed", seat.name),
                Err(_) => anyhow::bail!("{} has panicked", seat.name),
            }
        }
        Ok((workers, publishers))
    }
}

fn spawn(
    name: &str,
    index: usize,
    plan: Arc<Plan>,
    poll: Poll,
    desk: Desk,
) -> io::Result<JoinHandle<Option<Books>>> {
    let member = name.to_owned();
    thread::Builder::new().name(member.clone()).spawn(move || {
        let notes = desk.notes.clone();
        let report = if index < plan.workers as usize {
            worker::run(plan, index, poll, desk).map(|report| Books::Worker(report.into()))
        } else {
            publisher::run(plan, poll, desk).map(|report| Books::Publisher(report.into()))
        };
        report
            .map_err(|error| notes.send(Note::Broken { member, error }))
            .ok()
    })
}
