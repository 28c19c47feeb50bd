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
    // Wherever in the loop the subscription began, the order is that of time, rows of one time in the file's order.
    let order =
        [("px.A", 10), ("px.B", 11), ("px.A", 11)].map(|(topic, time)| (topic.to_owned(), time));
    let start = order.iter().position(|row| *row == seen[0]).unwrap();
    for (number, row) in seen.iter().enumerate() {
        assert_eq!(*row, order[(start + number) % 3]);
    }
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
