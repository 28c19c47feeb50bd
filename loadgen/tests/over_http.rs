//! Subscribers over plain HTTP against a small server that is honest, or lies in one way: the verdict
//! must be right.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Conduct, Run, Server, load};

/// 20 subscribers, two topics, 40 updates of each in a fifth of a second.
const LOAD: &str = "--quiet --connections 20 --topics 2 --publish-rate 400 --duration 200ms \
    --answer-timeout 3s --drain-timeout 2s --slip-limit 10s";

fn events(conduct: Conduct, more: &str) -> Run {
    run("fanfare-sse", conduct, more)
}

fn polls(conduct: Conduct, more: &str) -> Run {
    run("fanfare-poll", conduct, more)
}

fn run(protocol: &str, conduct: Conduct, more: &str) -> Run {
    let server = Server::start(conduct);
    load(&format!(
        "{LOAD} --protocol {protocol} --url {} {more}",
        server.url
    ))
}

#[track_caller]
fn assert_told(run: &Run, conduct: Conduct, sentences: &[&str]) {
    assert_eq!(run.code, 1, "{conduct:?}\n{}{}", run.stdout, run.stderr);
    for sentence in sentences {
        assert!(
            run.stdout.contains(sentence),
            "{conduct:?}: no {sentence:?} in\n{}",
            run.stdout
        );
    }
}

#[test]
fn an_honest_stream_of_events_is_verified() {
    for (more, deliveries) in [
        ("", 800),
        ("--topics 8 --subscriptions 8 --workers 3", 1600),
    ] {
        let run = events(Conduct::Honest, more);
        assert_eq!(run.code, 0, "{more}\n{}{}", run.stdout, run.stderr);
        let expected = format!(
            "verified: {deliveries} deliveries to 20 subscribers, 0 lost, 0 repeated, 0 reordered"
        );
        assert_eq!(run.verdict(), expected, "{more}\n{}", run.stdout);
        assert_eq!(run.report["connections"]["opened"], 20);
        assert_eq!(run.report["latency"]["delivery"]["count"], deliveries);
    }
}

#[test]
fn an_honest_server_is_verified_by_polls() {
    for conduct in [Conduct::Honest, Conduct::Dribbling, Conduct::Impatient] {
        let run = polls(conduct, "");
        assert_eq!(run.code, 0, "{conduct:?}\n{}{}", run.stdout, run.stderr);
        let expected =
            "verified: 800 deliveries to 20 subscribers, 0 lost, 0 repeated, 0 reordered";
        assert_eq!(run.verdict(), expected, "{}", run.stdout);
        assert_eq!(run.report["latency"]["delivery"]["count"], 800);
    }
}

#[test]
fn what_a_stream_announces_is_no_fault() {
    for (conduct, skipped, gaps) in [
        (Conduct::Dribbling, 0, 0),
        (Conduct::Skipping, 6, 0),
        (Conduct::Gapping, 0, 4),
    ] {
        let run = events(conduct, "");
        assert_eq!(run.code, 0, "{conduct:?}\n{}{}", run.stdout, run.stderr);
        let healthy = &run.report["readers"]["classes"]["healthy"];
        assert_eq!(
            (&healthy["skipped"], &healthy["gaps"]),
            (&skipped.into(), &gaps.into())
        );
    }
}

#[test]
fn what_a_poll_passes_over_is_skipped() {
    for (conduct, skipped) in [(Conduct::Skipping, 6), (Conduct::Losing, 2)] {
        let run = polls(conduct, "");
        assert_eq!(run.code, 0, "{conduct:?}\n{}{}", run.stdout, run.stderr);
        let healthy = &run.report["readers"]["classes"]["healthy"];
        assert_eq!(healthy["skipped"], skipped, "{conduct:?}\n{}", run.stdout);
        assert_eq!(healthy["delivered"], 800 - skipped);
    }
}

#[test]
fn a_stream_that_lies_is_found_out() {
    for (conduct, sentences) in [
        (Conduct::Losing, &["2 updates lost"][..]),
        (
            Conduct::Stopping,
            &["subscriptions ended before their topic's final seq"],
        ),
        (Conduct::Repeating, &["2 updates repeated"]),
        (Conduct::Reordering, &["2 updates reordered"]),
        (
            Conduct::Hasty,
            &["before the subscription was acknowledged"],
        ),
        (
            Conduct::Straying,
            &["frames of topics that were never subscribed"],
        ),
        (
            Conduct::Closing,
            &["2 connections cut off by the server", "2 closed 4103"],
        ),
        (
            Conduct::Vanishing,
            &[
                "2 connections cut off by the server",
                "2 ended without close",
            ],
        ),
        (
            Conduct::Torn,
            &["stands at seq 4 of load", "20 updates lost"],
        ),
        (
            Conduct::Overstating,
            &["frames that break the protocol's promises", "stands at seq"],
        ),
        (Conduct::Mute, &["20 subscriptions never answered"]),
        (
            Conduct::Busy,
            &["20 connections could not be opened", "http 503"],
        ),
    ] {
        let run = events(conduct, "--answer-timeout 1s");
        assert_told(&run, conduct, sentences);
    }
}

