//! Seeds one after the other, on all cores. `scripts/sim` says how many by `FANFARE_SIM_SEEDS`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::run::run;
use super::tally::Tally;

/// So many seeds must between them have met everything there is to meet.
const ENOUGH: u64 = 1000;
/// How many `cargo test` runs.
const SEEDS: u64 = 40;

pub(super) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[test]
fn whatever_happens_the_promises_are_kept() {
    let first = number("FANFARE_SIM_FROM").unwrap_or(0);
    let seeds = number("FANFARE_SIM_SEEDS").unwrap_or(SEEDS);
    let is_verbose = number("FANFARE_SIM_VERBOSE").is_some();
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let all = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    match run(seed, is_verbose) {
                        Ok(outcome) => tally.join(&outcome.tally),
                        Err(why) => failed.lock().expect("no panic under it").push((seed, why)),
                    }
                }
                all.lock().expect("no panic under it").join(&tally);
            });
        }
    });
    let (mut failed, all) = (
        failed.into_inner().expect("unlocked"),
        all.into_inner().expect("unlocked"),
    );
    failed.sort();
    println!("{seeds} seeds from {first}:\n{all}");
    for (seed, why) in &failed {
        println!("scripts/sim --from {seed} --seeds 1 --verbose   # {why}");
    }
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds failed",
        failed.len()
    );
    if seeds >= ENOUGH {
        assert_eq!(all.missing(), [""; 0], "what never happened was not tested");
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in [1, 2, 3, 5, 8, 13] {
        let [first, second] = [0; 2].map(|_| run(seed, false).map(|outcome| outcome.hash));
        assert_eq!(first, second, "seed {seed}");
    }
}
