//! Shows that the simulator can fail: with any one promise broken, it does.

use super::run::run;
use super::seeds_test::number;
use crate::hub::broken::{self, Break};

/// Within so many seeds each break is found.
const SEEDS: u64 = 1000;

/// The first seed that fails, and what it says.
fn found(one: Break) -> Option<(u64, String)> {
    broken::set(Some(one));
    let seeds = number("FANFARE_SIM_SEEDS").unwrap_or(SEEDS);
    let found = (0..seeds).find_map(|seed| Some((seed, run(seed, false).err()?)));
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
    a_fading_topic_that_does_not_hear_is_noticed: FadingDeaf
    a_position_that_claims_what_is_held_back_is_noticed: PositionAhead
    a_poll_that_is_answered_with_what_the_client_has_is_noticed: PollRepeated
    a_poll_that_misses_what_has_come_before_it_is_noticed: PollMissed
    a_stream_that_goes_on_behind_its_answer_is_noticed: OnceForever
}
