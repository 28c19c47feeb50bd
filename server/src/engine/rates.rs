//! How often a connection may ask: a token bucket each for commands, publishes and pings.
//!
//! A bucket holds what comes in [`BURST_S`] seconds, so that a client may say at once what it has to say when it comes in. It is kept as the
//! one time at which it will be full again (the generic cell rate algorithm, ITU-T I.371), in a table of the shard: a
//! connection whose buckets are full is not in it, so those that say nothing or little cost nothing. Nothing in here looks at a
//! clock or closes anything; `session.rs` and `commands.rs` ask before they carry something out.

use std::collections::HashMap;

use super::hashing::ByNumber;
use crate::ledger::Ledger;

/// A bucket holds what comes in so many seconds.
const BURST_S: u64 = 10;
/// More refusals than this within [`REFUSALS_WINDOW_NS`] are abuse.
const REFUSALS_MAX: u32 = 100;
const REFUSALS_WINDOW_NS: u64 = 10 * SECOND_NS;

const SECOND_NS: u64 = 1_000_000_000;
/// How often the table is looked through for buckets that are full again.
const SWEEP_NS: u64 = SECOND_NS;
/// A table with room for no more entries than this is not made smaller.
const KEPT: usize = 64;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rated {
    /// A text that is no publish, whatever it means.
    Command,
    /// An update for a topic.
    Publish,
    /// A ping, which is to be answered.
    Ping,
}

/// How many kinds there are.
const KINDS: usize = 3;

/// Something came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSoon {
    /// After so long it would not, milliseconds.
    pub(super) retry_ms: u64,
    /// It was refused so often lately that the connection should end.
    pub(super) is_abuse: bool,
}

/// The buckets of one connection.
#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    /// When each is full again, nanoseconds on the monotonic clock; by [`Rated`].
    full_ns: [u64; KINDS],
    /// What was refused since `refused_from_ns`.
    refused: u32,
    refused_from_ns: u64,
}

impl Buckets {
    /// Whether it says no more than none would.
    fn is_spent(&self, now_ns: u64) -> bool {
        self.full_ns.iter().all(|full_ns| *full_ns <= now_ns)
            && (self.refused == 0 || now_ns >= self.refused_from_ns + REFUSALS_WINDOW_NS)
    }

    /// Counts a refusal. True: there were too many.
    fn refuse(&mut self, now_ns: u64) -> bool {
        if now_ns >= self.refused_from_ns + REFUSALS_WINDOW_NS {
            (self.refused, self.refused_from_ns) = (0, now_ns);
        }
        self.refused += 1;
        self.refused > REFUSALS_MAX
    }
}

/// The buckets of a shard that are not full.
#[derive(Debug)]
pub(super) struct Rates {
    /// How long one of a kind takes to come back; 0 = there is no limit. By [`Rated`].
    interval_ns: [u64; KINDS],
    buckets: HashMap<u32, Buckets, ByNumber>,
    swept_ns: u64,
}

impl Rates {
    /// No more than so many a second of each; 0 = any number.
    pub(super) fn new(commands_per_s: u32, publishes_per_s: u32, pings_per_s: u32) -> Rates {
        let interval_ns = |per_s: u32| SECOND_NS.checked_div(per_s.into()).unwrap_or(0);
        Rates {
            interval_ns: [commands_per_s, publishes_per_s, pings_per_s].map(interval_ns),
            buckets: HashMap::default(),
            swept_ns: 0,
        }
    }

    /// Takes one out of the connection's bucket.
    ///
    /// # Errors
    /// The bucket is empty.
    pub(super) fn take(&mut self, conn: u32, what: Rated, now_us: u64) -> Result<(), TooSoon> {
        let interval_ns = self.interval_ns[what as usize];
        if interval_ns == 0 {
            return Ok(());
        }
        let now_ns = now_us * 1000;
        let buckets = self.buckets.entry(conn).or_default();
        let full_ns = buckets.full_ns[what as usize].max(now_ns) + interval_ns;
        // An interval that is longer than the burst has room for one.
        let latest_ns = now_ns + interval_ns.max(BURST_S * SECOND_NS);
        if full_ns > latest_ns {
            return Err(TooSoon {
                retry_ms: (full_ns - latest_ns).div_ceil(1_000_000),
                is_abuse: buckets.refuse(now_ns),
            });
        }
        buckets.full_ns[what as usize] = full_ns;
        Ok(())
    }

    /// The connection is gone; its place may be another's next.
    pub(super) fn forget(&mut self, conn: u32) {
        self.buckets.remove(&conn);
    }

