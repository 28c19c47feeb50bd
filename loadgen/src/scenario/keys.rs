//! The keys of one table of a phase file, taken one by one: whatever is left over, missing, or of
//! the wrong type is told in one sentence, with the nearest name.

use crate::cli::{parse_duration, parse_rate};
use anyhow::{Context as _, anyhow, bail};
use std::time::Duration;
use toml::{Table, Value};

/// A table, and the keys that have been asked for.
#[derive(Debug)]
pub(super) struct Keys {
    table: Table,
    known: Vec<&'static str>,
}

impl Keys {
    pub(super) fn new(table: Table) -> Keys {
        Keys {
            table,
            known: Vec::new(),
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> anyhow::Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => bail!("{key:?} must be a string, not {}", other.type_str()),
        }
    }

    pub(super) fn texts(&mut self, key: &'static str) -> anyhow::Result<Option<Vec<String>>> {
        let text = |value: Value| match value {
            Value::String(text) => Ok(text),
            other => bail!("{key:?} must hold strings, not {}", other.type_str()),
        };
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(text)
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => bail!(
                "{key:?} must be a list of strings, not {}",
                other.type_str()
            ),
        }
    }

    pub(super) fn duration(&mut self, key: &'static str) -> anyhow::Result<Option<Duration>> {
        let text = self.text(key)?;
        let duration =
            text.map(|text| parse_duration(&text).map_err(|why| anyhow!("{key:?}: {why}")));
        duration.transpose()
    }

    /// A whole or a decimal number, 0 to 10⁹.
    pub(super) fn number(&mut self, key: &'static str) -> anyhow::Result<Option<f64>> {
        let text = match self.take(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => number.to_string(),
            Some(Value::Float(number)) => number.to_string(),
            Some(other) => bail!("{key:?} must be a number, not {}", other.type_str()),
        };
        let number = parse_rate(&text).map_err(|why| anyhow!("{key:?}: {why}"))?;
        Ok(Some(number))
    }

    /// A share of the connections, in percent: more than 0, at most 100.
    pub(super) fn percent(&mut self, key: &'static str) -> anyhow::Result<f64> {
        let percent = self.number(key)?;
        let percent = self.required(key, percent)?;
        if percent <= 0.0 || percent > 100.0 {
            bail!("{key:?} must be more than 0 and at most 100");
        }
        Ok(percent)
    }

    /// A whole number of at least 1.
    pub(super) fn count(&mut self, key: &'static str) -> anyhow::Result<Option<u32>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => match u32::try_from(number) {
                Ok(count @ 1..=10_000_000) => Ok(Some(count)),
                _ => bail!("{key:?} must be 1 to 10000000"),
            },
            Some(other) => bail!("{key:?} must be a whole number, not {}", other.type_str()),
        }
    }

    /// The value, or the sentence that the key is missing.
    pub(super) fn required<T>(&self, key: &'static str, value: Option<T>) -> anyhow::Result<T> {
        // A key that nobody has asked for may be this one, mistyped.
        let others = self.table.keys().map(String::as_str);
        value.with_context(|| match nearest(key, others) {
            Some(near) => format!("the key {key:?} is missing: is {near:?} meant to be it?"),
            None => format!("the key {key:?} is missing"),
        })
    }

    /// No key may be left over.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Some(key) = self.table.keys().next() else {
            return Ok(());
        };
        match nearest(key, self.known.iter().copied()) {
            Some(near) => bail!("unknown key {key:?}: did you mean {near:?}?"),
            None => bail!("unknown key {key:?}: known are {}", self.known.join(", ")),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }
}

/// The name that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let measured = names.map(|other| (strsim::jaro_winkler(name, other), other));
    let best = measured.max_by(|one, two| one.0.total_cmp(&two.0));
    best.filter(|(likeness, _)| *likeness > 0.75)
        .map(|(_, other)| other)
}
