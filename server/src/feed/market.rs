//! A market that never closes: which symbol trades next, when, and at what price.
//!
//! Deterministic: one seed gives one endless sequence of trades. It knows no clock; times count from the opening.
//!
//! * Every symbol opens within the first second, then the market is hectic and calms down within half a minute.
//! * Activity follows a power law over the symbols, as on exchanges (Gabaix et al., 2003, find such tails).
//! * The whole market moves between quiet, normal and busy spells, which change rate and volatility together.
//! * A price is a geometric random walk that is drawn back to its opening, so that weeks of it stay believable.

use std::io::Write as _;
use std::time::Duration;

use fastrand::Rng;

use super::{Sim, symbols};

/// Trades are told in steps of this, so that one wake-up of the feed covers all trades of a step.
const STEP: Duration = Duration::from_millis(5);
/// Every symbol has traded once by then.
const OPENING_S: f64 = 1.0;
/// How many times the usual rate the market has right after the opening, beyond 1, and how fast that fades.
const HECTIC_EXTRA: f64 = 4.0;
const HECTIC_FADES_S: f64 = 8.0;
/// Mean length of a spell.
const SPELL_S: f64 = 8.0;
/// Exponent of the power law: with 500 symbols the first trades a twentieth of everything.
const ACTIVITY_EXPONENT: f64 = 0.8;
/// Standard deviation of the logarithm of a price's change in one trade of a normal spell.
const VOLATILITY: f64 = 0.0004;
/// Share of the way back to its opening that a price is drawn at each trade.
const PULL: f64 = 0.0005;

/// A spell's share of the time, and what it multiplies. The shares weigh the rates to a mean of 1.
#[derive(Debug)]
struct Spell {
    share: f64,
    rate: f64,
    volatility: f64,
}

const SPELLS: [Spell; 3] = [
    Spell {
        share: 0.40,
        rate: 0.4,
        volatility: 0.6,
    },
    Spell {
        share: 0.48,
        rate: 1.0,
        volatility: 1.0,
    },
    Spell {
        share: 0.12,
        rate: 3.0,
        volatility: 2.0,
    },
];

/// The state of the market between two trades.
#[derive(Debug)]
pub(super) struct Market {
    rng: Rng,
    stocks: Vec<Stock>,
    /// Running sum of the stocks' activities, the last being 1: a uniform number finds its stock by bisection.
    activity: Vec<f64>,
    /// Trades a second on the long average.
    rate: f64,
    /// Seconds since the opening, of the last trade.
    time_s: f64,
    opened: usize,
    spell: &'static Spell,
    spell_end_s: f64,
}

#[derive(Debug)]
struct Stock {
    name: String,
    opening: f64,
    price: f64,
    volume: u64,
}

/// One trade; its payload is written by [`Market::put_json`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trade {
    /// Time since the opening, a whole number of steps.
    pub(super) at: Duration,
    stock: usize,
}

impl Market {
    pub(super) fn new(sim: &Sim) -> Market {
        let mut rng = Rng::with_seed(sim.seed);
        let stocks: Vec<Stock> = symbols::names(sim.symbols)
            .map(|name| Stock::new(name, &mut rng))
            .collect();
        let activity = activity(stocks.len());
        let mut market = Market {
            rng,
            stocks,
            activity,
            rate: sim.rate,
            time_s: 0.0,
            opened: 0,
            spell: &SPELLS[1],
            spell_end_s: 0.0,
        };
        market.spell_end_s = OPENING_S + market.exponential(SPELL_S);
        market
    }

    /// The next trade. Prices and volumes have moved on when this returns.
    pub(super) fn next(&mut self) -> Trade {
        let stock = if self.opened < self.stocks.len() {
            self.next_opening()
        } else {
            self.next_trading()
        };
        let steps = (self.time_s / STEP.as_secs_f64()).ceil();
        // A step of 5 ms: a u64 of them outlasts the sun, and `as` saturates.
        Trade {
            at: Duration::from_millis((steps as u64).saturating_mul(STEP.as_millis() as u64)),
            stock,
        }
    }

