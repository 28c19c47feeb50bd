//! What each class of clients got, those that woke up, and those that resumed.

use super::human::{count, time};
use crate::class::{Class, Classes};
use crate::counts::Counts;
use crate::latency::Quantiles;
use crate::plan::Plan;
use crate::verify::Totals;
use crate::worker::{Woken, WorkerReport};
use serde::Serialize;
use std::fmt::{self, Formatter};

/// The label of connections that the server has closed for reading too slowly.
const CLOSED_SLOW: &str = "closed 4103";

/// The section of the report.
#[derive(Debug, Serialize)]
pub struct Readers {
    /// By how they read.
    pub classes: Classes<ClassReport>,
    /// Stalled clients that woke up when everything was published.
    pub woken: Woken,
    /// Clients that were cut and came back; absent if none were.
    pub resumed: Option<Resumed>,
}

/// What the clients of one class got.
#[derive(Debug, Serialize)]
pub struct ClassReport {
    /// How many there were.
    pub connections: u32,
    /// Sums over their subscriptions.
    #[serde(flatten)]
    pub totals: Totals,
    /// How many of them were closed with 4103.
    pub closed_4103: u64,
    /// How many were ended in all, by kind.
    pub disconnects: Counts,
    /// Times of delivery.
    pub delivery: Quantiles,
}

/// What came of the cut.
#[derive(Debug, Serialize)]
pub struct Resumed {
    /// Subscriptions that got all that they had missed.
    pub recovered: u64,
    /// Subscriptions that did not.
    pub unrecovered: u64,
    /// From the cut until a connection was back and its subscriptions acknowledged.
    pub back: Quantiles,
    /// From the cut to the last of the history, for each subscription; `max_ns` is when the last one
    /// had all of it.
    pub complete: Quantiles,
}

impl Readers {
    /// From the books of all workers.
    pub fn new(plan: &Plan, workers: &WorkerReport) -> Readers {
        let class = |class| {
            let disconnects = workers.disconnects[class].clone();
            let slow = disconnects
                .iter()
                .filter(|(kind, _)| kind.starts_with(CLOSED_SLOW));
            ClassReport {
                connections: plan.readers.mix.counts[class],
                totals: workers.by_class[class],
                closed_4103: slow.map(|(_, number)| number).sum(),
                delivery: workers.delivery[class].quantiles(),
                disconnects,
            }
        };
        let Totals {
            recovered,
            unrecovered,
            ..
        } = workers.totals;
        Readers {
            classes: Classes {
                healthy: class(Class::Healthy),
                slow: class(Class::Slow),
                stalled: class(Class::Stalled),
                half_open: class(Class::HalfOpen),
            },
            woken: workers.woken,
            resumed: plan.readers.cut_after.map(|_| Resumed {
                recovered,
                unrecovered,
                back: workers.join.quantiles(),
                complete: workers.recovery.quantiles(),
            }),
        }
    }

    /// Rows of the table; none when all clients are healthy and stayed.
    pub(super) fn rows(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let healthy = self.classes.healthy.connections;
        let all: u32 = self.classes.iter().map(|(_, part)| part.connections).sum();
        let present = self.classes.iter().filter(|(_, part)| part.connections > 0);
        for (class, part) in present.filter(|_| healthy < all) {
            writeln!(f, "{:<16}{}", class.name(), part.cells())?;
        }
        if self.woken.clients > 0 {
            writeln!(f, "{:<16}{}", "woken", woken(&self.woken))?;
        }
        if let Some(resumed) = &self.resumed {
            writeln!(f, "{:<16}{}", "resumed", resumed.cells())?;
        }
        Ok(())
    }
}

impl ClassReport {
    fn cells(&self) -> String {
        let Totals {
            delivered,
            skipped,
            gaps,
            lost,
            published,
            ..
        } = self.totals;
        let lost = match lost {
            0 => String::new(),
            lost => format!(" + {} lost", count(lost)),
        };
        format!(
            "{} clients: {} delivered + {} skipped + {} in gaps{lost} = {} published, p99 {}, {} closed with 4103",
            count(self.connections.into()),
            count(delivered),
            count(skipped),
            count(gaps),
            count(published),
            time(self.delivery.p99_ns),
            count(self.closed_4103),
        )
    }
}

impl Resumed {
    fn cells(&self) -> String {
        format!(
            "{} subscriptions recovered, {} not, the last had everything after {}",
            count(self.recovered),
            count(self.unrecovered),
            time(self.complete.max_ns),
        )
    }
}

fn woken(woken: &Woken) -> String {
    format!(
        "{} clients: at most {} newest values each, and {} older ones published within {} of the stall",
        count(woken.clients),
        count(woken.newest_max),
        count(woken.older_max),
        time(woken.older_published_after_ns),
    )
}
