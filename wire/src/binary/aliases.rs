//! The topics behind the numbers, for clients, and records in the words of the JSON protocol.

use std::collections::HashMap;

use super::{BinaryError, Record, parse};
use crate::event::{self, Encoding, Event};

/// What one connection has been told of its topics' numbers. The latest that was said of a number counts.
#[derive(Clone, Debug, Default)]
pub struct Aliases(HashMap<u32, Box<str>>);

/// Why a record cannot be put into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AliasError {
    /// The bytes are no record.
    #[error(transparent)]
    Record(#[from] BinaryError),
    /// The record names a topic by a number that has not been told.
    #[error("alias {0} has not been told")]
    Unknown(u32),
}

impl Aliases {
    /// From now on the number means the topic.
    pub fn learn(&mut self, alias: u32, topic: &str) {
        // Most are told again and again.
        if self.0.get(&alias).is_none_or(|known| **known != *topic) {
            self.0.insert(alias, topic.into());
        }
    }

    /// Takes note of the numbers in a text message, which are those of a `subscribed`.
    pub fn learn_from(&mut self, text: &str) {
        // Other texts may hold the word, and are not parsed for it.
        if !text.contains(r#""alias":"#) {
            return;
        }
        if let Ok(Event::Subscribed { topics, .. }) = event::parse(text) {
            for topic in &topics {
                if let Some(alias) = topic.alias {
                    self.learn(alias, &topic.topic);
                }
            }
        }
    }

    /// The topic behind a number.
    ///
    /// # Errors
    /// It has not been told.
    pub fn topic(&self, alias: u32) -> Result<&str, AliasError> {
        let topic = self.0.get(&alias);
        topic
            .map(|topic| &**topic)
            .ok_or(AliasError::Unknown(alias))
    }

    /// Appends the JSON text that says what a binary message does; of an alias record, which it takes note of, nothing.
    ///
    /// A payload that is no JSON stands as text if it is UTF-8, else as base64: records do not tell what a room's message was.
    ///
    /// # Errors
    /// The bytes are no record, or one of a topic that is not known.
    pub fn put_event(&mut self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), AliasError> {
        match parse(bytes)? {
            Record::Alias { alias, topic } => self.learn(alias, topic),
            Record::Data(data) => {
                let topic = self.topic(data.alias)?;
                let encoding = match data.is_json {
                    true => Encoding::Json,
                    false if simdutf8::basic::from_utf8(data.payload).is_ok() => Encoding::Text,
                    false => Encoding::Base64,
                };
                let (kind, seq, ts_us) = (data.kind, data.seq, data.ts_us);
                event::put_data(out, kind, topic, seq, ts_us, encoding, data.payload);
            }
            Record::Skip {
                alias,
                from,
                to,
                why,
            } => {
                event::put_skip(out, self.topic(alias)?, from, to, why);
            }
            Record::Gap {
                alias,
                from,
                why,
                epoch,
            } => {
                event::put_gap(out, self.topic(alias)?, from, why, epoch);
            }
        }
        Ok(())
    }
}
