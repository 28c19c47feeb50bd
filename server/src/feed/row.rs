//! One row of a recorded file as an update: its time, its topic, its columns as one JSON object.
//!
//! Numbers keep the text they were recorded with, so that `131.50` is not turned into `131.5`; text that is no
//! JSON number (`007`, `+1`, `NaN`) becomes a string, an empty cell `null`.

use std::str::{self, Utf8Error};

use csv::ByteRecord;
use fanfare_wire::topic::{self, TopicError};

use super::row_time::TimeFormat;

/// The columns of one file and what they are used for.
#[derive(Debug)]
pub(super) struct Schema {
    /// What stands before each value: `{"Ticker":` for the first column, `,"Date":` for the next.
    keys: Vec<Vec<u8>>,
    topic: usize,
    time: usize,
    time_format: TimeFormat,
    topic_prefix: String,
}

/// A row ready to be published. Kept by the reader of the file and filled again for each row.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) time_us: i64,
    pub(super) topic: String,
    pub(super) json: Vec<u8>,
}

/// Why a row cannot be published.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum BadRow {
    #[error("{found} columns where the header has {expected}")]
    Columns { expected: usize, found: usize },
    #[error("it is not UTF-8: {0}")]
    Text(#[from] Utf8Error),
    #[error("{0:?} is not a time")]
    Time(String),
    #[error("{0:?} is not a topic: {1}")]
    Topic(String, TopicError),
    #[error("topics that begin with '$', such as {0:?}, belong to the server")]
    Reserved(String),
}

impl Schema {
    /// `topic` and `time` are indices into `names`.
    pub(super) fn new(
        names: &[String],
        topic: usize,
        time: usize,
        time_format: TimeFormat,
        topic_prefix: &str,
    ) -> Schema {
        debug_assert!(topic < names.len() && time < names.len());
        let keys = names.iter().enumerate().map(|(index, name)| {
            let mut key = vec![if index == 0 { b'{' } else { b',' }];
            put_string(&mut key, name);
            key.push(b':');
            key
        });
        Schema {
            keys: keys.collect(),
            topic,
            time,
            time_format,
            topic_prefix: topic_prefix.into(),
        }
    }

    /// Turns `record` into `row`, whose old content is dropped.
    pub(super) fn fill(&self, row: &mut Row, record: &ByteRecord) -> Result<(), BadRow> {
        if record.len() != self.keys.len() {
            return Err(BadRow::Columns {
                expected: self.keys.len(),
                found: record.len(),
            });
        }
        let time = str::from_utf8(&record[self.time])?;
        row.time_us = self
            .time_format
            .parse_us(time)
            .ok_or_else(|| BadRow::Time(time.into()))?;
        self.fill_topic(row, str::from_utf8(&record[self.topic])?)?;
        row.json.clear();
        for (key, cell) in self.keys.iter().zip(record) {
            row.json.extend_from_slice(key);
            put_cell(&mut row.json, str::from_utf8(cell)?);
        }
        row.json.push(b'}');
        Ok(())
    }

    fn fill_topic(&self, row: &mut Row, cell: &str) -> Result<(), BadRow> {
        row.topic.clear();
        row.topic.push_str(&self.topic_prefix);
        row.topic.push_str(cell.trim());
        topic::check_topic(&row.topic).map_err(|error| BadRow::Topic(row.topic.clone(), error))?;
        if topic::is_reserved(&row.topic) {
            return Err(BadRow::Reserved(row.topic.clone()));
        }
        Ok(())
    }
}

fn put_cell(json: &mut Vec<u8>, cell: &str) {
    if cell.is_empty() {
        json.extend_from_slice(b"null");
    } else if is_json_number(cell.as_bytes()) {
        json.extend_from_slice(cell.as_bytes());
    } else {
        put_string(json, cell);
    }
}

fn put_string(json: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(json, text).expect("writing text to memory cannot fail");
}

