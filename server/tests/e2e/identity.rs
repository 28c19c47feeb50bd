//! Who is let in: tokens, keys, origins, addresses and proxies, from outside.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{
    DEADLINE, Server, Socket, TempFile, close_code, read_json, response, run, send,
};

const SECRET: &str = "a secret of thirty-two bytes, or more";

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs()
}

/// A token made by hand, with nothing of the server's.
fn token(secret: &str, claims: &Value) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!(
        "{}.{}",
        encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        encode(&claims.to_string())
    );
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("it works on any machine");
    mac.update(message.as_bytes());
    format!(
        "{message}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

fn good_token(more: &Value) -> String {
    let mut claims = json!({"exp": now_s() + 600, "sub": "ann", "subscribe": ["px.>", "lobby"], "pub": ["px.a", "lobby"]});
    for (name, value) in more.as_object().expect("it works on any machine") {
        claims[name] = value.clone();
    }
    token(SECRET, &claims)
}

fn server_with_secret(flags: &[&str]) -> (Server, TempFile) {
    let secret = TempFile::new("secret", SECRET);
    let flag = format!("--jwt-key={}", secret.path());
    let server = Server::start(&[&[&*flag], flags].concat());
    (server, secret)
}

/// Everything until the server closes, or resets.
fn all_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn subscribe(socket: &mut Socket, topic: &str) -> Value {
    send(
        socket,
        &format!(r#"{{"action":"subscribe","id":1,"topics":["{topic}"]}}"#),
    );
    read_json(socket)
}

/// The status of an upgrade with more headers.
fn upgrade_status(server: &Server, path: &str, headers: &str) -> (u16, String) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    let mut stream = server.tcp();
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

#[test]
fn a_token_says_what_a_connection_may_do() {
    let (server, _secret) = server_with_secret(&[]);
    let mut socket = server.connect(&format!("/ws?token={}", good_token(&json!({}))));
    assert_eq!(read_json(&mut socket)["auth"], "ok");
    assert_eq!(subscribe(&mut socket, "px.b")["topics"][0]["topic"], "px.b");
    assert_eq!(subscribe(&mut socket, "other")["errors"][0]["code"], 2003);
    send(
        &mut socket,
        r#"{"action":"publish","id":2,"topic":"px.a","data":1}"#,
    );
    assert_eq!(read_json(&mut socket)["type"], "published");
    send(
        &mut socket,
        r#"{"action":"publish","id":3,"topic":"px.b","data":1}"#,
    );
    assert_eq!(read_json(&mut socket)["code"], 2003);
}

#[test]
fn who_says_nothing_may_do_nothing_and_is_asked_to_speak() {
    let (server, _secret) = server_with_secret(&["--auth-timeout=1s"]);
    let mut socket = server.connect("/ws");
    assert_eq!(read_json(&mut socket)["auth"], "required");
    assert_eq!(subscribe(&mut socket, "px.b")["errors"][0]["code"], 2000);
    send(
        &mut socket,
        r#"{"action":"publish","id":2,"topic":"px.a","data":1}"#,
    );
    assert_eq!(read_json(&mut socket)["code"], 2000);
    assert_eq!(close_code(&mut socket), Some(4002));

    let mut socket = server.connect("/ws");
    read_json(&mut socket);
    send(&mut socket, r#"{"action":"auth","id":1,"token":"a.b.c"}"#);
    assert_eq!(read_json(&mut socket)["code"], 2001);
    send(
        &mut socket,
        &format!(
            r#"{{"action":"auth","id":2,"token":"{}"}}"#,
            good_token(&json!({}))
        ),
    );
    assert_eq!(read_json(&mut socket), json!({"type": "ok", "id": 2}));
    assert_eq!(subscribe(&mut socket, "px.b")["topics"][0]["topic"], "px.b");
    let (status, answer) = server.http(b"GET /v1/topics/px.a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, 401, "{answer}");
    assert!(answer.contains("WWW-Authenticate: Bearer"), "{answer}");
    assert_eq!(upgrade_status(&server, "/room/lobby", "").0, 401);
}

#[test]
fn a_token_comes_by_header_query_or_cookie_and_a_bad_one_is_refused_at_the_door() {
    let (server, _secret) = server_with_secret(&["--auth-cookie=session"]);
    let token = good_token(&json!({}));
    for (path, headers) in [
        ("/room/lobby", format!("Authorization: Bearer {token}\r\n")),
        ("/room/lobby", format!("Cookie: a=b; session={token}\r\n")),
        (&*format!("/room/lobby?token={token}"), String::new()),
    ] {
        let (status, answer) = upgrade_status(&server, path, &headers);
        assert_eq!(status, 101, "{headers}: {answer}");
    }
    for headers in [
        format!("Authorization: Bearer {token}x\r\n"),
        "Authorization: Bearer a.b.c\r\n".to_owned(),
        format!(
            "Authorization: Bearer {}\r\n",
            self::token(
                "another secret of thirty-two bytes",
                &json!({"exp": now_s() + 9})
            )
        ),
        format!(
            "Authorization: Bearer {}\r\n",
            good_token(&json!({"exp": now_s() - 1}))
        ),
    ] {
        let (status, answer) = upgrade_status(&server, "/ws", &headers);
        assert_eq!(status, 401, "{headers}: {answer}");
    }
}

#[test]
fn each_request_on_a_connection_speaks_for_itself() {
    let (server, _secret) = server_with_secret(&[]);
    let mut stream = server.tcp();
    let token = good_token(&json!({}));
    let body = "POST /v1/topics/px.a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n";
    write!(stream, "{body}Authorization: Bearer {token}\r\n\r\n1")
        .expect("it works on any machine");
    write!(stream, "{body}Connection: close\r\n\r\n2").expect("it works on any machine");
    let (first, answers) = response(&mut stream);
    assert_eq!(first, 200, "{answers}");
    assert!(answers.contains("HTTP/1.1 401"), "{answers}");
}

#[test]
fn an_expiring_token_is_told_and_then_ends_the_connection_unless_another_comes() {
    let (server, _secret) = server_with_secret(&[]);
    let short = || good_token(&json!({"exp": now_s() + 4}));
    let mut renewed = server.connect(&format!("/ws?token={}", short()));
    let mut ended = server.connect(&format!("/ws?token={}", short()));
    for socket in [&mut renewed, &mut ended] {
        assert_eq!(read_json(socket)["type"], "hello");
        let notice = read_json(socket);
        assert_eq!(
            (&notice["type"], &notice["kind"]),
            (&json!("notice"), &json!("token_expires"))
        );
    }
    send(
        &mut renewed,
        &format!(
            r#"{{"action":"auth","id":1,"token":"{}"}}"#,
            good_token(&json!({}))
        ),
    );
    assert_eq!(read_json(&mut renewed)["type"], "ok");
    assert_eq!(close_code(&mut ended), Some(4001));
    assert_eq!(
        subscribe(&mut renewed, "px.b")["topics"][0]["topic"],
        "px.b"
    );
}

#[test]
fn what_a_new_token_does_not_allow_ends() {
    let (server, _secret) = server_with_secret(&[]);
    let mut socket = server.connect(&format!("/ws?token={}", good_token(&json!({}))));
    read_json(&mut socket);
    assert_eq!(subscribe(&mut socket, "px.a")["topics"][0]["topic"], "px.a");
    let narrow = good_token(&json!({"subscribe": ["px.b"]}));
    send(
        &mut socket,
        &format!(r#"{{"action":"auth","id":2,"token":"{narrow}"}}"#),
    );
    let error = read_json(&mut socket);
    assert_eq!(error["code"], 2003, "{error}");
    assert_eq!(read_json(&mut socket)["type"], "ok");
    send(&mut socket, r#"{"action":"list","id":3}"#);
    assert_eq!(read_json(&mut socket)["topics"], json!([]));
}

#[test]
fn keys_are_read_again_on_a_signal_and_a_broken_file_changes_nothing() {
    let (server, secret) = server_with_secret(&[]);
    let next = "the next secret, which is as long as the first";
    let claims = json!({"exp": now_s() + 600, "pub": ["a"]});
    let status = |secret: &str| {
        let header = format!("Authorization: Bearer {}\r\n", token(secret, &claims));
        upgrade_status(&server, "/ws", &header).0
    };
    assert_eq!((status(SECRET), status(next)), (101, 401));
    fs::write(secret.path(), "short").expect("it works on any machine");
    server.signal("HUP");
    fs::write(secret.path(), next).expect("it works on any machine");
    server.signal("HUP");
    let deadline = std::time::Instant::now() + DEADLINE;
    while status(next) != 101 {
        assert!(std::time::Instant::now() < deadline, "the new key is used");
    }
    assert_eq!(status(SECRET), 401);
}

#[test]
fn an_api_key_is_made_by_the_command_line_and_publishes() {
    let made = run(&["hash-key", "feed", "--publish", "px.>"], "");
    assert!(made.status.success());
    let line = String::from_utf8(made.stdout).expect("it works on any machine");
    let told = String::from_utf8(made.stderr).expect("it works on any machine");
    let key = told
        .trim()
        .rsplit(' ')
        .next()
        .expect("it works on any machine");
    assert!(!line.contains(key), "the file does not hold the key");
    let keys = TempFile::new("keys", &line);
    let flag = format!("--api-keys={}", keys.path());
    let server = Server::start(&[&flag, "--allow-anonymous=subscribe"]);
    let post = |topic: &str, key: &str| {
        let request = format!(
            "POST /v1/topics/{topic} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 1\r\n\r\n1"
        );
        server.http(request.as_bytes()).0
    };
    assert_eq!(post("px.a", key), 200);
    assert_eq!(post("other", key), 403);
    assert_eq!(
        post("px.a", "fk_0123456789012345678901234567890123456789012"),
        401
    );
    let mut anybody = server.connect("/ws");
    assert_eq!(read_json(&mut anybody)["auth"], "optional");
    assert_eq!(subscribe(&mut anybody, "px.a")["topics"][0]["seq"], 1);
    send(
        &mut anybody,
        r#"{"action":"publish","id":2,"topic":"px.a","data":1}"#,
    );
    assert_eq!(read_json(&mut anybody)["type"], "snapshot");
    assert_eq!(read_json(&mut anybody)["code"], 2000);
}

#[test]
fn a_server_that_others_reach_does_not_start_without_being_told_who_may_do_what() {
    let out = run(&["serve", "--listen", "0.0.0.0:0"], "");
    assert_eq!(out.status.code(), Some(2));
    let told = String::from_utf8(out.stderr).expect("it works on any machine");
    assert!(
        told.contains("jwt-key") && told.contains("allow-anonymous"),
        "{told}"
    );
    let server = Server::start_plain(&["--listen", "0.0.0.0:0", "--allow-anonymous", "subscribe"]);
    let port = server.addresses[0].port();
    let mut stream = crate::harness::tcp(([127, 0, 0, 1], port).into());
    let request =
        "POST /v1/topics/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1";
    stream
        .write_all(request.as_bytes())
        .expect("it works on any machine");
    assert_eq!(response(&mut stream).0, 403);
}

#[test]
fn pages_of_other_origins_may_not_ask_unless_they_are_listed() {
    let server = Server::start(&["--allow-origin=https://*.example.com"]);
    for (origin, status) in [
        ("http://127.0.0.1", 101),
        ("http://localhost:3000", 101),
        ("https://app.example.com", 101),
        ("https://example.com", 403),
        ("https://evil.org", 403),
        ("null", 403),
    ] {
        let got = upgrade_status(&server, "/ws", &format!("Origin: {origin}\r\n"));
        assert_eq!(got.0, status, "{origin}: {}", got.1);
        let request = format!(
            "POST /v1/topics/a HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: {origin}\r\nContent-Length: 1\r\n\r\n1"
        );
        let (got, answer) = server.http(request.as_bytes());
        assert_eq!(
            got,
            if status == 101 { 200 } else { 403 },
            "{origin}: {answer}"
        );
        let told = format!("Access-Control-Allow-Origin: {origin}\r\n");
        let is_foreign = status == 101 && origin != "http://127.0.0.1";
        assert_eq!(answer.contains(&told), is_foreign, "{origin}: {answer}");
    }
    let strict = Server::start(&["--allow-missing-origin=false"]);
    assert_eq!(upgrade_status(&strict, "/ws", "").0, 403);
}

#[test]
fn one_address_has_as_many_connections_as_it_may() {
    let server = Server::start(&["--max-connections-per-address=2"]);
    let (first, second) = (server.connect("/ws"), server.connect("/ws"));
    let (status, answer) = upgrade_status(&server, "/ws", "");
    assert_eq!(status, 429, "{answer}");
    assert!(answer.contains("Retry-After:"), "{answer}");
    drop((first, second));
    let deadline = std::time::Instant::now() + DEADLINE;
    while upgrade_status(&server, "/ws", "").0 != 101 {
        assert!(std::time::Instant::now() < deadline, "room is given again");
    }
}

#[test]
fn behind_a_proxy_each_client_counts_by_itself() {
    let server = Server::start(&[
        "--max-connections-per-address=1",
        "--trusted-proxy=127.0.0.0/8",
    ]);
    let mut held = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        let mut stream = server.tcp();
        let request = format!(
            "GET /v1/sse?topics=a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6, {client}\r\n\r\n"
        );
        stream
            .write_all(request.as_bytes())
            .expect("it works on any machine");
        held.push(stream);
        let again = format!("X-Forwarded-For: {client}, 127.0.0.9\r\n");
        let deadline = std::time::Instant::now() + DEADLINE;
        while upgrade_status(&server, "/ws", &again).0 != 429 {
            assert!(std::time::Instant::now() < deadline, "{client} is counted");
        }
    }
}

#[test]
fn the_proxy_protocol_says_whose_a_connection_is() {
    let flags = [
        "--proxy-protocol",
        "--trusted-proxy=127.0.0.1",
        "--max-connections-per-address=1",
    ];
    let server = Server::start(&flags);
    let connect = |client: &str| {
        let mut stream = server.tcp();
        write!(
            stream,
            "PROXY TCP4 {client} 192.0.2.9 1 2\r\nGET /v1/sse?topics=a HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        .expect("it works on any machine");
        stream
    };
    let mut line = [0; 15];
    let mut first = connect("192.0.2.1");
    first
        .read_exact(&mut line)
        .expect("it works on any machine");
    assert_eq!(&line, b"HTTP/1.1 200 OK");
    assert_eq!(response(&mut connect("192.0.2.1")).0, 429);
    let mut other = connect("192.0.2.2");
    other
        .read_exact(&mut line)
        .expect("it works on any machine");
    assert_eq!(&line, b"HTTP/1.1 200 OK");
    // Without the header, and from elsewhere, nothing is said at all.
    let mut plain = server.tcp();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it works on any machine");
    assert_eq!(all_of(&mut plain), "");
    let strict = Server::start(&["--proxy-protocol", "--trusted-proxy=10.0.0.0/8"]);
    let mut stream = strict.tcp();
    let _ = stream.write_all(b"PROXY UNKNOWN\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(all_of(&mut stream), "");
}

#[test]
fn a_rooms_messages_say_who_sent_them() {
    let (server, _secret) = server_with_secret(&["--room-user=user"]);
    let mut room = server.connect(&format!("/room/lobby?token={}", good_token(&json!({}))));
    send(&mut room, r#"{"user":"the president","text":"hi"}"#);
    assert_eq!(read_json(&mut room), json!({"user": "ann", "text": "hi"}));
}
