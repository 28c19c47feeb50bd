//! Shows that the simulator can fail: with any one promise broken, it does.

use super::run::run;
use crate::hub::broken::{self, Break};

/// Within so many seeds each break is found.
const SEEDS: u64 = 1000;

/// The first seed that fails, and what it says.
fn found(one: Break) -> Option<(u64, String)> {
    broken::set(Some(one));
    let found = (0..SEEDS).find_map(|seed| Some((seed, run(seed, false).err()?)));
    broken::set(None);
    found
}

macro_rules! breaks {
    ($($name:ident: $one:ident)*) => {
        $(
            #[test]
            fn $name() {
                let (seed, why) = found(Break::$one).expect("it is noticed");
                println!("{:?} by seed {seed}: {why}", Break::$one);
            }
        )*
    };
}

breaks! {
    a_mark_that_is_overtaken_is_noticed: MarkOvertaken
    a_skip_that_is_forgotten_is_noticed: SkipForgotten
    a_skip_that_is_too_long_is_noticed: SkipTooLong
    an_ack_that_is_behind_is_noticed: AckBehind
    a_recovery_without_its_tail_is_noticed: TailForgotten
    a_topic_that_is_delivered_twice_is_noticed: OverlapTwice
    a_publish_that_is_only_answered_is_noticed: AnsweredOnly
    an_update_that_is_lost_is_noticed: UpdateLost
    a_limit_that_is_ignored_is_noticed: LimitIgnored
    a_deadline_that_progress_resets_is_noticed: DeadlineReset
    a_deadline_that_comes_early_is_noticed: DeadlineEarly
    a_payload_that_is_kept_is_noticed: LatestQueued
    a_newest_value_that_is_forgotten_is_noticed: NewestForgotten
    a_mark_that_is_left_behind_is_noticed: Leak
    an_interval_that_ends_early_is_noticed: IntervalEarly
    an_interval_that_ends_late_is_noticed: IntervalLate
    a_birth_that_a_filter_misses_is_noticed: BirthMissed
    a_young_update_that_is_left_out_is_noticed: StaleEarly
}
