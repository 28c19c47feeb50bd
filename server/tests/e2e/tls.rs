//! TLS, with rustls' own buffered client and tungstenite on top of it: what comes through, and what becomes of those who misbehave.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;
use tungstenite::WebSocket;

use crate::authority::Authority;
use crate::harness::{
    DEADLINE, Server, close_code, fanfare, publish, read_json, read_text, read_type, run, send, tcp,
};

type Secure = StreamOwned<ClientConnection, TcpStream>;

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// A server that listens both ways, with a certificate for `localhost`.
fn start(authority: &Authority, flags: &[&str]) -> Server {
    let (certificate, key) = authority.issue(&["localhost"]);
    let tls = [
        "--tls-listen=127.0.0.1:0",
        "--tls-cert",
        text(&certificate),
        "--tls-key",
        text(&key),
    ];
    Server::start(&[&tls, flags].concat())
}

fn secure_over(stream: TcpStream, config: Arc<ClientConfig>) -> Secure {
    let host = ServerName::try_from("localhost").expect("a host");
    let client = ClientConnection::new(config, host).expect("a configuration that holds");
    StreamOwned::new(client, stream)
}

fn secure(server: &Server, authority: &Authority) -> Secure {
    secure_over(tcp(server.tls_addresses[0]), authority.client())
}

fn connect(server: &Server, authority: &Authority, path: &str) -> WebSocket<Secure> {
    let url = format!("wss://localhost{path}");
    tungstenite::client(url, secure(server, authority))
        .expect("a WebSocket")
        .0
}

fn subscribe(server: &Server, authority: &Authority, topic: &str) -> WebSocket<Secure> {
    let mut socket = connect(server, authority, "/ws");
    let command = format!(r#"{{"action":"subscribe","id":1,"topics":["{topic}"]}}"#);
    send(&mut socket, &command);
    read_type(&mut socket, "subscribed");
    socket
}

/// Reads to the end; whether it was an orderly one, with `close_notify`.
fn ends_in_order(stream: &mut impl Read) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn both_kinds_of_listeners_serve_the_same_topics() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    let mut over_tls = subscribe(&server, &authority, "a");
    let mut plain = server.subscribe("a");
    let mut publisher = connect(&server, &authority, "/ws");
    for seq in 1..=100 {
        assert_eq!(publish(&mut publisher, "a", &seq.to_string()), seq);
        assert_eq!(read_json(&mut over_tls)["seq"], seq);
        assert_eq!(read_json(&mut plain)["seq"], seq);
    }
    assert_eq!(publish(&mut server.connect("/ws"), "a", "1"), 101);
    assert_eq!(read_json(&mut over_tls)["seq"], 101);
}

#[test]
fn messages_of_any_size_come_back_as_they_were_sent() {
    let authority = Authority::new();
    let limits = [
        "--echo",
        "--max-frame-bytes=8m",
        "--max-message-bytes=8m",
        "--max-outbox-bytes=16m",
    ];
    let server = start(&authority, &limits);
    let mut socket = connect(&server, &authority, "/echo");
    for bytes in [0, 1, 125, 16_000, 16_384, 16_385, 65_536, 70_000, 5_000_000] {
        let message = "y".repeat(bytes);
        send(&mut socket, &message);
        assert!(read_text(&mut socket) == message, "{bytes} bytes");
    }
}

/// A socket that sends every byte by itself.
struct Torn(TcpStream);

impl Read for Torn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(&mut buffer[..1])
    }
}

impl Write for Torn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..1.min(bytes.len())])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn records_may_come_byte_by_byte() {
    let authority = Authority::new();
    let server = start(&authority, &["--echo"]);
    let host = ServerName::try_from("localhost").expect("a host");
    let client = ClientConnection::new(authority.client(), host).expect("it holds");
    let stream = StreamOwned::new(client, Torn(tcp(server.tls_addresses[0])));
    let (mut socket, _) = tungstenite::client("wss://localhost/echo", stream).expect("a WebSocket");
    for message in ["slowly", &"z".repeat(3_000)] {
        send(&mut socket, message);
        assert_eq!(read_text(&mut socket), message);
    }
}

