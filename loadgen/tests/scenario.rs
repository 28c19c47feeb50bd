//! Scenarios with every kind of phase: against the real server where it has been built, otherwise
//! against the small one of these tests; and against one that lies.

// What fails here fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Conduct, Server};

const CONNECTIONS: u64 = 200;

const EVERY_KIND: &str = r#"
phase = [
    { kind = "connect", topics = ["all"], in_flight = 50 },
    { kind = "idle", duration = "300ms" },
    { kind = "broadcast", topic = "all", publishes = 3, payload_bytes = 64, pause = "20ms" },
    { kind = "subscribe", prefix = "t.", count = 20, per_connection = 2, zipf = 1.0 },
    { kind = "publish", prefix = "t.", rate = 100, duration = "500ms" },
    { kind = "publish", name = "found", prefix = "t.", target_server_cpu = 0.05, rate = 20, calibrate = "1s", duration = "300ms" },
    { kind = "churn", percent_per_s = 20, duration = "1s", rate = 20 },
    { kind = "verify", name = "between" },
    { kind = "storm", percent = 50, rate = 20 },
    { kind = "leave", percent = 25 },
    { kind = "return", rate = 500 },
    { kind = "broadcast", name = "again", publishes = 2, pause = "0s" },
]"#;

/// A server's process; it ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The real server, if it has been built.
fn real_server() -> Option<(Process, String)> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let built = ["debug", "release"].map(|profile| target.join(profile).join("fanfare"));
    let binary = built.iter().find(|path| path.exists())?;
    let mut child = Command::new(binary)
        .args(["serve", "--listen", "127.0.0.1:0", "--heartbeat", "0s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let lines = BufReader::new(child.stdout.take()?).lines();
    let process = Process(child);
    let mut lines = lines.map_while(Result::ok);
    let url = lines.find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()))?;
    lines.find(|line| line == "ready")?;
    Some((process, format!("{url}/ws")))
}

