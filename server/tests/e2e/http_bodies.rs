//! Bodies: by length and in chunks, cut anywhere, announced and refused before they come.

use crate::harness::Server;
use crate::http_connection::{Connection, get, post};

const CHUNKED: &[u8] = b"POST /v1/topics/b HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: Chunked\r\n\r\n\
    4;name=\"value\"\r\nGET \r\n0A\r\n/ HTTP/1.1\r\n4\r\n\r\n\r\n\r\n0\r\nTrailer: x\r\n\r\n";
const SAID: &str = "GET / HTTP/1.1\r\n\r\n";

#[test]
fn a_body_may_be_cut_anywhere() {
    let server = Server::start(&[]);
    let by_length = post("/v1/topics/b", "text/plain", SAID.as_bytes());
    let mut connection = Connection::open(&server);
    for request in [CHUNKED, &by_length] {
        for cut in 1..request.len() {
            connection.send(&request[..cut]);
            // What was sent first is taken first: by the time that another connection is answered, most often as a read of its own.
            connection.send(&request[cut..]);
            assert_eq!(connection.answer().status, 200, "cut at {cut}");
            assert_eq!(
                connection.ask(get("/v1/topics/b")).text(),
                SAID,
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn whoever_asks_first_is_told_to_go_on_before_the_body() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    for framing in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        for expected in ["100-continue", "100-Continue"] {
            connection.send(format!(
                "POST /v1/topics/c HTTP/1.1\r\nHost: x\r\nExpect: {expected}\r\n{framing}\r\n\r\n"
            ));
            let interim = connection.answer();
            assert_eq!(
                (interim.status, interim.head.as_str()),
                (100, "HTTP/1.1 100 Continue\r\n\r\n")
            );
            connection.send(if framing.starts_with('C') {
                "1"
            } else {
                "1\r\n1\r\n0\r\n\r\n"
            });
            assert_eq!(connection.answer().status, 200);
        }
    }
    // Whoever speaks 1.0 does not know what a 100 is.
    let mut old = Connection::open(&server);
    old.send("POST /v1/topics/c HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    old.send("1");
    assert_eq!(old.answer().status, 200);
}

#[test]
fn a_body_that_will_not_be_taken_is_refused_before_it_comes() {
    let server = Server::start(&["--max-body-bytes", "4k", "--max-payload-bytes", "1k"]);
    for (head, status) in [
        (
            "POST /v1/topics/c HTTP/1.1\r\nExpect: a miracle\r\nContent-Length: 5",
            417,
        ),
        (
            "POST /v1/topics/c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1025",
            413,
        ),
        ("POST /v1/topics/c HTTP/1.1\r\nContent-Length: 1025", 413),
        (
            "POST /v1/topics/c HTTP/1.1\r\nContent-Length: 18446744073709551615",
            413,
        ),
        ("POST /v1/publish HTTP/1.1\r\nContent-Length: 4097", 413),
        (
            "POST /v1/topics/no..topic HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5",
            400,
        ),
        (
            "POST /v1/topics/%FF HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5",
            400,
        ),
        (
            "POST /v1/topics/$sys.stats HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5",
            403,
        ),
        (
            "POST /nowhere HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5",
            405,
        ),
        (
            "PUT /v1/topics/c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5",
            405,
        ),
        (
            "GET /v1/topics/c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5",
            413,
        ),
        (
            "POST /v1/topics/c HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
            501,
        ),
        (
            "POST /v1/topics/c HTTP/1.1\r\nExpect: 100-continue\r\nIdempotency-Key: KEY\r\nContent-Length: 5",
            400,
        ),
    ] {
        let mut connection = Connection::open(&server);
        let head = head.replace("KEY", &"k".repeat(1000));
        let answer = connection.ask(format!("{head}\r\nHost: x\r\n\r\n"));
        assert_eq!(answer.status, status, "{head}: {answer:?}");
        assert!(
            answer.is_last() && !answer.body.is_empty(),
            "{head}: {answer:?}"
        );
        connection.try_send("12345");
        connection.assert_ended(&head);
    }
}

#[test]
fn chunks_that_come_to_too_much_are_refused_as_soon_as_that_is_known() {
    let server = Server::start(&["--max-payload-bytes", "1k"]);
    let head = "POST /v1/topics/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "401\r\n",
        "fffffffffffffff\r\n",
        &("1\r\n1\r\n".repeat(1024) + "1\r\n"),
    ] {
        let mut connection = Connection::open(&server);
        let answer = connection.ask(format!("{head}{chunks}"));
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.is_last());
    }
    let mut connection = Connection::open(&server);
    let whole = format!("{head}{}0\r\n\r\n", "1\r\n1\r\n".repeat(1024));
    assert_eq!(connection.ask(whole).status, 200);
}

#[test]
fn a_body_must_be_what_it_says() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    for (content_type, body, status) in [
        ("application/json", &b"{"[..], 400),
        ("application/json", b"", 400),
        ("application/geo+json; charset=utf-8", b"nope", 400),
        ("application/json", b"\xff", 400),
        ("text/plain", b"\xff", 400),
        ("text/plain", b"", 200),
        ("image/png", b"\xff\0\xfe", 200),
    ] {
        let answer = connection.ask(post("/v1/topics/typed", content_type, body));
        assert_eq!(answer.status, status, "{content_type} {body:?}: {answer:?}");
        assert!(
            !answer.is_last(),
            "the body was read: the connection goes on"
        );
    }
    let value = connection.ask(get("/v1/topics/typed"));
    assert_eq!(
        (value.header("content-type"), &value.body[..]),
        (Some("image/png"), &b"\xff\0\xfe"[..])
    );
    let long = "x/".repeat(100);
    assert_eq!(
        connection.ask(post("/v1/topics/typed", &long, b"1")).status,
        400
    );
}