#[test]
fn every_close_is_told_to_the_end() {
    let authority = Authority::new();
    let mut server = start(&authority, &["--close-timeout=20s"]);
    let mut closing = connect(&server, &authority, "/ws");
    closing.close(None).expect("it is written");
    assert_eq!(close_code(&mut closing), None);
    assert!(ends_in_order(closing.get_mut()));
    let mut breaking = connect(&server, &authority, "/ws");
    breaking
        .get_mut()
        .write_all(b"\xff\xff\xff\xff")
        .expect("it is written");
    assert_eq!(close_code(&mut breaking), Some(1002));
    assert!(ends_in_order(breaking.get_mut()));
    let mut refused = secure(&server, &authority);
    refused
        .write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is written");
    assert!(ends_in_order(&mut refused));
    // The server waits for their ends, too.
    drop((closing, breaking, refused));
    let mut last = connect(&server, &authority, "/ws");
    assert_eq!(read_json(&mut last)["type"], "hello");
    server.signal("TERM");
    assert_eq!(close_code(&mut last), Some(1001));
    drop(last);
    assert!(server.exit_status().success());
}

#[test]
fn who_has_said_all_still_hears_the_answer() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    let mut stream = secure(&server, &authority);
    stream
        .write_all(b"GET /v1/memory HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is written");
    stream.conn.send_close_notify();
    stream.flush().expect("it is written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an orderly end");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A subscriber whose kernel takes little ahead of what is read.
