//! The built-in publishers, seen from a subscriber.

use crate::harness::{Server, TempFile, read_json, read_text, read_type, send};

#[test]
fn a_recorded_file_is_published_row_by_row() {
    let rows = "symbol,time,price\nB,11,2.50\nA,10,1\nA,11,3\n";
    let file = TempFile::new("prices.csv", rows);
    let server = Server::start(&[
        "--replay",
        file.path(),
        "--speed",
        "10",
        "--loop",
        "--topic-prefix",
        "px.",
    ]);
    let mut socket = server.connect("/ws");
    send(
        &mut socket,
        r#"{"action":"subscribe","topics":["px.A","px.B"],"snapshot":false}"#,
    );
    read_type(&mut socket, "subscribed");
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let update = read_json(&mut socket);
        seen.push((
            update["topic"].as_str().unwrap().to_owned(),
            update["data"]["time"].as_u64().unwrap(),
        ));
    }
    // Wherever in the loop the subscription began, a topic's rows come in the order of their times. Topics that live on
    // different shards may overtake each other: no order is promised across topics.
    let times = |topic: &str| -> Vec<u64> {
        let rows = seen.iter().filter(|row| row.0 == topic);
        rows.map(|row| row.1).collect()
    };
    assert!(times("px.B").iter().all(|time| *time == 11));
    for pair in times("px.A").windows(2) {
        assert!(matches!(*pair, [10, 11] | [11, 10]), "{seen:?}");
    }
    assert!(
        times("px.A").len() >= 3 && !times("px.B").is_empty(),
        "{seen:?}"
    );
}

#[test]
fn the_built_in_recording_fills_its_five_topics() {
    let server = Server::start(&["--replay", "builtin", "--speed", "1e9", "--loop"]);
    let mut socket = server.connect("/raw");
    send(
        &mut socket,
        r#"{"action":"subscribe","symbols":["AAPL","FB","GOOG","IBM","MSFT"]}"#,
    );
    let mut missing = vec!["AAPL", "FB", "GOOG", "IBM", "MSFT"];
    while !missing.is_empty() {
        let row: serde_json::Value = serde_json::from_str(&read_text(&mut socket)).unwrap();
        missing.retain(|ticker| row["Ticker"] != *ticker);
    }
}

#[test]
fn the_simulated_market_trades_every_symbol() {
    let server = Server::start(&["--sim", "3", "--sim-rate", "100"]);
    let mut socket = server.connect("/ws");
    send(
        &mut socket,
        r#"{"action":"subscribe","topics":["AAPL","MSFT","GOOGL"]}"#,
    );
    let mut missing = vec!["AAPL", "MSFT", "GOOGL"];
    read_type(&mut socket, "subscribed");
    while !missing.is_empty() {
        let event = read_json(&mut socket);
        let topic = event["topic"].as_str().unwrap();
        assert_eq!(event["data"]["symbol"], topic);
        assert!(event["data"]["price"].is_f64() && event["data"]["change"].is_f64());
        missing.retain(|symbol| *symbol != topic);
    }
}
