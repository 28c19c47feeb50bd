//! Durations and rates as people write them.

use std::time::Duration;

/// The longest time an argument may name: a day. Deadlines stay far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// `500ms`, `10s`, `1.5m`, `1h`; the unit may not be left out, but for `0`. At most a day.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if digits == "0" => 0.0,
        _ => return Err("give a number and a unit: 500ms, 10s, 1m or 1h".to_owned()),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{digits:?} is no number"))?;
    let duration =
        Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
    if duration > DURATION_MAX {
        return Err("at most 24h".to_owned());
    }
    Ok(duration)
}

/// A number that is finite and not negative.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if !(0.0..=1e9).contains(&rate) {
        return Err("must be 0 to 1000000000".to_owned());
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, expected_us) in [
            ("500ms", Some(500_000)),
            ("10s", Some(10_000_000)),
            ("1m", Some(60_000_000)),
            ("1.5s", Some(1_500_000)),
            ("24h", Some(86_400_000_000)),
            ("250us", Some(250)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("10", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1 s", None),
            ("25h", None),
            ("nans", None),
            ("1e300s", None),
            ("10 days", None),
        ] {
            let got = parse_duration(text)
                .ok()
                .map(|duration| duration.as_micros());
            assert_eq!(got, expected_us, "{text:?}");
        }
    }

    #[test]
    fn rates_are_finite_and_not_negative() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("0.5", Some(0.5)),
            ("5000", Some(5000.0)),
            ("-1", None),
            ("inf", None),
            ("NaN", None),
            ("x", None),
        ] {
            assert_eq!(parse_rate(text).ok(), expected, "{text:?}");
        }
    }
}
