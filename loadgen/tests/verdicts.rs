//! Runs against a small server that is honest, or lies in one way: the verdict must be right.

mod support;

use support::{Conduct, Run, Server, load};

/// 20 subscribers, two topics, 40 updates of each in a fifth of a second.
const LOAD: &str = "--quiet --connections 20 --topics 2 --publish-rate 400 --duration 200ms \
    --answer-timeout 3s --drain-timeout 2s --close-timeout 2s --slip-limit 10s";

fn load_against(conduct: Conduct, more: &str) -> Run {
    let server = Server::start(conduct);
    load(&format!("{LOAD} --url {} {more}", server.url))
}

#[track_caller]
fn assert_fails(conduct: Conduct, sentences: &[&str]) {
    let run = load_against(conduct, "");
    assert_eq!(run.code, 1, "{conduct:?}\n{}{}", run.stdout, run.stderr);
    assert!(
        run.verdict().starts_with("not verified: "),
        "{conduct:?}\n{}",
        run.stdout
    );
    for sentence in sentences {
        assert!(
            run.stdout.contains(sentence),
            "{conduct:?}: no {sentence:?} in\n{}",
            run.stdout
        );
    }
    assert_eq!(run.report["verdict"]["passed"], false);
}

#[test]
fn an_honest_server_is_verified() {
    let run = load_against(Conduct::Honest, "");
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    // 80 updates: 40 of each topic, and each topic has ten subscribers.
    assert_eq!(
        run.verdict(),
        "verified: 800 deliveries to 20 subscribers, 0 lost, 0 repeated, 0 reordered",
        "{}",
        run.stdout
    );
    let report = &run.report;
    assert_eq!(report["verdict"]["passed"], true);
    assert_eq!(report["connections"]["opened"], 20);
    assert_eq!(report["publishing"]["acked"], 80);
    assert_eq!(report["latency"]["delivery"]["count"], 800);
    assert_eq!(report["latency"]["delivery_from"], "schedule");
    assert_eq!(report["latency"]["handshake"]["count"], 20);
    assert!(report["latency"]["delivery"]["p50_ns"].as_u64() > Some(0));
    assert!(
        report["curve"]
            .as_array()
            .is_some_and(|curve| !curve.is_empty())
    );
    let phases: Vec<_> = report["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["phase"].as_str().unwrap())
        .collect();
    assert_eq!(
        phases,
        [
            "assemble",
            "connect",
            "subscribe",
            "steady",
            "drain",
            "close"
        ]
    );
}

#[test]
fn binary_records_are_held_to_the_same_promises() {
    let against = |conduct| load_against(conduct, "--protocol fanfare-bin");
    let honest = against(Conduct::Honest);
    assert_eq!(honest.code, 0, "{}{}", honest.stdout, honest.stderr);
    assert!(
        honest.verdict().starts_with("verified: 800 deliveries"),
        "{}",
        honest.stdout
    );
    for (conduct, code) in [
        (Conduct::Dribbling, 0),
        (Conduct::Skipping, 0),
        (Conduct::Gapping, 0),
        (Conduct::Losing, 1),
        (Conduct::Repeating, 1),
        (Conduct::Reordering, 1),
        (Conduct::Hasty, 1),
        (Conduct::Straying, 1),
    ] {
        let run = against(conduct);
        assert_eq!(run.code, code, "{conduct:?}\n{}{}", run.stdout, run.stderr);
    }
}

#[test]
fn frames_in_small_pieces_are_put_together() {
    let run = load_against(Conduct::Dribbling, "--payload-bytes 3000 --publish-rate 50");
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(
        run.verdict().starts_with("verified: 100 deliveries"),
        "{}",
        run.stdout
    );
}

#[test]
fn many_subscriptions_on_each_connection_are_verified() {
    let run = load_against(
        Conduct::Honest,
        "--topics 8 --subscriptions 8 --zipf 1 --workers 3",
    );
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(
        run.verdict().starts_with("verified: 1600 deliveries to 20"),
        "{}",
        run.stdout
    );
}

#[test]
fn announced_skips_and_gaps_are_no_faults() {
    // 40 updates of each of two topics; the first subscriber of each misses what is announced.
    for (conduct, figure, missed) in [
        (Conduct::Skipping, "skipped", 6),
        (Conduct::Gapping, "gaps", 4),
    ] {
        let run = load_against(conduct, "");
        assert_eq!(run.code, 0, "{conduct:?}\n{}{}", run.stdout, run.stderr);
        assert_eq!(run.report["deliveries"][figure], missed, "{conduct:?}");
        assert_eq!(
            run.report["deliveries"]["delivered"],
            800 - missed,
            "{conduct:?}"
        );
    }
}

#[test]
fn a_feed_of_somebody_else_is_followed_to_where_it_stood_at_the_end() {
    let server = Server::start_with_feed("AAPL", std::time::Duration::from_millis(2));
    let run = load(&format!(
        "--quiet --connections 10 --topic AAPL --duration 200ms --url {}",
        server.url
    ));
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(run.report["latency"]["delivery_from"], "server");
    assert!(
        run.report["latency"]["delivery"]["count"].as_u64() >= Some(100),
        "{}",
        run.stdout
    );
}

#[test]
fn a_lost_update_fails_the_run() {
    assert_fails(
        Conduct::Losing,
        &[
            "2 lost, 0 repeated, 0 reordered",
            "FAILED: 2 updates lost",
            "expected seq 3, got 4",
        ],
    );
}

#[test]
fn updates_that_stop_fail_the_run() {
    assert_fails(
        Conduct::Stopping,
        &[
            "74 lost",
            "2 subscriptions ended before",
            "ended at seq 3, the topic at 40",
        ],
    );
}

#[test]
fn a_repeated_update_fails_the_run() {
    assert_fails(
        Conduct::Repeating,
        &[
            "0 lost, 2 repeated, 0 reordered",
            "expected seq 4, got 3 again or late",
        ],
    );
}

#[test]
fn reordered_updates_fail_the_run() {
    assert_fails(Conduct::Reordering, &["0 lost, 0 repeated, 2 reordered"]);
}

#[test]
fn data_before_the_ack_fails_the_run() {
    assert_fails(
        Conduct::Hasty,
        &["came before the subscription was acknowledged"],
    );
}

#[test]
fn a_topic_that_nobody_asked_for_fails_the_run() {
    assert_fails(
        Conduct::Straying,
        &[
            "2 frames of topics that were never subscribed",
            "topic \"other\"",
        ],
    );
}

#[test]
fn disconnects_fail_the_run_unless_they_are_allowed() {
    assert_fails(
        Conduct::Closing,
        &["2 connections cut off by the server", "2 closed 4103"],
    );
    assert_fails(
        Conduct::Vanishing,
        &[
            "2 connections cut off by the server",
            "2 ended without close",
        ],
    );
    let run = load_against(Conduct::Closing, "--allow-disconnects");
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(run.report["connections"]["disconnected"], 2);
}

#[test]
fn subscribe_commands_without_an_answer_fail_the_run() {
    let run = load_against(Conduct::Mute, "--answer-timeout 300ms");
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("FAILED: 20 subscriptions never answered"),
        "{}",
        run.stdout
    );
}

