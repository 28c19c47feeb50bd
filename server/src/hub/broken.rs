//! Ways to break a promise, for the simulator's own test: each must be noticed (`sim/broken_test.rs`).
//!
//! Outside of tests [`is`] is a constant `false`, so nothing of this is left in what ships.

#[cfg(test)]
use std::cell::Cell;

/// One thing that is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Updates overtake a mark of their topic, so seqs go back (promise 1).
    MarkOvertaken,
    /// A value that replaces others is sent without its skip (promise 2).
    SkipForgotten,
    /// A skip names one seq more than was left out (promise 2).
    SkipTooLong,
    /// The ack says less than the snapshot that follows (promise 3).
    AckBehind,
    /// What came while a recovery waited is left out of it (promise 4).
    TailForgotten,
    /// A topic is delivered once for each subscription that covers it (promise 5).
    OverlapTwice,
    /// A publish is answered and not carried out (promise 6).
    AnsweredOnly,
    /// An update is not delivered to those who keep up (promise 6).
    UpdateLost,
    /// A full queue takes more (promise 7).
    LimitIgnored,
    /// Progress begins the wait for the slow timeout anew (promise 7 and 9).
    DeadlineReset,
    /// The slow timeout is shorter than it is (promise 9).
    DeadlineEarly,
    /// Payloads are queued for who wants the latest value alone (promise 8).
    LatestQueued,
    /// What came during an interval is never sent (promise 9).
    NewestForgotten,
    /// A connection that goes leaves its marks behind.
    Leak,
    /// An update comes before its interval is over.
    IntervalEarly,
    /// An update comes later than its interval is over.
    IntervalLate,
    /// A filter does not get the topics that are born after it.
    BirthMissed,
    /// What is young is left out as stale.
    StaleEarly,
    /// A topic that fades does not hear what comes by its name (promise 2).
    FadingDeaf,
    /// The position of a stream of several topics claims updates that are held back.
    PositionAhead,
    /// A poll is answered with what the client has.
    PollRepeated,
    /// A poll waits although what it waits for has come before it.
    PollMissed,
    /// A stream for one answer goes on behind its first events.
    OnceForever,
}

#[cfg(test)]
thread_local! {
    static BROKEN: Cell<Option<Break>> = const { Cell::new(None) };
}

/// Whether this is broken, on this thread.
#[cfg(not(test))]
#[must_use]
#[inline(always)]
pub const fn is(_: Break) -> bool {
    false
}

/// Whether this is broken, on this thread.
#[cfg(test)]
#[must_use]
pub fn is(one: Break) -> bool {
    BROKEN.get() == Some(one)
}

/// Breaks one thing on this thread, or none.
#[cfg(test)]
pub(crate) fn set(one: Option<Break>) {
    BROKEN.set(one);
}
