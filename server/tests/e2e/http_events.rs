//! Streams of events at the level of bytes: their form, where they resume, how they end. What an `EventSource` makes of them is
//! tested in `../clients`.

use serde_json::Value;

use crate::harness::{Server, close_code, publish, read_json, send};
use crate::http_connection::{Connection, get, post, wait_until};

/// An event: its id and its data.
type Event = (Option<String>, Value);

/// A stream past its head.
fn stream(server: &Server, query: &str, header: &str) -> Connection {
    let mut connection = Connection::open(server);
    connection.send(format!(
        "GET /v1/sse?{query} HTTP/1.1\r\nHost: x\r\n{header}\r\n"
    ));
    let head = connection.answer();
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    assert!(head.is_last(), "the body ends with the connection");
    connection.until("retry: ");
    connection.until("\n\n");
    connection
}

/// The next block: an event, an id alone, or a comment.
fn block(connection: &mut Connection) -> (Option<String>, Option<Value>) {
    let text = connection.until("\n\n");
    let (mut id, mut data) = (None, None::<String>);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.split_once(':') {
            Some(("", _)) => {}
            Some(("id", value)) => id = Some(value.trim_start().to_owned()),
            Some(("data", value)) => match &mut data {
                Some(data) => *data = format!("{data}\n{}", value.trim_start_matches(' ')),
                None => data = Some(value.trim_start_matches(' ').to_owned()),
            },
            _ => panic!("unknown line {line:?}"),
        }
    }
    let data = data
        .map(|text| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
    (id, data)
}

/// The next event; blocks with an id alone are passed over, as an `EventSource` does.
fn event(connection: &mut Connection) -> Event {
    loop {
        if let (id, Some(data)) = block(connection) {
            return (id, data);
        }
    }
}

/// The next event of this type.
fn event_of(connection: &mut Connection, kind: &str) -> Event {
    let (id, data) = event(connection);
    assert_eq!(data["type"], kind, "{data}");
    (id, data)
}

#[test]
fn a_stream_says_what_ws_says() {
    let server = Server::start(&["--history-count", "10"]);
    let mut publisher = server.connect("/ws");
    publish(&mut publisher, "a", "1");
    let mut socket = server.connect("/ws");
    read_json(&mut socket);
    send(
        &mut socket,
        r#"{"action":"subscribe","topics":["a","px.*","no..topic"]}"#,
    );
    let mut connection = stream(&server, "topics=a,px.*,no..topic", "");
    for number in 2..=5 {
        publish(&mut publisher, "a", &number.to_string());
        publish(
            &mut publisher,
            "px.b",
            &format!("{{\"line\":\n{number}\r\n}}"),
        );
    }
    // Ack, snapshot, and eight updates.
    let (mut on_ws, mut on_sse) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        on_ws.push(read_json(&mut socket));
        on_sse.push(event(&mut connection).1);
    }
    assert_eq!(on_ws, on_sse);
}

#[test]
fn line_breaks_in_json_stay_in_the_event() {
    let server = Server::start(&[]);
    let mut connection = stream(&server, "topics=lines", "");
    event_of(&mut connection, "subscribed");
    let mut publisher = Connection::open(&server);
    for body in [
        "{\n\n\"a\":\r\n[1,\r2]\n}\n\n",
        "\"\\n\\r\"",
        "\n\n7\n\n",
        "{\"data: x\": \"id: y\"}",
    ] {
        publisher.ask(post(
            "/v1/topics/lines",
            "application/json",
            body.as_bytes(),
        ));
        let expected: Value = serde_json::from_str(body).expect("JSON");
        let (id, update) = event_of(&mut connection, "update");
        assert_eq!(update["data"], expected);
        assert!(id.is_some_and(|id| id.starts_with("lines=")));
    }
    publisher.ask(post(
        "/v1/topics/lines",
        "text/plain",
        b"data: x\n\nid: y\r\n\r\n",
    ));
    let (_, update) = event_of(&mut connection, "update");
    assert_eq!(update["data"], "data: x\n\nid: y\r\n\r\n");
}

