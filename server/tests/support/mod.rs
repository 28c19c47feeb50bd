//! The real binary on a port of its own, and a WebSocket client that is not ours (tungstenite).
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, client::client_with_config};

/// How long anything that should happen at once may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; it ends with this value.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts `fanfare serve` with these flags on a port that the system picks, and waits until it is ready.
    pub fn start(flags: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let lines = lines_of(child.stdout.take().expect("its standard output"));
        let mut address = None;
        loop {
            let line = lines
                .recv_timeout(PATIENCE)
                .expect("the server becomes ready");
            if let Some(at) = line.strip_prefix("listening on ws://") {
                address = at.parse().ok();
            }
            if line == "ready" {
                return Server {
                    child,
                    address: address.expect("an address before ready"),
                };
            }
        }
    }

    /// A WebSocket to one of its paths.
    pub fn connect(&self, path: &str) -> WebSocket {
        self.try_connect(path).expect("the upgrade succeeds")
    }

    /// The same, where the upgrade may be refused.
    pub fn try_connect(&self, path: &str) -> Result<WebSocket, Box<tungstenite::Error>> {
        let stream = TcpStream::connect(self.address).expect("the server accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(16 << 20);
        config.max_frame_size = Some(16 << 20);
        match client_with_config(format!("ws://{}{path}", self.address), stream, Some(config)) {
            Ok((socket, _)) => Ok(WebSocket { socket }),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(Box::new(error)),
            Err(tungstenite::HandshakeError::Interrupted(_)) => {
                panic!("the upgrade takes too long")
            }
        }
    }

    /// A plain connection.
    pub fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        stream
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name, as kill(1) does.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(done.expect("kill runs").success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client's WebSocket.
pub struct WebSocket {
    socket: tungstenite::WebSocket<TcpStream>,
}

impl WebSocket {
    /// Sends a text message.
    pub fn send_text(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    /// Sends any message.
    pub fn send(&mut self, message: Message) {
        self.socket.send(message).expect("the server takes it");
    }

    /// The next message, pings and pongs aside.
    pub fn next(&mut self, patience: Duration) -> Result<Message, Box<tungstenite::Error>> {
        self.socket
            .get_ref()
            .set_read_timeout(Some(patience))
            .expect("a timeout can be set");
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => return other.map_err(Box::new),
            }
        }
    }

    /// The next message, which must be text.
    pub fn next_text(&mut self, patience: Duration) -> String {
        match self.next(patience) {
            Ok(Message::Text(text)) => text.to_string(),
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// The code of the close frame that comes, whatever comes before it; the stream's end without one is `None`.
    pub fn close_code(&mut self) -> Option<u16> {
        loop {
            match self.next(PATIENCE) {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Begins the close handshake.
    pub fn close(&mut self, frame: Option<tungstenite::protocol::CloseFrame>) {
        self.socket.close(frame).expect("the close is sent");
    }

    /// The stream under it.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}

/// Reads a pipe to its end on a thread, so that waiting for a line can have a deadline.
pub fn lines_of(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
