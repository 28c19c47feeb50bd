//! A recorded CSV file, opened, understood and put in order of time.
//!
//! A file that is already in order is streamed again for each pass, so its size does not matter. One that is not
//! (a file that lists one ticker after another) is read into memory whole and sorted, rows of one time staying in
//! the file's order. Called by `replay`.

use std::ops::ControlFlow;

use anyhow::ensure;

use super::Replay;
use super::source::{BadRows, RowRef, Source, Visit};

/// A file whose rows can be visited in order of time, as often as wanted.
#[derive(Debug)]
pub(super) struct Recording {
    order: Order,
    pub(super) bad_rows: u64,
}

#[derive(Debug)]
enum Order {
    /// The file's own.
    Streamed(Source),
    Sorted(Loaded),
}

impl Recording {
    /// Reads the whole file once, to know its order and its bad rows, and a second time when it must be sorted.
    pub(super) fn open(replay: &Replay) -> anyhow::Result<Recording> {
        let source = Source::open(replay)?;
        let mut bad_rows = BadRows::default();
        let order = if source.is_in_order(&mut bad_rows)? {
            Order::Streamed(source)
        } else {
            bad_rows.count = 0;
            Order::Sorted(Loaded::read(&source, &mut bad_rows)?)
        };
        bad_rows.tell_rest();
        Ok(Recording {
            order,
            bad_rows: bad_rows.count,
        })
    }

    /// Lends every usable row to `visit`, the oldest first, until it breaks.
    pub(super) fn each_row(&self, visit: &mut Visit<'_>) -> anyhow::Result<ControlFlow<()>> {
        match &self.order {
            Order::Streamed(source) => source.each_row(&mut BadRows::silent(), visit),
            Order::Sorted(loaded) => Ok(loaded.each_row(visit)),
        }
    }
}

/// All rows of a file, sorted; their text in one block, so that a row costs 24 bytes beside its text.
#[derive(Debug, Default)]
struct Loaded {
    entries: Vec<Entry>,
    /// Topic and JSON of each row, one behind the other.
    text: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    time_us: i64,
    start: usize,
    json_bytes: u32,
    topic_bytes: u16,
}

impl Loaded {
    fn read(source: &Source, bad_rows: &mut BadRows) -> anyhow::Result<Loaded> {
        let mut loaded = Loaded::default();
        let end = source.each_row(bad_rows, &mut |row| match loaded.push(row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })?;
        ensure!(end.is_continue(), "{source}: a row is larger than 4 GB");
        // Stable: rows of one time keep the file's order.
        loaded.entries.sort_by_key(|entry| entry.time_us);
        Ok(loaded)
    }

    fn push(&mut self, row: RowRef<'_>) -> Result<(), std::num::TryFromIntError> {
        self.entries.push(Entry {
            time_us: row.time_us,
            start: self.text.len(),
            json_bytes: row.json.len().try_into()?,
            topic_bytes: row.topic.len().try_into()?,
        });
        self.text.extend_from_slice(row.topic.as_bytes());
        self.text.extend_from_slice(row.json);
        Ok(())
    }

