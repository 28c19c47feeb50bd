//! Requests on one connection: one after the other, many at once, to the last byte.

use crate::harness::Server;
use crate::http_connection::{Connection, get, post, request};

#[test]
fn a_connection_answers_one_request_after_the_other() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    for round in 1..=20 {
        let published = connection.ask(post("/v1/topics/cycle", "application/json", b"{\"n\": 1}"));
        assert_eq!(
            (published.status, &published.json()["seq"]),
            (200, &round.into())
        );
        let value = connection.ask(get("/v1/topics/cycle"));
        assert_eq!((value.status, value.text().as_str()), (200, "{\"n\": 1}"));
        assert_eq!(connection.ask(get("/nowhere")).status, 404);
        assert_eq!(
            connection.ask(request("DELETE", "/v1/topics/cycle")).status,
            405
        );
        assert!(!value.is_last());
    }
}

#[test]
fn a_thousand_requests_at_once_are_answered_in_their_order() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    let mut bytes = Vec::new();
    for number in 0..1000 {
        let body = format!("{number}");
        bytes.extend(post("/v1/topics/many", "application/json", body.as_bytes()));
        bytes.extend(get("/v1/topics/many").into_bytes());
    }
    bytes.extend(get("/v1/topics/many/history?since=0").into_bytes());
    connection.send(&bytes);
    connection.half_close();
    for number in 0..1000 {
        let published = connection.answer().json();
        assert_eq!(published["seq"], number + 1, "{published}");
        assert_eq!(connection.answer().text(), number.to_string());
    }
    assert_eq!(connection.answer().json()["seq"], 1000);
    connection.assert_ended("all is answered");
}

#[test]
fn many_large_answers_asked_for_at_once_come_whole_though_nobody_reads_yet() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    let body = format!("\"{}\"", "x".repeat(100_000));
    assert_eq!(
        connection
            .ask(post(
                "/v1/topics/large",
                "application/json",
                body.as_bytes()
            ))
            .status,
        200
    );
    let before = server.resident_bytes();
    // 20 MB of answers; neither the kernel nor the server takes so much for a reader that does not read.
    connection.send(get("/v1/topics/large").repeat(200));
    connection.half_close();
    let mut other = Connection::open(&server);
    assert_eq!(other.ask(get("/healthz")).status, 200);
    assert!(
        server.resident_bytes() < before + (8 << 20),
        "answers are made as they are read"
    );
    for number in 0..200 {
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.body.len()),
            (200, body.len()),
            "answer {number}"
        );
    }
    connection.assert_ended("all is answered");
}

#[test]
fn requests_that_come_byte_by_byte_are_requests() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    let requests = [
        post("/v1/topics/slowly", "text/plain", b"a b"),
        b"POST /v1/topics/slowly HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n\r\n".to_vec(),
        get("/v1/topics/slowly").into_bytes(),
    ];
    for byte in requests.concat() {
        connection.send([byte]);
    }
    assert_eq!(connection.answer().json()["seq"], 1);
    assert_eq!(connection.answer().json()["seq"], 2);
    assert_eq!(connection.answer().text(), "7");
}

#[test]
fn a_request_behind_a_body_in_the_same_packet_is_the_next_request() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    let value = post("/v1/topics/a", "text/plain", b"GET /ws HTTP/1.1\r\n\r\n");
    connection.send(
        [
            value,
            get("/v1/topics/a").into_bytes(),
            get("/healthz").into_bytes(),
        ]
        .concat(),
    );
    assert_eq!(connection.answer().json()["seq"], 1);
    assert_eq!(connection.answer().text(), "GET /ws HTTP/1.1\r\n\r\n");
    assert_eq!(connection.answer().text(), "ok\n");
}

#[test]
fn a_head_says_what_a_get_would_and_has_no_body() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    connection.ask(post("/v1/topics/a", "text/plain", b"value"));
    for path in [
        "/healthz",
        "/readyz",
        "/nowhere",
        "/v1/topics/a",
        "/v1/topics/none",
        "/v1/topics/a/history?since=0",
        "/v1/topics?filter=a",
        "/v1/publish",
        "/robots.txt",
    ] {
        let got = connection.ask(get(path));
        connection.send(request("HEAD", path));
        let head = connection.answer_to_head();
        assert_eq!(
            (got.status, got.header("content-length")),
            (head.status, head.header("content-length")),
            "{path}"
        );
        assert_eq!(
            got.header("content-type"),
            head.header("content-type"),
            "{path}"
        );
    }
    // Nothing of a body has come in between.
    assert_eq!(connection.ask(get("/healthz")).text(), "ok\n");
}

#[test]
fn whoever_says_close_or_speaks_1_0_is_answered_once() {
    let server = Server::start(&[]);
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let mut connection = Connection::open(&server);
        connection.send(request.repeat(2));
        let answer = connection.answer();
        assert!(
            answer.status == 200 && answer.is_last(),
            "{request}: {answer:?}"
        );
        connection.assert_ended(request);
    }
}

#[test]
fn an_upgrade_may_follow_requests_on_the_same_connection() {
    let server = Server::start(&["--echo"]);
    let mut connection = Connection::open(&server);
    assert_eq!(connection.ask(get("/healthz")).status, 200);
    connection.send(
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    connection.send([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    assert_eq!(connection.answer().status, 200);
    assert_eq!(connection.answer().status, 101);
    connection.until("\u{2}hi");
}
