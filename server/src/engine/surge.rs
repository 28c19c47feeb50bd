//! Tells when newcomers come in a surge: then pings, which can wait, make room for handshakes, which cannot.
//!
//! With a million connections that came half a minute ago, pings and their pongs take as much of a small machine as
//! handshakes do, on both ends: without this, the accept rate fell to 0.6 of what it was as soon as they began.

/// A surge is this share of the connections within about a second.
const SHARE: u64 = 256;

/// How many came lately. Asked once a sweep.
#[derive(Debug, Default)]
pub(super) struct Surge {
    opened_before: u64,
    /// A sum that forgets a quarter each sweep; at a steady rate it is what four sweeps, a second, bring.
    lately: u64,
}

impl Surge {
    /// Takes note of how many connections were opened up to now.
    pub(super) fn note(&mut self, opened: u64) {
        self.lately -= self.lately.div_ceil(4);
        self.lately += opened - self.opened_before;
        self.opened_before = opened;
    }

    /// Whether so many newcomers are a surge for a shard that holds `connections`.
    pub(super) fn is_on(&self, connections: usize) -> bool {
        self.lately * SHARE > connections as u64
    }
}

/// By how much longer than its interval a ping may wait during a surge: until four fifths of the idle timeout have passed,
/// so that the peer's pong still comes in time; without a timeout as long again. All wait equally long, so what was spread
/// over time stays so; `spread_ms` is the longest that any waits anyhow.
pub(super) fn patience_ms(spread_ms: u32, idle_timeout_ms: u32) -> u32 {
    match idle_timeout_ms {
        0 => spread_ms,
        timeout_ms => (timeout_ms / 5 * 4).saturating_sub(spread_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(opened_a_sweep: u64, sweeps: u64, connections: usize) -> bool {
        let mut surge = Surge::default();
        for sweep in 1..=sweeps {
            surge.note(sweep * opened_a_sweep);
        }
        surge.is_on(connections)
    }

    #[test]
    fn a_climb_to_the_last_place_is_a_surge_and_ordinary_coming_and_going_is_not() {
        // 370 a second and shard, on the way to a million; half of that on a slow day; then one in 400.
        assert!(after(93, 100, 20_000));
        assert!(after(47, 100, 20_000));
        assert!(!after(12, 100, 20_000));
    }

    #[test]
    fn a_surge_is_over_soon_after_the_last_newcomer() {
        let mut surge = Surge::default();
        surge.note(10_000);
        assert!(surge.is_on(10_000));
        for _ in 0..40 {
            surge.note(10_000);
        }
        assert!(!surge.is_on(10_000));
    }

    #[test]
    fn a_ping_waits_only_so_long_that_its_pong_still_comes_in_time() {
        assert_eq!(patience_ms(37_500, 75_000), 22_500);
        assert_eq!(patience_ms(37_500, 0), 37_500);
        assert_eq!(patience_ms(37_500, 40_000), 0);
    }
}
