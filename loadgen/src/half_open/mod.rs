//! Requests that begin and never end, in great number: what a server must not let cost it anything for
//! long. Each connection says the first half of something and then nothing, or a byte now and then;
//! what is reported is how many of them the server ended, with which status, and when.
//!
//! Everything has an end: the run, when all have ended or its time is over; and with it every
//! connection.

mod plan;
mod report;
mod worker;

pub use plan::{Plan, Style};
pub use report::Report;

use crate::clock;
use std::sync::mpsc;
use std::thread;
use worker::{Outcome, Worker};

/// Carries out a plan. `tell` is called once, with how many connections were opened, when no more will
/// be.
pub fn run(plan: &Plan, tell: impl FnOnce(u64)) -> anyhow::Result<Report> {
    let start_ns = clock::monotonic_ns();
    let (notes, opened) = mpsc::channel();
    let outcomes = thread::scope(|scope| -> anyhow::Result<Vec<Outcome>> {
        let workers: Vec<_> = (0..plan.workers as usize)
            .map(|index| {
                let notes = notes.clone();
                scope.spawn(move || Worker::new(plan, index, start_ns)?.run(&notes))
            })
            .collect();
        drop(notes);
        // One note from each; a worker that has failed sends none, and is told of below.
        tell(opened.iter().take(plan.workers as usize).sum());
        workers
            .into_iter()
            .map(|worker| match worker.join() {
                Ok(outcome) => Ok(outcome?),
                Err(_) => anyhow::bail!("a worker has panicked"),
            })
            .collect()
    })?;
    let length_ns = clock::monotonic_ns() - start_ns;
    Ok(Report::new(plan, outcomes, length_ns))
}
