//! `measure` against the floor: the real binary on both sides.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the floor understands.
const SUB_PUB: &[&str] = &[
    "--protocol",
    "raw-json",
    "--subscribe-template",
    "sub {names}",
    "--publish-template",
    "pub {name} {payload}",
];

/// A floor on a port of the system's choice, ended with the test.
struct Floor {
    process: Child,
    url: String,
}

impl Floor {
    fn start() -> Floor {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
            .arg("floor")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let url = first.strip_prefix("listening on ").unwrap().to_owned();
        Floor { process, url }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Runs `measure` with short times; its exit code, its text and its report.
fn measure(floor: &Floor, path: &str, more: &[&str], arguments: &str) -> (i32, String, Value) {
    let json = std::env::temp_dir().join(format!(
        "fanfare-measure-{}-{}.json",
        std::process::id(),
        floor.url.rsplit(':').next().unwrap()
    ));
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
        .args(["measure", "--warm-up", "100ms", "--duration", "300ms"])
        .args(["--url", &format!("{}{path}", floor.url), "--json"])
        .arg(&json)
        .args(["--server-pid", &floor.process.id().to_string()])
        .args(more)
        .args(arguments.split_whitespace())
        .timeout(Duration::from_secs(60))
        .output()
        .unwrap();
    let report = std::fs::read(&json).ok();
    let _ = std::fs::remove_file(&json);
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
        report.map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap()),
    )
}

#[test]
fn every_shape_of_load_is_verified_against_the_floor() {
    let floor = Floor::start();
    let with_acks: Vec<&str> = SUB_PUB
        .iter()
        .chain(&["--ack-text", "ok"])
        .copied()
        .collect();
    for arguments in [
        "--connections 50 --in-flight 1",
        "--connections 50 --topics 10 --subscriptions 3 --in-flight 20",
        "--connections 20 --topics 10 --subscriptions 10 --burst 10",
        "--connections 50 --rate 200",
    ] {
        for protocol in [SUB_PUB, &with_acks] {
            let (code, text, report) = measure(&floor, "/", protocol, arguments);
            assert_eq!(code, 0, "{arguments}: {text}");
            assert!(text.ends_with("verified\n"), "{arguments}: {text}");
            let delivered = report["window"]["delivered"].as_u64().unwrap();
            assert!(delivered > 50, "{arguments}: {delivered}");
            assert!(report["server_cpu_s_per_million"].is_f64(), "{arguments}");
            assert!(
                report["latency"]["count"].as_u64().unwrap() > 0,
                "{arguments}"
            );
        }
    }
}

#[test]
fn the_rate_of_a_schedule_is_kept() {
    let floor = Floor::start();
    let (code, text, report) = measure(
        &floor,
        "/",
        SUB_PUB,
        "--connections 10 --rate 500 --duration 1s",
    );
    assert_eq!(code, 0, "{text}");
    let per_s = report["window"]["published_per_s"].as_f64().unwrap();
    assert!((480.0..520.0).contains(&per_s), "{per_s}");
}

#[test]
fn messages_come_back_unaltered_from_an_echo() {
    let floor = Floor::start();
    for bytes in ["20", "70000", "1000000"] {
        let arguments = format!("--connections 4 --echo {bytes}");
        let (code, text, report) = measure(&floor, "/echo", &[], &arguments);
        assert_eq!(code, 0, "{bytes}: {text}");
        assert!(
            report["window"]["delivered"].as_u64().unwrap() > 0,
            "{bytes}"
        );
    }
}

#[test]
fn connections_are_held_and_counted() {
    let floor = Floor::start();
    let with_acks: Vec<&str> = SUB_PUB
        .iter()
        .chain(&["--ack-text", "ok"])
        .copied()
        .collect();
    let (code, text, report) = measure(&floor, "/", &with_acks, "--connections 200");
    assert_eq!(code, 0, "{text}");
    assert_eq!(report["join"]["joined"], 200);
    assert!(report["memory"]["held"]["rss_bytes"].as_u64().unwrap() > 0);
    assert!(report["memory"]["kernel_slab_per_connection_bytes"].is_f64());
}

#[test]
fn connections_come_again_and_are_counted_each_time() {
    let floor = Floor::start();
    let with_acks: Vec<&str> = SUB_PUB
        .iter()
        .chain(&["--ack-text", "ok"])
        .copied()
        .collect();
    let arguments = "--connections 20 --connecting 5 --topics 10 --subscriptions 3 --rejoin";
    let (code, text, report) = measure(&floor, "/", &with_acks, arguments);
    assert_eq!(code, 0, "{text}");
    assert_eq!(report["join"]["joined"], 20);
    let again = report["window"]["delivered"].as_u64().unwrap();
    assert!(again > 20, "{again}");
    assert!(report["latency"]["count"].as_u64().unwrap() >= again);
}

#[test]
fn a_server_that_does_not_understand_fails_the_run() {
    let floor = Floor::start();
    let strange = [
        "--protocol",
        "raw-json",
        "--subscribe-template",
        "subscribe {names}",
        "--publish-template",
        "pub {name} {payload}",
        "--ack-text",
        "what?",
    ];
    let arguments = "--connections 2 --rate 50 --drain-timeout 200ms";
    let (code, text, _) = measure(&floor, "/", &strange, arguments);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("deliveries had not arrived"), "{text}");
}
