//! Topics by plain HTTP: the value, the next value, what is kept, which there are, and publishing many.

use crate::harness::{Server, publish, read_json};
use crate::http_connection::{Answer, Connection, get, post, wait_until};

fn publish_one(connection: &mut Connection, topic: &str, body: &str) -> u64 {
    let answer = connection.ask(post(
        &format!("/v1/topics/{topic}"),
        "application/json",
        body.as_bytes(),
    ));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["seq"].as_u64().expect("a seq")
}

fn conditional(path: &str, tag: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\n\r\n")
}

fn tag(answer: &Answer) -> String {
    answer.header("etag").expect("a tag").to_owned()
}

#[test]
fn a_value_comes_as_it_was_published_whoever_published_it() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    for (content_type, body) in [
        ("application/json", &b"{ \"a\" :\r\n 1.50 }\n"[..]),
        ("application/geo+json", b"[1]"),
        ("text/csv; charset=utf-8", b"a,b\r\n1,2\r\n"),
        ("image/png", b"\x89PNG\r\n\0\xff"),
        ("text/plain; charset=iso-8859-1", b"\xe4"),
    ] {
        connection.ask(post("/v1/topics/typed", content_type, body));
        let value = connection.ask(get("/v1/topics/typed"));
        assert_eq!(value.header("content-type"), Some(content_type));
        assert_eq!(value.body, body, "{content_type}");
        assert_eq!(
            connection
                .ask(conditional("/v1/topics/typed", &tag(&value)))
                .status,
            304
        );
    }
    let mut socket = server.connect("/ws");
    publish(&mut socket, "typed", "[1, 2]");
    let value = connection.ask(get("/v1/topics/typed"));
    assert_eq!(
        (value.header("content-type"), value.text().as_str()),
        (Some("application/json"), "[1, 2]")
    );
    let mut room = server.connect("/room/typed");
    room.send(tungstenite::Message::text("hello"))
        .expect("the server reads");
    let path = format!(
        "/v1/topics/typed?wait=30s&after={}",
        value.header("fanfare-seq").expect("a seq")
    );
    let value = connection.ask(get(&path));
    assert_eq!(
        (value.header("content-type"), value.text().as_str()),
        (Some("text/plain; charset=utf-8"), "hello")
    );
}

#[test]
fn names_may_be_percent_encoded() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    publish_one(&mut connection, "a%2Eb:%63%40d", "1");
    assert_eq!(
        connection.ask(get("/v1/topics?filter=a.*")).json()["topics"][0]["topic"],
        "a.b:c@d"
    );
    assert_eq!(connection.ask(get("/v1/topics/a.b%3Ac@d")).text(), "1");
    for bad in ["%00", "a%0ab", "%FF", "a%20b", "..", "%2E%2E", "a,b"] {
        let answer = connection.ask(get(&format!("/v1/topics/{bad}")));
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (400, 1003.into()),
            "{bad}"
        );
    }
}

#[test]
fn a_long_poll_is_answered_by_news_and_by_nothing_else() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    publish_one(&mut connection, "news", "1");
    let first = connection.ask(get("/v1/topics/news"));
    // What the client does not have is answered at once.
    for path in [
        "/v1/topics/news?wait=30s",
        "/v1/topics/news?wait=30s&after=0",
        "/v1/topics/news?wait=30s&after=1&epoch=other",
    ] {
        assert_eq!(connection.ask(get(path)), first, "{path}");
    }
    assert_eq!(
        connection.ask(conditional("/v1/topics/news?wait=30s", "\"other:1\"")),
        first
    );
    // Without news the wait is over in the end, in the words of the question.
    let late = connection.ask(get("/v1/topics/news?wait=100ms&after=1"));
    assert_eq!((late.status, tag(&late)), (204, tag(&first)));
    let late = connection.ask(conditional("/v1/topics/news?wait=100ms", &tag(&first)));
    assert_eq!((late.status, tag(&late)), (304, tag(&first)));
    assert_eq!(
        connection.ask(get("/v1/topics/none?wait=100ms")).status,
        204
    );
    // News for many who wait, on both shards.
    let mut waiting: Vec<Connection> = (0..20).map(|_| Connection::open(&server)).collect();
    for (number, connection) in waiting.iter_mut().enumerate() {
        let path = "/v1/topics/news?wait=30s";
        connection.send(match number % 2 {
            0 => get(&format!("{path}&after=1")),
            _ => conditional(path, &tag(&first)),
        });
    }
    publish_one(&mut connection, "news", "2");
    for connection in &mut waiting {
        let answer = connection.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "2"));
        assert_eq!(
            connection.ask(get("/healthz")).status,
            200,
            "the connection goes on"
        );
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_is_missed_by_nobody() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    let count = |connection: &mut Connection| {
        let page = connection.ask(get("/v1/topics?filter=left")).json();
        page["topics"][0]["subscribers"].as_u64().expect("a count")
    };
    publish_one(&mut connection, "left", "1");
    let mut waiting: Vec<Connection> = (0..20).map(|_| Connection::open(&server)).collect();
    for connection in &mut waiting {
        connection.send(get("/v1/topics/left?wait=60s&after=1"));
    }
    wait_until("all wait", || count(&mut connection) == 20);
    waiting.truncate(5);
    wait_until("some have left", || count(&mut connection) == 5);
    publish_one(&mut connection, "left", "2");
    for connection in &mut waiting {
        assert_eq!(connection.answer().text(), "2");
    }
    wait_until("nobody waits", || count(&mut connection) == 0);
}

