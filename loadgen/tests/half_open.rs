//! Requests that never end, against small servers that end them in one way or another, or never.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A server on a port of the system's choice; its threads end with the test's process.
fn serve(handle: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || handle(stream));
        }
    });
    url
}

/// Runs `half-open`; its exit code, its text and its report.
fn half_open(url: &str, arguments: &str) -> (i32, String, Value) {
    let port = url.rsplit(':').next().unwrap().replace('/', "-");
    let name = format!("fanfare-half-open-{}-{port}.json", std::process::id());
    let json = std::env::temp_dir().join(name);
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
        .args(["half-open", "--url", url, "--json"])
        .arg(&json)
        .args(arguments.split_whitespace())
        .timeout(Duration::from_secs(30))
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

/// Answers as soon as anything has come, and ends the connection.
fn with_408(mut stream: TcpStream) {
    let bytes = stream.read(&mut [0; 4096]);
    let answer = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    if bytes.is_ok_and(|bytes| bytes > 0) {
        let _ = stream.write_all(answer);
    }
}

/// Takes everything and says nothing.
fn never(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// Ends the connection when three more bytes have come, one by one.
fn after_three_bytes(mut stream: TcpStream) {
    let mut beginning = [0; 4096];
    if stream.read(&mut beginning).is_ok_and(|bytes| bytes > 3) {
        let _ = stream.read_exact(&mut [0; 3]);
    }
}

#[test]
fn what_the_server_ends_is_counted_by_status_for_each_style() {
    let url = serve(with_408);
    let (code, text, report) = half_open(&url, "--connections 30 --workers 2");
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("opened 30\n"), "{text}");
    assert!(
        text.ends_with("30 of 30 ended by the server, 0 still open\n"),
        "{text}"
    );
    let styles = report["styles"].as_array().unwrap();
    let seen: Vec<_> = styles
        .iter()
        .map(|s| (s["style"].as_str().unwrap(), &s["ended"]["408"]))
        .collect();
    let ten = &Value::from(10);
    assert_eq!(seen, [("head", ten), ("body", ten), ("trickle", ten)]);
    assert!(
        styles.iter().all(|style| style["after"]["count"] == 10),
        "{report}"
    );
}

#[test]
fn a_server_that_never_ends_them_is_left_when_time_is_over() {
    let url = serve(never);
    let (code, text, report) = half_open(&url, "--connections 20 --duration 200ms --every 5ms");
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        (&report["opened"], &report["still_open"]),
        (&20.into(), &20.into())
    );
    assert!(
        text.ends_with("0 of 20 ended by the server, 20 still open\n"),
        "{text}"
    );
}

#[test]
fn one_that_trickles_says_a_byte_now_and_then() {
    let url = serve(after_three_bytes);
    let arguments = "--connections 5 --style trickle --every 20ms --duration 20s";
    let (code, text, report) = half_open(&url, arguments);
    assert_eq!(code, 0, "{text}");
    assert_eq!(report["ended"], 5, "{report}");
    // The other styles say nothing more, and are not ended.
    let (_, text, report) = half_open(&url, "--connections 5 --style head --duration 200ms");
    assert_eq!(report["still_open"], 5, "{text}");
}

#[test]
fn where_nobody_listens_nothing_is_opened() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    drop(listener);
    let (code, text, report) = half_open(&url, "--connections 5");
    assert_eq!(code, 1, "{text}");
    assert_eq!(report["failed"]["connection refused"], 5, "{text}");
}
