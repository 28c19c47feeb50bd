//! Requests that two servers could cut differently: refused, and nothing behind them is read as a request.

use crate::harness::Server;
use crate::http_connection::{Connection, get};

/// What would be published if the server took the end of the first request to be where it is not.
const HIDDEN: &str = "POST /v1/topics/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1";

/// Heads and bodies, and the status that refuses each. `HIDDEN` comes behind all of them.
const REFUSED: [(&str, u16); 49] = [
    // Two ideas of where the body ends.
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n1",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n1",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n1",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n1",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1 1\r\n\r\n1",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n1",
        400,
    ),
    (
        "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        413,
    ),
    (
        "GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        413,
    ),
    (
        "OPTIONS /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        413,
    ),
    (
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        413,
    ),
    // Codings that one may know and another not.
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ,\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    // Header lines.
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nX: y\r\n Content-Length: 5\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST /v1/topics/a HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    (
        "POST /v1/topics/a HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\nContent-Length: 0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 5\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nX\0: a\r\nContent-Length: 0\r\n\r\n",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\n: a\r\nContent-Length: 0\r\n\r\n",
        400,
    ),
    ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    ("GET /healthz HTTP/1.1\r\n\r\n", 400),
    // Request lines.
    ("GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /healthz\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /healthz HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    ("GET healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /health z HTTP/1.1\r\nHost: x\r\n\r\n", 505),
    ("GET ftp://x/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /healthz\r\n\r\n", 400),
    ("GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ("GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (" GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
];

/// Bodies in chunks that are none.
const CHUNKS: [&str; 20] = [
    "0\n\n",
    "0\r\n\n",
    "0\r\nX: y\n\r\n",
    "1\n1\r\n0\r\n\r\n",
    "1\r\n1\n0\r\n\r\n",
    "1\r\n10\r\n\r\n",
    "1\r\n12\r\n0\r\n\r\n",
    "-1\r\n\r\n",
    "+1\r\n1\r\n0\r\n\r\n",
    "0x1\r\n1\r\n0\r\n\r\n",
    "1 \r\n1\r\n0\r\n\r\n",
    " 1\r\n1\r\n0\r\n\r\n",
    "1_\r\n1\r\n0\r\n\r\n",
    "1;\0\r\n1\r\n0\r\n\r\n",
    "1;a\nb\r\n1\r\n0\r\n\r\n",
    "1\r1\r\n0\r\n\r\n",
    "0000000000000001\r\n1\r\n0\r\n\r\n",
    "10000000000000001\r\n1\r\n0\r\n\r\n",
    "\r\n0\r\n\r\n",
    ";\r\n0\r\n\r\n",
];

fn assert_nothing_was_smuggled(server: &Server, what: &str) {
    let answer = Connection::open(server).ask(get("/v1/topics/smuggled"));
    assert_eq!(answer.status, 404, "{what:?}");
}

#[test]
fn what_two_servers_could_cut_differently_is_refused_and_the_connection_ends() {
    let server = Server::start(&[]);
    for (request, status) in REFUSED {
        let mut connection = Connection::open(&server);
        connection.try_send(format!("{request}{HIDDEN}"));
        let answer = connection.answer();
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        assert!(answer.is_last(), "{request:?}: {answer:?}");
        connection.assert_ended(request);
        assert_nothing_was_smuggled(&server, request);
    }
}

#[test]
fn chunks_that_are_none_are_refused_and_the_connection_ends() {
    let server = Server::start(&[]);
    let head = "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in CHUNKS {
        let mut connection = Connection::open(&server);
        connection.try_send(format!("{head}{chunks}{HIDDEN}"));
        let answer = connection.answer();
        assert!(matches!(answer.status, 400 | 413), "{chunks:?}: {answer:?}");
        assert!(answer.is_last(), "{chunks:?}: {answer:?}");
        connection.assert_ended(chunks);
        assert_nothing_was_smuggled(&server, chunks);
    }
    let published = Connection::open(&server).ask(get("/v1/topics/a"));
    assert_eq!(published.status, 404, "no part of a broken body is a value");
}

#[test]
fn a_whole_uri_leads_where_its_path_does() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    for (target, status) in [
        ("http://elsewhere/healthz", 200),
        ("https://elsewhere:1/healthz", 200),
        ("HTTP://elsewhere/v1/topics?filter=a", 200),
        ("http://elsewhere/nowhere", 404),
    ] {
        let answer = connection.ask(get(target));
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(!answer.is_last());
    }
}

#[test]
fn a_second_request_is_never_read_out_of_the_first_ones_body() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    let length = HIDDEN.len();
    let chunked = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
    for request in [
        format!(
            "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"
        ),
        format!(
            "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
        ),
        // Not JSON: read to its end, and refused.
        format!(
            "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"
        ),
        format!(
            "POST /v1/publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"
        ),
    ] {
        connection.send(&request);
        assert!(matches!(connection.answer().status, 200 | 400), "{request}");
        assert_eq!(connection.ask(get("/healthz")).text(), "ok\n");
    }
    assert_nothing_was_smuggled(&server, "bodies");
}