#[test]
fn a_stream_that_is_cut_anywhere_resumes_without_loss_or_repeat() {
    let server = Server::start(&["--history-count", "10000"]);
    let mut writers: Vec<_> = ["a", "b"]
        .map(|topic| (topic, server.connect("/ws")))
        .into();
    let writing = std::thread::spawn(move || {
        for number in 0..400 {
            for (topic, socket) in &mut writers {
                publish(socket, topic, &number.to_string());
            }
        }
    });
    for topics in ["a", "a,b"] {
        let mut position = String::new();
        let mut seen: std::collections::BTreeMap<String, u64> = topics
            .split(',')
            .map(|topic| (topic.to_owned(), 0))
            .collect();
        let mut round = 0;
        while seen.values().any(|seq| *seq < 400) {
            let header = match (round % 2, position.is_empty()) {
                (_, true) => String::new(),
                (0, _) => format!("Last-Event-ID: {position}\r\n"),
                _ => String::new(),
            };
            let query = if round % 2 == 1 {
                format!("topics={topics}&last_event_id={position}")
            } else {
                format!("topics={topics}")
            };
            let query = if position.is_empty() {
                format!("topics={topics}&last_event_id=a=:0,b=:0")
            } else {
                query
            };
            let mut connection = stream(&server, &query, &header);
            // A few blocks, then the connection is cut.
            for _ in 0..round % 7 + 20 {
                let (id, data) = block(&mut connection);
                if let Some(id) = id {
                    position = id;
                }
                let Some(data) = data else { continue };
                let topic = data["topic"].as_str().unwrap_or("").to_owned();
                match data["type"].as_str() {
                    Some("update" | "history") => {
                        let seq = data["seq"].as_u64().expect("a seq");
                        assert_eq!(seq, seen[&topic] + 1, "{topics}: {data}");
                        seen.insert(topic, seq);
                    }
                    // The first connection does not know the epoch.
                    Some("snapshot") if round == 0 => {
                        seen.insert(topic, data["seq"].as_u64().expect("a seq"));
                    }
                    Some("gap") if round == 0 => {}
                    Some("subscribed") => assert!(data.get("errors").is_none()),
                    _ => panic!("round {round}: {data}"),
                }
                if seen.values().all(|seq| *seq == 400) {
                    break;
                }
            }
            round += 1;
        }
    }
    writing.join().expect("all is published");
}

#[test]
fn after_a_restart_a_stream_tells_of_the_gap_and_opens_with_a_snapshot() {
    let server = Server::start(&[]);
    let mut publisher = server.connect("/ws");
    publish(&mut publisher, "a", "1");
    publish(&mut publisher, "b", "1");
    let mut connection = stream(
        &server,
        "topics=a,b",
        "Last-Event-ID: a=before:7,b=before:3,c=before:1,,=:\r\n",
    );
    let (_, ack) = event_of(&mut connection, "subscribed");
    let epoch = ack["topics"][0]["epoch"]
        .as_str()
        .expect("an epoch")
        .to_owned();
    for (topic, from) in [("a", 8), ("b", 4)] {
        let (_, gap) = event_of(&mut connection, "gap");
        assert_eq!(
            (&gap["topic"], &gap["from"], &gap["why"]),
            (&topic.into(), &from.into(), &"epoch".into())
        );
        let (_, snapshot) = event_of(&mut connection, "snapshot");
        assert_eq!(
            (&snapshot["topic"], &snapshot["seq"]),
            (&topic.into(), &1.into())
        );
    }
    // Then all of it is told, as an event that nobody sees.
    let (Some(id), None) = block(&mut connection) else {
        panic!("no id");
    };
    let mut positions: Vec<&str> = id.split(',').collect();
    positions.sort_unstable();
    let expected = ["a", "b"].map(|topic| format!("{topic}={epoch}:1"));
    assert_eq!(positions, expected);
}

#[test]
fn a_reader_that_does_not_read_is_conflated_and_then_gets_the_newest() {
    let server = Server::start(&["--max-outbox-bytes", "64k", "--send-buffer", "16k"]);
    let mut connection = stream(&server, "topics=slow", "");
    event_of(&mut connection, "subscribed");
    let mut publisher = server.connect("/ws");
    let data = format!("\"{}\"", "x".repeat(10_000));
    let mut last = 0;
    for _ in 0..1500 {
        last = publish(&mut publisher, "slow", &data);
    }
    let (mut next, mut skipped) = (1, 0);
    while next <= last {
        let (_, data) = event(&mut connection);
        match data["type"].as_str() {
            Some("update") => {
                assert_eq!(data["seq"], next);
                next += 1;
            }
            Some("skip") => {
                assert_eq!(
                    (&data["from"], &data["why"]),
                    (&next.into(), &"slow".into())
                );
                let to = data["to"].as_u64().expect("a seq");
                skipped += to - next + 1;
                next = to + 1;
            }
            _ => panic!("{data}"),
        }
    }
    assert!(skipped > 0, "15 MB do not fit into what may wait");
}