#[test]
fn between_two_polls_nothing_is_missed() {
    let server = Server::start(&["--history-count", "1000"]);
    let mut publisher = Connection::open(&server);
    let writer = std::thread::spawn(move || {
        for number in 1..=500 {
            publish_one(&mut publisher, "stream", &number.to_string());
        }
    });
    let mut reader = Connection::open(&server);
    let (mut seq, mut seen) = (0, Vec::new());
    while seq < 500 {
        let answer = reader.ask(get(&format!("/v1/topics/stream?wait=30s&after={seq}")));
        assert_eq!(answer.status, 200);
        let newest: u64 = answer
            .header("fanfare-seq")
            .and_then(|text| text.parse().ok())
            .expect("a seq");
        assert!(newest > seq);
        assert_eq!(answer.text(), newest.to_string());
        let missed = reader
            .ask(get(&format!(
                "/v1/topics/stream/history?since={seq}&limit={}",
                newest - seq
            )))
            .json();
        for update in missed["updates"].as_array().expect("a list") {
            seen.push(update["data"].as_u64().expect("a number"));
        }
        seq = newest;
    }
    writer.join().expect("all is published");
    assert!(seen.into_iter().eq(1..=500));
}

#[test]
fn history_comes_in_pages_and_says_what_is_no_longer_kept() {
    let server = Server::start(&["--history-count", "10"]);
    let mut connection = Connection::open(&server);
    let none = connection
        .ask(get("/v1/topics/kept/history?since=0"))
        .json();
    assert_eq!(
        (&none["seq"], &none["updates"]),
        (&0.into(), &serde_json::json!([]))
    );
    for number in 1..=30 {
        publish_one(&mut connection, "kept", &number.to_string());
    }
    let (mut since, mut seqs) = (0, Vec::new());
    loop {
        let page = connection
            .ask(get(&format!(
                "/v1/topics/kept/history?since={since}&limit=4"
            )))
            .json();
        assert_eq!((&page["topic"], &page["seq"]), (&"kept".into(), &30.into()));
        let updates = page["updates"].as_array().expect("a list");
        assert!(updates.len() <= 4);
        let first = updates[0]["seq"].as_u64().expect("a seq");
        match page.get("gap") {
            Some(gap) => {
                assert_eq!(
                    gap,
                    &serde_json::json!({"from": since + 1, "to": first - 1})
                );
                assert_eq!(since, 0);
            }
            None => assert_eq!(first, since + 1),
        }
        for update in updates {
            assert_eq!(update["seq"], update["data"]);
            since = update["seq"].as_u64().expect("a seq");
            seqs.push(since);
        }
        if since == 30 {
            break;
        }
    }
    // The last value and ten before it.
    assert!(seqs.iter().copied().eq(20..=30), "{seqs:?}");
    let beyond = connection
        .ask(get("/v1/topics/kept/history?since=99"))
        .json();
    assert_eq!(
        (&beyond["updates"], beyond.get("gap")),
        (&serde_json::json!([]), None)
    );
}

