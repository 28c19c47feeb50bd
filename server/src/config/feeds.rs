//! From the options of the two feeds to what they play.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use fanfare_wire::topic;

use super::Options;
use crate::feed::{Replay, Sim};

/// The name of the recording that is part of the program.
pub(super) const BUILT_IN: &str = "builtin";
/// Every symbol is a topic, and a server has a million of them unless told otherwise.
const SYMBOLS_MAX: u32 = 1_000_000;
pub(super) const SIM_SEED: u64 = 1;

pub(super) fn replay(options: &Options) -> anyhow::Result<Option<Replay>> {
    let Some(file) = &options.replay else {
        let idle = [
            ("topic-column", options.topic_column.is_some()),
            ("time-column", options.time_column.is_some()),
            ("topic-prefix", options.topic_prefix.is_some()),
            ("speed", options.speed.is_some()),
            ("loop", options.repeat.is_some()),
        ];
        refuse_idle(&idle, "replay")?;
        return Ok(None);
    };
    let speed = options.speed.unwrap_or(1.0);
    ensure!(
        speed.is_finite() && speed > 0.0,
        "speed must be above zero, not {speed}"
    );
    let topic_prefix = options.topic_prefix.clone().unwrap_or_default();
    // A prefix may end in a dot, so it is judged with a topic behind it.
    topic::check_topic(&format!("{topic_prefix}x"))
        .with_context(|| format!("topic-prefix {topic_prefix:?} begins no topic"))?;
    ensure!(
        !topic_prefix.starts_with('$'),
        "topic-prefix: topics that begin with '$' belong to the server"
    );
    Ok(Some(Replay {
        path: (file != BUILT_IN).then(|| PathBuf::from(file)),
        topic_column: options.topic_column.clone(),
        time_column: options.time_column.clone(),
        topic_prefix,
        speed,
        repeat: options.repeat.unwrap_or(false),
    }))
}

pub(super) fn sim(options: &Options) -> anyhow::Result<Option<Sim>> {
    let Some(symbols) = options.sim else {
        let idle = [
            ("sim-seed", options.sim_seed.is_some()),
            ("sim-rate", options.sim_rate.is_some()),
        ];
        refuse_idle(&idle, "sim")?;
        return Ok(None);
    };
    ensure!(
        (1..=SYMBOLS_MAX).contains(&symbols),
        "sim must be between 1 and {SYMBOLS_MAX} symbols, not {symbols}"
    );
    let rate = options.sim_rate.unwrap_or(2.0 * f64::from(symbols));
    ensure!(
        rate.is_finite() && rate > 0.0,
        "sim-rate must be above zero, not {rate}"
    );
    let seed = options.sim_seed.unwrap_or(SIM_SEED);
    ensure!(
        i64::try_from(seed).is_ok(),
        "sim-seed must be below 2^63, as any number in a config file"
    );
    Ok(Some(Sim {
        symbols,
        seed,
        rate,
    }))
}

/// A setting without the feed it belongs to would do nothing, which is hardly what was meant.
fn refuse_idle(settings: &[(&str, bool)], feed: &str) -> anyhow::Result<()> {
    match settings.iter().find(|(_, given)| *given) {
        Some((key, _)) => bail!("{key} does nothing without {feed}"),
        None => Ok(()),
    }
}
