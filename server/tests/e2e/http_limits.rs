//! Limits of HTTP, each with its status, and deadlines, each with its end.

use crate::harness::Server;
use crate::http_connection::{Answer, Connection, get, post, request, wait_until};

#[test]
fn every_limit_has_its_status() {
    let server = Server::start(&["--max-head-bytes", "2k", "--max-body-bytes", "4k"]);
    let long = "x".repeat(1100);
    let headers: String = (0..70).map(|number| format!("X-{number}: y\r\n")).collect();
    for (request, status, header) in [
        (
            "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            404,
            None,
        ),
        (
            "PUT /v1/topics/a HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            405,
            Some(("allow", "GET, HEAD, POST, OPTIONS")),
        ),
        (
            "get /healthz HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            405,
            Some(("allow", "GET, HEAD, OPTIONS")),
        ),
        (
            "GET /v1/publish HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            405,
            Some(("allow", "POST, OPTIONS")),
        ),
        (
            "POST /v1/sse HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".into(),
            405,
            Some(("allow", "GET, HEAD, OPTIONS")),
        ),
        (
            "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            411,
            None,
        ),
        (
            "POST /v1/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n".into(),
            413,
            None,
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
            414,
            None,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
            431,
            None,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n"),
            431,
            None,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: x\r\n{}",
                "X: 1234567890\r\n".repeat(200)
            ),
            431,
            None,
        ),
        (
            "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            426,
            Some(("upgrade", "websocket")),
        ),
        (
            "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
            501,
            None,
        ),
        ("GET / HTTP/3.0\r\nHost: x\r\n\r\n".into(), 505, None),
        (
            "GET /v1/topics/a/history?limit=0 HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            None,
        ),
        (
            "GET /v1/topics/a?wait=soon HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            None,
        ),
        (
            "GET /v1/topics/a?wait=1s&after=-1 HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            None,
        ),
        (
            "GET /v1/sse?topics=a&mode=fast HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            None,
        ),
        (
            "GET /v1/sse?topics= HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            None,
        ),
        (
            "GET /v1/sse?topics=a..b,%FF HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            None,
        ),
        (
            "GET /v1/topics?filter=a..b HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            400,
            None,
        ),
    ] {
        let mut connection = Connection::open(&server);
        connection.try_send(&request);
        let answer = connection.answer();
        let line = request.lines().next().unwrap_or("");
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(!answer.body.is_empty(), "{line}: {answer:?}");
        if let Some((name, value)) = header {
            assert_eq!(answer.header(name), Some(value), "{line}");
        }
    }
}

#[test]
fn whoever_asks_too_often_is_told_when_to_come_back() {
    let server = Server::start(&["--max-commands-per-s", "1", "--max-publishes-per-s", "1"]);
    let mut connection = Connection::open(&server);
    connection.send(get("/v1/topics/a").repeat(12));
    let answers: Vec<Answer> = (0..12).map(|_| connection.answer()).collect();
    assert!(answers[..10].iter().all(|answer| answer.status == 404));
    let mut connection = Connection::open(&server);
    for _ in 0..10 {
        assert_eq!(
            connection
                .ask(post("/v1/topics/a", "text/plain", b"1"))
                .status,
            200
        );
    }
    // The first that is too many; a body that is not wanted is not read, so the connection ends.
    let is_refused = |_: &usize| {
        connection
            .ask(post("/v1/topics/a", "text/plain", b"1"))
            .status
            == 429
    };
    let asked = (0..30).find(is_refused).expect("one of them is too many");
    connection.assert_ended(&format!("publish {asked}"));
    let refused = answers.iter().filter(|answer| answer.status == 429);
    assert!(refused.clone().count() > 0, "{answers:?}");
    for answer in refused {
        assert_eq!(answer.json()["code"], 3000);
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
        assert!(!answer.is_last());
    }
}

#[test]
fn a_full_server_answers_503_and_when_to_come_back() {
    let server = Server::start_plain(&[
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
        "--max-connections",
        "2",
    ]);
    let mut served: Vec<Connection> = (0..2).map(|_| Connection::open(&server)).collect();
    for connection in &mut served {
        assert_eq!(connection.ask(get("/healthz")).status, 200);
    }
    let mut refused = Connection::open(&server);
    let answer = refused.ask(post(
        "/v1/topics/a",
        "text/plain",
        get("/healthz").as_bytes(),
    ));
    assert_eq!(answer.status, 503);
    assert!(
        answer.header("retry-after").is_some() && answer.is_last(),
        "{answer:?}"
    );
    refused.assert_ended("refused");
}

#[test]
fn heads_and_bodies_that_do_not_come_are_answered_408_and_silence_by_silence() {
    let server = Server::start(&[
        "--handshake-timeout",
        "500ms",
        "--body-timeout",
        "500ms",
        "--keep-alive-timeout",
        "500ms",
    ]);
    let half_body = "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12";
    let half_chunk =
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12";
    for begun in [
        "",
        "G",
        "GET /healthz HTTP/1.1\r\nHost:",
        half_body,
        half_chunk,
    ] {
        let mut connection = Connection::open(&server);
        connection.send(begun);
        let answer = connection.answer();
        assert!(
            answer.status == 408 && answer.is_last(),
            "{begun}: {answer:?}"
        );
        connection.assert_ended(begun);
        // The same behind a request that was answered.
        let mut connection = Connection::open(&server);
        assert_eq!(connection.ask(get("/healthz")).status, 200);
        connection.send(begun);
        if !begun.is_empty() {
            assert_eq!(connection.answer().status, 408, "{begun}");
        }
        connection.assert_ended(begun);
    }
    // Bytes that trickle in do not put the end off.
    let mut connection = Connection::open(&server);
    wait_until("a trickle ends, too", || !connection.trickle(b'X'));
    assert_eq!(connection.answer().status, 408);
}

#[test]
fn what_half_sent_requests_held_comes_back() {
    let server = Server::start(&["--handshake-timeout", "20s", "--body-timeout", "20s"]);
    let memory = || Connection::open(&server).ask(get("/v1/memory")).json();
    let before = memory();
    let head = format!(
        "GET /{} HTTP/1.1\r\nX: {}",
        "x".repeat(4000),
        "y".repeat(4000)
    );
    let body = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n{}",
        "x".repeat(200_000)
    );
    let mut connections: Vec<Connection> = Vec::new();
    for number in 0..60 {
        let mut connection = Connection::open(&server);
        connection.send(if number % 2 == 0 { &head } else { &body });
        connections.push(connection);
    }
    wait_until("what is kept is counted", || {
        memory()["input_bytes"].as_u64() > Some(30 * 200_000)
    });
    drop(connections);
    wait_until("what was kept is gone", || {
        let now = memory();
        now["connections"] == before["connections"] && now["input_bytes"] == before["input_bytes"]
    });
}

#[test]
fn a_method_that_is_not_answered_names_those_that_are() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    for (path, allow) in [
        ("/v1/topics/a", "GET, HEAD, POST, OPTIONS"),
        ("/v1/publish", "POST, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/nowhere", "GET, HEAD, OPTIONS"),
    ] {
        let answer = connection.ask(request("OPTIONS", path));
        assert_eq!(
            (answer.status, answer.header("allow")),
            (204, Some(allow)),
            "{path}"
        );
        let answer = connection.ask(request("PATCH", path));
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allow)),
            "{path}"
        );
    }
}