struct Scenario {
    code: i32,
    stdout: String,
    stderr: String,
    dir: PathBuf,
    summary: Value,
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Scenario {
    fn run(name: &str, phases: &str, arguments: &str) -> Scenario {
        let dir = std::env::temp_dir().join(format!("fanfare-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("phases.toml");
        std::fs::write(&file, phases).unwrap();
        let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
            .args(["scenario", "--quiet", "--phases"])
            .arg(&file)
            .arg("--out")
            .arg(&dir)
            .args(arguments.split_whitespace())
            .timeout(Duration::from_secs(60))
            .output()
            .unwrap();
        let summary = std::fs::read(dir.join("summary.json")).unwrap_or_default();
        Scenario {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            summary: serde_json::from_slice(&summary).unwrap_or_default(),
            dir,
        }
    }

    fn phase(&self, name: &str) -> &Value {
        let phases = self.summary["phases"].as_array().unwrap();
        let found = phases.iter().find(|phase| phase["name"] == name);
        found.unwrap_or_else(|| panic!("no phase {name}:\n{}{}", self.stdout, self.stderr))
    }
}

#[test]
fn every_kind_of_phase_is_carried_out_and_verified() {
    let real = real_server();
    let (url, pid) = match &real {
        Some((process, url)) => (url.clone(), process.0.id()),
        // The small server lives in this process.
        None => (Server::start(Conduct::Honest).url, std::process::id()),
    };
    let arguments = format!("--url {url} --connections {CONNECTIONS} --server-pid {pid}");
    let scenario = Scenario::run("every-kind", EVERY_KIND, &arguments);
    assert_eq!(scenario.code, 0, "{}{}", scenario.stdout, scenario.stderr);
    let last = scenario.stdout.lines().last().unwrap();
    assert!(last.starts_with("verified: "), "{}", scenario.stdout);

    for phase in scenario.summary["phases"].as_array().unwrap() {
        assert_eq!(phase["outcome"], "done", "{phase}");
        assert_eq!(phase["lost_subscriptions"], 0, "{phase}");
        assert!(
            phase["server"]["rss_end_bytes"].as_u64() > Some(0),
            "{phase}"
        );
        assert_eq!(
            phase["server_memory"].is_object(),
            real.is_some(),
            "{phase}"
        );
    }
    let connect = scenario.phase("connect");
    assert_eq!(connect["connections_open"], CONNECTIONS);
    assert_eq!(connect["latency_us"]["handshake"]["count"], CONNECTIONS);
    assert_eq!(
        connect["handshakes_per_s_by_tenth"]
            .as_array()
            .unwrap()
            .len(),
        10
    );
    assert_eq!(scenario.phase("idle")["deliveries"], 0);
    let broadcast = scenario.phase("broadcast");
    assert_eq!(broadcast["deliveries"], 3 * CONNECTIONS);
    assert_eq!(broadcast["times_to_last_us"].as_array().unwrap().len(), 3);
    assert_eq!(
        scenario.phase("subscribe")["latency_us"]["subscribe"]["count"],
        CONNECTIONS
    );
    assert_eq!(scenario.phase("publish")["published"], 50);
    assert_eq!(
        scenario.phase("found")["calibration"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    let churn = scenario.phase("churn");
    assert_eq!(churn["left"], CONNECTIONS / 5);
    assert_eq!(churn["latency_us"]["reconnect"]["count"], CONNECTIONS / 5);
    assert_eq!(
        scenario.phase("between")["verified_subscriptions"],
        3 * CONNECTIONS
    );
    let storm = scenario.phase("storm");
    assert_eq!(
        (&storm["left"], &storm["opened"]),
        (&100.into(), &100.into())
    );
    assert!(storm["time_to_last_back_us"].as_f64() > Some(0.0));
    assert_eq!(scenario.phase("leave")["connections_open"], 150);
    assert_eq!(scenario.phase("return")["connections_open"], CONNECTIONS);
    assert_eq!(scenario.phase("again")["deliveries"], 2 * CONNECTIONS);
    assert_eq!(
        scenario.phase("verify")["verified_subscriptions"],
        3 * CONNECTIONS
    );

    let curve = std::fs::read_to_string(scenario.dir.join("curve.csv")).unwrap();
    assert!(
        curve.starts_with("t_ms,open,per_s,server_rss_bytes\n"),
        "{curve}"
    );
    let histogram = scenario.dir.join("histograms/9-storm-reconnect.hlog");
    assert!(histogram.exists());
    let chart = Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
        .arg("chart")
        .arg(&scenario.dir)
        .status()
        .unwrap();
    assert!(chart.success());
    for name in ["curve", "latency", "time-to-last", "memory"] {
        assert!(
            scenario.dir.join(name).with_extension("svg").exists(),
            "{name}"
        );
    }
}

#[test]
fn a_lie_in_any_phase_fails_the_scenario() {
    let phases = r#"
        phase = [
            { kind = "connect", topics = ["all"] },
            { kind = "subscribe", prefix = "t.", count = 2, per_connection = 1 },
            { kind = "publish", prefix = "t.", rate = 50, duration = "300ms" },
        ]"#;
    for (conduct, sentence) in [
        (Conduct::Losing, "updates lost"),
        (Conduct::Repeating, "updates repeated"),
        (Conduct::Closing, "connections cut off by the server"),
        (
            Conduct::Mute,
            "subscriptions are missing after the connect phase",
        ),
    ] {
        let server = Server::start(conduct);
        let arguments = format!(
            "--url {} --connections 20 --answer-timeout 500ms --drain-timeout 2s",
            server.url
        );
        let scenario = Scenario::run(&format!("{conduct:?}"), phases, &arguments);
        let said = format!("{conduct:?}\n{}{}", scenario.stdout, scenario.stderr);
        assert_eq!(scenario.code, 1, "{said}");
        assert!(
            scenario.stdout.contains(sentence),
            "no {sentence:?}: {said}"
        );
        assert_eq!(scenario.summary["verdict"]["passed"], false, "{said}");
    }
}

#[test]
fn a_broadcast_that_does_not_reach_the_last_one_ends_at_its_timeout() {
    let phases = r#"
        phase = [
            { kind = "connect", topics = ["all"] },
            { kind = "broadcast", publishes = 5, pause = "0s", timeout = "300ms" },
            { kind = "idle", duration = "60s" },
        ]"#;
    let server = Server::start(Conduct::Losing);
    let arguments = format!("--url {} --connections 20 --drain-timeout 1s", server.url);
    let scenario = Scenario::run("broadcast", phases, &arguments);
    assert_eq!(scenario.code, 1, "{}{}", scenario.stdout, scenario.stderr);
    let broadcast = scenario.phase("broadcast");
    assert_eq!(broadcast["outcome"], "timed_out");
    assert_eq!(broadcast["times_to_last_us"].as_array().unwrap().len(), 2);
    let failed = "FAILED: the broadcast phase ran out of time";
    assert!(scenario.stdout.contains(failed), "{}", scenario.stdout);
}

#[test]
fn wrong_use_exits_with_2_and_a_sentence() {
    let connect = "{ kind = \"connect\", topics = [\"all\"] }";
    for (phases, sentence) in [
        ("{ kind = \"conect\" }", "did you mean \"connect\"?"),
        (
            "{ kind = \"connect\", topic = [\"a\"] }",
            "is \"topic\" meant to be it?",
        ),
        (
            "{ kind = \"verify\" }",
            "the first phase must be of kind \"connect\"",
        ),
        (
            "{ kind = \"connect\", topics = [\"a..b\"] }",
            "\"a..b\" is no topic",
        ),
        (
            &format!("{connect}, {connect}"),
            "connect comes once and first",
        ),
        (
            &format!("{connect}, {{ kind = \"broadcast\", topic = \"b\" }}"),
            "gives nobody the topic \"b\"",
        ),
        (
            &format!(
                "{connect}, {{ kind = \"publish\", prefix = \"t.\", rate = 1, duration = \"1s\" }}"
            ),
            "no subscribe phase has the prefix \"t.\"",
        ),
    ] {
        let scenario = Scenario::run("wrong-use", &format!("phase = [{phases}]"), "");
        assert_eq!(scenario.code, 2, "{phases}: {}", scenario.stderr);
        assert!(
            scenario.stderr.contains(sentence),
            "{phases}: {}",
            scenario.stderr
        );
    }
}
