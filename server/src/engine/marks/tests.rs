//! The tables of marks against a plain list, and what the deadline looks at.

use std::collections::BTreeMap;

use super::*;

const TOPICS: u32 = 7;

/// One connection's marks as a plain list: topic, first seq, and until when it rests.
type Naive = Vec<(u32, u64, Option<u64>)>;

fn held(topic: u32, seq: u64) -> Held {
    Held {
        conn: 3,
        topic: TopicId(topic),
        sub: SubId(0),
        seq,
        why: SkipWhy::Slow,
    }
}

fn ready(marks: &Marks, wait: WaitId) -> Vec<(u32, u64)> {
    let mark = |id| (marks.get(id).topic.0, marks.get(id).first);
    marks.ready(wait).map(mark).collect()
}

/// The table against a list, through many random steps: the same marks, in the same order, at the same times.
#[test]
fn marks_are_those_of_a_plain_list() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut marks, mut wait, mut naive) = (Marks::default(), WaitId::NONE, Naive::new());
    let mut seqs: BTreeMap<u32, u64> = BTreeMap::new();
    for now_ms in 0..20_000_u64 {
        let topic = random.u32(..TOPICS);
        let at = naive.iter().position(|entry| entry.0 == topic);
        match random.u32(..10) {
            0..5 => {
                let seq = seqs.entry(topic).or_default();
                *seq += 1;
                marks.hold(&mut wait, held(topic, *seq), now_ms);
                match at {
                    None => naive.push((topic, *seq, None)),
                    Some(at) if naive[at].1 == 0 => naive[at].1 = *seq,
                    Some(_) => {}
                }
            }
            5..8 => {
                let first = marks.ready(wait).next();
                if let Some(id) = first {
                    let interval_ms = [0, 20][random.usize(..2)];
                    marks.served(wait, id, now_ms * 1000, interval_ms);
                    let at = naive.iter().position(|entry| entry.2.is_none()).unwrap();
                    let (topic, ..) = naive.remove(at);
                    if interval_ms > 0 {
                        naive.push((topic, 0, Some(now_ms + 20)));
                    }
                }
            }
            8 => {
                if let Some(at) = at {
                    let id = marks.find(3, TopicId(topic)).unwrap();
                    marks.remove(wait, id);
                    naive.remove(at);
                }
            }
            _ => {
                marks.release(&mut wait);
                assert_eq!(wait.is_some(), !naive.is_empty());
            }
        }
        while let Some(id) = marks.pop_due(now_ms) {
            let topic = marks.get(id).topic.0;
            let at = naive.iter().position(|entry| entry.0 == topic).unwrap();
            let (_, first, due_ms) = naive.remove(at);
            assert!(due_ms.is_some_and(|due_ms| due_ms <= now_ms));
            assert_eq!(marks.end_rest(wait, id, now_ms), first > 0);
            if first > 0 {
                naive.push((topic, first, None));
            }
        }
        assert!(
            naive.iter().all(|entry| entry.2 != Some(now_ms)),
            "none is late"
        );
        let expected: Vec<(u32, u64)> = (naive.iter())
            .filter(|entry| entry.2.is_none())
            .map(|entry| (entry.0, entry.1))
            .collect();
        assert_eq!(ready(&marks, wait), expected);
        assert_eq!(marks.len(), naive.len());
    }
    marks.clear(&mut wait);
    assert_eq!((marks.len(), marks.waits(), marks.resting), (0, 0, 0));
    assert!(marks.by_key.is_empty());
}

#[test]
fn the_oldest_that_waits_is_what_the_deadline_looks_at() {
    let (mut marks, mut wait) = (Marks::default(), WaitId::NONE);
    assert_eq!(marks.waited_ms(wait, 5), None);
    marks.note_progress(1, &mut wait, 0, 300, 100);
    assert_eq!(marks.waited_ms(wait, 150), Some(50));
    // Another 300 were queued and 299 are out: the last of the first 300 still waits.
    marks.note_progress(1, &mut wait, 299, 301, 200);
    assert_eq!(marks.waited_ms(wait, 250), Some(150));
    marks.note_progress(1, &mut wait, 1, 300, 300);
    assert_eq!(marks.waited_ms(wait, 350), Some(50));
    marks.hold(&mut wait, held(1, 1), 310);
    marks.note_progress(1, &mut wait, 300, 0, 320);
    assert_eq!(marks.waited_ms(wait, 350), Some(40));
    let id = marks.find(3, TopicId(1)).unwrap();
    marks.served(wait, id, 360_000, 10);
    assert_eq!(marks.waited_ms(wait, 400), None, "to rest is not to wait");
}