fn subscribe_slowly(server: &Server, authority: &Authority, topic: &str) -> WebSocket<Secure> {
    let stream = tcp(server.tls_addresses[0]);
    socket2::SockRef::from(&stream)
        .set_recv_buffer_size(4096)
        .expect("an option can be set");
    let stream = secure_over(stream, authority.client());
    let (mut slow, _) = tungstenite::client("wss://localhost/ws", stream).expect("a WebSocket");
    let command = format!(r#"{{"action":"subscribe","topics":["{topic}"]}}"#);
    send(&mut slow, &command);
    read_type(&mut slow, "subscribed");
    slow
}

#[test]
fn a_slow_reader_over_tls_is_conflated_and_costs_no_more_than_others() {
    let authority = Authority::new();
    let server = start(
        &authority,
        &["--max-outbox-bytes=256k", "--send-buffer=16k"],
    );
    let mut slow = subscribe_slowly(&server, &authority, "a");
    let mut publisher = server.connect("/ws");
    let data = format!("\"{}\"", "x".repeat(32_000));
    let before = server.resident_bytes();
    for seq in 1..=600 {
        assert_eq!(publish(&mut publisher, "a", &data), seq);
    }
    let grown = server.resident_bytes().saturating_sub(before);
    // 19 MB were published; its outbox is 256 KB, and what is sealed ahead 64.
    assert!(grown < 6 << 20, "{grown}");
    let (mut at, mut delivered) = (0, 0);
    while at < 600 {
        let event = read_json(&mut slow);
        match event["type"].as_str() {
            Some("update") => {
                assert_eq!(event["seq"], at + 1);
                at += 1;
                delivered += 1;
            }
            Some("skip") => {
                assert_eq!(event["from"], at + 1);
                at = event["to"].as_u64().expect("a seq");
            }
            _ => {}
        }
    }
    assert!((8..100).contains(&delivered), "{delivered}");
}

/// A number of `/v1/memory`.
fn memory(server: &Server, owner: &str) -> u64 {
    let (status, answer) =
        server.http(b"GET /v1/memory HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 200, "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let page: Value = serde_json::from_str(body).expect("JSON");
    page[owner].as_u64().expect("a number")
}

/// Asks until it is so; what is told is counted once a second.
fn until_tls_bytes(server: &Server, is: impl Fn(u64) -> bool) -> u64 {
    let begun = Instant::now();
    loop {
        let bytes = memory(server, "tls_bytes");
        if is(bytes) {
            return bytes;
        }
        assert!(begun.elapsed() < DEADLINE, "still {bytes}");
    }
}

#[test]
fn memory_names_what_tls_holds_and_it_goes_with_its_connections() {
    let authority = Authority::new();
    let server = start(&authority, &["--max-outbox-bytes=1m", "--send-buffer=16k"]);
    assert_eq!(memory(&server, "tls_bytes"), 0);
    let count = 20;
    let sockets: Vec<_> = (0..count)
        .map(|_| subscribe(&server, &authority, "a"))
        .collect();
    let idle = until_tls_bytes(&server, |bytes| bytes >= count * 3_000);
    assert!(idle < count * 4_096, "{idle}");
    // A connection that comes without TLS has no part in it.
    let _plain = server.subscribe("a");
    // This one does not read, so sealed records wait for its socket.
    let slow = subscribe_slowly(&server, &authority, "b");
    let mut publisher = server.connect("/ws");
    let data = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..100 {
        publish(&mut publisher, "b", &data);
    }
    // How much is left of what was sealed is up to the kernel; it is more than one more idle connection holds.
    let waiting = until_tls_bytes(&server, |bytes| bytes > idle + idle / count);
    assert!(waiting < idle + 140_000, "{waiting}");
    assert!(memory(&server, "accounted_bytes") > waiting);
    drop(slow);
    until_tls_bytes(&server, |bytes| bytes == idle);
    drop(sockets);
    until_tls_bytes(&server, |bytes| bytes == 0);
}

#[test]
fn a_storm_of_half_handshakes_stalls_nobody_and_is_over_in_time() {
    let authority = Authority::new();
    let server = start(&authority, &["--handshake-timeout=2s"]);
    let mut subscriber = subscribe(&server, &authority, "a");
    let mut publisher = connect(&server, &authority, "/ws");
    let mut hello = Vec::new();
    let host = ServerName::try_from("localhost").expect("a host");
    let mut client = ClientConnection::new(authority.client(), host).expect("it holds");
    client.write_tls(&mut hello).expect("a hello");
    let cuts = [1, 5, 100, hello.len() - 1, hello.len(), hello.len()];
    let mut storm: Vec<TcpStream> = (0..600)
        .map(|number| {
            let mut stream = tcp(server.tls_addresses[0]);
            // All that a whole hello makes the server do, and then nothing.
            stream
                .write_all(&hello[..cuts[number % cuts.len()]])
                .expect("the server reads");
            stream
        })
        .collect();
    for seq in 1..=100 {
        assert_eq!(publish(&mut publisher, "a", "1"), seq);
        assert_eq!(read_json(&mut subscriber)["seq"], seq);
    }
    let mut newcomer = subscribe(&server, &authority, "b");
    publish(&mut publisher, "b", "1");
    assert_eq!(read_type(&mut newcomer, "update")["seq"], 1);
    for stream in &mut storm {
        // What was answered to the hello, and then the end; within the deadline, or this fails.
        match stream.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
    assert_eq!(publish(&mut publisher, "a", "1"), 101);
    assert_eq!(read_json(&mut subscriber)["seq"], 101);
}

#[test]
fn who_speaks_the_wrong_way_is_told_and_nobody_else_is_hurt() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    let mut bystander = subscribe(&server, &authority, "calm");
    // HTTP where TLS is spoken.
    let mut http = tcp(server.tls_addresses[0]);
    http.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is written");
    let mut answer = String::new();
    let _ = http.read_to_string(&mut answer);
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("https:// and wss:// only"),
        "{answer}"
    );
    // What is neither: a fatal alert.
    let mut rubbish = tcp(server.tls_addresses[0]);
    rubbish.write_all(&[0x80; 64]).expect("it is written");
    let mut alert = Vec::new();
    let _ = rubbish.read_to_end(&mut alert);
    assert_eq!(alert.first_chunk(), Some(&[21, 3, 3, 0, 2, 2]), "{alert:?}");
    // TLS where it is not spoken.
    let mut lost = secure_over(tcp(server.addresses[0]), authority.client());
    let error = lost
        .write_all(b"x")
        .and_then(|()| lost.read_to_end(&mut Vec::new()));
    assert!(error.is_err_and(|error| error.kind() == ErrorKind::InvalidData));
    // Good beginnings with a bad end.
    for cut in 1..30 {
        let mut stream = secure(&server, &authority);
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\n")
            .expect("it is written");
        let _ = stream.sock.write_all(&vec![0x17; cut]);
    }
    publish(&mut connect(&server, &authority, "/ws"), "calm", "1");
    assert_eq!(read_type(&mut bystander, "update")["seq"], 1);
}

/// The serial number of the certificate that a newcomer is shown.
fn shown(server: &Server, authority: &Authority) -> Vec<u8> {
    let mut stream = secure(server, authority);
    stream
        .conn
        .complete_io(&mut stream.sock)
        .expect("a handshake");
    stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
}

#[test]
fn new_certificates_are_taken_up_without_dropping_anybody() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    let mut standing = subscribe(&server, &authority, "a");
    let first = shown(&server, &authority);
    assert_eq!(shown(&server, &authority), first);
    // A client that resumes shows what its session began with, so each look is a client of its own.
    let (_, key) = authority.issue(&["localhost"]);
    while shown(&server, &authority) == first {}
    let second = shown(&server, &authority);
    // What fits no more is not taken up: old certificates go on.
    let whole = std::fs::read(&key).expect("a key");
    std::fs::write(&key, "no key at all").expect("it is written");
    server.signal("HUP");
    let mut publisher = connect(&server, &authority, "/ws");
    publish(&mut publisher, "a", "1");
    assert_eq!(read_type(&mut standing, "update")["seq"], 1);
    assert_eq!(shown(&server, &authority), second);
    std::fs::write(&key, whole).expect("it is written");
    authority.issue(&["localhost"]);
    server.signal("HUP");
    while shown(&server, &authority) == second {}
    publish(&mut publisher, "a", "2");
    assert_eq!(read_type(&mut standing, "update")["seq"], 2);
}

