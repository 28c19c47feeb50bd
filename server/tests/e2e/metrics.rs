//! What an operator's tools are told by the real binary, and what they are told nothing of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::harness::{self, Server, publish, read_json, read_type, send};

/// The status and body of a GET at an address.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    use std::io::Write as _;

    let mut stream = harness::tcp(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let (status, answer) = harness::response(&mut stream);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    if path == "/metrics" && status == 200 {
        assert!(
            head.contains(
                "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"
            ),
            "{head}"
        );
    }
    (status, body.to_owned())
}

/// The samples of a scrape, labels included in their names. What a scraper of its own makes of the text is tested in
/// `../clients/python/test_metrics.py`.
fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let (status, text) = get(server.addresses[0], "/metrics");
    assert_eq!(status, 200, "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    samples.map(sample).collect()
}

fn document(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    fs::read_to_string(root.join(path)).expect("a document")
}

/// The words in a text that are names of metrics.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let is_name = |word: &&str| word.starts_with("fanfare_");
    words.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn every_metric_of_the_dashboard_and_of_the_manual_is_exported_and_every_other_is_in_the_manual() {
    let server = Server::start(&[]);
    let exported: BTreeSet<String> = (scrape(&server).keys())
        .map(|name| name.split('{').next().expect("a name").to_owned())
        .collect();
    let board = document("docs/grafana.json");
    let board: Value = serde_json::from_str(&board).expect("the dashboard is JSON");
    let mut shown = BTreeSet::new();
    for target in board["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
    {
        shown.extend(names_in(target["expr"].as_str().expect("an expression")));
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
    }
    assert!(shown.len() > 30, "{shown:?}");
    let missing: Vec<_> = shown.difference(&exported).collect();
    assert!(
        missing.is_empty(),
        "the dashboard shows what is not exported: {missing:?}"
    );
    // The manual says `x_seconds` of a histogram, which is exported as three names.
    let manual = document("docs/OPERATIONS.md");
    let manual: BTreeSet<String> = (manual.lines())
        .filter(|line| line.starts_with("| `fanfare_"))
        .flat_map(names_in)
        .collect();
    let family = |name: &String| {
        let stem = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        stem.map_or(name.clone(), str::to_owned)
    };
    let exported: BTreeSet<String> = exported.iter().map(family).collect();
    assert_eq!(manual, exported);
}

#[test]
fn counters_move_by_what_happens() {
    let server = Server::start(&[]);
    let mut subscribers: Vec<_> = (0..10).map(|_| server.subscribe("a")).collect();
    let mut publisher = server.connect("/ws");
    for seq in 1..=50 {
        assert_eq!(publish(&mut publisher, "a", "{\"price\":1}"), seq);
    }
    for subscriber in &mut subscribers {
        for seq in 1..=50_u64 {
            assert_eq!(read_type(subscriber, "update")["seq"], seq);
        }
    }
    let told = scrape(&server);
    // The server publishes its stats, too: once a second.
    let published = told["fanfare_updates_published_total"];
    assert!((50.0..80.0).contains(&published), "{published}");
    assert_eq!(told["fanfare_deliveries_total"], 500.0);
    assert_eq!(told["fanfare_delivery_lag_seconds_count"], 500.0);
    assert_eq!(told["fanfare_handshakes_total"], 11.0);
    assert_eq!(told["fanfare_accepts_total"], 12.0);
    assert_eq!(told["fanfare_connections{kind=\"ws\"}"], 11.0);
    assert_eq!(told["fanfare_subscriptions"], 10.0);
    assert_eq!(told["fanfare_connections_limit"], 1000.0);
    assert_eq!(told["fanfare_shards"], 2.0);
    assert!(told["fanfare_tick_seconds_count"] > 50.0);
    assert!(told["fanfare_resident_memory_bytes"] > 1e6);
    // Everything but the answer to this very question, which is not written yet.
    assert!(told["fanfare_sent_bytes_total"] > 500.0 * 50.0);
    subscribers.truncate(4);
    publisher.close(None).expect("the server reads");
    assert_eq!(harness::close_code(&mut publisher), None);
    // Their ends are not carried out yet.
    let told = loop {
        let told = scrape(&server);
        if told["fanfare_connections{kind=\"ws\"}"] == 4.0 {
            break told;
        }
    };
    let ends = |reason: &str| told[&format!("fanfare_disconnects_total{{reason=\"{reason}\"}}")];
    assert_eq!(ends("peer_closed"), 1.0);
    assert_eq!(ends("peer_gone") + ends("reset"), 6.0);
    assert!(ends("http") >= 1.0);
}

#[test]
fn stats_come_once_a_second_to_whoever_subscribes_and_from_nobody_else() {
    let server = Server::start(&[]);
    let mut watcher = server.subscribe("$sys.stats");
    let mut last: Option<Value> = None;
    for _ in 0..3 {
        let update = loop {
            let event = read_json(&mut watcher);
            if event["type"] == "update" {
                break event;
            }
        };
        let stats = &update["data"];
        assert_eq!(stats["connections"]["now"], 1, "{stats}");
        assert_eq!(stats["connections"]["limit"], 1000);
        if let Some(last) = &last {
            assert_eq!(update["seq"], last["seq"].as_u64().expect("a seq") + 1);
            let uptime = |update: &Value| update["data"]["uptime_s"].as_f64().expect("seconds");
            assert!(uptime(&update) > uptime(last), "{update}");
        }
        last = Some(update);
    }
    send(
        &mut watcher,
        r#"{"action":"publish","id":1,"topic":"$sys.stats","data":1}"#,
    );
    assert_eq!(read_type(&mut watcher, "error")["code"], 2003);
}

#[test]
fn stats_over_http_add_up() {
    let server = Server::start(&[]);
    let _held = [
        server.subscribe("a"),
        server.subscribe("b"),
        server.connect("/raw"),
    ];
    let (status, body) = get(server.addresses[0], "/v1/stats");
    assert_eq!(status, 200, "{body}");
    let stats: Value = serde_json::from_str(&body).expect("JSON");
    let sum = |key: &str| -> u64 {
        let lines = stats["shards"].as_array().expect("a list");
        lines
            .iter()
            .map(|line| line[key].as_u64().expect("a number"))
            .sum()
    };
    assert_eq!(stats["connections"]["now"], sum("connections"));
    assert_eq!(stats["topics"]["subscriptions"], sum("subscriptions"));
    assert_eq!(stats["topics"]["topics"], sum("topics"));
    let kinds = stats["connections"]["by_kind"]
        .as_object()
        .expect("an object");
    let all: u64 = kinds
        .values()
        .map(|count| count.as_u64().expect("a number"))
        .sum();
    assert_eq!(stats["connections"]["now"], all);
    assert_eq!(stats["connections"]["by_kind"]["ws"], 2);
    assert_eq!(stats["totals"]["handshakes"], 3);
    assert!(stats["memory"]["rss_bytes"].as_u64().expect("bytes") > 1_000_000);
}

#[test]
fn an_operators_port_has_metrics_stats_and_memory_for_itself() {
    let server = Server::start(&[
        "--admin-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!((server.addresses.len(), server.admin.len()), (1, 2));
    let _held = server.subscribe("a");
    for (path, public, admin) in [
        ("/metrics", 404, 200),
        ("/v1/stats", 404, 200),
        ("/v1/memory", 404, 200),
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/ws", 426, 404),
    ] {
        assert_eq!(get(server.addresses[0], path).0, public, "{path}");
        for address in &server.admin {
            assert_eq!(get(*address, path).0, admin, "{path}");
        }
    }
}

#[test]
fn a_full_server_and_one_that_stops_can_be_looked_at_by_their_operator() {
    let mut server = Server::start_plain(&[
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--shards=1",
        "--max-connections=1",
        "--close-timeout=20s",
    ]);
    // It will not answer the server's Close before it is told to.
    let held = server.connect("/raw");
    assert_eq!(get(server.addresses[0], "/healthz").0, 503);
    let (status, text) = get(server.admin[0], "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("fanfare_accepts_refused_total 1\n"), "{text}");
    assert_eq!(get(server.admin[0], "/readyz").0, 200);
    server.signal("TERM");
    while get(server.admin[0], "/readyz").0 == 200 {}
    assert_eq!(get(server.admin[0], "/readyz").0, 503);
    assert_eq!(get(server.admin[0], "/healthz").0, 200);
    drop(held);
    assert!(server.exit_status().success());
}
