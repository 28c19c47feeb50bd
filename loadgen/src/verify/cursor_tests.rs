//! Stories of one subscription: frames in order, and what the cursor must say to each.

use super::*;
use Frame::{Ack, Cut, Gap, Hist, Recover, Restart, Skip, Snap, Up};

#[derive(Clone, Copy, Debug)]
enum Frame {
    Ack(u64),
    Recover(u64, u64),
    Snap(u64),
    Up(u64),
    Hist(u64),
    /// The connection is cut, and shall resume.
    Cut,
    Skip(u64, u64),
    Gap(u64),
    Restart(u64),
}

fn feed(cursor: &mut Cursor, frame: Frame) -> Result<Step, Fault> {
    match frame {
        Ack(seq) => cursor.on_ack(seq, None),
        Recover(seq, count) => cursor.on_ack(seq, Some(count)),
        Cut => {
            assert!(cursor.suspend(), "{cursor:?}");
            Ok(Step::Acked)
        }
        Hist(seq) => cursor.on_history(seq),
        Snap(seq) => cursor.on_snapshot(seq),
        Up(seq) => cursor.on_update(seq),
        Skip(from, to) => cursor.on_skip(from, to),
        Gap(from) => cursor.on_gap(from, false),
        Restart(from) => cursor.on_gap(from, true),
    }
}

/// Feeds the frames; all but the last must be legal. Returns the answer to the last.
fn play(frames: &[Frame]) -> (Cursor, Result<Step, Fault>) {
    let mut cursor = Cursor::new(0);
    let mut answer = Ok(Step::Delivered);
    for (n, frame) in frames.iter().enumerate() {
        assert!(answer.is_ok(), "frame {} of {frames:?}: {answer:?}", n - 1);
        answer = feed(&mut cursor, *frame);
        assert!(
            !cursor.is_acked() || cursor.balances(),
            "{cursor:?} after {frame:?} of {frames:?}"
        );
    }
    (cursor, answer)
}

#[test]
fn legal_stories_are_accepted_and_reach_their_end() {
    let stories: &[(&str, &[Frame], Step, u64)] = &[
        (
            "a new topic starts at one",
            &[Ack(0), Up(1)],
            Step::Delivered,
            1,
        ),
        (
            "a snapshot repeats the ack",
            &[Ack(7), Snap(7), Up(8)],
            Step::Delivered,
            8,
        ),
        (
            "a topic may have no snapshot",
            &[Ack(7), Up(8), Up(9)],
            Step::Delivered,
            9,
        ),
        (
            "a skip stands for its range",
            &[Ack(0), Up(1), Skip(2, 5)],
            Step::Skipped(4),
            5,
        ),
        (
            "an update follows a skip",
            &[Ack(0), Skip(1, 5), Up(6)],
            Step::Delivered,
            6,
        ),
        (
            "two skips may follow each other",
            &[Ack(0), Skip(1, 5), Skip(6, 6)],
            Step::Skipped(1),
            6,
        ),
        (
            "a gap ends at a snapshot",
            &[Ack(0), Gap(1), Snap(9)],
            Step::Snapshot(9),
            9,
        ),
        (
            "a gap ends at an update",
            &[Ack(0), Up(1), Gap(2), Up(5)],
            Step::DeliveredAfterGap(3),
            5,
        ),
        (
            "an epoch starts anew",
            &[Ack(80), Restart(81), Snap(3), Up(4)],
            Step::Delivered,
            4,
        ),
        (
            "an epoch may start with one",
            &[Ack(80), Restart(81), Up(1)],
            Step::Delivered,
            1,
        ),
        (
            "history fills a recovery",
            &[Recover(9, 2), Hist(8), Hist(9), Up(10)],
            Step::Delivered,
            10,
        ),
        (
            "the last history frame ends a recovery",
            &[Ack(5), Up(6), Cut, Recover(8, 2), Hist(7), Hist(8)],
            Step::Recovered,
            8,
        ),
        (
            "nothing was missed",
            &[Ack(5), Up(6), Cut, Recover(6, 0), Up(7)],
            Step::Delivered,
            7,
        ),
        (
            "what cannot be recovered is a gap",
            &[Ack(5), Cut, Ack(9), Gap(6), Snap(9), Up(10)],
            Step::Delivered,
            10,
        ),
        (
            "a recovery is cut off and resumed",
            &[
                Ack(5),
                Cut,
                Recover(9, 4),
                Hist(6),
                Cut,
                Recover(10, 4),
                Hist(7),
                Hist(8),
                Hist(9),
                Hist(10),
            ],
            Step::Recovered,
            10,
        ),
    ];
    for (story, frames, step, end) in stories {
        let (cursor, answer) = play(frames);
        assert_eq!(answer, Ok(*step), "{story}");
        assert_eq!(cursor.last(), *end, "{story}");
        // What is left out is accounted for, but the value behind it is still to come.
        let is_there = !matches!(step, Step::Skipped(_));
        assert_eq!(cursor.has_reached(*end), is_there, "{story}");
        assert!(!cursor.has_reached(end + 1), "{story}");
    }
}

