//! The server seen from outside: CPU time and resident memory of its processes, the owners of its
//! memory from `GET /v1/memory`. What cannot be had is absent, and fails nothing.

use crate::process::Usage;
use crate::target::Target;
use serde::Serialize;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// How long the server may take to say where its memory is: it counts a million connections.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(15);
const MEMORY_BYTES_MAX: u64 = 1 << 20;

/// The server's process, watched.
#[derive(Debug)]
pub struct Watch {
    pid: Option<u32>,
    begin: Option<Usage>,
    peak_rss_bytes: u64,
    last: Option<ServerUsage>,
}

/// What the server used in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServerUsage {
    /// CPU time in user mode.
    pub cpu_user_s: f64,
    /// CPU time in the kernel.
    pub cpu_system_s: f64,
    /// Resident memory when the phase began.
    pub rss_begin_bytes: u64,
    /// The most that was seen, a look each 250 ms.
    pub rss_peak_bytes: u64,
    /// Resident memory when it ended.
    pub rss_end_bytes: u64,
}

impl Watch {
    /// Watches a process, if there is one to watch.
    pub fn new(pid: Option<u32>) -> Watch {
        Watch {
            pid,
            begin: None,
            peak_rss_bytes: 0,
            last: None,
        }
    }

    /// How the server stands now.
    pub fn look(&mut self) -> Option<Usage> {
        let usage = Usage::of_tree(self.pid?)?;
        self.peak_rss_bytes = self.peak_rss_bytes.max(usage.rss_bytes);
        Some(usage)
    }

    /// A phase begins.
    pub fn begin(&mut self) {
        (self.peak_rss_bytes, self.last) = (0, None);
        self.begin = self.look();
    }

    /// What it used since the phase began.
    pub fn usage(&mut self) -> Option<ServerUsage> {
        let (end, begin) = (self.look()?, self.begin?);
        self.last = Some(ServerUsage {
            cpu_user_s: end.cpu_user_s - begin.cpu_user_s,
            cpu_system_s: end.cpu_system_s - begin.cpu_system_s,
            rss_begin_bytes: begin.rss_bytes,
            rss_peak_bytes: self.peak_rss_bytes,
            rss_end_bytes: end.rss_bytes,
        });
        self.last
    }

    /// What [`Watch::usage`] said last.
    pub fn last_usage(&self) -> Option<ServerUsage> {
        self.last
    }
}

/// What the server says of its memory; `None` if it does not.
pub fn memory(target: &Target) -> Option<serde_json::Value> {
    let mut stream = TcpStream::connect_timeout(&target.address, MEMORY_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(MEMORY_TIMEOUT)).ok()?;
    let request = format!(
        "GET /v1/memory HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        target.host
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream
        .take(MEMORY_BYTES_MAX)
        .read_to_end(&mut answer)
        .ok()?;
    let text = std::str::from_utf8(&answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let is_ok = head.split(' ').nth(1) == Some("200");
    serde_json::from_str(body).ok().filter(|_| is_ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_and_a_missing_one_is_not() {
        let mut own = Watch::new(Some(std::process::id()));
        own.begin();
        assert!(own.usage().is_some_and(|usage| usage.rss_end_bytes > 0));
        let mut watch = Watch::new(None);
        watch.begin();
        assert_eq!(watch.usage(), None);
    }
}