    /// The topic of a trade.
    pub(super) fn topic(&self, trade: Trade) -> &str {
        &self.stocks[trade.stock].name
    }

    /// Appends the payload: `{"symbol":"AAPL","price":187.20,"change":-0.31,"volume":120300}`. `change` is the
    /// difference to the opening price, `volume` what was traded since the opening.
    pub(super) fn put_json(&self, trade: Trade, json: &mut Vec<u8>) {
        let Stock {
            name,
            opening,
            price,
            volume,
        } = &self.stocks[trade.stock];
        let change = cents(*price) - cents(*opening);
        let sign = if change < 0 { "-" } else { "" };
        let (price, change) = (
            Cents(cents(*price).unsigned_abs()),
            Cents(change.unsigned_abs()),
        );
        // Names are letters only, so they need no escaping.
        write!(
            json,
            r#"{{"symbol":"{name}","price":{price},"change":{sign}{change},"volume":{volume}}}"#
        )
        .expect("writing to memory cannot fail");
    }

    fn next_opening(&mut self) -> usize {
        let stock = self.opened;
        self.opened += 1;
        self.time_s = OPENING_S * stock as f64 / self.stocks.len() as f64;
        self.stocks[stock].volume = lot(&mut self.rng) * 10;
        stock
    }

    fn next_trading(&mut self) -> usize {
        let hectic = HECTIC_EXTRA * (-self.time_s / HECTIC_FADES_S).exp();
        let rate = self.rate * (self.spell.rate + hectic);
        self.time_s += self.exponential(1.0 / rate);
        while self.time_s >= self.spell_end_s {
            self.change_spell();
        }
        let stock = self.pick();
        let volatility = VOLATILITY * self.spell.volatility;
        self.stocks[stock].trade(volatility, &mut self.rng);
        stock
    }

    fn change_spell(&mut self) {
        self.spell_end_s += self.exponential(SPELL_S);
        let mut left = self.rng.f64();
        // The shares may add up to a hair less than 1.
        self.spell = SPELLS
            .iter()
            .find(|spell| {
                left -= spell.share;
                left < 0.0
            })
            .unwrap_or(&SPELLS[1]);
    }

    fn pick(&mut self) -> usize {
        let point = self.rng.f64();
        self.activity
            .partition_point(|end| *end <= point)
            .min(self.stocks.len() - 1)
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        // 1 - [0, 1) is never 0, whose logarithm is infinite.
        -(1.0 - self.rng.f64()).ln() * mean
    }
}

impl Stock {
    fn new(name: String, rng: &mut Rng) -> Stock {
        // Most shares cost some tens, few cost hundreds.
        let opening = 20.0 * (0.9 * normal(rng)).exp() + 4.0;
        Stock {
            name,
            opening,
            price: opening,
            volume: 0,
        }
    }

    fn trade(&mut self, volatility: f64, rng: &mut Rng) {
        let pull = PULL * (self.opening / self.price).ln();
        self.price = (self.price * (pull + volatility * normal(rng)).exp()).max(0.01);
        self.volume += lot(rng);
    }
}

/// Shares in one trade: mostly one lot of a hundred, sometimes many.
fn lot(rng: &mut Rng) -> u64 {
    let lots = (1.2 * normal(rng)).exp().ceil();
    100 * lots as u64
}

/// A standard normal number (Box and Muller, 1958).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

fn activity(stocks: usize) -> Vec<f64> {
    let weight = |rank: usize| (rank as f64 + 1.0).powf(-ACTIVITY_EXPONENT);
    let total: f64 = (0..stocks).map(weight).sum();
    let running = (0..stocks).scan(0.0, |sum, rank| {
        *sum += weight(rank) / total;
        Some(*sum)
    });
    running.collect()
}

fn cents(price: f64) -> i64 {
    (price * 100.0).round() as i64
}

/// Money with two decimals.
struct Cents(u64);

