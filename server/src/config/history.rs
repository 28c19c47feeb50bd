//! How much history is kept of which topics, as operators write it.
//!
//! A flag says it in one text, `--history 'px.>,count=100,bytes=1m,age=5m'`; a config file in the same text or as a table,
//! `[[history]]` with `topics`, `count`, `bytes` and `age`.

use std::fmt;
use std::str::FromStr;

use fanfare_wire::topic;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use super::{Bytes, Millis};
use crate::engine::{HistoryLimits, HistoryRule, HistoryRules};

/// One rule: which topics, and how much of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    topics: String,
    count: u32,
    bytes: Option<Bytes>,
    age: Option<Millis>,
}

/// Why a rule was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Not of the form.
    #[error(
        "history is TOPICS,count=N with bytes=SIZE and age=DURATION as wanted, such as px.>,count=100,bytes=1m,age=5m"
    )]
    Form,
    /// The topics are neither a topic nor a filter.
    #[error("history of {0:?}: {1}")]
    Topics(String, topic::TopicError),
    /// A bound that is none.
    #[error("history of {0:?}: {1}")]
    Bound(String, String),
}

/// The same, before it was looked at.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    topics: String,
    count: u32,
    bytes: Option<Bytes>,
    age: Option<Millis>,
}

impl Written {
    fn check(self) -> Result<History, HistoryError> {
        let Written {
            topics,
            count,
            bytes,
            age,
        } = self;
        topic::check_filter(&topics)
            .map_err(|error| HistoryError::Topics(topics.clone(), error))?;
        let zero = |name: &str| format!("{name} must be above zero; leave it out for no bound");
        if bytes == Some(Bytes(0)) {
            return Err(HistoryError::Bound(topics, zero("bytes")));
        }
        if age == Some(Millis(0)) {
            return Err(HistoryError::Bound(topics, zero("age")));
        }
        Ok(History {
            topics,
            count,
            bytes,
            age,
        })
    }
}

impl FromStr for History {
    type Err = HistoryError;

    fn from_str(text: &str) -> Result<History, HistoryError> {
        let mut parts = text.split(',');
        let topics = parts.next().unwrap_or("").to_owned();
        let (mut count, mut bytes, mut age) = (None, None, None);
        for part in parts {
            let (name, value) = part.split_once('=').ok_or(HistoryError::Form)?;
            let bound = |error: &dyn fmt::Display| {
                HistoryError::Bound(topics.clone(), format!("{part}: {error}"))
            };
            match name {
                "count" => count = Some(value.parse().map_err(|error| bound(&error))?),
                "bytes" => bytes = Some(value.parse().map_err(|error| bound(&error))?),
                "age" => age = Some(value.parse().map_err(|error| bound(&error))?),
                _ => return Err(HistoryError::Form),
            }
        }
        let written = Written {
            topics,
            count: count.ok_or(HistoryError::Form)?,
            bytes,
            age,
        };
        written.check()
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},count={}", self.topics, self.count)?;
        if let Some(bytes) = self.bytes {
            write!(f, ",bytes={bytes}")?;
        }
        if let Some(age) = self.age {
            write!(f, ",age={age}")?;
        }
        Ok(())
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<History, D::Error> {
        struct TextOrTable;

        impl<'de> Visitor<'de> for TextOrTable {
            type Value = History;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule such as \"px.>,count=100\" or a table with topics and count")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<History, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<History, M::Error> {
                let written = Written::deserialize(MapAccessDeserializer::new(map))?;
                written.check().map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(TextOrTable)
    }
}

/// What is meant by the rules and the count for all topics beside them.
pub(super) fn rules(written: &[History], otherwise_count: u32) -> HistoryRules {
    let rule = |history: &History| HistoryRule {
        topics: history.topics.as_str().into(),
        limits: HistoryLimits {
            count: history.count,
            bytes: history.bytes.map(|bytes| bytes.0),
            age_ms: history.age.map(|age| age.0),
        },
    };
    HistoryRules {
        rules: written.iter().map(rule).collect(),
        otherwise: HistoryLimits {
            count: otherwise_count,
            ..HistoryLimits::default()
        },
    }
}

/// The other way round.
pub(super) fn written(rules: &HistoryRules) -> Vec<History> {
    let history = |rule: &HistoryRule| History {
        topics: rule.topics.to_string(),
        count: rule.limits.count,
        bytes: rule.limits.bytes.map(Bytes),
        age: rule.limits.age_ms.map(Millis),
    };
    rules.rules.iter().map(history).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_it_prints() {
        for text in [
            "px.>,count=100",
            "*,count=0",
            "news.uk,count=5,bytes=1m,age=5m",
        ] {
            let history: History = text.parse().unwrap();
            assert_eq!(history.to_string(), text);
            assert_eq!(
                written(&rules(std::slice::from_ref(&history), 0)),
                [history]
            );
        }
        let shuffled: History = "a,age=90s,count=1".parse().unwrap();
        assert_eq!(shuffled.to_string(), "a,count=1,age=90s");
    }

    #[test]
    fn what_is_no_rule_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "history is TOPICS,count=N"),
            ("px.>", "history is TOPICS,count=N"),
            ("px.>,count", "history is TOPICS,count=N"),
            ("px.>,count=1,colour=red", "history is TOPICS,count=N"),
            ("px..>,count=1", "history of \"px..>\": empty segment"),
            ("px.>,count=many", "count=many: invalid digit"),
            ("px.>,count=1,bytes=few", "bytes=few: a size is"),
            ("px.>,count=1,age=30", "age=30: a duration is"),
            ("px.>,count=1,age=0", "age must be above zero"),
            ("px.>,count=1,bytes=0", "bytes must be above zero"),
        ] {
            let error = text.parse::<History>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
