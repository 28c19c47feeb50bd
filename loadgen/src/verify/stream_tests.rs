//! Random honest streams of a conflating server are verified to the seq; the same stream with one lie
//! in it is not.

use super::{Cursor, Ledger, Subscriber, Totals};
use crate::class::Class;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Update(u64),
    History(u64),
    Skip(u64, u64),
    Gap(u64),
    Snapshot(u64),
    /// Cut off and come back; the ack's seq and what it says of the recovery.
    Resume(u64, Option<u64>),
}

use Frame::{Gap, History, Resume, Skip, Snapshot, Update};

/// What a subscriber may hear that joined at seq 0, and the last seq.
fn honest(random: &mut fastrand::Rng) -> (Vec<Frame>, u64) {
    let (mut frames, mut seq) = (Vec::new(), 0);
    for _ in 0..random.usize(5..40) {
        let more = random.u64(1..9);
        match random.u32(0..8) {
            0..4 => frames.push(Update(seq + 1)),
            4 | 5 => frames.extend([Skip(seq + 1, seq + more), Update(seq + more + 1)]),
            6 => {
                frames.push(Resume(seq + more, Some(more)));
                frames.extend((1..=more).map(|step| History(seq + step)));
            }
            _ => frames.extend([Resume(seq + more, None), Gap(seq + 1), Snapshot(seq + more)]),
        }
        seq = frames.iter().map(last).max().unwrap_or(0);
    }
    frames.push(Update(seq + 1));
    (frames, seq + 1)
}

/// The seq up to which this frame brings its subscriber.
fn last(frame: &Frame) -> u64 {
    match *frame {
        Update(seq) | History(seq) | Skip(_, seq) | Snapshot(seq) => seq,
        Gap(_) | Resume(..) => 0,
    }
}

fn verify(frames: &[Frame], end: u64) -> Totals {
    let mut ledger = Ledger::default();
    let mut cursor = Cursor::new(0);
    let who = Subscriber {
        class: Class::Slow,
        connection: 0,
        subscription: 0,
        topic: "t",
    };
    let acked = cursor.on_ack(0, None);
    ledger.book(who, &mut cursor, acked);
    for frame in frames {
        let said = match *frame {
            Update(seq) => cursor.on_update(seq),
            History(seq) => cursor.on_history(seq),
            Skip(from, to) => cursor.on_skip(from, to),
            Gap(from) => cursor.on_gap(from, false),
            Snapshot(seq) => cursor.on_snapshot(seq),
            Resume(seq, recovered) => {
                cursor.suspend();
                cursor.on_ack(seq, recovered)
            }
        };
        ledger.book(who, &mut cursor, said);
    }
    cursor.forgive_owed();
    ledger.close(who, &cursor, Some(end));
    assert!(ledger.total().balance(), "{:?}: {frames:?}", ledger.total());
    assert_eq!(ledger.total(), ledger.totals.slow);
    ledger.total()
}

fn is_verified(totals: &Totals) -> bool {
    totals.faults() == 0 && totals.behind == 0
}

/// Changes an honest stream in one place; `None` where that lie cannot be told.
type Lie = fn(&[Frame], usize) -> Option<Vec<Frame>>;

/// A gap has no end of its own: the snapshot behind it can be lost unseen, if another value follows.
fn losing(frames: &[Frame], at: usize) -> Option<Vec<Frame>> {
    matches!(frames[at], Update(_) | History(_)).then(|| without(frames, at))
}

fn repeating(frames: &[Frame], at: usize) -> Option<Vec<Frame>> {
    matches!(frames[at], Update(_) | History(_) | Snapshot(_)).then(|| twice(frames, at))
}

fn reordering(frames: &[Frame], at: usize) -> Option<Vec<Frame>> {
    let mut frames = frames.to_vec();
    let is_data = |frame: &Frame| matches!(frame, Update(_) | History(_));
    let is_pair = is_data(&frames[at]) && frames.get(at + 1).is_some_and(is_data);
    is_pair.then(|| {
        frames.swap(at, at + 1);
        frames
    })
}

fn unexplaining(frames: &[Frame], at: usize) -> Option<Vec<Frame>> {
    matches!(frames[at], Skip(..) | Gap(_)).then(|| without(frames, at))
}

fn explaining_twice(frames: &[Frame], at: usize) -> Option<Vec<Frame>> {
    matches!(frames[at], Skip(..) | Gap(_)).then(|| twice(frames, at))
}

/// A skip names a seq too many, which is delivered nevertheless.
fn explaining_too_much(frames: &[Frame], at: usize) -> Option<Vec<Frame>> {
    let Skip(from, to) = frames[at] else {
        return None;
    };
    let mut frames = frames.to_vec();
    frames[at] = Skip(from, to + 1);
    Some(frames)
}

fn without(frames: &[Frame], at: usize) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    frames.remove(at);
    frames
}

fn twice(frames: &[Frame], at: usize) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    frames.insert(at, frames[at]);
    frames
}

#[test]
fn honest_streams_are_verified_and_lies_are_not() {
    let lies: &[(&str, Lie)] = &[
        ("lost", losing),
        ("repeated", repeating),
        ("reordered", reordering),
        ("unexplained", unexplaining),
        ("explained twice", explaining_twice),
        ("explained and delivered", explaining_too_much),
    ];
    let mut told = vec![0; lies.len()];
    for seed in 0..400 {
        let (frames, end) = honest(&mut fastrand::Rng::with_seed(seed));
        let totals = verify(&frames, end);
        assert!(
            is_verified(&totals),
            "seed {seed}: {totals:?} of {frames:?}"
        );
        assert_eq!(totals.published, end, "seed {seed}");
        for (number, (what, lie)) in lies.iter().enumerate() {
            for at in 0..frames.len() {
                let Some(frames) = lie(&frames, at) else {
                    continue;
                };
                told[number] += 1;
                let totals = verify(&frames, end);
                assert!(
                    !is_verified(&totals),
                    "seed {seed}, {what} at {at}: {totals:?} of {frames:?}"
                );
            }
        }
    }
    assert!(told.iter().all(|times| *times > 100), "{told:?}");
}