#[test]
fn lists_name_topics_of_all_shards_and_count_who_listens() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    for number in 0..40 {
        publish_one(&mut connection, &format!("list.{number:02}"), "1");
    }
    let mut sockets: Vec<_> = (0..6).map(|_| server.subscribe("list.07")).collect();
    sockets.extend((0..2).map(|_| server.subscribe("list.*")));
    let mut stream = Connection::open(&server);
    stream.send(get("/v1/sse?topics=list.07"));
    stream.until("\"subscribed\"");
    let page = connection.ask(get("/v1/topics?filter=list.*")).json();
    let topics = page["topics"].as_array().expect("a list");
    let names: Vec<_> = topics
        .iter()
        .map(|topic| topic["topic"].as_str().expect("a name"))
        .collect();
    let expected: Vec<_> = (0..40).map(|number| format!("list.{number:02}")).collect();
    assert_eq!(names, expected);
    assert_eq!(page["truncated"], false);
    for topic in topics {
        let expected = if topic["topic"] == "list.07" { 9 } else { 2 };
        assert_eq!(
            (&topic["seq"], &topic["subscribers"]),
            (&1.into(), &expected.into()),
            "{topic}"
        );
    }
    let page = connection
        .ask(get("/v1/topics?filter=list.*&limit=3"))
        .json();
    assert_eq!(
        (page["topics"].as_array().map(Vec::len), &page["truncated"]),
        (Some(3), &true.into())
    );
    drop(sockets);
}

#[test]
fn many_values_are_answered_line_by_line() {
    let server = Server::start(&["--max-payload-bytes", "100"]);
    let mut subscriber = server.subscribe("batch.*");
    let mut connection = Connection::open(&server);
    let body = [
        r#"{"topic":"batch.a","data":{"price":1}}"#,
        r#"{"topic":"batch.a","data":2,"key":"k"}"#,
        r#"{"topic":"batch.b","data":3,"key":"k"}"#,
        r#"{"topic":"batch.a","data":2,"key":"k"}"#,
        "",
        "not json",
        r#"{"topic":"batch..a","data":1}"#,
        r#"{"topic":"$sys.stats","data":1}"#,
        r#"{"topic":"batch.a"}"#,
        &format!(r#"{{"topic":"batch.a","data":"{}"}}"#, "x".repeat(100)),
        "[]",
        r#"{"topic":"batch.a","data":4}"#,
    ]
    .join("\r\n");
    let answer = connection.ask(post("/v1/publish", "application/x-ndjson", body.as_bytes()));
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/x-ndjson"))
    );
    let text = answer.text();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            line["seq"]
                .as_u64()
                .unwrap_or_else(|| line["code"].as_u64().expect("a code"))
        })
        .collect();
    assert_eq!(
        told,
        [1, 2, 1, 2, 1000, 1003, 2003, 1000, 3004, 1000, 3],
        "{text}"
    );
    let mut seen: Vec<(String, u64)> = (0..4)
        .map(|_| {
            let update = read_json(&mut subscriber);
            (
                update["topic"].as_str().expect("a name").to_owned(),
                update["seq"].as_u64().expect("a seq"),
            )
        })
        .collect();
    seen.sort();
    let expected = [
        ("batch.a", 1),
        ("batch.a", 2),
        ("batch.a", 3),
        ("batch.b", 1),
    ];
    assert!(
        seen.iter()
            .map(|(topic, seq)| (topic.as_str(), *seq))
            .eq(expected),
        "{seen:?}"
    );
}

#[test]
fn ten_thousand_lines_are_a_request_and_one_more_is_not() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    let line = |number: usize| {
        format!(
            "{{\"topic\":\"mass.{}\",\"data\":{number}}}\n",
            number % 100
        )
    };
    let body: String = (0..10_000).map(line).collect();
    let answer = connection.ask(post("/v1/publish", "application/x-ndjson", body.as_bytes()));
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert_eq!(text.lines().count(), 10_000);
    for (number, line) in text.lines().enumerate() {
        let answer: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(answer["topic"], format!("mass.{}", number % 100));
        assert_eq!(answer["seq"], number as u64 / 100 + 1);
    }
    let more = body + &line(0);
    let answer = connection.ask(post("/v1/publish", "application/x-ndjson", more.as_bytes()));
    assert_eq!((answer.status, &answer.json()["code"]), (413, &1002.into()));
    assert_eq!(
        connection
            .ask(get("/v1/topics/mass.0/history?since=0"))
            .json()["seq"],
        100,
        "nothing of it was published"
    );
}

#[test]
fn a_key_makes_a_publish_idempotent() {
    let server = Server::start(&[]);
    let mut connection = Connection::open(&server);
    let with_key = |key: &str| {
        format!(
            "POST /v1/topics/once HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\nContent-Length: 1\r\n\r\n1"
        )
    };
    for (key, seq) in [("a", 1), ("a", 1), ("b", 2), ("a", 1)] {
        assert_eq!(connection.ask(with_key(key)).json()["seq"], seq, "{key}");
    }
    let by_query = post("/v1/topics/once?key=b", "application/json", b"1");
    assert_eq!(connection.ask(by_query).json()["seq"], 2);
    assert_eq!(connection.ask(with_key(&"k".repeat(500))).status, 400);
}
