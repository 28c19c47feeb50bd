//! Requests on one connection: whichever way they are cut, however late the answers come, each is answered once and in its turn.

use proptest::prelude::*;

use super::{publish, world};
use crate::engine::outbox::FRAME_CHARGE_BYTES;
use crate::engine::settings::Settings;
use crate::engine::testing::{ClientId, World};

/// Whole requests, and the status of each. None ends its connection.
const REQUESTS: [(&str, u16); 16] = [
    ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ("GET /v1/topics/a HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    (
        "GET /v1/topics/a?wait=1ms&after=99 HTTP/1.1\r\nHost: x\r\n\r\n",
        0,
    ),
    ("GET /v1/topics/no..topic HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (
        "GET /v1/topics/a/history?since=0&limit=3 HTTP/1.1\r\nHost: x\r\n\r\n",
        200,
    ),
    ("GET /v1/topics?filter=b.* HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n42",
        200,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{",
        400,
    ),
    (
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         2;x=y\r\n{\"\r\n1\r\nn\r\n4\r\n\":1}\r\n0\r\nT: v\r\n\r\n",
        200,
    ),
    (
        "POST /v1/topics/b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n",
        200,
    ),
    ("POST /v1/topics/b HTTP/1.1\r\nHost: x\r\n\r\n", 411),
    (
        "POST /v1/publish HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 62\r\n\r\n\
         {\"topic\":\"a\",\"data\":1}\nnot json\n\n{\"topic\":\"b\",\"data\":[1,\t2]}\r\n",
        200,
    ),
    ("OPTIONS /v1/topics/a HTTP/1.1\r\nHost: x\r\n\r\n", 204),
    ("DELETE /v1/topics/a HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ("GET /v1/sse HTTP/1.1\r\nHost: x\r\n\r\n", 400),
];

/// The answers in `bytes`: status, head and body. Interim ones are left out: whether a client is told to go on depends on whether it
/// already has.
pub(super) fn answers(mut bytes: &[u8]) -> Vec<(u16, String, Vec<u8>)> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.expect("whole answers") + 4;
        let head = String::from_utf8(bytes[..end].into()).expect("heads are text");
        let status: u16 = head[9..12].parse().expect("a status");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |text| text.parse().expect("a number"));
        let body = bytes[end..end + length].to_vec();
        bytes = &bytes[end + length..];
        if status >= 200 {
            answers.push((status, head, body));
        }
    }
    answers
}

pub(super) fn statuses(world: &mut World, client: ClientId) -> Vec<u16> {
    let taken = std::mem::take(&mut world.clients[client].taken);
    answers(&taken)
        .into_iter()
        .map(|(status, ..)| status)
        .collect()
}

