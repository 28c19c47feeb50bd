//! A bare connection that speaks HTTP: requests as they are written here, answers one by one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Server};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (other, value) = line.split_once(':')?;
            other.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text was expected")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether the server says that it will close behind it.
    pub(crate) fn is_last(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.to_ascii_lowercase().contains("close"))
    }
}

/// A connection and what has been read ahead of it.
pub(crate) struct Connection {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(server: &Server) -> Connection {
        Connection {
            stream: server.tcp(),
            ahead: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the server reads");
    }

    /// The same where the server may have closed already.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends a byte. False: the server has answered or closed meanwhile.
    pub(crate) fn trickle(&mut self, byte: u8) -> bool {
        self.stream
            .set_nonblocking(true)
            .expect("an option can be set");
        let mut next = [0];
        let is_silent = matches!(self.stream.peek(&mut next), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream
            .set_nonblocking(false)
            .expect("an option can be set");
        is_silent && self.stream.write_all(&[byte]).is_ok()
    }

    /// Ends our side of the stream.
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("it is open");
    }

    /// The next answer, to a request that wants a body.
    pub(crate) fn answer(&mut self) -> Answer {
        self.next(true)
    }

    /// The next answer, to a HEAD.
    pub(crate) fn answer_to_head(&mut self) -> Answer {
        self.next(false)
    }

    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request);
        self.answer()
    }

    fn next(&mut self, wants_body: bool) -> Answer {
        let end = loop {
            let end = self
                .ahead
                .windows(4)
                .position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            assert!(
                self.read(),
                "the answer ends early: {:?}",
                self.ahead_text()
            );
        };
        let head = String::from_utf8(self.ahead.drain(..end).collect()).expect("heads are text");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(|digits| digits.parse().ok());
        let mut answer = Answer {
            status: status.unwrap_or_else(|| panic!("no status: {head:?}")),
            head,
            body: Vec::new(),
        };
        let length = answer
            .header("content-length")
            .map(|text| text.parse().expect("a number"));
        let has_body = wants_body && answer.status >= 200 && !matches!(answer.status, 204 | 304);
        if let (true, Some(length)) = (has_body, length) {
            while self.ahead.len() < length {
                assert!(self.read(), "the body ends early: {answer:?}");
            }
            answer.body = self.ahead.drain(..length).collect();
        }
        answer
    }

    /// Reads until `text` has come, and takes all up to its end.
    pub(crate) fn until(&mut self, text: &str) -> String {
        loop {
            let found = self
                .ahead
                .windows(text.len())
                .position(|window| window == text.as_bytes());
            if let Some(at) = found {
                let taken: Vec<u8> = self.ahead.drain(..at + text.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            assert!(
                self.read(),
                "{text:?} does not come: {:?}",
                self.ahead_text()
            );
        }
    }

    /// All that comes until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        while self.read() {}
        self.ahead_text()
    }

    /// The server closes, and has said nothing more.
    pub(crate) fn assert_ended(&mut self, what: &str) {
        let rest = self.rest();
        assert!(rest.is_empty(), "{what}: {rest:?}");
    }

    fn ahead_text(&self) -> String {
        String::from_utf8_lossy(&self.ahead).into_owned()
    }

    /// Reads once. False: the server has closed.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(count) => {
                    self.ahead.extend_from_slice(&buffer[..count]);
                    return count > 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever sends on after the end is told by a reset.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("{error} before {:?}", self.ahead_text()),
            }
        }
    }
}

/// Asks again until it is so, for what nobody is told of.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// A request without a body.
pub(crate) fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

pub(crate) fn get(path: &str) -> String {
    request("GET", path)
}

/// A value of this type.
pub(crate) fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
