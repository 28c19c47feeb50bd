//! What a measurement has shown. The keys of the JSON are stable: snake_case, units last; new ones
//! may be added. The server's CPU comes first.

use super::account::Sums;
use super::pacing::Shape;
use super::plan::Plan;
use super::session::Session;
use super::window::{Held, Window};
use crate::counts::Counts;
use crate::latency::Quantiles;
use crate::report::human::{bytes, count, time};
use crate::report::{Handshakes, Verdict, write_json};
use anyhow::Context as _;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// Of one core: beyond this a thread has nothing left.
const SATURATED_CORES: f64 = 0.95;

/// What the course has noted down.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) join: Window,
    pub(super) window: Option<Window>,
    /// Connections that had joined when all had for the first time.
    pub(super) joined: u64,
    pub(super) before: Option<Held>,
    pub(super) held: Option<Held>,
    pub(super) missing_at_end: u64,
    pub(super) is_stalled: bool,
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// CPU of the server, user and system, for a million deliveries (with echo: messages back; with
    /// rejoin, and when connections are only held: connections made).
    pub server_cpu_s_per_million: Option<f64>,
    /// The window: what was delivered in it and what it took.
    pub window: Option<Window>,
    /// Connecting and subscribing everybody.
    pub join: Join,
    /// The server's memory, and the kernel's.
    pub memory: Memory,
    /// From the intended time to arrival; with echo, there and back; with rejoin, from connecting to
    /// the last ack.
    pub latency: Quantiles,
    /// From the intended time to arrival at the last subscriber.
    pub time_to_last: Quantiles,
    /// How late the schedule was.
    pub slip: Quantiles,
    /// Times that the server took nothing for a while and a schedule had to wait.
    pub held_back: u64,
    /// Deliveries that were still to come when the window ended.
    pub missing_at_end: u64,
    /// Counts over the whole run.
    pub sums: Sums,
    /// Connections that ended, by kind.
    pub ends: Counts,
    /// Refusals, by kind.
    pub refusals: Counts,
    /// Whether it proves anything.
    pub verdict: Verdict,
    /// The load.
    pub shape: Shape,
    /// Connections.
    pub connections: u32,
    /// Topics.
    pub topics: usize,
    /// Topics of each connection.
    pub subscriptions: u32,
    /// Size of a payload.
    pub payload_bytes: usize,
    /// Version of this program.
    pub version: &'static str,
    /// The command line.
    pub command: Vec<String>,
}

/// Connecting and subscribing everybody.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Join {
    /// Connections made, and subscribed.
    pub joined: u64,
    /// The same a second.
    pub joined_per_s: f64,
    /// Handshakes of TLS, over the whole run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Handshakes>,
    /// CPU of the server for each.
    pub server_cpu_us_each: Option<f64>,
    /// CPU of the server, in cores.
    pub server_cores: Option<f64>,
    /// CPU of this process, in cores.
    pub generator_cores: f64,
    /// From connecting to the end of the handshake.
    pub handshake: Quantiles,
    /// From connecting to the last ack.
    pub join: Quantiles,
}

/// What the connections take: the server's resident memory, its processes together, and the kernel's.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Before the first connection.
    pub before: Held,
    /// At the end, all connections held.
    pub held: Held,
    /// The difference in the server for each connection.
    pub rss_per_connection_bytes: Option<f64>,
    /// The difference in the kernel for each connection, both ends of it.
    pub kernel_slab_per_connection_bytes: Option<f64>,
}

impl Report {
    pub(super) fn new(plan: &Plan, session: &Session<'_>, findings: &Findings) -> Report {
        let joined = findings.joined;
        let join_cpu = findings.join.server_cpu_s_per_million(joined);
        let window = findings.window;
        let cpu = match plan.shape {
            Shape::Hold => join_cpu,
            _ => window.and_then(|window| window.server_cpu_s_per_million(window.delivered)),
        };
        let [before, held] = [findings.before, findings.held].map(Option::unwrap_or_default);
        let [rss_each, slab_each] = held.since(&before, plan.connections);
        let tally = &session.tally;
        let latency = match (&session.echo, plan.shape) {
            (Some(echo), _) => &echo.round_trip,
            (None, Shape::Rejoin) => &tally.join,
            (None, _) => &session.account.delivery,
        };
        let latency = latency.quantiles();
        Report {
            server_cpu_s_per_million: cpu,
            window,
            join: Join {
                joined,
                joined_per_s: joined as f64 / findings.join.length_s,
                tls: Handshakes::of(tally.tls),
                server_cpu_us_each: join_cpu,
                server_cores: findings.join.server.map(|server| server.cores),
                generator_cores: findings.join.generator_cores,
                handshake: tally.handshake.quantiles(),
                join: tally.join.quantiles(),
            },
            memory: Memory {
                before,
                held,
                rss_per_connection_bytes: rss_each,
                kernel_slab_per_connection_bytes: slab_each,
            },
            latency,
            time_to_last: session.account.time_to_last.quantiles(),
            slip: tally.slip.quantiles(),
            held_back: tally.held_back,
            missing_at_end: findings.missing_at_end,
            sums: session.account.sums,
            ends: tally.ends.clone(),
            refusals: tally.refusals.clone(),
            verdict: verdict(plan, session, findings),
            shape: plan.shape,
            connections: plan.connections,
            topics: plan.topics.len(),
            subscriptions: plan.subscriptions,
            payload_bytes: plan.payload_bytes,
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
        }
    }

