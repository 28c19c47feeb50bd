//! Who asks, seen from outside: tokens by every way in, how long they are good, and what becomes of what they allowed.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::publish;
use crate::addresses::{Address, Limits, Table};
use crate::auth::Keyring;
use crate::engine::rights::{Identity, Scope};
use crate::engine::settings::Settings;
use crate::engine::testing::{ClientId, Heard, NOTHING, World, upgrade};

const SECRET: &str = "a secret of thirty-two bytes, or more";

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::of_secret(SECRET.as_bytes()))
}

fn settings() -> Settings {
    Settings {
        anonymous: Identity {
            name: None,
            subscribe: Scope::nothing(),
            publish: Scope::nothing(),
        },
        auth_cookie: Some("session".into()),
        // Nothing is said but what is asked for.
        ping_interval_ms: 0,
        idle_timeout_ms: 0,
        heartbeat_ms: 0,
        ..Settings::default()
    }
}

fn world_with(settings: Settings, limits: Option<Limits>) -> World {
    let mut world = World::new(2, settings);
    let (keys, table) = (keyring(), limits.map(|limits| Arc::new(Table::new(limits))));
    world.engines = (std::mem::take(&mut world.engines).into_iter())
        .map(|engine| {
            engine
                .with_keys(Some(keys.clone()))
                .with_addresses(table.clone())
        })
        .collect();
    world
}

fn world() -> World {
    world_with(settings(), None)
}

impl World {
    /// A token that is good for `seconds`.
    fn token(&self, seconds: i64, more: &Value) -> String {
        let mut claims = json!({"exp": self.now.wall_us / 1_000_000 + seconds});
        for (key, value) in more.as_object().unwrap() {
            claims[key] = value.clone();
        }
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    }

    fn ask(&mut self, request: &str) -> (ClientId, String) {
        let client = self.open(0);
        self.send(client, request.as_bytes());
        self.settle();
        let head = self.take_head(client);
        (client, head)
    }

    fn authenticate(&mut self, client: ClientId, token: &str) -> Vec<String> {
        self.say(
            client,
            &format!(r#"{{"action":"auth","id":1,"token":"{token}"}}"#),
        );
        self.texts(client)
    }
}

fn with_header(request: &str, line: &str) -> String {
    request.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1)
}

