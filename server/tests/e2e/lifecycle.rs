//! Starting, closing, stopping.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::harness::{
    DEADLINE, Server, TempFile, close_code, fanfare, lines_of, publish, read_json, run,
};

#[test]
fn a_close_by_the_client_is_answered_with_its_own_code() {
    let server = Server::start(&["--echo"]);
    for path in ["/ws", "/raw", "/room/a", "/echo"] {
        let mut socket = server.connect(path);
        socket
            .close(Some(CloseFrame {
                code: CloseCode::Normal,
                reason: "done".into(),
            }))
            .unwrap();
        assert_eq!(close_code(&mut socket), Some(1000), "{path}");
    }
}

#[test]
fn sigterm_says_good_bye_to_everybody_and_exits_with_0() {
    let mut server = Server::start(&["--echo"]);
    let mut sockets: Vec<_> = ["/ws", "/raw", "/room/a", "/echo"]
        .map(|path| server.connect(path))
        .into();
    // Whoever was answered is surely connected.
    publish(&mut sockets[0], "a", "1");
    server.signal("TERM");
    for socket in &mut sockets {
        assert_eq!(close_code(socket), Some(1001));
    }
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn sigint_stops_as_sigterm_does() {
    let mut server = Server::start(&[]);
    let mut socket = server.subscribe("a");
    server.signal("INT");
    assert_eq!(close_code(&mut socket), Some(1001));
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut server = Server::start(&["--close-timeout", "10m"]);
    let mut socket = server.subscribe("a");
    server.signal("TERM");
    // The close has come, is not answered, and holds the server up for ten minutes.
    assert!(matches!(socket.read().unwrap(), Message::Close(_)));
    server.signal("TERM");
    assert_eq!(server.exit_status().code(), Some(128 + 15));
}

#[test]
fn a_client_that_does_not_answer_a_close_is_not_waited_for_long() {
    let mut server = Server::start(&["--close-timeout", "100ms"]);
    let _silent = server.subscribe("a");
    server.signal("TERM");
    assert_eq!(server.exit_status().code(), Some(0));
}

#[test]
fn several_addresses_of_both_families_are_served() {
    let ipv6 = TcpListener::bind("[::1]:0").is_ok();
    let mut flags = vec!["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    if ipv6 {
        flags.extend(["--listen", "[::1]:0"]);
    }
    let server = Server::start_plain(&flags);
    assert_eq!(server.addresses.len(), flags.len() / 2);
    for address in &server.addresses {
        assert_ne!(address.port(), 0);
        let (mut socket, _) =
            tungstenite::client(format!("ws://{address}/ws"), crate::harness::tcp(*address))
                .unwrap();
        assert_eq!(read_json(&mut socket)["type"], "hello");
    }
}

#[test]
fn an_error_of_the_operator_is_told_in_one_sentence_and_exits_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let config = TempFile::new(
        "fanfare.toml",
        "listen = \"127.0.0.1:0\"\nmax-conections = 5\n",
    );
    for (flags, part) in [
        (&["--max-conections", "5"][..], "'--max-connections'"),
        (
            &["--config", config.path()],
            "fanfare.toml:2: unknown key \"max-conections\"; did you mean \"max-connections\"?",
        ),
        (
            &["--config", "/nowhere.toml"],
            "/nowhere.toml: it cannot be read",
        ),
        (&["--route", "/a=/nowhere"], "none of /ws"),
        (&["--replay", "/nowhere.csv"], "/nowhere.csv"),
        (
            &["--replay", "builtin", "--time-column", "Tag"],
            "the columns are \"Ticker\", \"Date\"",
        ),
        (&["--listen", &taken], &taken),
        (
            &["--idle-timeout", "1s"],
            "must be a second below idle-timeout",
        ),
    ] {
        let output = run(&[&["serve"], flags].concat(), "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {error}");
        let told: Vec<&str> = error
            .lines()
            .filter(|line| line.starts_with("fanfare: "))
            .collect();
        assert!(told.len() == 1 && told[0].contains(part), "{error}");
        assert!(output.stdout.is_empty(), "nothing was served");
    }
}

#[test]
fn the_configuration_that_is_printed_is_one_that_can_be_read() {
    let printed = run(
        &[
            "serve",
            "--echo",
            "--idle-timeout",
            "2m",
            "--route",
            "/a=/raw",
            "--check-config",
        ],
        "",
    );
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).unwrap();
    let file = TempFile::new("printed.toml", &text);
    let again = run(&["serve", "--config", file.path(), "--check-config"], "");
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
    let overruled = run(
        &[
            "serve",
            "--config",
            file.path(),
            "--idle-timeout",
            "3m",
            "--check-config",
        ],
        "",
    );
    assert!(
        String::from_utf8(overruled.stdout)
            .unwrap()
            .contains("idle-timeout = \"3m\"")
    );
}

#[test]
fn logs_as_json_are_one_object_a_line() {
    let mut server = fanfare()
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = lines_of(server.stdout.take().unwrap());
    let logged = lines_of(server.stderr.take().unwrap());
    while said.recv_timeout(DEADLINE).unwrap() != "ready" {}
    let pid = server.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(server.wait().unwrap().success());
    let lines: Vec<String> = logged.iter().collect();
    for line in &lines {
        let object: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert!(
            object["timestamp"].is_string() && object["level"].is_string(),
            "{line}"
        );
    }
    assert!(!lines.is_empty());
}