#[test]
fn an_announcement_is_not_the_newest_value() {
    for (story, frames, end) in [
        ("a skip alone", &[Ack(0), Up(1), Skip(2, 5)] as &[_], 5),
        ("a gap alone", &[Ack(0), Up(1), Gap(2)], 1),
        ("an ack without its snapshot", &[Ack(5)], 5),
        ("a recovery without its history", &[Recover(9, 2)], 7),
        ("cut off", &[Ack(0), Up(1), Cut], 1),
    ] {
        let (cursor, answer) = play(frames);
        assert!(answer.is_ok(), "{story}: {answer:?}");
        assert!(!cursor.has_reached(end), "{story}");
    }
    assert!(play(&[Ack(0)]).0.has_reached(0));
}

#[test]
fn broken_promises_are_named() {
    let stories: &[(&str, &[Frame], Fault)] = &[
        ("data before the ack", &[Up(1)], Fault::Early { got: 1 }),
        (
            "a snapshot before the ack",
            &[Snap(1)],
            Fault::Early { got: 1 },
        ),
        (
            "a skip before the ack",
            &[Skip(1, 2)],
            Fault::Early { got: 1 },
        ),
        (
            "a second ack",
            &[Ack(5), Ack(5)],
            Fault::AckAgain { got: 5 },
        ),
        (
            "a race of ack and stream",
            &[Ack(5), Up(7)],
            Fault::Lost {
                expected: 6,
                got: 7,
            },
        ),
        (
            "an update the ack covers",
            &[Ack(5), Up(5)],
            Fault::Behind {
                expected: 6,
                got: 5,
            },
        ),
        (
            "a hole",
            &[Ack(0), Up(1), Up(3)],
            Fault::Lost {
                expected: 2,
                got: 3,
            },
        ),
        (
            "a repeat",
            &[Ack(0), Up(1), Up(1)],
            Fault::Behind {
                expected: 2,
                got: 1,
            },
        ),
        (
            "a newer snapshot",
            &[Ack(5), Snap(6)],
            Fault::Snapshot {
                expected: 5,
                got: 6,
            },
        ),
        (
            "a second snapshot",
            &[Ack(5), Snap(5), Snap(5)],
            Fault::Snapshot {
                expected: 5,
                got: 5,
            },
        ),
        (
            "a snapshot in the stream",
            &[Ack(5), Up(6), Snap(6)],
            Fault::Snapshot {
                expected: 6,
                got: 6,
            },
        ),
        (
            "a skip of the delivered",
            &[Ack(0), Up(1), Skip(1, 2)],
            Fault::Range {
                expected: 2,
                from: 1,
                to: 2,
            },
        ),
        (
            "a skip after a hole",
            &[Ack(0), Skip(2, 3)],
            Fault::Range {
                expected: 1,
                from: 2,
                to: 3,
            },
        ),
        (
            "a skip that ends early",
            &[Ack(4), Skip(5, 4)],
            Fault::Range {
                expected: 5,
                from: 5,
                to: 4,
            },
        ),
        (
            "a gap elsewhere",
            &[Ack(4), Gap(7)],
            Fault::Range {
                expected: 5,
                from: 7,
                to: 7,
            },
        ),
        (
            "a recovery that begins too late",
            &[Ack(5), Cut, Recover(9, 3)],
            Fault::Recovery {
                expected: 5,
                got: 6,
            },
        ),
        (
            "a hole in the history",
            &[Ack(5), Cut, Recover(9, 4), Hist(6), Hist(8)],
            Fault::Lost {
                expected: 7,
                got: 8,
            },
        ),
        (
            "history again",
            &[Ack(5), Cut, Recover(9, 4), Hist(6), Hist(6)],
            Fault::Behind {
                expected: 7,
                got: 6,
            },
        ),
        (
            "the stream before the history has ended",
            &[Ack(5), Cut, Recover(9, 4), Hist(6), Up(10)],
            Fault::History {
                expected: 7,
                got: 10,
                owed: 3,
            },
        ),
        (
            "more history than announced",
            &[Ack(5), Cut, Recover(6, 1), Hist(6), Hist(7)],
            Fault::History {
                expected: 7,
                got: 7,
                owed: 0,
            },
        ),
        (
            "a skip in the history",
            &[Ack(5), Cut, Recover(9, 4), Skip(6, 7)],
            Fault::Range {
                expected: 6,
                from: 6,
                to: 7,
            },
        ),
        (
            "updates before the ack of the second connection",
            &[Ack(5), Cut, Up(6)],
            Fault::Early { got: 6 },
        ),
        (
            "not recovered, and not a word about it",
            &[Ack(5), Cut, Ack(9), Up(10)],
            Fault::Lost {
                expected: 6,
                got: 10,
            },
        ),
        (
            "the skipped seqs are skipped again",
            &[Ack(0), Skip(1, 5), Skip(5, 6)],
            Fault::Range {
                expected: 6,
                from: 5,
                to: 6,
            },
        ),
        (
            "the skipped value comes as well",
            &[Ack(0), Skip(1, 5), Up(5)],
            Fault::Behind {
                expected: 6,
                got: 5,
            },
        ),
        (
            "a skip in a gap",
            &[Ack(0), Gap(1), Skip(1, 5)],
            Fault::Range {
                expected: 1,
                from: 1,
                to: 5,
            },
        ),
        (
            "an old update after a gap",
            &[Ack(4), Gap(5), Up(4)],
            Fault::Behind {
                expected: 5,
                got: 4,
            },
        ),
    ];
    for (story, frames, fault) in stories {
        assert_eq!(play(frames).1, Err(*fault), "{story}");
    }
}

