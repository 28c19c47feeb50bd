//! From arguments and a phase file to a script that can be carried out: topics numbered, phases
//! held against each other, everything known to fit on this host.

use super::file::{self, Step, Task};
use crate::cli::{LatencyFrom, ScenarioArgs};
use crate::dialect::Dialect;
use crate::link::Framing;
use crate::plan::{self, Host, Plan, Readers, fit};
use crate::topics::{Batch, Popularity, Topics};
use anyhow::{Context as _, bail, ensure};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Updates a second that one publishing connection carries.
const UPDATES_PER_PUBLISHER_PER_S: f64 = 5000.0;
/// Publishing connections for a rate that is not yet known.
const PUBLISHERS_TO_CALIBRATE: u32 = 4;
/// Publishes may be late by this at the 99th percentile before the summary calls them late.
const SLIP_LIMIT: Duration = Duration::from_millis(10);

/// A scenario, ready to be carried out.
#[derive(Debug)]
pub struct Script {
    /// What the threads share.
    pub plan: Arc<Plan>,
    /// The phases.
    pub steps: Vec<Step>,
    /// How many topics everybody has; they come first.
    pub common: u32,
    /// Prefixes of the batches after the first, in order.
    prefixes: Vec<(String, u32)>,
    /// Where the output goes.
    pub out: PathBuf,
    /// The server's process.
    pub server_pid: Option<u32>,
}

impl Script {
    /// Checks everything. An error is for the operator.
    pub fn new(args: ScenarioArgs, host: &Host) -> anyhow::Result<Script> {
        let read = || file::parse(&std::fs::read_to_string(&args.phases)?);
        let steps = read().with_context(|| format!("--phases {}", args.phases.display()))?;
        let common = common_topics(&steps)?;
        let mut names: Vec<String> = common.to_vec();
        let mut batches = vec![Batch {
            first_topic: 0,
            popularity: Popularity::new(common.len() as u32, None),
            count: common.len(),
        }];
        let mut prefixes: Vec<(String, u32)> = Vec::new();
        for step in &steps {
            let Task::Subscribe {
                prefix,
                count,
                per_connection,
                zipf,
                ..
            } = &step.task
            else {
                continue;
            };
            batches.push(Batch {
                first_topic: names.len() as u32,
                popularity: Popularity::new(*count, *zipf),
                count: *per_connection as usize,
            });
            names.extend((0..*count).map(|number| format!("{prefix}{number}")));
            prefixes.push((prefix.clone(), *count));
        }
        let named = names.len();
        let topics = Topics::new(names);
        ensure!(
            topics.len() == named,
            "two phases name the same topic: give each subscribe phase a prefix of its own"
        );
        for name in topics.names() {
            if let Err(error) = fanfare_wire::topic::check_topic(name) {
                bail!("{name:?} is no topic: {error}");
            }
        }
        let (targets, destinations) = plan::targets(&args.url, &args.tls)?;
        if let Some(pid) = args.server_pid {
            std::fs::metadata(format!("/proc/{pid}/stat"))
                .with_context(|| format!("--server-pid {pid}"))?;
        }
        std::fs::create_dir_all(args.out.join("histograms"))
            .with_context(|| format!("--out {}", args.out.display()))?;
        let plan = Plan {
            host: *host,
            dialect: Dialect::Json,
            framing: Framing::WebSocket,
            workers: fit::workers(host, args.connections, args.workers)?,
            sources: fit::sources(
                host,
                args.connections,
                &destinations,
                &args.source_addresses,
            )?,
            targets,
            connections: args.connections,
            connect_rate_per_s: args.connect_rate,
            subscribe_rate_per_s: 0.0,
            in_flight_max: args.in_flight,
            attempts_max: args.attempts,
            subscriptions: batches.iter().map(|batch| batch.count).sum(),
            topics,
            batches,
            publish_rate_per_s: 0.0,
            publishers: publishers(&steps),
            payload_bytes: 0,
            latency_from: LatencyFrom::Schedule,
            readers: Readers::healthy(args.connections),
            seed: args.seed,
            allow_disconnects: false,
            duration: Duration::ZERO,
            answer_timeout: args.answer_timeout,
            drain_timeout: args.drain_timeout,
            close_timeout: args.answer_timeout,
            stall_timeout: args.stall_timeout,
            deadline: args.deadline,
            slip_limit: SLIP_LIMIT,
            json: None,
            histograms: None,
            quiet: args.quiet,
        };
        let script = Script {
            plan: Arc::new(plan),
            common: common.len() as u32,
            prefixes,
            out: args.out,
            server_pid: args.server_pid,
            steps,
        };
        script.check()?;
        Ok(script)
    }