    /// Lets go of buckets that are full again, once in a while.
    pub(super) fn sweep(&mut self, now_us: u64) {
        let now_ns = now_us * 1000;
        if self.buckets.is_empty() || now_ns < self.swept_ns + SWEEP_NS {
            return;
        }
        self.swept_ns = now_ns;
        self.buckets.retain(|_, buckets| !buckets.is_spent(now_ns));
        if self.buckets.capacity() > KEPT.max(4 * self.buckets.len()) {
            self.buckets.shrink_to_fit();
        }
    }

    /// How many connections have a bucket that was not full when it was last looked at.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn count_into(&self, ledger: &mut Ledger) {
        let entry = size_of::<(u32, Buckets)>() + 1;
        ledger.spare_bytes += (self.buckets.capacity() * entry) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_A_SECOND: (u32, u32) = (10, 0);

    fn rates((commands, publishes): (u32, u32)) -> Rates {
        Rates::new(commands, publishes, 1)
    }

    /// How many of `times` are let through at one moment.
    fn passed(rates: &mut Rates, times: usize, now_us: u64) -> usize {
        let take = |_: &usize| rates.take(1, Rated::Command, now_us).is_ok();
        (0..times).filter(take).count()
    }

    #[test]
    fn ten_seconds_worth_may_come_at_once_and_then_one_an_interval() {
        let mut rates = rates(TEN_A_SECOND);
        assert_eq!(passed(&mut rates, 150, 5_000_000), 100);
        assert_eq!(passed(&mut rates, 5, 5_050_000), 0);
        assert_eq!(passed(&mut rates, 5, 5_100_000), 1);
        assert_eq!(passed(&mut rates, 5, 5_300_000), 2);
        // After silence the bucket is full, and no fuller.
        assert_eq!(passed(&mut rates, 150, 900_000_000), 100);
    }

    #[test]
    fn whoever_waits_as_long_as_it_is_told_is_let_through() {
        let mut rates = rates(TEN_A_SECOND);
        let mut now_us = 0;
        for _ in 0..1000 {
            if let Err(soon) = rates.take(1, Rated::Command, now_us) {
                assert_eq!((soon.retry_ms, soon.is_abuse), (100, false));
                now_us += soon.retry_ms * 1000;
                assert_eq!(rates.take(1, Rated::Command, now_us), Ok(()));
                // The count of refusals begins anew with every window.
                now_us += 200_000;
            }
        }
        assert!(now_us > 80_000_000, "{now_us}");
    }

    #[test]
    fn the_long_average_is_the_rate_however_it_is_asked_for() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut rates, mut now_us, mut through) = (rates((50, 0)), 0, 0);
        while now_us < 100_000_000 {
            through += usize::from(rates.take(1, Rated::Command, now_us).is_ok());
            now_us += random.u64(..4_000);
        }
        // A full bucket, and 50 in each of a hundred seconds.
        assert!((5_499..=5_501).contains(&through), "{through}");
    }

    #[test]
    fn more_than_a_hundred_refusals_in_ten_seconds_are_abuse() {
        let mut rates = rates((1, 0));
        assert_eq!(passed(&mut rates, 10, 0), 10);
        let mut refuse = |now_us| rates.take(1, Rated::Command, now_us).unwrap_err().is_abuse;
        assert!((0..100).all(|_| !refuse(0)));
        assert!(refuse(500_000));
    }

    #[test]
    fn commands_and_publishes_and_connections_do_not_take_from_each_other() {
        let mut rates = rates((1, 2));
        let mut passed = |conn, what| {
            let take = |_: &usize| rates.take(conn, what, 0).is_ok();
            (0..50).filter(take).count()
        };
        assert_eq!(passed(1, Rated::Command), 10);
        assert_eq!(passed(1, Rated::Publish), 20);
        assert_eq!(passed(2, Rated::Command), 10);
        assert_eq!(passed(2, Rated::Ping), 10);
        let mut unlimited = Rates::new(0, 0, 0);
        assert!((0..1_000_000).all(|_| unlimited.take(1, Rated::Publish, 0).is_ok()));
        assert_eq!(unlimited.len(), 0);
    }

    #[test]
    fn a_full_bucket_is_not_kept_and_a_new_connection_does_not_inherit() {
        let mut rates = rates(TEN_A_SECOND);
        for conn in 0..10_000 {
            rates.take(conn, Rated::Command, 1_000_000).unwrap();
        }
        rates.sweep(1_050_000);
        assert_eq!(rates.len(), 10_000, "100 ms are not over");
        rates.sweep(2_060_000);
        assert_eq!(rates.len(), 0);
        assert!(rates.buckets.capacity() <= KEPT);
        assert_eq!(passed(&mut rates, 200, 3_000_000), 100);
        rates.forget(1);
        assert_eq!(passed(&mut rates, 200, 3_000_000), 100);
    }
}
