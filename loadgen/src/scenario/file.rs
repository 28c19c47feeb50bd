//! A phase file: a list of `[[phase]]` tables, `kind` decides what each may hold. Read and checked
//! as a whole before anything is opened; an error is one sentence that names the phase.

use super::keys::{Keys, nearest};
use crate::payload::PAYLOAD_BYTES_MIN;
use anyhow::{Context as _, bail, ensure};
use std::time::Duration;
use toml::{Table, Value};

/// Updates that a phase publishes besides what it is about, a second, unless told otherwise.
const ASIDE_PER_S: f64 = 1.0;
const PAYLOAD_BYTES: usize = 100;

/// A phase of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its label in the output.
    pub name: String,
    /// What it does.
    pub task: Task,
}

/// What a phase does. Percents are of all connections of the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Open all connections, subscribe each to all of `topics`.
    Connect {
        /// Connections a second; `None`: as the command line says.
        per_s: Option<f64>,
        /// Bound of what waits for an answer; `None`: as the command line says.
        in_flight: Option<u32>,
        /// The topics that everybody has.
        topics: Vec<String>,
    },
    /// Nothing is published.
    Idle {
        /// How long.
        duration: Duration,
    },
    /// One update after another, each when the last subscriber has the one before.
    Broadcast {
        /// A topic that everybody has; `None`: the first one.
        topic: Option<String>,
        /// How many.
        publishes: u32,
        /// Size of a payload.
        payload_bytes: usize,
        /// Between an update's last arrival and the next update.
        pause: Duration,
        /// How long one may take to reach the last subscriber.
        timeout: Duration,
    },
    /// More subscriptions on every connection.
    Subscribe {
        /// What stands before the number in the topics' names.
        prefix: String,
        /// How many topics there are.
        count: u32,
        /// How many of them each connection chooses.
        per_connection: u32,
        /// Exponent of Zipf's law for the choice; `None`: in turn.
        zipf: Option<f64>,
        /// Subscribe commands a second; 0: as `in_flight` allows.
        per_s: f64,
    },
    /// Open-loop updates of the topics of an earlier subscribe.
    Publish {
        /// As there.
        prefix: String,
        /// The first so many of them; `None`: all.
        count: Option<u32>,
        /// Exponent of Zipf's law for the topic of an update; `None`: in turn.
        zipf: Option<f64>,
        /// Updates a second; where calibration begins, if there is one.
        per_s: f64,
        /// How long.
        duration: Duration,
        /// Size of a payload.
        payload_bytes: usize,
        /// Find the rate first.
        calibration: Option<Calibration>,
    },
    /// A share leaves and comes back each second.
    Churn {
        /// The share.
        percent_per_s: f64,
        /// How long.
        duration: Duration,
        /// Published meanwhile.
        aside: Aside,
    },
    /// A share is cut off at once, and comes back.
    Storm {
        /// The share.
        percent: f64,
        /// By when all must be back.
        timeout: Duration,
        /// Published meanwhile.
        aside: Aside,
    },
    /// A share closes and stays away.
    Leave {
        /// The share.
        percent: f64,
        /// Connections a second; 0: as `in_flight` allows.
        per_s: f64,
    },
    /// Those that have left come back.
    Return {
        /// Connections a second; 0: as `in_flight` allows.
        per_s: f64,
    },
    /// Everything has arrived, everywhere.
    Verify,
}

/// A slow publish on a topic that everybody has, to measure the others by.
#[derive(Clone, Debug, PartialEq)]
pub struct Aside {
    /// The topic; `None`: the first one.
    pub topic: Option<String>,
    /// Updates a second.
    pub per_s: f64,
    /// Size of a payload.
    pub payload_bytes: usize,
}

/// The search for a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Share of one core that the server's process shall use.
    pub target_server_cpu: f64,
    /// How long the search takes, all steps together.
    pub length: Duration,
}

/// The names of all kinds.
const KINDS: [&str; 10] = [
    "connect",
    "idle",
    "broadcast",
    "subscribe",
    "publish",
    "churn",
    "storm",
    "leave",
    "return",
    "verify",
];

impl Task {
    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Task::Connect { .. } => "connect",
            Task::Idle { .. } => "idle",
            Task::Broadcast { .. } => "broadcast",
            Task::Subscribe { .. } => "subscribe",
            Task::Publish { .. } => "publish",
            Task::Churn { .. } => "churn",
            Task::Storm { .. } => "storm",
            Task::Leave { .. } => "leave",
            Task::Return { .. } => "return",
            Task::Verify => "verify",
        }
    }
}

/// Reads the text of a phase file.
pub fn parse(text: &str) -> anyhow::Result<Vec<Step>> {
    let mut table: Table = text.parse().context("this is no TOML")?;
    let phases = table.remove("phase");
    if let Some(key) = table.keys().next() {
        bail!("unknown key {key:?}: a phase file holds only [[phase]] tables");
    }
    let Some(Value::Array(phases)) = phases else {
        bail!("there is no phase: each is a [[phase]] table");
    };
    let steps = phases.into_iter().enumerate().map(|(index, phase)| {
        let Value::Table(table) = phase else {
            bail!("phase {}: must be a [[phase]] table", index + 1);
        };
        let kind = table
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or("without kind");
        let which = format!("phase {} ({kind})", index + 1);
        step(Keys::new(table)).context(which)
    });
    steps.collect()
}