    /// The number of a topic that everybody has; the first one unless told.
    pub fn common_topic(&self, name: Option<&str>) -> anyhow::Result<u32> {
        let found = match name {
            None => Some(0),
            Some(name) => self.plan.topics.find(name, 0),
        };
        match found.filter(|topic| *topic < self.common) {
            Some(topic) => Ok(topic),
            None => bail!(
                "the connect phase gives nobody the topic {:?}",
                name.unwrap_or("")
            ),
        }
    }

    /// The batch with this prefix, and its topics' number.
    pub fn batch(&self, prefix: &str) -> anyhow::Result<(usize, u32)> {
        let found = self.prefixes.iter().position(|(other, _)| other == prefix);
        let Some(index) = found else {
            bail!("no subscribe phase has the prefix {prefix:?}");
        };
        Ok((index + 1, self.prefixes[index].1))
    }

    /// Holds the phases against each other.
    fn check(&self) -> anyhow::Result<()> {
        let mut subscribed: Vec<&str> = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let which = || format!("phase {} ({})", index + 1, step.task.kind());
            match &step.task {
                Task::Connect { .. } if index > 0 => {
                    bail!(
                        "{}: connect comes once and first; those that left come back by \"return\"",
                        which()
                    );
                }
                Task::Broadcast { topic, .. } => {
                    self.common_topic(topic.as_deref()).with_context(which)?;
                }
                Task::Churn { aside, .. } | Task::Storm { aside, .. } if aside.per_s > 0.0 => {
                    self.common_topic(aside.topic.as_deref())
                        .with_context(which)?;
                }
                Task::Subscribe { prefix, .. } => subscribed.push(prefix),
                Task::Publish {
                    prefix,
                    count,
                    calibration,
                    ..
                } => {
                    let (_, topics) = self.batch(prefix).with_context(which)?;
                    ensure!(
                        subscribed.contains(&prefix.as_str()),
                        "{}: the subscribe phase of {prefix:?} comes later",
                        which()
                    );
                    ensure!(
                        count.is_none_or(|count| count <= topics),
                        "{}: \"count\" is more than the {topics} topics of {prefix:?}",
                        which()
                    );
                    ensure!(
                        calibration.is_none() || self.server_pid.is_some(),
                        "{}: \"target_server_cpu\" needs --server-pid",
                        which()
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn common_topics(steps: &[Step]) -> anyhow::Result<&[String]> {
    match steps.first().map(|step| &step.task) {
        Some(Task::Connect { topics, .. }) => Ok(topics),
        _ => bail!("the first phase must be of kind \"connect\""),
    }
}

/// Publishing connections for the greatest rate of all phases.
fn publishers(steps: &[Step]) -> u32 {
    let needed = steps.iter().map(|step| match &step.task {
        Task::Publish {
            calibration: Some(_),
            ..
        } => PUBLISHERS_TO_CALIBRATE,
        Task::Publish { per_s, .. } => (per_s / UPDATES_PER_PUBLISHER_PER_S).ceil() as u32,
        _ => 1,
    });
    needed.max().unwrap_or(1).clamp(1, 4096)
}
