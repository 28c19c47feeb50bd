//! Names for simulated symbols: known tickers first, then made-up ones that look the same.
//!
//! Name number n is always the same, whatever the seed and however many symbols there are, so that a client
//! may subscribe to names it has seen in another run.

/// The most active come first, because activity falls with the number.
const KNOWN: [&str; 32] = [
    "AAPL", "MSFT", "GOOGL", "NVDA", "AMZN", "META", "TSLA", "AMD", "JPM", "V", "NFLX", "INTC",
    "XOM", "WMT", "BAC", "DIS", "KO", "PFE", "ORCL", "CSCO", "IBM", "NKE", "BA", "MCD", "GE", "F",
    "T", "C", "UBER", "PYPL", "HD", "QCOM",
];

/// Lengths of made-up names and the number of the first that is longer. Only a part of each length's names is used,
/// as on a real exchange, where not every combination of letters is listed.
const LENGTHS: [(u32, u64); 3] = [(3, 8_000), (4, 200_000), (5, u64::MAX)];
const LETTERS: u64 = 26;
/// Odd and no multiple of 13, hence coprime to every power of 26: multiplying by it visits each name once. Near the
/// golden ratio's share of 26^5, so that neighbours in number are no neighbours in the alphabet.
const STRIDE: u64 = 7_343_119;

/// The first `count` names, all different and all valid topics.
pub(super) fn names(count: u32) -> impl Iterator<Item = String> {
    let made_up = (0..)
        .map(made_up)
        .filter(|name| !KNOWN.contains(&name.as_str()));
    KNOWN
        .iter()
        .map(|name| (*name).to_owned())
        .chain(made_up)
        .take(count as usize)
}

fn made_up(number: u64) -> String {
    let length = LENGTHS
        .iter()
        .find(|(_, end)| number < *end)
        .map_or(5, |(length, _)| *length);
    let mut code = number.wrapping_mul(STRIDE) % LETTERS.pow(length);
    let mut name = [0_u8; 5];
    for letter in &mut name[..length as usize] {
        *letter = b'A' + (code % LETTERS) as u8;
        code /= LETTERS;
    }
    name[..length as usize]
        .iter()
        .map(|letter| char::from(*letter))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_million_names_are_different_and_are_topics() {
        let mut seen = HashSet::new();
        for name in names(1_000_000) {
            assert!(fanfare_wire::topic::check_topic(&name).is_ok(), "{name}");
            assert!((1..=5).contains(&name.len()), "{name}");
            assert!(seen.insert(name));
        }
        assert_eq!(seen.len(), 1_000_000);
    }

    #[test]
    fn a_name_does_not_depend_on_how_many_there_are() {
        let few: Vec<String> = names(50).collect();
        let many: Vec<String> = names(5_000).take(50).collect();
        assert_eq!(few, many);
        assert_eq!(few[..3], ["AAPL", "MSFT", "GOOGL"]);
    }
}
