//! Which column of a recorded file is the topic and which the time.
//!
//! A column the operator named must exist. One that was not named is looked for: the topic by name only, since any
//! text could be one; the time by name and then by looks, and always such that a sample row can be read with it.
//! What cannot be found is an error that lists the columns there are.

use anyhow::{Context as _, bail};
use csv::ByteRecord;

use super::Replay;
use super::row::Schema;
use super::row_time::TimeFormat;

/// Best guess first; upper and lower case are the same.
const TOPIC_NAMES: [&str; 7] = [
    "topic",
    "ticker",
    "symbol",
    "instrument",
    "pair",
    "product",
    "name",
];
const TIME_NAMES: [&str; 7] = [
    "timestamp",
    "datetime",
    "date_time",
    "time",
    "date",
    "ts",
    "t",
];

/// Decides what each of the columns `names` is for; `samples` are the file's first rows.
pub(super) fn schema(
    replay: &Replay,
    names: &[String],
    samples: &[ByteRecord],
) -> anyhow::Result<Schema> {
    refuse_repeated(names)?;
    let topic = match &replay.topic_column {
        Some(name) => find(names, name)?,
        None => guess_topic(names)?,
    };
    let (time, format) = match &replay.time_column {
        Some(name) => {
            let column = find(names, name)?;
            let format = format_of(samples, column).with_context(|| {
                format!("no time can be read from the first rows of the column {name:?}")
            })?;
            (column, format)
        }
        None => guess_time(names, topic, samples)?,
    };
    Ok(Schema::new(
        names,
        topic,
        time,
        format,
        &replay.topic_prefix,
    ))
}

fn refuse_repeated(names: &[String]) -> anyhow::Result<()> {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            bail!("two columns are called {name:?}; a row could not become a JSON object");
        }
    }
    Ok(())
}

fn find(names: &[String], wanted: &str) -> anyhow::Result<usize> {
    let exact = names.iter().position(|name| name == wanted);
    exact
        .or_else(|| {
            names
                .iter()
                .position(|name| name.eq_ignore_ascii_case(wanted))
        })
        .with_context(|| {
            format!(
                "there is no column {wanted:?}; the columns are {}",
                list(names)
            )
        })
}

fn guess_topic(names: &[String]) -> anyhow::Result<usize> {
    called(names, &TOPIC_NAMES).next().with_context(|| {
        format!(
            "no column looks like the topic; name it with --topic-column, the columns are {}",
            list(names)
        )
    })
}

fn guess_time(
    names: &[String],
    topic: usize,
    samples: &[ByteRecord],
) -> anyhow::Result<(usize, TimeFormat)> {
    let by_name =
        called(names, &TIME_NAMES).find_map(|column| Some((column, format_of(samples, column)?)));
    let by_looks = || {
        let columns = (0..names.len()).filter(|column| *column != topic);
        columns
            .filter_map(|column| Some((column, telling_format_of(samples, column)?)))
            .next()
    };
    by_name.or_else(by_looks).with_context(|| {
        format!(
            "no column looks like a time; name it with --time-column, the columns are {}",
            list(names)
        )
    })
}

/// Columns that bear one of `wanted`, in the order of `wanted`.
fn called<'a>(names: &'a [String], wanted: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
    let column = |wanted: &&str| {
        names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(wanted))
    };
    wanted.iter().filter_map(column)
}

/// The format of the first sample that is a time at all; a bad row at the top must not hide the column.
fn format_of(samples: &[ByteRecord], column: usize) -> Option<TimeFormat> {
    cells(samples, column).find_map(TimeFormat::detect)
}

fn telling_format_of(samples: &[ByteRecord], column: usize) -> Option<TimeFormat> {
    cells(samples, column)
        .find_map(|cell| TimeFormat::detect(cell).filter(|format| format.is_telling(cell)))
}

fn cells(samples: &[ByteRecord], column: usize) -> impl Iterator<Item = &str> {
    samples
        .iter()
        .filter_map(move |row| std::str::from_utf8(row.get(column)?).ok())
}

fn list(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::row::Row;

    const STOCKS: (&str, &str) = ("Ticker,Date,Open,Volume", "AAPL,2000-03-01,118.56,9616100");

    fn replay(topic: Option<&str>, time: Option<&str>) -> Replay {
        Replay {
            path: None,
            topic_column: topic.map(String::from),
            time_column: time.map(String::from),
            topic_prefix: String::new(),
            speed: 1.0,
            repeat: false,
        }
    }

    /// Topic and time of the last sample row, or the error.
    fn read(replay: &Replay, header: &str, rows: &[&str]) -> Result<(String, i64), String> {
        let names: Vec<String> = header.split(',').map(String::from).collect();
        let samples: Vec<ByteRecord> = rows
            .iter()
            .map(|row| row.split(',').collect::<Vec<_>>().into())
            .collect();
        let schema = schema(replay, &names, &samples).map_err(|error| format!("{error:#}"))?;
        let mut row = Row::default();
        schema
            .fill(&mut row, samples.last().unwrap())
            .map_err(|error| error.to_string())?;
        Ok((row.topic, row.time_us))
    }

    #[test]
    fn the_columns_of_the_stock_file_are_found_without_help() {
        let (topic, time_us) = read(&replay(None, None), STOCKS.0, &[STOCKS.1]).unwrap();
        assert_eq!((topic.as_str(), time_us), ("AAPL", 951_868_800_000_000));
    }

    #[test]
    fn a_named_column_wins_and_its_case_does_not_matter() {
        let named = replay(Some("open"), Some("DATE"));
        assert_eq!(
            read(&named, "Ticker,Date,Open,Volume", &["A,1970-01-01,5,6"]),
            Ok(("5".into(), 0))
        );
    }

    #[test]
    fn a_time_is_found_by_its_looks_when_no_name_tells() {
        let row = "X,131,1700000000000,12";
        assert_eq!(
            read(&replay(None, None), "symbol,a,b,c", &[row]),
            Ok(("X".into(), 1_700_000_000_000_000)),
        );
    }

    #[test]
    fn a_column_called_time_that_holds_none_is_passed_over() {
        let row = "X,09:30:00,2024-01-02";
        assert_eq!(
            read(&replay(None, None), "symbol,Time,Day", &[row]),
            Ok(("X".into(), 1_704_153_600_000_000))
        );
    }

    #[test]
    fn a_bad_first_row_does_not_hide_the_time_column() {
        assert!(
            read(
                &replay(None, None),
                "symbol,Date",
                &["X,n/a", "X,2024-01-02"]
            )
            .is_ok()
        );
    }

    #[test]
    fn what_cannot_be_found_is_told_with_the_columns_there_are() {
        for (replay, header, row, part) in [
            (
                replay(Some("Tikcer"), None),
                STOCKS.0,
                STOCKS.1,
                "no column \"Tikcer\"; the columns are \"Ticker\", \"Date\"",
            ),
            (
                replay(None, None),
                "a,Date",
                "x,2024-01-02",
                "no column looks like the topic; name it with --topic-column",
            ),
            (
                replay(None, None),
                "symbol,n",
                "x,12",
                "no column looks like a time; name it with --time-column",
            ),
            (
                replay(None, Some("n")),
                "symbol,n",
                "x,y",
                "no time can be read from the first rows of the column \"n\"",
            ),
            (
                replay(None, None),
                "symbol,Date,Date",
                "x,2024-01-02,",
                "two columns are called \"Date\"",
            ),
        ] {
            let error = read(&replay, header, &[row]).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
