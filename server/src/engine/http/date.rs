//! The `Date` of answers (RFC 9110, section 6.6.1), put into words once a second.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// The second that was last put into words, and the words.
#[derive(Debug, Default)]
pub(in crate::engine) struct Date {
    second: i64,
    text: String,
}

impl Date {
    /// The words for a time, microseconds since 1970.
    pub(super) fn at(&mut self, wall_us: i64) -> &str {
        let second = wall_us.div_euclid(1_000_000);
        if self.text.is_empty() || second != self.second {
            self.second = second;
            self.text = in_words(second);
        }
        &self.text
    }
}

fn in_words(second: i64) -> String {
    let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
    // It fails for years of more than four digits alone, and then an answer has no true date to give.
    (DateTimePrinter::new().timestamp_to_rfc9110_string(&time)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_written_as_the_rfc_says() {
        let mut date = Date::default();
        assert_eq!(
            date.at(784_111_777_999_999),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(
            date.at(784_111_778_000_000),
            "Sun, 06 Nov 1994 08:49:38 GMT"
        );
    }
}