    fn each_row(&self, visit: &mut Visit<'_>) -> ControlFlow<()> {
        for entry in &self.entries {
            let (topic, rest) = self.text[entry.start..].split_at(entry.topic_bytes.into());
            let topic = std::str::from_utf8(topic).expect("it was a str when it was pushed");
            visit(RowRef {
                time_us: entry.time_us,
                topic,
                json: &rest[..entry.json_bytes as usize],
            })?;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::source::check;
    use crate::feed::testing::TempFile;

    fn rows(recording: &Recording) -> Vec<(i64, String, String)> {
        let mut rows = Vec::new();
        let end = recording.each_row(&mut |row| {
            let json = String::from_utf8(row.json.to_vec()).unwrap();
            rows.push((row.time_us / 1_000_000, row.topic.to_owned(), json));
            ControlFlow::Continue(())
        });
        assert!(end.unwrap().is_continue());
        rows
    }

    fn topics_of(recording: &Recording) -> Vec<(i64, String)> {
        rows(recording)
            .into_iter()
            .map(|(time, topic, _)| (time, topic))
            .collect()
    }

    #[test]
    fn a_file_in_order_is_streamed() {
        let file = TempFile::new(b"symbol,time,price\nA,10,1\nB,10,2\nA,11,3\n");
        let recording = Recording::open(&file.replay()).unwrap();
        assert!(matches!(recording.order, Order::Streamed(_)));
        assert_eq!(
            topics_of(&recording),
            [(10, "A".into()), (10, "B".into()), (11, "A".into())]
        );
        assert_eq!(
            rows(&recording).len(),
            3,
            "a second pass sees the same rows"
        );
    }

    #[test]
    fn rows_of_all_tickers_of_one_time_come_together_in_the_files_order() {
        let file = TempFile::new(b"symbol,time\nB,10\nB,11\nA,10\nA,11\n");
        let recording = Recording::open(&file.replay()).unwrap();
        assert!(matches!(recording.order, Order::Sorted(_)));
        let expected = [(10, "B"), (10, "A"), (11, "B"), (11, "A")]
            .map(|(time, topic)| (time, topic.to_owned()));
        assert_eq!(topics_of(&recording), expected);
    }

    #[test]
    fn gzip_is_read_as_it_is() {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(b"symbol,time\nA,10\n").unwrap();
        let file = TempFile::new(&gzip.finish().unwrap());
        assert_eq!(
            topics_of(&Recording::open(&file.replay()).unwrap()),
            [(10, "A".to_owned())]
        );
    }

    #[test]
    fn a_gzip_file_cut_short_is_an_error_and_not_a_short_recording() {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(b"symbol,time\n").unwrap();
        (0..10_000).for_each(|n| writeln!(gzip, "A{},{n}", n * 7919).unwrap());
        let bytes = gzip.finish().unwrap();
        let file = TempFile::new(&bytes[..bytes.len() / 2]);
        let error = format!("{:#}", Recording::open(&file.replay()).unwrap_err());
        assert!(error.contains("broken off after line"), "{error}");
    }

    #[test]
    fn bad_rows_are_left_out_and_counted_once() {
        let file = TempFile::new(b"symbol,time,price\nA,11,1\nA B,11,1\nA,soon,1\nA,10\nB,10,5\n");
        let recording = Recording::open(&file.replay()).unwrap();
        assert_eq!(
            topics_of(&recording),
            [(10, "B".to_owned()), (11, "A".to_owned())]
        );
        assert_eq!(recording.bad_rows, 3);
    }

    #[test]
    fn a_byte_order_mark_and_blank_lines_do_no_harm() {
        let file = TempFile::new("\u{feff}symbol,time\r\nA,10\r\n\r\nA,11\r\n".as_bytes());
        let recording = Recording::open(&file.replay()).unwrap();
        assert_eq!(rows(&recording)[0].2, r#"{"symbol":"A","time":10}"#);
        assert_eq!(recording.bad_rows, 0);
    }

    #[test]
    fn a_file_that_cannot_be_played_says_why() {
        for (text, part) in [
            (&b""[..], "the file is empty"),
            (b"symbol,time\n", "there is no row below the header line"),
            (
                b"symbol,time\nA B,10\n",
                "no row can be published; the first is bad because \"A B\" is not a topic",
            ),
        ] {
            let file = TempFile::new(text);
            for result in [
                check(&file.replay()),
                Recording::open(&file.replay()).map(drop),
            ] {
                let error = format!("{:#}", result.expect_err(part));
                assert!(
                    error.contains(part) && error.contains(&file.name()),
                    "{error}"
                );
            }
        }
        let missing = Replay {
            path: Some("/nowhere/x.csv".into()),
            ..TempFile::new(b"").replay()
        };
        let error = format!("{:#}", check(&missing).unwrap_err());
        assert!(
            error.starts_with("/nowhere/x.csv: it cannot be opened: No such file"),
            "{error}"
        );
        let folder = Replay {
            path: Some("/".into()),
            ..missing
        };
        assert!(format!("{:#}", check(&folder).unwrap_err()).contains("regular file"));
    }

    #[test]
    fn the_built_in_recording_has_every_row_of_its_five_stocks() {
        let built_in = Replay {
            path: None,
            ..TempFile::new(b"").replay()
        };
        check(&built_in).unwrap();
        let recording = Recording::open(&built_in).unwrap();
        let rows = rows(&recording);
        assert_eq!((rows.len(), recording.bad_rows), (12_154, 0));
        assert!(rows.is_sorted_by_key(|(time, ..)| *time));
        let first = r#"{"Ticker":"AAPL","Date":"2000-03-01","Open":118.56,"High":132.06,"Low":118.5,"Close":130.31,"Volume":9616100,"Adj Close":4.186662803811}"#;
        assert_eq!(rows[0].2, first);
        assert_eq!(rows[1].1, "IBM");
    }
}
