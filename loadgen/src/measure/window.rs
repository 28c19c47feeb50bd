//! A stretch of time over which everything is counted at both ends: CPU of the server's processes,
//! CPU of this one, deliveries. What the two ends differ in is what is reported.

use super::account::Sums;
use crate::clock;
use crate::process::{self, Usage};
use crate::sys;
use serde::Serialize;
use std::io;

/// One end of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    at_ns: u64,
    server: Option<Usage>,
    generator_cpu_s: f64,
    sums: Sums,
    bytes_in: u64,
}

impl Mark {
    /// Now. Looking at the processes takes a millisecond or two.
    pub(super) fn now(server_pid: Option<u32>, sums: Sums, bytes_in: u64) -> io::Result<Mark> {
        let (user, system) = sys::cpu_time()?;
        Ok(Mark {
            server: server_pid.and_then(Usage::of_tree),
            generator_cpu_s: (user + system).as_secs_f64(),
            sums,
            bytes_in,
            at_ns: clock::monotonic_ns(),
        })
    }

    /// Memory at this moment.
    pub(super) fn memory(&self) -> Held {
        Held {
            rss_bytes: self.server.map(|usage| usage.rss_bytes),
            kernel_slab_bytes: process::kernel_slab_bytes(),
        }
    }

    /// From this end to the other.
    pub(super) fn until(&self, end: &Mark) -> Window {
        let length_s = (end.at_ns - self.at_ns).max(1) as f64 / 1e9;
        let server = self.server.zip(end.server).map(|(begin, end)| ServerCpu {
            user_s: end.cpu_user_s - begin.cpu_user_s,
            system_s: end.cpu_system_s - begin.cpu_system_s,
            cores: (end.cpu_s() - begin.cpu_s()) / length_s,
        });
        let delivered = end.sums.delivered - self.sums.delivered;
        let published = end.sums.published - self.sums.published;
        Window {
            length_s,
            delivered,
            delivered_per_s: delivered as f64 / length_s,
            published,
            published_per_s: published as f64 / length_s,
            in_bytes: end.bytes_in - self.bytes_in,
            in_bytes_per_delivery: (delivered > 0)
                .then(|| (end.bytes_in - self.bytes_in) as f64 / delivered as f64),
            server,
            generator_cores: (end.generator_cpu_s - self.generator_cpu_s) / length_s,
        }
    }
}

/// What is held in memory at one moment; `None` where it cannot be known.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Held {
    /// Resident bytes of the server, its processes together.
    pub rss_bytes: Option<u64>,
    /// The kernel's own structures on the whole host: the sockets of both ends are among them.
    pub kernel_slab_bytes: Option<u64>,
}

impl Held {
    /// What each of so many connections has added since `before`: resident, and the kernel's.
    pub(super) fn since(&self, before: &Held, connections: u32) -> [Option<f64>; 2] {
        let each = |now: Option<u64>, before: Option<u64>| {
            Some((now? as f64 - before? as f64) / f64::from(connections))
        };
        [
            each(self.rss_bytes, before.rss_bytes),
            each(self.kernel_slab_bytes, before.kernel_slab_bytes),
        ]
    }
}

/// What happened in a window.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Window {
    /// Its length.
    pub length_s: f64,
    /// Deliveries; with echo, messages that came back; with rejoin, connections that came again.
    pub delivered: u64,
    /// The same a second.
    pub delivered_per_s: f64,
    /// Updates published.
    pub published: u64,
    /// The same a second.
    pub published_per_s: f64,
    /// Bytes received by the subscribers.
    pub in_bytes: u64,
    /// The same for each delivery: as they came, compressed or not, with what TLS adds.
    pub in_bytes_per_delivery: Option<f64>,
    /// CPU of the server, its processes together.
    pub server: Option<ServerCpu>,
    /// CPU of this process, in cores.
    pub generator_cores: f64,
}

/// CPU time that the server used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerCpu {
    /// In user mode.
    pub user_s: f64,
    /// In the kernel.
    pub system_s: f64,
    /// Both, over the window's length.
    pub cores: f64,
}

impl Window {
    /// The server's CPU time for a million of these; `None` if there were none, or nobody to watch.
    pub fn server_cpu_s_per_million(&self, count: u64) -> Option<f64> {
        let server = self.server.filter(|_| count > 0)?;
        Some((server.user_s + server.system_s) * 1e6 / count as f64)
    }
}