#[test]
fn a_token_comes_by_header_query_or_cookie() {
    let mut world = world();
    let token = world.token(100, &json!({"sub": "ann", "subscribe": ["a"]}));
    let plain = upgrade("/ws");
    for request in [
        with_header(&plain, &format!("Authorization: Bearer {token}")),
        with_header(&plain, &format!("authorization: bearer {token}")),
        upgrade(&format!("/ws?x=1&token={token}")),
        with_header(&plain, &format!("Cookie: a=b; session={token}; c=d")),
        with_header(
            &with_header(&plain, "Authorization: Basic eDp5"),
            &format!("Cookie: session={token}"),
        ),
    ] {
        let (client, head) = world.ask(&request);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let hello = world.texts(client);
        assert!(hello[0].contains(r#""auth":"ok""#), "{hello:?}");
        world.say(
            client,
            r#"{"action":"subscribe","id":1,"topics":["a","b"]}"#,
        );
        let told = world.texts(client);
        assert!(told[0].contains(r#""topics":[{"topic":"a""#), "{told:?}");
        assert!(told[0].contains(r#"{"topic":"b","code":2003"#), "{told:?}");
    }
}

#[test]
fn a_token_that_is_no_good_is_401_with_a_challenge() {
    let mut world = world();
    let late = world.token(-1, &json!({}));
    let plain = upgrade("/ws");
    let poll = "GET /v1/topics/a HTTP/1.1\r\nHost: x\r\n\r\n";
    for (request, body) in [
        (
            with_header(&plain, "Authorization: Bearer nonsense"),
            "the key is not known",
        ),
        (
            with_header(&plain, &format!("Authorization: Bearer {late}")),
            "the token has expired",
        ),
        (upgrade("/ws?token=x.y.z"), "the token is malformed"),
        (upgrade("/room/a"), "say who you are first"),
        (
            with_header(poll, &format!("Authorization: Bearer {late}")),
            r#""code":2002"#,
        ),
        (poll.into(), r#""code":2000"#),
    ] {
        let (client, head) = world.ask(&request);
        assert!(head.starts_with("HTTP/1.1 401 "), "{request}: {head}");
        assert!(head.contains("WWW-Authenticate: Bearer"), "{head}");
        let body_bytes = std::mem::take(&mut world.clients[client].taken);
        let told = String::from_utf8_lossy(&body_bytes).into_owned() + &head;
        assert!(told.contains(body), "{request}: {told}");
    }
}

#[test]
fn an_old_cookie_keeps_nobody_from_pages() {
    let mut world = world();
    let (_, head) = world.ask("GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: session=old\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[test]
fn who_said_who_it_is_stays_and_is_told_before_its_token_ends() {
    let mut world = world();
    let client = world.open(0);
    world.send(client, upgrade("/ws").as_bytes());
    world.settle();
    world.take_head(client);
    world.texts(client);
    let token = world.token(100, &json!({"sub": ["a"]}));
    assert_eq!(
        world.authenticate(client, &token),
        [r#"{"type":"ok","id":1}"#]
    );
    world.pass_ms(69_000);
    let quiet: Vec<String> = world.texts(client);
    assert!(
        !quiet.iter().any(|text| text.contains("notice")),
        "{quiet:?}"
    );
    world.pass_ms(2_000);
    let told = world.texts(client);
    let notices: Vec<&String> = told.iter().filter(|text| text.contains("notice")).collect();
    assert!(
        notices.len() == 1
            && notices[0].starts_with(r#"{"type":"notice","kind":"token_expires","in_ms":"#),
        "{told:?}"
    );
    // A new one in time, and everything goes on.
    let token = world.token(500, &json!({"sub": ["a"]}));
    assert_eq!(
        world.authenticate(client, &token),
        [r#"{"type":"ok","id":1}"#]
    );
    for _ in 0..7 {
        world.pass_ms(10_000);
        world.say(client, "ping");
    }
    assert!(!world.heard(client).contains(&Heard::Close(Some(4001))));
    let token = world.token(20, &json!({"sub": ["a"]}));
    world.authenticate(client, &token);
    // Half of its time.
    world.pass_ms(10_500);
    let told = world.texts(client);
    assert!(
        told.iter().any(|text| text.contains("token_expires")),
        "{told:?}"
    );
    world.pass_ms(10_000);
    let heard = world.heard(client);
    assert_eq!(heard.last(), Some(&Heard::Close(Some(4001))), "{heard:?}");
}

#[test]
fn what_a_new_token_does_not_allow_ends_and_is_named() {
    let mut world = world();
    let (client, publisher) = (world.open(0), world.open(1));
    for client in [client, publisher] {
        let token = world.token(1000, &json!({"sub": [">"], "pub": [">"]}));
        world.send(client, upgrade(&format!("/ws?token={token}")).as_bytes());
        world.settle();
        world.take_head(client);
        world.texts(client);
    }
    world.say(
        client,
        r#"{"action":"subscribe","id":1,"topics":["a.b","c.*","d"]}"#,
    );
    world.texts(client);
    let token = world.token(1000, &json!({"sub": ["a.>"]}));
    let told = world.authenticate(client, &token);
    assert_eq!(told.last().unwrap(), r#"{"type":"ok","id":1}"#);
    for name in ["c.*", "d"] {
        let is_named =
            |text: &String| text.contains("2003") && text.contains(&format!("to {name};"));
        assert!(told.iter().any(is_named), "{told:?}");
    }
    for topic in ["a.b", "c.x", "d"] {
        publish(&mut world, publisher, topic, 1);
    }
    let told = world.texts(client);
    assert!(
        told.len() == 1 && told[0].contains(r#""topic":"a.b""#),
        "{told:?}"
    );
    world.end(client);
    world.end(publisher);
    world.settle();
    assert_eq!(world.held()[..], NOTHING[..]);
}

#[test]
fn a_command_that_waits_for_owners_is_judged_again_by_a_new_token() {
    let mut world = world();
    let client = world.open(0);
    let token = world.token(1000, &json!({"sub": [">"]}));
    world.send(client, upgrade(&format!("/ws?token={token}")).as_bytes());
    world.settle();
    world.take_head(client);
    world.texts(client);
    let far = world.topic_of("far", 1);
    world.mail_stopped = true;
    world.say(
        client,
        &format!(r#"{{"action":"subscribe","id":7,"topics":["{far}"]}}"#),
    );
    let token = world.token(1000, &json!({"sub": ["other"]}));
    world.authenticate(client, &token);
    world.mail_stopped = false;
    world.settle();
    let told = world.texts(client);
    assert!(
        told[0].contains(r#""topics":[],"errors""#) && told[0].contains("2003"),
        "{told:?}"
    );
}

#[test]
fn who_shows_no_token_costs_no_more_than_before() {
    let mut world = world_with(
        Settings {
            auth_cookie: None,
            ..Settings::default()
        },
        None,
    );
    let client = world.connect_ws(0);
    let index = world.clients[client].id.index as usize;
    assert!(world.engines[0].outlet.conns[index].cold.is_none());
}

#[test]
fn foreign_pages_are_refused_and_allowed_ones_are_told_that_they_may_read() {
    let mut origins = crate::origins::Origins::parse(&["https://app.test".into()]).unwrap();
    origins.is_local = false;
    let mut world = World::new(
        1,
        Settings {
            origins,
            ..Settings::default()
        },
    );
    let get = "GET /v1/topics HTTP/1.1\r\nHost: fan.test\r\n\r\n";
    for (origin, status, told) in [
        ("https://evil.test", 403, false),
        ("https://fan.test", 200, false),
        ("https://app.test", 200, true),
    ] {
        let (_, head) = world.ask(&with_header(get, &format!("Origin: {origin}")));
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {head}"
        );
        let line = format!("Access-Control-Allow-Origin: {origin}");
        assert_eq!(head.contains(&line), told, "{head}");
    }
    let (_, head) = world.ask(&with_header(&upgrade("/ws"), "Origin: https://evil.test"));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let twice = with_header(&upgrade("/ws"), "Origin: https://app.test");
    let (_, head) = world.ask(&with_header(&twice, "Origin: https://app.test"));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[test]
fn where_an_origin_must_be_named_a_page_that_gets_something_from_its_own_server_need_not() {
    let mut origins = crate::origins::Origins::default();
    origins.allow_missing = false;
    let mut world = World::new(
        1,
        Settings {
            origins,
            ..Settings::default()
        },
    );
    let events = "GET /v1/sse?topics=a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let (_, head) = world.ask(events);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let (_, head) = world.ask(&with_header(events, "Sec-Fetch-Site: same-origin"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (_, head) = world.ask(&upgrade("/ws"));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let (_, head) = world.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[test]
fn a_connection_of_a_proxy_counts_for_the_client_of_its_latest_request_alone() {
    let limits = Limits {
        connections: 1,
        handshakes_per_s: 0,
    };
    let settings = Settings {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..Settings::default()
    };
    let mut world = World::new(1, settings);
    let table = Arc::new(Table::new(limits));
    world.engines = (std::mem::take(&mut world.engines).into_iter())
        .map(|engine| engine.with_addresses(Some(table.clone())))
        .collect();
    let come = |world: &mut World| {
        let client = world.open(0);
        let id = world.clients[client].id;
        world.engines[0].note_peer(id, Address::from([10, 0, 0, 1]));
        client
    };
    let ask = |world: &mut World, client: ClientId, request: &str, of: &str| {
        let request = with_header(request, &format!("X-Forwarded-For: {of}"));
        world.send(client, request.as_bytes());
        world.settle();
        let head = world.take_head(client);
        world.clients[client].taken.clear();
        head[9..12].to_owned()
    };
    // A stream that is refused leaves the proxy's connection to others.
    let bad = "GET /v1/sse?topics=a..b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let shared = come(&mut world);
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        assert_eq!(ask(&mut world, shared, bad, client), "400", "{client}");
    }
    let (first, second) = (come(&mut world), come(&mut world));
    assert_eq!(ask(&mut world, first, &upgrade("/ws"), "192.0.2.2"), "101");
    assert_eq!(ask(&mut world, second, &upgrade("/ws"), "192.0.2.1"), "429");
    world.end(shared);
    world.settle();
    let third = come(&mut world);
    assert_eq!(ask(&mut world, third, &upgrade("/ws"), "192.0.2.1"), "101");
    world.end(first);
    world.end(third);
    world.settle();
    for address in [[192, 0, 2, 1], [192, 0, 2, 2]] {
        assert_eq!(table.enter(Address::from(address), 0), Ok(()));
    }
}

#[test]
fn a_room_names_who_speaks_and_nobody_can_speak_as_another() {
    let settings = Settings {
        room_user: Some("user".into()),
        ..settings()
    };
    let mut world = world_with(settings, None);
    let token = world.token(
        1000,
        &json!({"sub": "ann", "subscribe": ["chat"], "pub": ["chat"]}),
    );
    let ann = world
        .connect_with(0, &upgrade(&format!("/room/chat?token={token}")))
        .0;
    let token = world.token(1000, &json!({"subscribe": ["chat"], "pub": ["chat"]}));
    let nobody = world
        .connect_with(1, &upgrade(&format!("/room/chat?token={token}")))
        .0;
    for (client, said, heard) in [
        (ann, r#"{"text":"hi"}"#, r#"{"user":"ann","text":"hi"}"#),
        (
            ann,
            r#"{"user":"root","text":"hi"}"#,
            r#"{"user":"ann","text":"hi"}"#,
        ),
        (ann, "hello", "hello"),
        (
            nobody,
            r#"{"user":"ann","text":"hi"}"#,
            r#"{"user":null,"text":"hi"}"#,
        ),
    ] {
        world.say(client, said);
        for client in [ann, nobody] {
            assert_eq!(world.texts(client), [heard], "{said}");
        }
    }
    let token = world.token(1000, &json!({"sub": "bob", "pub": ["chat"]}));
    let bob = world
        .connect_with(0, &upgrade(&format!("/ws?token={token}")))
        .0;
    world.texts(bob);
    world.say(
        bob,
        r#"{"action":"publish","topic":"chat","data":{"user":"ann"}}"#,
    );
    assert_eq!(world.texts(ann), [r#"{"user":"bob"}"#]);
    for content_type in ["application/json", "text/plain"] {
        let body = r#"{"user":"ann"}"#;
        let request = format!(
            "POST /v1/topics/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (_, head) = world.ask(&request);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(world.texts(ann), [r#"{"user":"bob"}"#], "{content_type}");
    }
    let body = "{\"topic\":\"chat\",\"data\":{\"user\":\"ann\"}}\n";
    let request = format!(
        "POST /v1/publish?token={token} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    world.ask(&request);
    assert_eq!(world.texts(ann), [r#"{"user":"bob"}"#]);
}

#[test]
fn a_stream_ends_when_its_token_does_and_says_so() {
    let mut world = world();
    let token = world.token(70, &json!({"sub": ["a"]}));
    let request = format!("GET /v1/sse?topics=a&token={token} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (client, head) = world.ask(&request);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    world.pass_ms(45_000);
    world.pass_ms(30_000);
    let text = String::from_utf8_lossy(&world.clients[client].taken).into_owned();
    let notice = text.find(r#"data: {"type":"notice","kind":"token_expires""#);
    let closed = text.find(r#"data: {"type":"closed","code":4001"#);
    assert!(notice.is_some() && notice < closed, "{text}");
}