fn step(mut keys: Keys) -> anyhow::Result<Step> {
    let kind = keys.text("kind")?;
    let kind = keys.required("kind", kind)?;
    let name = keys.text("name")?.unwrap_or_else(|| kind.clone());
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    ensure!(
        !name.is_empty() && name.chars().all(legal),
        "the name {name:?} may only hold letters, digits, '-', '_' and '.': it names files"
    );
    let task = task(&kind, &mut keys)?;
    keys.finish()?;
    Ok(Step { name, task })
}

fn task(kind: &str, keys: &mut Keys) -> anyhow::Result<Task> {
    Ok(match kind {
        "connect" => {
            let topics = keys.texts("topics")?;
            Task::Connect {
                per_s: keys.number("rate")?,
                in_flight: keys.count("in_flight")?,
                topics: keys.required("topics", topics)?,
            }
        }
        "idle" => Task::Idle {
            duration: duration(keys)?,
        },
        "broadcast" => Task::Broadcast {
            topic: keys.text("topic")?,
            publishes: keys.count("publishes")?.unwrap_or(20),
            payload_bytes: payload_bytes(keys)?,
            pause: keys.duration("pause")?.unwrap_or(Duration::from_secs(1)),
            timeout: keys.duration("timeout")?.unwrap_or(Duration::from_secs(60)),
        },
        "subscribe" => {
            let (prefix, count) = (keys.text("prefix")?, keys.count("count")?);
            let (prefix, count) = (
                keys.required("prefix", prefix)?,
                keys.required("count", count)?,
            );
            let per_connection = keys.count("per_connection")?.unwrap_or(1);
            ensure!(
                per_connection <= count.min(65_536),
                "\"per_connection\" {per_connection} is more than the {count} topics there are, or than 65536"
            );
            Task::Subscribe {
                prefix,
                count,
                per_connection,
                zipf: keys.number("zipf")?,
                per_s: keys.number("rate")?.unwrap_or(0.0),
            }
        }
        "publish" => publish(keys)?,
        "churn" => Task::Churn {
            percent_per_s: keys.percent("percent_per_s")?,
            duration: duration(keys)?,
            aside: aside(keys)?,
        },
        "storm" => Task::Storm {
            percent: keys.percent("percent")?,
            timeout: keys
                .duration("timeout")?
                .unwrap_or(Duration::from_secs(120)),
            aside: aside(keys)?,
        },
        "leave" => Task::Leave {
            percent: keys.percent("percent")?,
            per_s: keys.number("rate")?.unwrap_or(0.0),
        },
        "return" => Task::Return {
            per_s: keys.number("rate")?.unwrap_or(0.0),
        },
        "verify" => Task::Verify,
        unknown => match nearest(unknown, KINDS.into_iter()) {
            Some(near) => bail!("unknown kind {unknown:?}: did you mean {near:?}?"),
            None => bail!("unknown kind {unknown:?}: known are {}", KINDS.join(", ")),
        },
    })
}

fn publish(keys: &mut Keys) -> anyhow::Result<Task> {
    let prefix = keys.text("prefix")?;
    let prefix = keys.required("prefix", prefix)?;
    let target = keys.number("target_server_cpu")?;
    let length = keys.duration("calibrate")?;
    ensure!(
        target.is_some() || length.is_none(),
        "\"calibrate\" says nothing without \"target_server_cpu\""
    );
    let calibration = target.map(|target_server_cpu| Calibration {
        target_server_cpu,
        length: length.unwrap_or(Duration::from_secs(5)),
    });
    if let Some(calibration) = &calibration {
        ensure!(
            calibration.target_server_cpu > 0.0 && calibration.length >= Duration::from_millis(500),
            "\"target_server_cpu\" must be more than 0, and \"calibrate\" at least 500ms"
        );
    }
    let rate = keys.number("rate")?;
    let per_s = match &calibration {
        Some(_) => rate.unwrap_or(100.0),
        None => keys.required("rate", rate)?,
    };
    ensure!(
        per_s > 0.0,
        "\"rate\" must be more than 0: an idle phase publishes nothing"
    );
    Ok(Task::Publish {
        prefix,
        count: keys.count("count")?,
        zipf: keys.number("zipf")?,
        per_s,
        duration: duration(keys)?,
        payload_bytes: payload_bytes(keys)?,
        calibration,
    })
}

fn aside(keys: &mut Keys) -> anyhow::Result<Aside> {
    Ok(Aside {
        topic: keys.text("topic")?,
        per_s: keys.number("rate")?.unwrap_or(ASIDE_PER_S),
        payload_bytes: payload_bytes(keys)?,
    })
}

fn duration(keys: &mut Keys) -> anyhow::Result<Duration> {
    let duration = keys.duration("duration")?;
    keys.required("duration", duration)
}

fn payload_bytes(keys: &mut Keys) -> anyhow::Result<usize> {
    let bytes = keys.count("payload_bytes")?;
    let bytes = bytes.map_or(PAYLOAD_BYTES, |bytes| bytes as usize);
    ensure!(
        bytes >= PAYLOAD_BYTES_MIN,
        "\"payload_bytes\" must be at least {PAYLOAD_BYTES_MIN}: a payload carries its intended time"
    );
    Ok(bytes)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