#[test]
fn answers_to_polls_that_lie_are_found_out() {
    for (conduct, sentences) in [
        (
            Conduct::Stopping,
            &["subscriptions ended before their topic's final seq"][..],
        ),
        (Conduct::Repeating, &["2 updates repeated"]),
        (Conduct::Reordering, &["2 updates repeated"]),
        (Conduct::Vanishing, &["2 connections cut off by the server"]),
        (
            Conduct::Torn,
            &["connections cut off by the server", "malformed response"],
        ),
        (
            Conduct::Overstating,
            &["frames that break the protocol's promises", "the ETag"],
        ),
        (
            Conduct::Busy,
            &["20 connections could not be opened", "http 503"],
        ),
    ] {
        let run = polls(conduct, "");
        assert_told(&run, conduct, sentences);
    }
}

#[test]
fn a_stream_that_was_cut_goes_on_where_its_last_id_says() {
    let more = "--duration 600ms --resume --cut-after 200ms --subscriptions 2";
    let run = events(Conduct::Honest, more);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let resumed = &run.report["readers"]["resumed"];
    assert_eq!(
        (&resumed["recovered"], &resumed["unrecovered"]),
        (&40.into(), &0.into())
    );
    // Slow enough that a connection is back only after something was published.
    let more = "--duration 800ms --resume --cut-after 200ms --in-flight 1 --publish-rate 4000";
    let run = events(Conduct::Overstating, more);
    assert_told(&run, Conduct::Overstating, &["the recovery begins behind"]);
}

#[test]
fn history_that_is_not_all_there_is_found_out() {
    let more = "--duration 800ms --resume --cut-after 200ms --in-flight 1 --publish-rate 4000";
    let run = events(Conduct::Forgetting, more);
    assert_told(&run, Conduct::Forgetting, &["updates lost"]);
}

/// `measure` with ten subscribers, in a closed loop, for a short time.
fn measure(protocol: &str, conduct: Conduct, more: &str) -> (i32, String) {
    let server = Server::start(conduct);
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
        .args(["measure", "--url", &server.url, "--protocol", protocol])
        .args("--connections 10 --warm-up 50ms --duration 300ms --drain-timeout 500ms".split(' '))
        .args(more.split_whitespace())
        .timeout(std::time::Duration::from_secs(30))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn one_shape_of_load_is_measured_over_http_too() {
    for (protocol, more) in [
        ("fanfare-sse", "--in-flight 1"),
        ("fanfare-sse", "--in-flight 8 --topics 4 --subscriptions 3"),
        ("fanfare-sse", ""),
        ("fanfare-poll", "--in-flight 1"),
        ("fanfare-poll", "--rate 100 --topics 5"),
        ("fanfare-poll", ""),
    ] {
        let (code, text) = measure(protocol, Conduct::Dribbling, more);
        assert_eq!(code, 0, "{protocol} {more}: {text}");
        assert!(text.ends_with("\nverified\n"), "{protocol} {more}: {text}");
    }
}

#[test]
fn lies_over_http_are_found_out_while_one_measures() {
    let skipped = "skipped                1, in the whole run";
    for (protocol, conduct, code, sentence) in [
        ("fanfare-sse", Conduct::Losing, 1, "1 updates lost"),
        (
            "fanfare-sse",
            Conduct::Repeating,
            1,
            "1 updates repeated or late",
        ),
        ("fanfare-sse", Conduct::Closing, 1, "1 times closed 4103"),
        ("fanfare-poll", Conduct::Losing, 0, skipped),
        (
            "fanfare-poll",
            Conduct::Repeating,
            1,
            "seq 3 to a poll behind 3",
        ),
        ("fanfare-poll", Conduct::Torn, 1, "malformed response"),
        ("fanfare-poll", Conduct::Overstating, 1, "the ETag"),
        (
            "fanfare-poll",
            Conduct::Stopping,
            1,
            "deliveries had not arrived",
        ),
    ] {
        let (found, text) = measure(protocol, conduct, "--rate 100");
        assert_eq!(found, code, "{protocol} {conduct:?}: {text}");
        assert!(
            text.contains(sentence),
            "{protocol} {conduct:?}: no {sentence:?} in {text}"
        );
    }
}
