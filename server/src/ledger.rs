//! Where the memory is: bytes by owner, the process's resident bytes, and the kernel's share.
//!
//! A shard counts its own part when it is asked ([`Ledger`]); the process's and the kernel's part is read from `/proc`
//! ([`Process::read`]), by whoever may touch files. Numbers are bytes unless their name says otherwise.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

/// Bytes that one shard, or all together, hold for connections and topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Connections, in any stage.
    pub connections: u64,
    /// Their subscriptions.
    pub subscriptions: u64,
    /// Topics that shards listen to; one on three shards counts three times.
    pub topics: u64,
    /// Frames that wait in some outbox.
    pub frames: u64,
    /// Updates that wait without their payload, one for each connection and topic.
    pub marks: u64,
    /// Records of connections, with socket and deadline.
    pub slab_bytes: u64,
    /// Records of subscriptions.
    pub subscription_bytes: u64,
    /// Topics, their names, their members' columns, and the owners' side of them.
    pub topic_bytes: u64,
    /// Last values of topics: what recovery is served from.
    pub history_bytes: u64,
    /// Chains of waiting frames.
    pub outbox_bytes: u64,
    /// The waiting frames of connections themselves; an update's are counted once a shard.
    pub frame_bytes: u64,
    /// Marks, and what else is known of connections that wait.
    pub mark_bytes: u64,
    /// Incomplete input that is kept between reads.
    pub input_bytes: u64,
    /// TLS of connections: keys and other state, records that have not come whole, and what is sealed and not sent. The buffers are
    /// exact, the state is a measured constant.
    pub tls_bytes: u64,
    /// Tables that are larger than what is in them now, as far as they were once used.
    pub spare_bytes: u64,
    /// Buffers that a shard has once.
    pub buffer_bytes: u64,
}

impl Ledger {
    /// Adds another shard's part.
    pub fn add(&mut self, other: &Ledger) {
        self.connections += other.connections;
        self.subscriptions += other.subscriptions;
        self.topics += other.topics;
        self.frames += other.frames;
        self.marks += other.marks;
        self.slab_bytes += other.slab_bytes;
        self.subscription_bytes += other.subscription_bytes;
        self.topic_bytes += other.topic_bytes;
        self.history_bytes += other.history_bytes;
        self.outbox_bytes += other.outbox_bytes;
        self.frame_bytes += other.frame_bytes;
        self.mark_bytes += other.mark_bytes;
        self.input_bytes += other.input_bytes;
        self.tls_bytes += other.tls_bytes;
        self.spare_bytes += other.spare_bytes;
        self.buffer_bytes += other.buffer_bytes;
    }

    /// All bytes together.
    #[must_use]
    pub fn accounted_bytes(&self) -> u64 {
        self.slab_bytes
            + self.subscription_bytes
            + self.topic_bytes
            + self.history_bytes
            + self.outbox_bytes
            + self.frame_bytes
            + self.mark_bytes
            + self.input_bytes
            + self.tls_bytes
            + self.spare_bytes
            + self.buffer_bytes
    }
}

/// What the process and the kernel hold. A number that the system does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Resident set of the process.
    pub rss_bytes: Option<u64>,
    /// Active objects of the kernel's caches that connections live in, host-wide; needs root.
    pub kernel_slab_bytes: BTreeMap<String, u64>,
    /// Pages that TCP holds for data on its way, host-wide.
    pub tcp_buffer_bytes: Option<u64>,
    /// TCP sockets in use in this network namespace.
    pub tcp_sockets: Option<u64>,
    /// Connections that the kernel turned away because a listener's queue was full, of all programs in this network namespace. No
    /// memory, but read with the rest of `/proc`.
    #[serde(skip)]
    pub listen_overflows: Option<u64>,
}

/// The kernel's caches that a connection takes an object of.
const CACHES: [&str; 7] = [
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "filp",
    "dentry",
    "eventpoll_epi",
    "eventpoll_pwq",
];

impl Process {
    /// Reads `/proc`.
    #[must_use]
    pub fn read() -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        let sockstat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
        Process {
            rss_bytes: rss_bytes(&status),
            kernel_slab_bytes: slab_bytes(&slabs),
            tcp_buffer_bytes: tcp_field(&sockstat, "mem").map(|pages| pages * 4096),
            tcp_sockets: tcp_field(&sockstat, "alloc"),
            listen_overflows: netstat_field(&netstat, "ListenOverflows"),
        }
    }
}

/// `VmRSS:  5864 kB` of proc_pid_status(5).
fn rss_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Name, active objects, all objects, bytes an object … of slabinfo(5).
fn slab_bytes(slabs: &str) -> BTreeMap<String, u64> {
    let cache = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next().filter(|name| CACHES.contains(name))?;
        let active: u64 = fields.next()?.parse().ok()?;
        let object_bytes: u64 = fields.nth(1)?.parse().ok()?;
        Some((name.to_owned(), active * object_bytes))
    };
    slabs.lines().filter_map(cache).collect()
}

/// `TCP: inuse 4 orphan 0 tw 0 alloc 4 mem 1`.
fn tcp_field(sockstat: &str, name: &str) -> Option<u64> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

/// A line of names and, below it, one of values, both after `TcpExt:`.
fn netstat_field(netstat: &str, name: &str) -> Option<u64> {
    let mut lines = (netstat.lines()).filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|word| word == name)?;
    values.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_as_the_kernel_writes_it() {
        assert_eq!(
            rss_bytes("Name:\tx\nVmRSS:\t    5864 kB\n"),
            Some(5864 * 1024)
        );
        let sockstat =
            "sockets: used 9\nTCP: inuse 4 orphan 0 tw 2 alloc 7 mem 3\nUDP: inuse 1 mem 9\n";
        assert_eq!(
            (tcp_field(sockstat, "alloc"), tcp_field(sockstat, "mem")),
            (Some(7), Some(3))
        );
        let netstat = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 17 18\nIpExt: In\nIpExt: 3\n";
        assert_eq!(netstat_field(netstat, "ListenOverflows"), Some(17));
        let slabs = "slabinfo - version: 2.1\n# name <active_objs>\nTCP  20032  22074   2368   13    8 : tunables\nx 1 1 1\n";
        assert_eq!(
            slab_bytes(slabs),
            BTreeMap::from([("TCP".to_owned(), 20032 * 2368)])
        );
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_not_zero() {
        assert_eq!((rss_bytes(""), tcp_field("", "mem")), (None, None));
        assert_eq!(netstat_field("TcpExt: a b\nTcpExt: 1\n", "b"), None);
        assert!(slab_bytes("").is_empty());
        assert!(
            Process::read()
                .rss_bytes
                .is_some_and(|bytes| bytes > 100_000)
        );
    }
}
