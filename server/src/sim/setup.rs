//! What a seed decides before anything happens: shards, limits small enough to be met, and how rough the world is.

use fastrand::Rng;

use crate::engine::{Compression, HistoryLimits, HistoryRule, HistoryRules, Settings, Threshold};

/// The topics that clients speak of. Few, so that they meet.
const TOPICS: [&str; 10] = [
    "a",
    "b",
    "px.eur",
    "px.usd",
    "px.fx.chf",
    "x.y.z",
    "x.y",
    "room1",
    "kept.one",
    "kept.two",
];

/// Filters over them.
pub(super) const FILTERS: [&str; 9] = [
    ">",
    "*",
    "px.*",
    "px.>",
    "*.*",
    "x.y.*",
    "*.y",
    "kept.>",
    "nothing.*",
];

/// Filters over the topics of a world in which topics are young.
pub(super) const YOUNG_FILTERS: [&str; 3] = ["px.*", "px.>", ">"];

/// So many topics a world has in which topics are young.
const YOUNG: usize = 80;

/// One world.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) shards: u16,
    /// The topics that clients speak of.
    pub(super) topics: Vec<String>,
    /// They speak of so many at a time, and go on to the next when one has said something: so topics are asked for, left and asked
    /// for again before they are born, and meet others on the way. 0 = of all.
    pub(super) young: usize,
    pub(super) settings: Settings,
    /// So many things happen before all comes to rest.
    pub(super) steps: usize,
    pub(super) clients_max: usize,
    /// Mail takes up to so long between shards, microseconds.
    pub(super) mail_delay_us: u64,
    /// A mail lane that holds so many letters takes no further batch.
    pub(super) lane_letters_max: usize,
    /// In so many of a hundred cases a socket takes less than it could.
    pub(super) short_writes: u8,
    /// In so many it takes nothing although it could.
    pub(super) refusals: u8,
    /// The wall clock is set back now and then.
    pub(super) is_clock_set: bool,
    /// A tick writes to so many connections.
    pub(super) flush_turn: usize,
    /// Largest payload, bytes.
    pub(super) payload_bytes_max: usize,
}

impl Setup {
    pub(super) fn of(rng: &mut Rng) -> Setup {
        let one_of = |rng: &mut Rng, values: &[u64]| values[rng.usize(..values.len())];
        let outbox_bytes_max = one_of(rng, &[500, 900, 2_000, 6_000, 20_000]) as u32;
        let kept = HistoryRule {
            topics: "kept.>".into(),
            limits: HistoryLimits {
                count: rng.u32(1..60),
                bytes: rng.bool().then(|| rng.u64(500..20_000)),
                age_ms: (rng.u8(..3) == 0).then(|| rng.u32(50..3_000)),
            },
        };
        let otherwise = HistoryLimits {
            count: one_of(rng, &[0, 2, 8]) as u32,
            ..HistoryLimits::default()
        };
        let settings = Settings {
            outbox_bytes_max,
            history: HistoryRules {
                rules: vec![kept],
                otherwise,
            },
            kept_bytes_max: one_of(rng, &[3_000, 20_000, 1 << 20, 1 << 20]),
            topics_max: one_of(rng, &[3, 100, 100, 100, 100, 100]) as u32,
            filters_max: one_of(rng, &[3, 100, 100, 100, 100]) as u32,
            filter_topics_max: one_of(rng, &[0, 50, 50, 50, 50]) as u32,
            subscriptions_max: one_of(rng, &[3, 64, 64, 64, 64]) as u32,
            flush_interval_us: one_of(rng, &[0, 0, 0, 7_000]) as u32,
            handshake_timeout_ms: 800,
            ping_interval_ms: one_of(rng, &[0, 700, 30_000]) as u32,
            idle_timeout_ms: one_of(rng, &[0, 2_500, 75_000]) as u32,
            keep_alive_timeout_ms: one_of(rng, &[600, 75_000]) as u32,
            heartbeat_ms: one_of(rng, &[0, 600]) as u32,
            slow_timeout_ms: one_of(rng, &[300, 1_000, 3_000]) as u32,
            close_timeout_ms: 500,
            compression: Compression {
                threshold: match rng.u8(..3) {
                    0 => Threshold::NEVER,
                    1 => Threshold::from_bytes(0),
                    _ => Threshold::from_bytes(100),
                },
                contexts_max: one_of(rng, &[0, 3]) as u32,
            },
            ..Settings::default()
        };
        let young = if rng.u8(..3) == 0 { rng.usize(1..4) } else { 0 };
        let topics = if young > 0 {
            (0..YOUNG).map(|n| format!("px.n{n}")).collect()
        } else {
            TOPICS.map(Into::into).into()
        };
        // Where topics are young, shards are few and clients too, so that now and then nobody on a shard has any filter.
        let (shards, clients_max) = if young > 0 {
            (rng.u16(2..=3), rng.usize(2..6))
        } else {
            (rng.u16(1..=4), rng.usize(2..10))
        };
        Setup {
            shards,
            topics,
            young,
            settings,
            steps: rng.usize(300..1_500),
            clients_max,
            mail_delay_us: one_of(rng, &[0, 2_000, 40_000, 400_000]),
            lane_letters_max: one_of(rng, &[2, 10, 65_536, 65_536]) as usize,
            short_writes: one_of(rng, &[0, 10, 60]) as u8,
            refusals: one_of(rng, &[0, 5, 40]) as u8,
            is_clock_set: rng.u8(..3) == 0,
            flush_turn: one_of(rng, &[1, 64, 64]) as usize,
            payload_bytes_max: one_of(rng, &[1, 60, 400, 3_000, 20_000]) as usize,
        }
    }
}
