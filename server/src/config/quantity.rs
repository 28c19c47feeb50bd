//! Durations, sizes and counts as operators write them: `30s`, `64k`, `auto`.
//!
//! Each type reads itself from a flag and from a config file, and prints itself so that it can be read again.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// A duration in milliseconds, up to 19 days: `500ms`, `30s`, `5m`, `2h`; `0` is allowed without a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u32);

/// A size in bytes: `65536`, `64k`, `1m`, `1g`, each step being 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A number of shards, or `auto`: as many as the machine and its limits ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards(pub Option<NonZeroUsize>);

/// Why a quantity was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a duration.
    #[error("a duration is a whole number with a unit, such as 500ms, 30s, 5m or 2h")]
    Duration,
    /// A duration beyond what a connection's clock can tell apart.
    #[error("a duration is at most 19 days")]
    LongDuration,
    /// Not a size.
    #[error("a size is a whole number of bytes, such as 65536, 64k, 1m or 1g")]
    Size,
    /// Neither `auto` nor a number above zero.
    #[error("a number of shards is \"auto\" or a whole number above zero")]
    Shards,
}

/// Connections keep times as 32 bits of milliseconds, of which differences up to half the range mean something; intervals are
/// lengthened by up to a quarter.
const DURATION_MAX_MS: u64 = 19 * 24 * 3_600_000;

const MILLIS_UNITS: [(&str, u32); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const BYTES_UNITS: [(&str, u64); 4] = [("", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)];

fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

impl FromStr for Millis {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Millis, QuantityError> {
        let (number, unit) = split_unit(text);
        let number: u64 = number.parse().map_err(|_| QuantityError::Duration)?;
        let scale = match MILLIS_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, scale)) => u64::from(*scale),
            None if unit.is_empty() && number == 0 => 1,
            None => return Err(QuantityError::Duration),
        };
        let millis = number
            .checked_mul(scale)
            .filter(|millis| *millis <= DURATION_MAX_MS)
            .and_then(|millis| u32::try_from(millis).ok());
        millis.map(Millis).ok_or(QuantityError::LongDuration)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No 60000ms where 1m can stand, and no 0h.
        let fits = |scale: u32| self.0 != 0 && self.0.is_multiple_of(scale);
        let (unit, scale) = MILLIS_UNITS
            .into_iter()
            .rev()
            .find(|(_, scale)| fits(*scale))
            .unwrap_or(("s", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Bytes, QuantityError> {
        let (number, unit) = split_unit(text);
        let number: u64 = number.parse().map_err(|_| QuantityError::Size)?;
        let unit = unit.to_ascii_lowercase();
        let (_, scale) = BYTES_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or(QuantityError::Size)?;
        number
            .checked_mul(*scale)
            .map(Bytes)
            .ok_or(QuantityError::Size)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |scale: u64| self.0 != 0 && self.0.is_multiple_of(scale);
        let (unit, scale) = BYTES_UNITS
            .into_iter()
            .rev()
            .find(|(_, scale)| fits(*scale))
            .unwrap_or(("", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

impl FromStr for Shards {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Shards, QuantityError> {
        match text {
            "auto" => Ok(Shards(None)),
            number => number
                .parse()
                .map(|number| Shards(Some(number)))
                .map_err(|_| QuantityError::Shards),
        }
    }
}

impl fmt::Display for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("auto"),
            Some(shards) => shards.fmt(f),
        }
    }
}

/// Serde for a type that is text with a meaning, and is also taken as a bare number where that has one.
macro_rules! as_text {
    ($type:ident, $number:ident, $expected:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                struct Text;

                impl Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        let refused = || E::invalid_type(Unexpected::Signed(number), &self);
                        $number(number).ok_or_else(refused)
                    }
                }

                deserializer.deserialize_any(Text)
            }
        }
    };
}

as_text!(Millis, bare_millis, "a duration in quotes, such as \"30s\"");
as_text!(Bytes, bare_bytes, "a size, such as 65536 or \"64k\"");
as_text!(Shards, bare_shards, "\"auto\" or a whole number above zero");

/// `0` means never in any unit; for all else a bare number would leave the reader guessing.
fn bare_millis(number: i64) -> Option<Millis> {
    (number == 0).then_some(Millis(0))
}

fn bare_bytes(number: i64) -> Option<Bytes> {
    number.try_into().ok().map(Bytes)
}

fn bare_shards(number: i64) -> Option<Shards> {
    usize::try_from(number)
        .ok()
        .and_then(NonZeroUsize::new)
        .map(|number| Shards(Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them_and_print_shortest() {
        for (text, millis, printed) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("1500ms", 1_500, "1500ms"),
            ("60s", 60_000, "1m"),
            ("90s", 90_000, "90s"),
            ("2h", 7_200_000, "2h"),
            ("0", 0, "0s"),
            ("0ms", 0, "0s"),
        ] {
            assert_eq!(text.parse(), Ok(Millis(millis)), "{text}");
            assert_eq!(Millis(millis).to_string(), printed);
            assert_eq!(printed.parse(), Ok(Millis(millis)));
        }
        for text in ["", "30", "s", "-1s", "1.5s", "30 s", "30sec", "30S"] {
            assert_eq!(
                text.parse::<Millis>(),
                Err(QuantityError::Duration),
                "{text}"
            );
        }
        for text in ["50d", "1200h", "99999999999999999999s", "4294967296ms"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_count_in_steps_of_1024() {
        for (text, bytes, printed) in [
            ("65536", 65_536, "64k"),
            ("64k", 65_536, "64k"),
            ("64K", 65_536, "64k"),
            ("1m", 1_048_576, "1m"),
            ("1000", 1_000, "1000"),
            ("0", 0, "0"),
            ("2g", 2_147_483_648, "2g"),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
            assert_eq!(Bytes(bytes).to_string(), printed);
        }
        for text in [
            "",
            "k",
            "-1",
            "1.5m",
            "64kb",
            "99999999999999999999",
            "99999999999g",
        ] {
            assert_eq!(text.parse::<Bytes>(), Err(QuantityError::Size), "{text}");
        }
    }

    #[test]
    fn shards_are_auto_or_a_number() {
        assert_eq!("auto".parse(), Ok(Shards(None)));
        assert_eq!("4".parse(), Ok(Shards(NonZeroUsize::new(4))));
        for text in ["0", "-1", "many", ""] {
            assert_eq!(text.parse::<Shards>(), Err(QuantityError::Shards), "{text}");
        }
    }
}
