//! A recorded CSV file as it lies on the disk: opened, its columns understood, its rows lent one by one.
//!
//! Gzip is recognised by its first two bytes. Bad rows are told with their line and left out; a file that cannot be read
//! to its end, or has no usable row, is an error. Called by `recording`.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use csv::{ByteRecord, ReaderBuilder, Trim};
use flate2::bufread::MultiGzDecoder;

use super::row::{BadRow, Row, Schema};
use super::{Replay, columns};

/// Daily prices of five stocks; see `server/data/README.md`.
const BUILT_IN: &[u8] = include_bytes!("../../data/stocks.csv");
/// Rows looked at to find the time column.
const SAMPLE_ROWS: usize = 100;
/// Bad rows told one by one; a file of the wrong kind must not flood the log.
const BAD_ROWS_TOLD_MAX: u64 = 10;
const READ_BUFFER_BYTES: usize = 65_536;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// One row, lent for the length of a visit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RowRef<'a> {
    pub(super) time_us: i64,
    pub(super) topic: &'a str,
    pub(super) json: &'a [u8],
}

pub(super) type Visit<'v> = dyn FnMut(RowRef<'_>) -> ControlFlow<()> + 'v;

/// Where the rows come from, and what their columns mean.
#[derive(Debug)]
pub(super) struct Source {
    path: Option<PathBuf>,
    schema: Schema,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.path))
    }
}

fn name(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(
        || "the built-in recording".into(),
        |path| path.display().to_string(),
    )
}

type CsvReader = csv::Reader<Box<dyn Read>>;

impl Source {
    pub(super) fn open(replay: &Replay) -> anyhow::Result<Source> {
        let path = replay.path.clone();
        let schema = Self::understand(replay).with_context(|| name(&path))?;
        Ok(Source { path, schema })
    }

    fn understand(replay: &Replay) -> anyhow::Result<Schema> {
        let mut reader = csv_reader(&replay.path)?;
        let header = reader
            .byte_headers()
            .context("the header line cannot be read")?;
        let names: Vec<String> = header
            .iter()
            .map(|cell| String::from_utf8_lossy(cell).into_owned())
            .collect();
        if names.is_empty() {
            bail!("the file is empty; a header line that names the columns must come first");
        }
        let mut samples = Vec::new();
        for record in reader.into_byte_records().take(SAMPLE_ROWS) {
            samples.push(record.context("the first rows cannot be read")?);
        }
        ensure!(!samples.is_empty(), "there is no row below the header line");
        columns::schema(replay, &names, &samples)
    }

    /// Whether the rows are already sorted; an error when there is none.
    pub(super) fn is_in_order(&self, bad_rows: &mut BadRows) -> anyhow::Result<bool> {
        let mut latest_us = None;
        let end = self.each_row(bad_rows, &mut |row| {
            if latest_us.is_some_and(|latest_us| row.time_us < latest_us) {
                return ControlFlow::Break(());
            }
            latest_us = Some(row.time_us);
            ControlFlow::Continue(())
        })?;
        if latest_us.is_none() {
            bail!(
                "{self}: no row can be published; the first is bad because {}",
                self.first_fault()?
            );
        }
        Ok(end.is_continue())
    }

    pub(super) fn each_row(
        &self,
        bad_rows: &mut BadRows,
        visit: &mut Visit<'_>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let mut reader = csv_reader(&self.path).with_context(|| name(&self.path))?;
        let mut record = ByteRecord::new();
        let mut row = Row::default();
        let broken = |line| format!("{self}: broken off after line {line}");
        while reader
            .read_byte_record(&mut record)
            .with_context(|| broken(reader.position().line()))?
        {
            if let Err(error) = self.schema.fill(&mut row, &record) {
                bad_rows.add(&self.path, line_of(&record), &error);
                continue;
            }
            let row = RowRef {
                time_us: row.time_us,
                topic: &row.topic,
                json: &row.json,
            };
            if visit(row).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What is wrong with the first row, for a file that has no good one.
    fn first_fault(&self) -> anyhow::Result<String> {
        let mut records = csv_reader(&self.path)?.into_byte_records();
        let Some(record) = records.next().transpose()? else {
            return Ok("there is none".into());
        };
        let fault = self.schema.fill(&mut Row::default(), &record).err();
        Ok(fault.map_or_else(
            || "it changed while it was read".into(),
            |fault| fault.to_string(),
        ))
    }
}

fn csv_reader(path: &Option<PathBuf>) -> anyhow::Result<CsvReader> {
    let bytes: Box<dyn Read> = match path {
        None => Box::new(BUILT_IN),
        Some(path) => {
            let file = File::open(path).context("it cannot be opened")?;
            ensure!(
                file.metadata()?.is_file(),
                "a recording must be a regular file, because it is read more than once"
            );
            decompressed(file).context("it cannot be read")?
        }
    };
    // Flexible: a row of the wrong length is a bad row with its line number, not the end of the file.
    Ok(ReaderBuilder::new()
        .flexible(true)
        .trim(Trim::Headers)
        .from_reader(bytes))
}

fn decompressed(file: File) -> io::Result<Box<dyn Read>> {
    let mut bytes = BufReader::with_capacity(READ_BUFFER_BYTES, file);
    let is_gzip = bytes.fill_buf()?.starts_with(&GZIP_MAGIC);
    // Multi: a file made of several compressed parts, as log rotation writes them, is read to its end.
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(bytes))
    } else {
        Box::new(bytes)
    })
}

fn line_of(record: &ByteRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

/// Finds the columns and one usable row, or says why there is none: what can be known without reading everything.
pub(super) fn check(replay: &Replay) -> anyhow::Result<()> {
    let source = Source::open(replay)?;
    let found = source.each_row(&mut BadRows::silent(), &mut |_| ControlFlow::Break(()))?;
    ensure!(
        found.is_break(),
        "{source}: no row can be published; the first is bad because {}",
        source.first_fault()?
    );
    Ok(())
}

/// Counts bad rows and tells the first few of them, each once though a file may be read twice.
#[derive(Debug, Default)]
pub(super) struct BadRows {
    pub(super) count: u64,
    told: u64,
    told_line: u64,
}

impl BadRows {
    /// Counts only: for passes over rows that were told before.
    pub(super) fn silent() -> BadRows {
        BadRows {
            told: BAD_ROWS_TOLD_MAX,
            ..BadRows::default()
        }
    }

    fn add(&mut self, path: &Option<PathBuf>, line: u64, error: &BadRow) {
        self.count += 1;
        if self.told < BAD_ROWS_TOLD_MAX && line > self.told_line {
            self.told += 1;
            self.told_line = line;
            tracing::warn!(file = name(path), line, "bad row left out: {error}");
        }
    }

    pub(super) fn tell_rest(&self) {
        if self.count > self.told {
            tracing::warn!(
                bad_rows = self.count,
                "only the first {} bad rows were told",
                self.told
            );
        }
    }
}