/// A request with this body.
pub(super) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(super) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// What is answered to `bytes`, sent in these pieces; the time passes only when all have been sent.
fn answered(pieces: &[&[u8]], settles: bool) -> Vec<(u16, String, Vec<u8>)> {
    let mut world = world();
    let client = world.open(0);
    for piece in pieces {
        world.send(client, piece);
        if settles {
            world.settle();
        }
    }
    world.settle();
    // Long polls that found no news.
    for _ in 0..pieces.len().max(100) {
        world.pass_ms(250);
    }
    let taken = std::mem::take(&mut world.clients[client].taken);
    answers(&taken)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn pipelined_requests_cut_anywhere_are_answered_like_uncut_ones(
        picks in prop::collection::vec(0..REQUESTS.len(), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        settles in any::<bool>(),
    ) {
        let bytes: Vec<u8> = picks.iter().flat_map(|pick| REQUESTS[*pick].0.bytes()).collect();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut begin = 0;
        let mut pieces = Vec::new();
        for end in ends {
            pieces.push(&bytes[begin..end]);
            begin = end;
        }
        let whole = answered(&[&bytes], true);
        for ((status, head, _), pick) in whole.iter().zip(&picks) {
            let expected = REQUESTS[*pick].1;
            prop_assert!(expected == 0 || *status == expected, "{} is answered {head}", REQUESTS[*pick].0);
            prop_assert!(!head.contains("Connection: close"), "{head}");
        }
        prop_assert_eq!(whole.len(), picks.len());
        prop_assert_eq!(answered(&pieces, settles), whole);
    }
}

#[test]
fn a_pipeline_may_come_byte_by_byte() {
    let bytes: Vec<u8> = REQUESTS
        .iter()
        .flat_map(|(request, _)| request.bytes())
        .collect();
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    for settles in [false, true] {
        assert_eq!(answered(&pieces, settles), answered(&[&bytes], true));
    }
}

#[test]
fn what_is_asked_for_at_once_is_not_answered_at_once() {
    let mut world = world();
    let client = world.open(0);
    let body = format!("\"{}\"", "x".repeat(10_000));
    world.send(client, &post("/v1/topics/large", body.as_bytes()));
    world.settle();
    assert_eq!(statuses(&mut world, client), [200]);
    world.clients[client].window = Some(0);
    world.send(client, &get("/v1/topics/large").repeat(500));
    world.settle();
    let index = world.clients[client].id.index as usize;
    let queued = world.engines[0].outlet.conns[index].outbox.charged_bytes();
    assert!(
        queued < 64 * 1024 + 11_000 + FRAME_CHARGE_BYTES,
        "{queued} bytes are queued"
    );
    world.open_window(client, None);
    assert_eq!(statuses(&mut world, client), [200; 500]);
}

#[test]
fn whoever_asks_for_more_than_is_kept_is_never_read_in_the_middle_of_a_request() {
    let settings = Settings {
        body_bytes_max: 8192,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    // Where the topic is known, its polls are answered as they are read.
    let subscriber = world.connect_ws(0);
    world.say(subscriber, r#"{"action":"subscribe","topics":["large"]}"#);
    let client = world.open(0);
    let body = format!("\"{}\"", "x".repeat(8000));
    world.send(client, &post("/v1/topics/large", body.as_bytes()));
    world.settle();
    world.clients[client].window = Some(0);
    // Ten are answered, and the rest cannot be kept: what comes then would be taken for a request.
    world.send(client, &get("/v1/topics/large").repeat(1000));
    world.send(client, &post("/v1/topics/smuggled", b"1"));
    world.settle();
    world.open_window(client, None);
    let statuses = statuses(&mut world, client);
    assert!(statuses.len() > 8 && statuses.len() < 20, "{statuses:?}");
    assert!(world.clients[client].half_closed);
    let looking = world.open(0);
    world.send(looking, &get("/v1/topics/smuggled"));
    world.settle();
    assert!(world.take_head(looking).starts_with("HTTP/1.1 404"));
}

#[test]
fn a_body_that_nobody_wants_is_not_read_as_a_request() {
    let hidden = "POST /v1/topics/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1";
    for (method, path) in [
        ("GET", "/healthz"),
        ("HEAD", "/healthz"),
        ("OPTIONS", "/v1/topics/a"),
        ("OPTIONS", "*"),
        ("DELETE", "/v1/topics/a"),
        ("PUT", "/nowhere"),
        ("POST", "/nowhere"),
        ("POST", "/v1/topics/no..topic"),
        ("POST", "/v1/sse"),
        ("GET", "/v1/sse?topics=a"),
        ("GET", "/v1/topics/a?wait=1s"),
        ("GET", "/ws"),
    ] {
        let mut world = world();
        let client = world.open(0);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        );
        world.send(client, request.as_bytes());
        world.settle();
        let head = world.take_head(client);
        assert!(head.starts_with("HTTP/1.1 4"), "{method} {path}: {head}");
        assert!(
            head.contains("\r\nConnection: close\r\n"),
            "{method} {path}: {head}"
        );
        assert!(world.clients[client].half_closed, "{method} {path}");
        let looking = world.open(0);
        world.send(looking, &get("/v1/topics/smuggled"));
        world.settle();
        let head = world.take_head(looking);
        assert!(head.starts_with("HTTP/1.1 404"), "{method} {path}");
    }
}

#[test]
fn a_head_is_answered_by_the_head_of_the_same_get() {
    let mut world = world();
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "a", 3);
    for path in [
        "/healthz",
        "/nowhere",
        "/v1/topics/a",
        "/v1/topics/none",
        "/v1/topics/a/history?since=0",
        "/v1/topics",
        "/v1/sse?topics=a",
        "/v1/sse",
    ] {
        let heads = ["GET", "HEAD"].map(|method| {
            let client = world.open(0);
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            world.send(client, request.as_bytes());
            world.settle();
            let head = world.take_head(client);
            let rest = world.clients[client].taken.len();
            assert_eq!(
                method == "GET",
                rest > 0,
                "{method} {path} has {rest} bytes of body"
            );
            head
        });
        assert_eq!(heads[0], heads[1], "{path}");
    }
}

#[test]
fn any_value_is_what_a_star_names() {
    let mut world = world();
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "a", 1);
    for (tags, path, status) in [
        ("*", "/v1/topics/a", 304),
        ("*", "/v1/topics/none", 404),
        ("\"e1:1\"", "/v1/topics/a", 304),
        ("\"x\", W/\"e1:1\"", "/v1/topics/a", 304),
        ("\"e1:2\"", "/v1/topics/a", 200),
        ("\"e0:1\"", "/v1/topics/a", 200),
        ("e1:1", "/v1/topics/a", 200),
        ("", "/v1/topics/a", 200),
    ] {
        let client = world.open(1);
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tags}\r\n\r\n");
        world.send(client, request.as_bytes());
        world.settle();
        assert_eq!(statuses(&mut world, client), [status], "{tags} {path}");
    }
}