#[test]
fn publishes_without_an_answer_fail_the_run() {
    let run = load_against(Conduct::Ungrateful, "--drain-timeout 300ms");
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("FAILED: 80 publishes never answered"),
        "{}",
        run.stdout
    );
}

#[test]
fn refused_publishes_fail_the_run() {
    assert_fails(Conduct::Refusing, &["80 publishes refused", "80 3000 rate"]);
}

#[test]
fn a_server_that_says_nothing_is_told_from_one_that_is_not_there() {
    let run = load_against(Conduct::Dead, "--answer-timeout 300ms");
    assert_eq!(run.code, 1);
    assert!(
        run.stderr.contains("cannot connect to ws://127.0.0.1:"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("no answer within 300ms"),
        "{}",
        run.stderr
    );
    let run = load("--url ws://127.0.0.1:1/ws");
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("refused"), "{}", run.stderr);
}

#[test]
fn a_server_that_stops_answering_cannot_hold_the_run_up() {
    let stalled = load_against(Conduct::Fainting, "--stall-timeout 300ms");
    assert_eq!(stalled.code, 1, "{}{}", stalled.stdout, stalled.stderr);
    assert!(
        stalled.stdout.contains("FAILED: the connect phase stalled"),
        "{}",
        stalled.stdout
    );
    assert!(
        stalled.stdout.contains("connections were not open in time"),
        "{}",
        stalled.stdout
    );
    let refused = load_against(Conduct::Fainting, "--answer-timeout 300ms --attempts 1");
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    assert!(
        refused.stdout.contains("connections could not be opened"),
        "{}",
        refused.stdout
    );
    // The control connection and a publisher are two of the ten.
    assert_eq!(
        refused.report["connections"]["connect_errors"]["timed out"], 12,
        "{}",
        refused.stdout
    );
}

#[test]
fn a_schedule_that_slips_makes_the_run_invalid_but_not_failed() {
    // No schedule is kept to the nanosecond.
    let run = load_against(Conduct::Honest, "--slip-limit 0s");
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("INVALID (generator saturated): the publishing schedule"),
        "{}",
        run.stdout
    );
    assert_eq!(run.report["verdict"]["valid"], false);
}

#[test]
fn raw_histograms_are_written() {
    let dir = std::env::temp_dir().join(format!("fanfare-histograms-{}", std::process::id()));
    let run = load_against(Conduct::Honest, &format!("--histograms {}", dir.display()));
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    for name in ["handshake", "subscribe", "delivery", "publish_ack", "slip"] {
        assert!(dir.join(format!("{name}.hlog")).exists(), "{name}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn an_interrupt_ends_the_run_early_with_a_verdict() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::{Command, Stdio};
    let server = Server::start(Conduct::Honest);
    let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
        .args([
            "run",
            "--connections",
            "20",
            "--duration",
            "60s",
            "--url",
            &server.url,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The progress lines tell when the steady phase has begun.
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(progress.any(|line| line.unwrap().starts_with("steady: ")));
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    assert!(stdout.contains("interrupted"), "{stdout}");
    assert!(
        stdout.lines().last().unwrap().starts_with("verified: "),
        "{stdout}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stdout}");
}

#[test]
fn several_ports_take_turns() {
    let servers = [
        Server::start(Conduct::Honest),
        Server::start(Conduct::Honest),
    ];
    // Two servers that share nothing: only listen, so that each one's topics stand still.
    let urls = servers
        .iter()
        .map(|server| format!("--url {} ", server.url))
        .collect::<String>();
    let run = load(&format!(
        "--quiet --connections 10 --topic a --duration 50ms {urls}"
    ));
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(run.report["connections"]["opened"], 10);
}
