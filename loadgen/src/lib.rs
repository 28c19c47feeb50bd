//! A load generator that proves what a push server promises: it opens up to millions of WebSocket
//! clients on one host, checks every sequence number that each of them receives, and records
//! latencies from an open-loop schedule.
//!
//! Nothing is estimated from a sample: a run passes only if, for every subscription, *delivered +
//! skipped + gaps = published*, and every connection was opened and stayed. If the generator itself
//! was the bottleneck, the run says that it is invalid.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`], [`plan`] | arguments, and what they mean on this host |
//! | [`scenario`] | the course of a scenario: phases of a file against a held population |
//! | [`coordinator`] | the course of a run |
//! | [`conductor`], [`phase`], [`crew`] | what both courses are made of: orders and waits, phases, threads |
//! | [`worker`], [`publisher`], [`control`] | threads that hold connections, the one that publishes, the question where topics stand |
//! | [`class`] | how clients read: as fast as they can, slowly, not at all |
//! | [`link`], [`dialect`], [`http`], [`payload`] | one connection; what is said on it, or over plain HTTP; what updates carry |
//! | [`measure`], [`protocol`] | one load shape on any push server, from one thread; what other servers speak |
//! | [`half_open`] | requests that begin and never end |
//! | [`floor`] | the least that a server could do, to compare with |
//! | [`verify`], [`latency`], [`counts`], [`tally`] | sequence checks, histograms, counts |
//! | [`schedule`], [`clock`], [`topics`], [`target`] | open-loop times, clocks, names, addresses |
//! | [`chart`] | pictures of a scenario's output |
//! | [`autobahn`] | the client that a test suite of the protocol is put to |
//! | [`report`], [`progress`] | verdict, table, JSON; the line on stderr |
//! | [`process`] | CPU time and memory of other processes |
//! | [`sys`] | system calls; the only `unsafe` |

pub mod autobahn;
pub mod chart;
pub mod class;
pub mod cli;
pub mod clock;
pub mod conductor;
pub mod control;
pub mod coordinator;
pub mod counts;
pub mod crew;
pub mod dialect;
pub mod floor;
pub mod half_open;
pub mod http;
pub mod latency;
pub mod link;
pub mod measure;
pub mod payload;
pub mod phase;
pub mod plan;
pub mod process;
pub mod progress;
pub mod protocol;
pub mod publisher;
pub mod report;
pub mod scenario;
pub mod schedule;
pub mod sys;
pub mod tally;
pub mod target;
pub mod topics;
pub mod verify;
pub mod worker;

use anyhow::Context as _;
use clap::Parser as _;
use phase::Note;
use plan::{Host, Plan};
use report::Report;
use scenario::{Script, Summary};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

/// Parses the command line, carries it out, and returns the exit code: 0 all verified, 1 not, 2
/// wrong use.
pub fn run_command_line() -> ExitCode {
    let host = Host::this().context("cannot read this host's limits");
    match cli::Cli::parse().command {
        cli::Command::Run(args) => carry_out(
            host.and_then(|host| Plan::new(*args, &host)).map(Arc::new),
            |plan| Ok(carry_out_run(plan)?.verdict.passed),
        ),
        cli::Command::Scenario(args) => {
            carry_out(host.and_then(|host| Script::new(*args, &host)), |script| {
                Ok(carry_out_scenario(script)?.verdict.passed)
            })
        }
        cli::Command::Measure(args) => carry_out(
            host.and_then(|host| measure::Plan::new(*args, &host)),
            carry_out_measure,
        ),
        cli::Command::HalfOpen(args) => carry_out(
            host.and_then(|host| half_open::Plan::new(*args, &host)),
            carry_out_half_open,
        ),
        cli::Command::Floor(args) => exit_code(floor::serve(args.listen)),
        cli::Command::Chart(args) => exit_code(chart::draw(&args.dir)),
        cli::Command::Autobahn(args) => exit_code(autobahn::run(&args.url, &args.agent)),
    }
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What cannot be planned is wrong use, what then fails is a failure.
fn carry_out<P>(plan: anyhow::Result<P>, run: impl FnOnce(&P) -> anyhow::Result<bool>) -> ExitCode {
    let (error, code) = match plan {
        Err(error) => (error, ExitCode::from(2)),
        Ok(plan) => match run(&plan) {
            Ok(true) => return ExitCode::SUCCESS,
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => (error, ExitCode::FAILURE),
        },
    };
    eprintln!("error: {error:#}");
    code
}

fn carry_out_measure(plan: &measure::Plan) -> anyhow::Result<bool> {
    let report = measure::run(plan)?;
    if let Some(path) = &plan.json {
        report.write_json(path)?;
    }
    let _ = write!(std::io::stdout(), "{report}");
    Ok(report.verdict.passed)
}

fn carry_out_half_open(plan: &half_open::Plan) -> anyhow::Result<bool> {
    let report = half_open::run(plan, |opened| {
        // For whoever waits for it: the others are measured from here on.
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "opened {opened}").and_then(|()| stdout.flush());
    })?;
    if let Some(path) = &plan.json {
        report.write_json(path)?;
    }
    let _ = write!(std::io::stdout(), "{report}");
    Ok(report.failed.total() == 0)
}

fn carry_out_scenario(script: &Script) -> anyhow::Result<Summary> {
    let notes = mpsc::channel();
    watch_signals(notes.0.clone()).context("cannot watch for signals")?;
    let summary = scenario::run(script, notes)?;
    let _ = write!(std::io::stdout(), "{summary}");
    Ok(summary)
}

fn carry_out_run(plan: &Arc<Plan>) -> anyhow::Result<Report> {
    let notes = mpsc::channel();
    watch_signals(notes.0.clone()).context("cannot watch for signals")?;
    let report = coordinator::run(plan, notes)?;
    // Files first: a closed pipe on stdout must not cost the report.
    if let Some(path) = &plan.json {
        report.write_json(path)?;
    }
    if let Some(dir) = &plan.histograms {
        report.write_histograms(dir)?;
    }
    let _ = write!(std::io::stdout(), "{report}");
    Ok(report)
}

/// The first SIGINT or SIGTERM ends the run early with a report, the second cuts its drain short,
/// the third ends the process.
fn watch_signals(notes: Sender<Note>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                if count >= 2 || notes.send(Note::Interrupt).is_err() {
                    std::process::exit(130);
                }
            }
        })?;
    Ok(())
}