#[test]
fn a_list_that_is_made_makes_room_for_another() {
    let mut world = world();
    let client = world.open(0);
    for number in 0..50 {
        world.send(client, &get(&format!("/v1/topics?filter=f{number}.*")));
        world.settle();
    }
    assert_eq!(statuses(&mut world, client), [200; 50]);
    // As many as may be made at once are refused nothing; one more is, and can come back.
    world.mail_stopped = true;
    let many: Vec<ClientId> = (0..17).map(|_| world.open(0)).collect();
    for (number, &client) in many.iter().enumerate() {
        world.send(client, &get(&format!("/v1/topics?filter=g{number}.*")));
    }
    world.settle();
    assert_eq!(statuses(&mut world, many[16]), [503]);
    world.mail_stopped = false;
    world.settle();
    for &client in &many[..16] {
        assert_eq!(statuses(&mut world, client), [200]);
    }
}

#[test]
fn a_topic_that_the_server_has_no_room_for_is_503_and_the_connection_goes_on() {
    let settings = Settings {
        topics_max: 1,
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let publisher = world.connect_ws(0);
    publish(&mut world, publisher, "first", 1);
    let client = world.open(0);
    let requests = [
        get("/v1/topics/second"),
        get("/v1/topics/second?wait=10s"),
        post("/v1/topics/second", b"1"),
        get("/v1/topics/first"),
    ];
    world.send(client, &requests.concat());
    world.settle();
    assert_eq!(statuses(&mut world, client), [503, 503, 503, 200]);
    let stream = world.open(0);
    world.send(stream, &get("/v1/sse?topics=first,second"));
    world.settle();
    world.take_head(stream);
    let text = String::from_utf8(std::mem::take(&mut world.clients[stream].taken)).unwrap();
    assert!(
        text.contains(r#""errors":[{"topic":"second","code":3001"#),
        "{text}"
    );
}

#[test]
fn a_stream_for_one_answer_does_not_end_with_what_came_for_others() {
    let mut world = World::new(1, Settings::default());
    let publisher = world.connect_ws(0);
    let stream = world.open(0);
    let noise = r#"{"action":"publish","topic":"noise","data":1}"#;
    world.send(stream, &get("/v1/sse?topics=quiet,still&wait=20s"));
    // In the same tick, behind the ack.
    let now = world.now;
    world.engines[0].on_mail(now, crate::hub::mail::Mail::default());
    world.say(publisher, noise);
    let head = world.take_head(stream);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        !world.clients[stream].half_closed,
        "nothing has come for it"
    );
    publish(&mut world, publisher, "still", 1);
    assert!(world.clients[stream].half_closed);
    let text = String::from_utf8(std::mem::take(&mut world.clients[stream].taken)).unwrap();
    assert!(
        text.contains(r#"{"type":"update","topic":"still","seq":1"#),
        "{text}"
    );
}