    /// Writes the report as JSON.
    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        write_json(path, self).context("--json")
    }
}

fn verdict(plan: &Plan, session: &Session<'_>, findings: &Findings) -> Verdict {
    let mut failures = Vec::new();
    let mut tell = |number: u64, what: &str| {
        if number > 0 {
            failures.push(format!("{number} {what}"));
        }
    };
    let sums = &session.account.sums;
    let altered = session.echo.as_ref().map_or(0, |echo| echo.altered);
    tell(sums.lost, "updates lost");
    tell(sums.behind, "updates repeated or late");
    tell(sums.strays, "updates of topics that were never subscribed");
    tell(sums.not_ours, "messages that are none of ours");
    tell(altered, "echoes altered, or never said");
    let missing = session.account.missing();
    tell(missing, "deliveries had not arrived when the wait was over");
    tell(session.tally.ends.total(), "connections were cut off");
    tell(session.tally.refusals.total(), "refusals");
    if findings.is_stalled {
        failures.push("nothing arrived any more".to_owned());
    }
    let kinds = [&session.tally.ends, &session.tally.refusals].map(|counts| counts.to_string());
    let kinds = kinds.into_iter().filter(|text| !text.is_empty());
    let examples = session.account.examples.iter().map(str::to_owned);
    let invalid_because = saturation(plan, session, findings);
    Verdict {
        passed: failures.is_empty(),
        valid: invalid_because.is_empty(),
        failures,
        invalid_because,
        examples: examples.chain(kinds).collect(),
    }
}

/// Whether it was this program that limited the figures: it used its core up while the server did
/// not, or it could not keep its own schedule.
fn saturation(plan: &Plan, session: &Session<'_>, findings: &Findings) -> Vec<String> {
    // Memory does not depend on how fast it was filled.
    let Some(window) = findings.window.filter(|_| plan.shape != Shape::Hold) else {
        return Vec::new();
    };
    let mut reasons = Vec::new();
    let server_cores = window.server.map_or(0.0, |server| server.cores);
    let server_is_free = server_cores < SATURATED_CORES;
    if window.generator_cores > SATURATED_CORES && server_is_free {
        let cores = window.generator_cores;
        reasons.push(format!(
            "the generator used {cores:.2} of its one core, the server {server_cores:.2}"
        ));
    }
    let slip = session.tally.slip.quantiles();
    let limit_ns = plan.slip_limit.as_nanos() as u64;
    let is_late = matches!(plan.shape, Shape::Rate(_)) && slip.p99_ns > limit_ns;
    if is_late && server_is_free {
        reasons.push(format!(
            "the schedule was {} late at its 99th percentile",
            time(slip.p99_ns)
        ));
    }
    reasons
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cpu = self.server_cpu_s_per_million;
        let cpu = cpu.map_or("unknown".to_owned(), |cpu| format!("{cpu:.3} s"));
        writeln!(f, "server CPU a million   {cpu}")?;
        if let Some(window) = &self.window {
            let server = window.server.map_or(0.0, |server| server.cores);
            writeln!(
                f,
                "delivered              {} in {:.2} s, {} a second",
                count(window.delivered),
                window.length_s,
                count(window.delivered_per_s as u64)
            )?;
            writeln!(
                f,
                "cores                  server {server:.2}, generator {:.2}",
                window.generator_cores
            )?;
        }
        if self.sums.skipped > 0 {
            let skipped = count(self.sums.skipped);
            writeln!(f, "skipped                {skipped}, in the whole run")?;
        }
        let Quantiles {
            p50_ns,
            p99_ns,
            max_ns,
            ..
        } = self.latency;
        writeln!(
            f,
            "latency                p50 {}, p99 {}, max {}",
            time(p50_ns),
            time(p99_ns),
            time(max_ns)
        )?;
        writeln!(
            f,
            "joined                 {} at {} a second, server CPU {} each",
            count(self.join.joined),
            count(self.join.joined_per_s as u64),
            self.join
                .server_cpu_us_each
                .map_or("unknown".to_owned(), |us| time((us * 1000.0) as u64))
        )?;
        if let Some(Handshakes { full, resumed }) = self.join.tls {
            let (full, resumed) = (count(full), count(resumed));
            writeln!(f, "TLS handshakes         {full} full, {resumed} resumed")?;
        }
        if let Some(each) = self.memory.rss_per_connection_bytes {
            let each = bytes(each.max(0.0) as u64);
            writeln!(f, "memory a connection    {each} resident")?;
        }
        self.verdict.reasons(f)?;
        writeln!(f, "{}", self.verdict.word())
    }
}
