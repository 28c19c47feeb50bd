//! `fanfare sub` and `fanfare pub` against a real server.

use std::process::Stdio;

use crate::harness::{DEADLINE, Server, fanfare, lines_of, publish, run};

#[test]
fn pub_prints_the_answers_and_sub_prints_the_updates() {
    let server = Server::start(&[]);
    let url = server.url("/ws");
    let published = run(&["pub", &url, "a", r#"{"price":187.20}"#], "");
    assert_eq!(published.status.code(), Some(0));
    let answer = String::from_utf8(published.stdout).unwrap();
    assert!(
        answer.starts_with(r#"{"type":"published","id":1,"topic":"a","#),
        "{answer}"
    );
    let raw = run(&["sub", "--raw", "--count", "1", &url, "a"], "");
    assert_eq!(
        (raw.status.code(), raw.stdout.as_slice()),
        (Some(0), &b"{\"price\":187.20}\n"[..])
    );
    let whole = run(&["sub", "--count", "1", &url, "a"], "");
    let event = String::from_utf8(whole.stdout).unwrap();
    assert!(
        event.starts_with(r#"{"type":"snapshot","topic":"a","seq":1,"#),
        "{event}"
    );
}

#[test]
fn sub_prints_the_same_lines_from_binary_records() {
    let server = Server::start(&["--history-count", "10"]);
    let url = server.url("/ws");
    let published = run(&["pub", &url, "bin.a", "-"], "{\"price\":187.20}\n2\n3\n");
    assert_eq!(published.status.code(), Some(0));
    let answers = String::from_utf8(published.stdout).unwrap();
    let answer: serde_json::Value = serde_json::from_str(answers.lines().next().unwrap()).unwrap();
    let since = format!("{}:1", answer["epoch"].as_str().unwrap());
    let cases: [&[&str]; 4] = [
        &["--count", "1", &url, "bin.a"],
        &["--count", "1", &url, "bin.*"],
        &["--raw", "--count", "1", &url, "bin.*"],
        &["--count", "2", "--since", &since, &url, "bin.a"],
    ];
    for arguments in cases {
        let told = |mode: &[&str]| {
            let output = run(&[&["sub"], mode, arguments].concat(), "");
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let (records, json) = (told(&["--bin"]), told(&[]));
        assert_eq!(records, json);
        assert!(!json.is_empty());
    }
    let refused = run(&["sub", "--bin", &server.url("/raw"), "a"], "");
    assert_eq!(refused.status.code(), Some(1));
    let sentence = String::from_utf8(refused.stderr).unwrap();
    assert!(
        sentence.ends_with("does not speak fanfare.v1.bin at /raw\n"),
        "{sentence}"
    );
}

#[test]
fn sub_resumes_behind_an_update_it_has_seen() {
    let server = Server::start(&["--history-count", "10"]);
    let url = server.url("/ws");
    let published = run(&["pub", &url, "a", "-"], "1\n2\n3\n4\n");
    let answers = String::from_utf8(published.stdout).unwrap();
    let answer: serde_json::Value = serde_json::from_str(answers.lines().next().unwrap()).unwrap();
    let since = format!("{}:1", answer["epoch"].as_str().unwrap());
    let since = ["--since", &since];
    let told = run(
        &[&["sub", "--raw", "--count", "3"], &since[..], &[&url, "a"]].concat(),
        "",
    );
    assert_eq!(String::from_utf8(told.stdout).unwrap(), "2\n3\n4\n");
}

#[test]
fn pub_publishes_a_line_at_a_time_and_stops_at_a_bad_one() {
    let server = Server::start(&[]);
    let url = server.url("/ws");
    let output = run(&["pub", &url, "a", "-"], "1\n\n{\"n\":2}\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    let output = run(&["pub", &url, "a", "-"], "3\nnonsense\n4\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("fanfare: line 2: it is not JSON")
    );
    let refused = run(&["pub", &url, "$sys", "1"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .starts_with("fanfare: the server refused: ")
    );
}

#[test]
fn sub_ends_with_1_and_one_sentence_when_the_server_stops() {
    let server = Server::start(&[]);
    let mut publisher = server.connect("/ws");
    publish(&mut publisher, "a", "\"first\"");
    let mut child = fanfare()
        .args(["sub", "--raw", &server.url("/ws"), "a"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let updates = lines_of(child.stdout.take().unwrap());
    let errors = lines_of(child.stderr.take().unwrap());
    assert_eq!(updates.recv_timeout(DEADLINE).unwrap(), "\"first\"");
    server.signal("TERM");
    let error = errors.recv_timeout(DEADLINE).unwrap();
    assert!(
        error.starts_with("fanfare: the server closed the connection with code 1001"),
        "{error}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_server_that_is_not_there_is_told_in_one_sentence() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for command in [&["sub"][..], &["pub"]] {
        let url = format!("ws://127.0.0.1:{port}");
        let output = run(&[command, &[&url, "a", "1"]].concat(), "");
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            error,
            format!(
                "fanfare: cannot connect to 127.0.0.1:{port}: Connection refused (os error 111)\n"
            )
        );
    }
}
