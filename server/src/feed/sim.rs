//! Publishes the simulated market, one topic a symbol, until the server stops.

use std::time::{Duration, Instant};

use super::market::Market;
use super::{Report, Sim, Sink};

/// Runs until `sink` breaks. `sim.symbols` and `sim.rate` must be above zero; the configuration refuses others.
pub fn run(sim: &Sim, sink: &mut dyn Sink) -> Report {
    let start = Instant::now();
    let mut market = Market::new(sim);
    let mut report = Report::default();
    let mut waited_for: Option<Duration> = None;
    let mut json = Vec::new();
    loop {
        let trade = market.next();
        if waited_for != Some(trade.at) {
            waited_for = Some(trade.at);
            if sink.wait_until(start + trade.at).is_break() {
                return report;
            }
        }
        json.clear();
        market.put_json(trade, &mut json);
        if sink.publish(market.topic(trade), &json).is_break() {
            return report;
        }
        report.published += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::testing::VirtualSink;

    const SIM: Sim = Sim {
        symbols: 10,
        seed: 42,
        rate: 1000.0,
    };

    #[test]
    fn two_runs_of_one_seed_publish_the_same() {
        let (mut first, mut second) = (VirtualSink::new(5_000), VirtualSink::new(5_000));
        assert_eq!(run(&SIM, &mut first), run(&SIM, &mut second));
        assert_eq!(first.published, second.published);
        assert_eq!(first.published.len(), 5_000);
    }

    #[test]
    fn trades_of_one_step_need_one_wait() {
        let mut sink = VirtualSink::new(5_000);
        let report = run(&SIM, &mut sink);
        assert_eq!(
            report,
            Report {
                published: 5_000,
                ..Report::default()
            }
        );
        let last = sink.published.last().unwrap().0;
        assert!(
            sink.waits <= last.as_millis() as usize / 5 + 1,
            "{} waits in {last:?}",
            sink.waits
        );
    }

    #[test]
    fn the_payload_names_the_symbol_of_its_topic() {
        let mut sink = VirtualSink::new(200);
        run(&SIM, &mut sink);
        for (_, topic, json) in &sink.published {
            assert!(
                json.starts_with(&format!(r#"{{"symbol":"{topic}","price":"#)),
                "{json}"
            );
        }
    }
}
