//! Starting the server, talking to it, ending it.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

/// No event of these tests takes a second on an idle machine; this is for busy ones.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) type Socket = WebSocket<TcpStream>;

/// A running server. It is killed, by its id, when the test is over.
pub(crate) struct Server {
    pid: u32,
    /// Where it listens without TLS, and where with it.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls_addresses: Vec<SocketAddr>,
    pub(crate) admin: Vec<SocketAddr>,
    exit: Receiver<ExitStatus>,
    exited: Option<ExitStatus>,
}

impl Server {
    /// Two shards, so that publishers and subscribers usually sit on different ones.
    pub(crate) fn start(flags: &[&str]) -> Server {
        let basic = [
            "--listen",
            "127.0.0.1:0",
            "--shards",
            "2",
            "--max-connections",
            "1000",
        ];
        Server::start_plain(&[&basic[..], flags].concat())
    }

    /// Nothing but `flags`.
    pub(crate) fn start_plain(flags: &[&str]) -> Server {
        let mut child = fanfare()
            .arg("serve")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Shown by the test runner when a test fails.
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary was built for this test");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        let (pid, exit) = wait_for_exit(child);
        let mut server = Server {
            pid,
            addresses: Vec::new(),
            tls_addresses: Vec::new(),
            admin: Vec::new(),
            exit,
            exited: None,
        };
        loop {
            let line = lines
                .recv_timeout(DEADLINE)
                .expect("the server says that it is ready");
            let address = |text: &str| text.parse().expect("an address");
            match line
                .strip_prefix("listening on ")
                .and_then(|url| url.split_once("://"))
            {
                Some(("ws", at)) => server.addresses.push(address(at)),
                Some(("wss", at)) => server.tls_addresses.push(address(at)),
                None if line == "ready" => return server,
                None if line.starts_with("admin on http://") => {
                    let at = line.trim_start_matches("admin on http://");
                    server.admin.push(address(at));
                }
                _ => panic!("unexpected line {line:?}"),
            }
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addresses[0])
    }

    /// A bare connection whose reads and writes fail at the deadline.
    pub(crate) fn tcp(&self) -> TcpStream {
        tcp(self.addresses[0])
    }

    pub(crate) fn connect(&self, path: &str) -> Socket {
        let opened = tungstenite::client(self.url(path), self.tcp());
        opened.unwrap_or_else(|error| panic!("{path}: {error}")).0
    }

    /// A connection that speaks this subprotocol.
    pub(crate) fn connect_speaking(&self, path: &str, protocol: &str) -> Socket {
        let mut request = self.url(path).into_client_request().expect("a URL");
        let value = protocol.parse().expect("a header's value");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", value);
        let opened = tungstenite::client(request, self.tcp());
        let (socket, response) = opened.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], protocol);
        socket
    }

    /// A `/ws` connection past its hello and subscribed to `topic`.
    pub(crate) fn subscribe(&self, topic: &str) -> Socket {
        let mut socket = self.connect("/ws");
        assert_eq!(read_json(&mut socket)["type"], "hello");
        send(
            &mut socket,
            &format!(r#"{{"action":"subscribe","id":1,"topics":["{topic}"]}}"#),
        );
        let answer = read_json(&mut socket);
        assert_eq!(answer["type"], "subscribed", "{answer}");
        socket
    }

    /// The status and all of the answer to `request`, sent as it is. Nothing follows it, which the server is told.
    pub(crate) fn http(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.tcp();
        stream.write_all(request).expect("the server reads");
        // It may have been refused and closed already.
        let _ = stream.shutdown(Shutdown::Write);
        response(&mut stream)
    }

    /// What the process holds in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("Linux tells")
            * 1024
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid.to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
    }

    /// Waits for the process to end by itself.
    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        let status = self.exit.recv_timeout(DEADLINE).expect("the server ends");
        self.exited = Some(status);
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.exited.is_none() && self.exit.try_recv().is_err() {
            // It may end at this very moment, then there is nobody to kill.
            let _ = Command::new("kill")
                .args(["-KILL", &self.pid.to_string()])
                .stderr(Stdio::null())
                .status();
            let _ = self.exit.recv_timeout(DEADLINE);
        }
    }
}

pub(crate) fn fanfare() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fanfare"))
}

/// Runs `fanfare` with `arguments` to its end and feeds it `stdin`.
pub(crate) fn run(arguments: &[&str], stdin: &str) -> Output {
    let mut child = fanfare()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built for this test");
    // A command that ends without reading its input is no failure here.
    let _ = child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(stdin.as_bytes());
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    receiver
        .recv_timeout(DEADLINE)
        .unwrap_or_else(|_| {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
            panic!("{arguments:?} did not end");
        })
        .expect("its output can be read")
}

/// The child is waited for on a thread, so that a test can wait for its end with a deadline.
fn wait_for_exit(mut child: Child) -> (u32, Receiver<ExitStatus>) {
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let status = child.wait().expect("a child can be waited for");
        // Nobody may be interested any more.
        let _ = sender.send(status);
    });
    (pid, receiver)
}

/// Lines as they come; the pipe is read to its end, so that the writer never blocks.
pub(crate) fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server listens");
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a timeout can be set");
    stream.set_nodelay(true).expect("an option can be set");
    stream
}

/// Reads until the server closes.
pub(crate) fn response(stream: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    // A reset after the answer ends it as well as a close does.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no HTTP answer: {text:?}")),
        text,
    )
}

pub(crate) fn send<S: Read + Write>(socket: &mut WebSocket<S>, text: &str) {
    socket.send(Message::text(text)).expect("the server reads");
}

/// The next message that is neither ping nor pong.
pub(crate) fn read<S: Read + Write>(socket: &mut WebSocket<S>) -> Message {
    loop {
        match socket.read().expect("a message within the deadline") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

pub(crate) fn read_text<S: Read + Write>(socket: &mut WebSocket<S>) -> String {
    match read(socket) {
        Message::Text(text) => text.to_string(),
        message => panic!("text was expected, not {message:?}"),
    }
}

pub(crate) fn read_json<S: Read + Write>(socket: &mut WebSocket<S>) -> Value {
    let text = read_text(socket);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?} is not JSON: {error}"))
}

/// The next message of this `type`; others are passed over.
pub(crate) fn read_type<S: Read + Write>(socket: &mut WebSocket<S>, wanted: &str) -> Value {
    loop {
        let event = read_json(socket);
        if event["type"] == wanted {
            return event;
        }
    }
}

/// Reads to the end of the connection. The close code the server sent, if it sent one.
pub(crate) fn close_code<S: Read + Write>(socket: &mut WebSocket<S>) -> Option<u16> {
    let mut code = None;
    loop {
        match socket.read() {
            Ok(Message::Close(Some(CloseFrame { code: sent, .. }))) => code = Some(sent.into()),
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no close within the deadline")
            }
            Err(_) => return code,
        }
    }
}

/// Publishes `data` to `topic` and waits for the answer; its seq.
pub(crate) fn publish<S: Read + Write>(socket: &mut WebSocket<S>, topic: &str, data: &str) -> u64 {
    send(
        socket,
        &format!(r#"{{"action":"publish","id":"p","topic":"{topic}","data":{data}}}"#),
    );
    let answer = read_type(socket, "published");
    answer["seq"].as_u64().expect("a seq")
}

/// A file of its own in the folder for tests, removed at the end.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(name: &str, content: &str) -> TempFile {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("{}-{number}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("the folder for tests can be written");
        TempFile(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // One that stays behind lies in the build folder.
        let _ = std::fs::remove_file(&self.0);
    }
}