#[test]
fn files_of_no_use_end_the_start_with_one_sentence() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["localhost"]);
    let (_, other) = authority.issue(&["other"]);
    let missing = authority.path("missing.pem");
    for (certificate, key, part) in [
        (
            &certificate,
            &other,
            "does not belong to the certificate in",
        ),
        (&missing, &key, "cannot read"),
        (
            &certificate,
            &certificate,
            "holds no private key in PEM form",
        ),
        (&key, &key, "holds no certificate in PEM form"),
    ] {
        let flags = [
            "serve",
            "--tls-listen=127.0.0.1:0",
            "--tls-cert",
            text(certificate),
            "--tls-key",
            text(key),
        ];
        let ended = run(&flags, "");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{told}");
        let sentence = told.lines().last().unwrap_or_default();
        assert!(
            sentence.starts_with("fanfare: ") && sentence.contains(part),
            "{told}"
        );
    }
}

#[test]
fn an_expired_certificate_is_warned_of_and_served() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue_with(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    });
    let mut child = fanfare()
        .args([
            "serve",
            "--tls-listen=127.0.0.1:0",
            "--tls-cert",
            text(&certificate),
            "--tls-key",
            text(&key),
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    let lines = crate::harness::lines_of(child.stderr.take().expect("it is piped"));
    let warned = lines
        .iter()
        .any(|line| line.contains("WARN") && line.contains("localhost.pem expired on "));
    let _ = child.kill();
    let _ = child.wait();
    assert!(warned);
}

#[test]
fn hundreds_of_handshakes_at_once_all_end() {
    let authority = Authority::new();
    let server = start(&authority, &["--handshake-timeout=60s"]);
    let (address, config) = (server.tls_addresses[0], authority.client_of(0x0304));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let config = config.clone();
            thread::spawn(move || {
                let mut streams: Vec<Secure> = (0..110)
                    .map(|_| secure_over(tcp(address), config.clone()))
                    .collect();
                for stream in &mut streams {
                    // The hello only, so that all of them wait for the server together.
                    stream
                        .conn
                        .write_tls(&mut stream.sock)
                        .expect("the server reads");
                }
                for stream in &mut streams {
                    stream
                        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                        .expect("the server reads");
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).expect("an answer");
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("all were served");
    }
    let (_, page) = server.http(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let counted = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|count| count.trim().parse::<u32>().ok())
            .expect("a count")
    };
    let [full, resumed, failed] = ["handshakes", "resumptions", "failures"]
        .map(|name| counted(&format!("fanfare_tls_{name}_total")));
    assert_eq!((full + resumed, failed), (8 * 110, 0));
}

#[test]
fn sub_and_pub_speak_wss_and_say_whom_they_do_not_believe() {
    let authority = Authority::new();
    let server = start(&authority, &[]);
    let port = server.tls_addresses[0].port();
    let (named, other) = (
        format!("wss://localhost:{port}"),
        format!("wss://127.0.0.1:{port}"),
    );
    let ca = authority.ca();
    let published = run(&["pub", "--ca", text(&ca), &named, "a", "[1]"], "");
    assert_eq!(published.status.code(), Some(0), "{published:?}");
    let large = format!("\"{}\"\n", "x".repeat(60_000));
    let published = run(&["pub", "--insecure", &other, "a", "-"], &large);
    assert_eq!(published.status.code(), Some(0), "{published:?}");
    let heard = run(
        &[
            "sub",
            "--ca",
            text(&ca),
            "--raw",
            "--count",
            "1",
            &named,
            "a",
        ],
        "",
    );
    assert_eq!(
        (heard.status.code(), heard.stdout),
        (Some(0), large.into_bytes())
    );
    for (flags, url, part) in [
        (&["--ca", text(&ca)][..], &other, "not valid for name"),
        (&[], &named, "invalid peer certificate"),
        (
            &["--ca", "/nowhere.pem"],
            &named,
            "cannot read /nowhere.pem",
        ),
        (
            &[],
            &format!("wss://{}", server.addresses[0]),
            "cannot connect to 127.0.0.1:",
        ),
    ] {
        let refused = run(&[&["sub"], flags, &[url, "a"]].concat(), "");
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains(part) && told.lines().count() == 1, "{told}");
    }
}

