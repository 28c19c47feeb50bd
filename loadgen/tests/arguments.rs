//! Wrong use ends with exit code 2 and a sentence that says what is wrong.

#![allow(clippy::unwrap_used)]

use assert_cmd::Command;

fn loadgen(arguments: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare-loadgen"))
        .args(arguments.split_whitespace())
        .timeout(std::time::Duration::from_secs(10))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn wrong_use_exits_with_2_and_a_sentence() {
    for (arguments, sentence) in [
        ("", "Usage: fanfare-loadgen"),
        ("fly", "unrecognized subcommand 'fly'"),
        ("run --speed 9", "unexpected argument '--speed'"),
        ("run --connections 0", "0 is not in 1..=16000000"),
        ("run --connections many", "invalid value 'many'"),
        ("run --duration 10", "give a number and a unit"),
        ("run --connect-rate=-1", "must be 0 to 1000000000"),
        ("run --url http://localhost/", "does not begin with ws://"),
        ("run --payload-bytes 3", "--payload-bytes must be at least"),
        (
            "run --topics 2 --subscriptions 3",
            "--subscriptions 3 is more than the 2 topics",
        ),
        ("run --topic a --topics 3", "cannot be used with"),
        ("run --topic a..b", "\"a..b\" is no topic: empty segment"),
        ("run --source-addresses none", "is no IP address"),
        ("run --connections 16000000 --workers 1", "--workers"),
        ("half-open --style neck", "invalid value 'neck'"),
        ("half-open --every 0", "must be at least 1ms"),
        ("half-open --topic a..b", "\"a..b\" is no topic"),
        ("half-open --url http://x/", "does not begin with ws://"),
        (
            "run --connections 200000 --source-addresses 1",
            "source addresses would do",
        ),
    ] {
        let (code, text) = loadgen(arguments);
        assert_eq!(code, 2, "{arguments}: {text}");
        assert!(
            text.contains(sentence),
            "{arguments}: no {sentence:?} in\n{text}"
        );
    }
}

#[test]
fn help_shows_examples() {
    let (code, text) = loadgen("run --help");
    assert_eq!(code, 0);
    assert!(text.contains("Examples:"), "{text}");
    assert!(text.contains("--connections 1000000"), "{text}");
}