impl std::fmt::Display for Cents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn market(symbols: u32, seed: u64, rate: f64) -> Market {
        Market::new(&Sim {
            symbols,
            seed,
            rate,
        })
    }

    fn trades(mut market: Market, count: usize) -> Vec<(Duration, String, String)> {
        let trade = |_| {
            let trade = market.next();
            let mut json = Vec::new();
            market.put_json(trade, &mut json);
            (
                trade.at,
                market.topic(trade).to_owned(),
                String::from_utf8(json).unwrap(),
            )
        };
        (0..count).map(trade).collect()
    }

    #[test]
    fn a_seed_gives_one_market_and_another_seed_another() {
        assert_eq!(
            trades(market(20, 7, 50.0), 2_000),
            trades(market(20, 7, 50.0), 2_000)
        );
        assert_ne!(
            trades(market(20, 7, 50.0), 2_000),
            trades(market(20, 8, 50.0), 2_000)
        );
    }

    #[test]
    fn every_symbol_opens_within_the_first_second_and_no_time_runs_backwards() {
        let trades = trades(market(300, 1, 600.0), 3_000);
        let names: std::collections::HashSet<&str> = trades[..300]
            .iter()
            .map(|(_, name, _)| name.as_str())
            .collect();
        assert_eq!(names.len(), 300);
        assert!(trades[299].0 <= Duration::from_secs(1));
        assert!(trades.is_sorted_by_key(|(at, ..)| *at));
    }

    #[test]
    fn the_rate_is_kept_on_the_long_average() {
        let seconds = 4_000.0;
        for (seed, rate) in [(1, 50.0), (2, 50.0), (3, 200.0)] {
            let trades = trades(market(10, seed, rate), (rate * seconds) as usize);
            let measured = trades.len() as f64 / trades.last().unwrap().0.as_secs_f64();
            assert!(
                (0.85..1.15).contains(&(measured / rate)),
                "seed {seed}: {measured} for {rate}"
            );
        }
    }

    #[test]
    fn the_opening_is_hectic_and_later_there_are_quiet_and_busy_spells() {
        let mut a_second = [0_usize; 600];
        for (at, ..) in trades(market(10, 5, 100.0), 70_000) {
            if let Some(count) = a_second.get_mut(at.as_secs() as usize) {
                *count += 1;
            }
        }
        assert!(
            a_second[1..4].iter().sum::<usize>() > 3 * 250,
            "{:?}",
            &a_second[..5]
        );
        let quiet = a_second[60..].iter().filter(|count| **count < 60).count();
        let busy = a_second[60..].iter().filter(|count| **count > 200).count();
        assert!(
            quiet > 60 && busy > 20,
            "{quiet} quiet, {busy} busy seconds"
        );
    }

    #[test]
    fn few_symbols_make_most_of_the_trades() {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for (_, name, _) in trades(market(500, 3, 1_000.0), 100_000) {
            *counts.entry(name).or_default() += 1;
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let busiest: usize = counts[..50].iter().sum();
        assert!(
            (40_000..60_000).contains(&busiest),
            "the busiest tenth made {busiest} of 100,000"
        );
    }

    #[test]
    fn prices_have_two_decimals_and_stay_near_their_opening() {
        let mut openings: HashMap<String, f64> = HashMap::new();
        for (_, name, json) in trades(market(4, 11, 10.0), 400_000) {
            let (_, price) = json.split_once(r#""price":"#).unwrap();
            let (price, _) = price.split_once(',').unwrap();
            let (_, decimals) = price.split_once('.').unwrap();
            assert_eq!(decimals.len(), 2, "{json}");
            let price: f64 = price.parse().unwrap();
            let opening = *openings.entry(name).or_insert(price);
            assert!(
                (opening / 3.0..opening * 3.0).contains(&price),
                "{json} opened at {opening}"
            );
        }
    }

    #[test]
    fn a_payload_reads_as_documented() {
        let mut market = market(1, 1, 1.0);
        let trade = market.next();
        market.stocks[0] = Stock {
            name: "AAPL".into(),
            opening: 187.515,
            price: 187.2,
            volume: 120_300,
        };
        let mut json = Vec::new();
        market.put_json(trade, &mut json);
        let expected = r#"{"symbol":"AAPL","price":187.20,"change":-0.32,"volume":120300}"#;
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }
}