#[test]
fn a_client_may_do_what_the_rule_for_its_certificate_says() {
    let authority = Authority::new();
    let ca = authority.ca();
    let rules = [
        "--tls-client-rights=feed sub=px.> pub=px.>",
        "--tls-client-rights=* sub=px.a",
    ];
    let anybody = ["--tls-client-ca", text(&ca), "--allow-anonymous=subscribe"];
    let server = start(&authority, &[&anybody[..], &rules].concat());
    let named = |name: &str| {
        let files = authority.issue(&[name]);
        let stream = secure_over(tcp(server.tls_addresses[0]), authority.client_with(&files));
        tungstenite::client("wss://localhost/ws", stream)
            .expect("a WebSocket")
            .0
    };
    let mut feed = named("feed");
    let mut other = named("other");
    let mut nobody = connect(&server, &authority, "/ws");
    assert_eq!(publish(&mut feed, "px.a", "1"), 1);
    send(&mut feed, r#"{"action":"publish","topic":"news","data":1}"#);
    assert_eq!(read_type(&mut feed, "error")["code"], 2003);
    send(
        &mut other,
        r#"{"action":"publish","topic":"px.a","data":2}"#,
    );
    assert_eq!(read_type(&mut other, "error")["code"], 2003);
    send(
        &mut other,
        r#"{"action":"subscribe","topics":["px.a","px.b"]}"#,
    );
    let answer = read_type(&mut other, "subscribed");
    assert_eq!(answer["topics"][0]["topic"], "px.a", "{answer}");
    assert_eq!(answer["errors"][0]["code"], 2003, "{answer}");
    // Who shows none may do what anybody may, which is nothing unless it is said.
    send(
        &mut nobody,
        r#"{"action":"publish","topic":"px.a","data":3}"#,
    );
    assert_eq!(read_type(&mut nobody, "error")["code"], 2003);
    send(&mut nobody, r#"{"action":"subscribe","topics":["news"]}"#);
    assert_eq!(
        read_type(&mut nobody, "subscribed")["topics"][0]["topic"],
        "news"
    );
    // A certificate of somebody else is refused with the handshake.
    let strangers = Authority::new();
    let stranger = strangers.issue(&["feed"]);
    let stream = secure_over(
        tcp(server.tls_addresses[0]),
        authority.client_with(&stranger),
    );
    assert!(tungstenite::client("wss://localhost/ws", stream).is_err());
}

#[test]
fn the_header_of_a_proxy_stands_in_front_of_the_tls() {
    let authority = Authority::new();
    let proxy = ["--proxy-protocol", "--trusted-proxy=127.0.0.0/8"];
    let server = start(
        &authority,
        &[&proxy[..], &["--max-connections-per-address=2"]].concat(),
    );
    let from = |address: &str, cut: usize| {
        let mut stream = tcp(server.tls_addresses[0]);
        let header = format!("PROXY TCP4 {address} 192.0.2.1 50000 443\r\n");
        let (first, last) = header.split_at(cut);
        stream
            .write_all(first.as_bytes())
            .expect("the server reads");
        stream.write_all(last.as_bytes()).expect("the server reads");
        let stream = secure_over(stream, authority.client());
        tungstenite::client("wss://localhost/ws", stream)
            .map(|(socket, _)| socket)
            .ok()
    };
    let mut held = vec![
        from("192.0.2.7", 0).expect("the first"),
        from("192.0.2.7", 9).expect("the second"),
    ];
    assert!(from("192.0.2.7", 3).is_none(), "one address may have two");
    held.push(from("192.0.2.8", 1).expect("another address"));
    for socket in &mut held {
        assert_eq!(read_json(socket)["type"], "hello");
    }
    let mut without = secure(&server, &authority);
    assert!(
        without
            .write_all(b"x")
            .and_then(|()| without.read_to_end(&mut Vec::new()))
            .is_err()
    );
}