#[test]
fn after_a_hole_the_next_update_is_expected_again() {
    let (mut cursor, answer) = play(&[Ack(0), Up(5)]);
    assert_eq!(
        answer,
        Err(Fault::Lost {
            expected: 1,
            got: 5
        })
    );
    assert_eq!(cursor.on_update(6), Ok(Step::Delivered));
    assert!(cursor.balances());
}

#[test]
fn a_late_update_turns_a_lost_one_into_a_delivered_one() {
    let (mut cursor, _) = play(&[Ack(0), Up(2)]);
    cursor.fill_hole();
    assert!(cursor.balances());
    assert_eq!(cursor.span(), 2);
}

#[test]
fn seqs_at_the_ends_of_their_range_are_faults_and_no_panic() {
    const LAST: u64 = u64::MAX;
    let frames = [
        Ack(0),
        Ack(LAST),
        Snap(0),
        Snap(LAST),
        Up(0),
        Up(LAST),
        Skip(0, LAST),
    ];
    let more = [
        Recover(0, LAST),
        Recover(LAST, LAST),
        Hist(LAST),
        Skip(1, LAST),
        Skip(LAST, LAST),
        Gap(0),
        Gap(LAST),
        Restart(1),
        Restart(LAST),
    ];
    let all: Vec<Frame> = frames.into_iter().chain(more).collect();
    for first in &all {
        for second in &all {
            for third in &all {
                let mut cursor = Cursor::new(0);
                for frame in [first, second, third] {
                    // Whatever it says, it says it.
                    let _ = feed(&mut cursor, *frame);
                }
            }
        }
    }
}