#[test]
fn options_of_a_stream_are_those_of_a_subscription() {
    let server = Server::start(&[]);
    let mut publisher = server.connect("/ws");
    publish(&mut publisher, "o", "0");
    let mut plain = stream(&server, "topics=o&snapshot=false", "");
    event_of(&mut plain, "subscribed");
    let mut rare = stream(&server, "topics=o&mode=latest&min_interval_ms=300", "");
    event_of(&mut rare, "subscribed");
    event_of(&mut rare, "snapshot");
    for number in 1..=50 {
        publish(&mut publisher, "o", &number.to_string());
        assert_eq!(event_of(&mut plain, "update").1["data"], number);
    }
    let mut next = 2;
    let mut skips = 0;
    while next <= 51 {
        let (_, data) = event(&mut rare);
        if data["type"] == "skip" {
            assert_eq!(
                (&data["from"], &data["why"]),
                (&next.into(), &"rate".into())
            );
            next = data["to"].as_u64().expect("a seq") + 1;
            skips += 1;
        } else {
            assert_eq!(data["seq"], next, "{data}");
            next += 1;
        }
    }
    assert!(skips > 0);
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments() {
    let server = Server::start(&["--heartbeat", "250ms"]);
    let mut connection = stream(&server, "topics=silent", "");
    event_of(&mut connection, "subscribed");
    let (id, _) = block(&mut connection);
    assert!(
        id.is_some_and(|id| id.ends_with(":0")),
        "where it stands is told"
    );
    for _ in 0..3 {
        assert_eq!(connection.until("\n\n"), ":\n\n");
    }
}

#[test]
fn with_a_wait_a_stream_ends_with_its_first_events() {
    let server = Server::start(&[]);
    let mut publisher = server.connect("/ws");
    // Nothing: it ends when so long has passed, and says where it stands.
    let mut connection = stream(&server, "topics=w,v.*&wait=300ms", "");
    event_of(&mut connection, "subscribed");
    let rest = connection.rest();
    assert!(
        rest.starts_with("id: w=") && rest.ends_with(":0\n\n") && rest.lines().count() == 2,
        "{rest:?}"
    );
    // What is there at once.
    publish(&mut publisher, "w", "1");
    let mut connection = stream(&server, "topics=w,v.*&wait=30s", "");
    event_of(&mut connection, "subscribed");
    event_of(&mut connection, "snapshot");
    let (id, _) = block(&mut connection);
    connection.assert_ended("it has had its snapshot");
    // News, while others publish what it has not asked for.
    let header = format!("Last-Event-ID: {}\r\n", id.expect("an id"));
    let mut connection = stream(&server, "topics=w,v.*&wait=30s", &header);
    for number in 0..100 {
        publish(&mut publisher, "noise", &number.to_string());
    }
    publish(&mut publisher, "v.x", "2");
    event_of(&mut connection, "subscribed");
    let (_, update) = event_of(&mut connection, "update");
    assert_eq!(
        (&update["topic"], &update["seq"]),
        (&"v.x".into(), &1.into())
    );
    connection.assert_ended("it has had its news");
}

#[test]
fn a_server_that_stops_says_so_as_the_last_event() {
    let mut server = Server::start(&[]);
    let mut streams: Vec<Connection> = (0..4).map(|_| stream(&server, "topics=a", "")).collect();
    for connection in &mut streams {
        event_of(connection, "subscribed");
    }
    let mut socket = server.subscribe("a");
    let mut idle = Connection::open(&server);
    assert_eq!(idle.ask(get("/healthz")).status, 200);
    let mut polling = Connection::open(&server);
    polling.send(get("/v1/topics/a?wait=60s"));
    // It is known to wait once the server counts it.
    wait_until("the poll waits", || {
        idle.ask(get("/v1/stats")).json()["connections"]["by_kind"]["poll"] == 1
    });
    server.signal("TERM");
    for connection in &mut streams {
        let (_, closed) = event_of(connection, "closed");
        assert_eq!(closed["code"], 1001);
        connection.assert_ended("the server has stopped");
    }
    assert_eq!(close_code(&mut socket), Some(1001));
    let answer = polling.answer();
    assert!(
        answer.status == 503 && answer.header("retry-after").is_some(),
        "{answer:?}"
    );
    idle.assert_ended("it has asked for nothing");
    drop((streams, socket, idle, polling));
    assert!(server.exit_status().success());
}
