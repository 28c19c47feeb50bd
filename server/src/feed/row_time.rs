//! What time a cell of a recorded file says.
//!
//! Calendar text (`2000-03-01`, `20000301`, `2000-03-01 14:30:00`, RFC 3339) may vary from row to row; without an
//! offset it is UTC. Plain numbers count from 1970 in one unit, found from the size of the first one, because
//! a unit that changed on the way would make the pace jump by a factor of a thousand.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// How a file writes its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeFormat {
    /// Dates and times as people write them.
    Calendar,
    /// A number, so many nanoseconds each.
    Unix { unit_ns: i64 },
}

const SECOND_NS: i64 = 1_000_000_000;

impl TimeFormat {
    /// The format `cell` is in, if it is a time at all.
    pub(super) fn detect(cell: &str) -> Option<TimeFormat> {
        let cell = cell.trim();
        let format = match unix_unit_ns(cell) {
            Some(unit_ns) if !is_compact_date(cell) => TimeFormat::Unix { unit_ns },
            _ => TimeFormat::Calendar,
        };
        format.parse_us(cell).map(|_| format)
    }

    /// Whether a cell in this format can hardly be anything but a time. A number below 2001 may be a count.
    pub(super) fn is_telling(self, cell: &str) -> bool {
        const YEAR_2001_US: i64 = 978_307_200_000_000;
        match self {
            TimeFormat::Calendar => true,
            TimeFormat::Unix { .. } => self.parse_us(cell).is_some_and(|us| us >= YEAR_2001_US),
        }
    }

    /// Microseconds since 1970.
    pub(super) fn parse_us(self, cell: &str) -> Option<i64> {
        let cell = cell.trim();
        match self {
            TimeFormat::Calendar => calendar_us(cell),
            TimeFormat::Unix { unit_ns } => unix_us(cell, unit_ns),
        }
    }
}

/// Seconds reach 10^11 in the year 5138; milliseconds pass 10^11 in 1973. The same gap stands between the finer units.
fn unix_unit_ns(cell: &str) -> Option<i64> {
    let size = cell.parse::<f64>().ok().filter(|n| n.is_finite())?.abs();
    let units = [(1e11, SECOND_NS), (1e14, 1_000_000), (1e17, 1_000)];
    Some(
        units
            .iter()
            .find(|(limit, _)| size < *limit)
            .map_or(1, |(_, unit_ns)| *unit_ns),
    )
}

/// `20240131`. As seconds it would be a day in 1970, which nobody records.
fn is_compact_date(cell: &str) -> bool {
    let digits = cell.len() == 8 && cell.bytes().all(|b| b.is_ascii_digit());
    digits
        && cell
            .parse::<Date>()
            .is_ok_and(|date| (1900..2100).contains(&date.year()))
}

fn unix_us(cell: &str, unit_ns: i64) -> Option<i64> {
    if let Ok(count) = cell.parse::<i64>() {
        return i64::try_from(i128::from(count) * i128::from(unit_ns) / 1000).ok();
    }
    // A fraction: at today's 1.7e9 seconds a double still tells quarter microseconds apart.
    let count = cell.parse::<f64>().ok().filter(|n| n.is_finite())?;
    let us = (count * (unit_ns as f64 / 1000.0)).round();
    (us.abs() < i64::MAX as f64).then_some(us as i64)
}

fn calendar_us(cell: &str) -> Option<i64> {
    const DATE_BYTES: usize = "2000-03-01".len();
    let clock = cell.get(DATE_BYTES..).unwrap_or("");
    let has_offset = clock.contains(['Z', 'z', '+', '-']);
    let timestamp = if has_offset {
        cell.parse::<Timestamp>().ok()?
    } else {
        let civil = cell.parse::<DateTime>().ok()?;
        civil.to_zoned(TimeZone::UTC).ok()?.timestamp()
    };
    Some(timestamp.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cell: &str) -> Option<i64> {
        TimeFormat::detect(cell)?.parse_us(cell)
    }

    #[test]
    fn every_documented_spelling_of_one_moment_reads_as_that_moment() {
        for cell in [
            "2001-09-09T01:46:40Z",
            "2001-09-09t01:46:40z",
            "2001-09-09T03:46:40+02:00",
            "2001-09-09 01:46:40",
            "2001-09-09 01:46:40.000",
            "2001-09-09T01:46:40",
            " 1000000000 ",
            "1000000000.0",
            "1000000000000",
            "1000000000000000",
            "1000000000000000000",
        ] {
            assert_eq!(read(cell), Some(1_000_000_000_000_000), "{cell}");
        }
        assert_eq!(read("1970-01-02"), Some(86_400_000_000));
        assert_eq!(read("19700102"), Some(86_400_000_000));
        assert_eq!(read("1600000000.25"), Some(1_600_000_000_250_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for cell in [
            "",
            "AAPL",
            "2001-13-01",
            "2001-02-30",
            "01:46:40",
            "12/31/2001",
            "inf",
            "NaN",
            "1e300",
        ] {
            assert_eq!(read(cell), None, "{cell}");
        }
    }

    #[test]
    fn the_unit_of_the_first_number_holds_for_the_whole_file() {
        let milliseconds = TimeFormat::detect("1600000000000").unwrap();
        assert_eq!(milliseconds.parse_us("99"), Some(99_000));
        assert_eq!(milliseconds.parse_us("2001-01-01"), None);
    }

    #[test]
    fn a_small_number_is_not_taken_for_a_time_by_its_looks() {
        let telling =
            |cell: &str| TimeFormat::detect(cell).is_some_and(|format| format.is_telling(cell));
        assert!(!telling("9616100"));
        assert!(!telling("131.5"));
        assert!(telling("1700000000"));
        assert!(telling("2000-03-01"));
    }
}