/// RFC 8259, section 6: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
fn is_json_number(cell: &[u8]) -> bool {
    let rest = cell.strip_prefix(b"-").unwrap_or(cell);
    let (whole, rest) = split_digits(rest);
    if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
        return false;
    }
    let rest = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => match split_digits(fraction) {
            ([], _) => return false,
            (_, rest) => rest,
        },
    };
    let [b'e' | b'E', exponent @ ..] = rest else {
        return rest.is_empty();
    };
    let exponent = exponent
        .strip_prefix(b"+")
        .or(exponent.strip_prefix(b"-"))
        .unwrap_or(exponent);
    matches!(split_digits(exponent), ([_, ..], []))
}

fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|b| b.is_ascii_digit()).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(prefix: &str) -> Schema {
        let names = ["Ticker", "Date", "a \"b\"", "Volume"].map(String::from);
        Schema::new(&names, 0, 1, TimeFormat::Calendar, prefix)
    }

    fn fill(prefix: &str, cells: &[&str]) -> Result<Row, BadRow> {
        let mut row = Row::default();
        schema(prefix)
            .fill(&mut row, &ByteRecord::from(cells))
            .map(|()| row)
    }

    #[test]
    fn a_row_becomes_one_object_with_its_columns_in_order() {
        let row = fill("", &["AAPL", "1970-01-02", "131.50", ""]).unwrap();
        assert_eq!(row.topic, "AAPL");
        assert_eq!(row.time_us, 86_400_000_000);
        let json = r#"{"Ticker":"AAPL","Date":"1970-01-02","a \"b\"":131.50,"Volume":null}"#;
        assert_eq!(str::from_utf8(&row.json).unwrap(), json);
    }

    #[test]
    fn a_prefix_stands_before_the_topic_and_not_in_the_payload() {
        let row = fill("daily.", &[" AAPL ", "1970-01-02", "1", "2"]).unwrap();
        assert_eq!(row.topic, "daily.AAPL");
        assert!(row.json.starts_with(br#"{"Ticker":" AAPL ","#));
    }

    #[test]
    fn a_row_that_cannot_be_published_says_why() {
        for (cells, part) in [
            (
                &["AAPL", "1970-01-02"][..],
                "2 columns where the header has 4",
            ),
            (&["AAPL", "soon", "1", "2"], "\"soon\" is not a time"),
            (&["", "1970-01-02", "1", "2"], "\"\" is not a topic"),
            (&["A B", "1970-01-02", "1", "2"], "\"A B\" is not a topic"),
            (&["$sys", "1970-01-02", "1", "2"], "belong to the server"),
        ] {
            let error = fill("", cells).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        let mut row = Row::default();
        let broken = ByteRecord::from(vec![&b"A"[..], b"1970-01-02", b"\xff", b"1"]);
        assert!(matches!(
            schema("").fill(&mut row, &broken),
            Err(BadRow::Text(_))
        ));
    }

    #[test]
    fn only_what_the_json_grammar_calls_a_number_stays_bare() {
        for cell in [
            "0",
            "-0",
            "12",
            "1.50",
            "-3e5",
            "1E+3",
            "0.1e-9",
            "4.186662803811",
        ] {
            assert!(is_json_number(cell.as_bytes()), "{cell}");
            assert!(
                serde_json::from_str::<serde_json::Number>(cell).is_ok(),
                "{cell}"
            );
        }
        for cell in [
            "", "-", "007", "+1", ".5", "1.", "1e", "1e+", "1 ", " 1", "0x1", "NaN", "1_000",
            "1.2.3", "--1",
        ] {
            assert!(!is_json_number(cell.as_bytes()), "{cell}");
        }
    }

    #[test]
    fn quotes_and_control_characters_in_a_cell_are_escaped() {
        let row = fill("", &["A", "1970-01-02", "say \"x\"\n", "\u{1}"]).unwrap();
        serde_json::from_slice::<serde::de::IgnoredAny>(&row.json).unwrap();
    }
}
