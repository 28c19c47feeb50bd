//! What fits on this host: how many threads the limit on open files demands, and how many source
//! addresses the range of local ports demands. Plain arithmetic over [`Host`], so that it is tested
//! without the host.

use crate::cli::SourceAddresses;
use crate::sys;
use serde::Serialize;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The limits of the host that matter here.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Host {
    /// Open files of one file table (`RLIMIT_NOFILE`).
    pub open_files_max: u64,
    /// Cores that this process may use.
    pub cores: usize,
    /// Size of `net.ipv4.ip_local_port_range`.
    pub local_ports: u32,
}

impl Host {
    /// This host. Raises this process's limit on open files as far as it goes.
    pub fn this() -> io::Result<Host> {
        // The kernel's default, if it does not tell.
        let ports =
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let bounds: Vec<u32> = ports
            .split_whitespace()
            .filter_map(|bound| bound.parse().ok())
            .collect();
        let local_ports = match bounds[..] {
            [first, last] if first <= last => last - first + 1,
            _ => 28_232,
        };
        Ok(Host {
            open_files_max: sys::raise_open_files()?,
            cores: std::thread::available_parallelism()?.get(),
            local_ports,
        })
    }
}

/// Connections from one source address to one destination port, if there is a choice. The kernel's
/// search for a free port slows down when most of the range is taken.
const COMFORTABLE_PORTS: u32 = 25_000;
/// Files of a table that are not connections: standard streams, libraries, and so on.
const RESERVED_FILES: u64 = 32;
/// Every table holds the poller and the waker of every worker.
const FILES_PER_WORKER: u64 = 2;

/// Why a load does not fit, and what would.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Too few workers were asked for.
    #[error(
        "{workers} workers hold {fit} connections (each may have {open_files} open files), not {asked}: --workers {needed} would do"
    )]
    Workers {
        /// As asked.
        workers: u32,
        /// Connections that they could hold.
        fit: u64,
        /// The limit.
        open_files: u64,
        /// Connections asked for.
        asked: u32,
        /// Workers that could hold them.
        needed: u32,
    },
    /// No number of workers is enough.
    #[error(
        "a limit of {open_files} open files is too low for {asked} connections: raise it (ulimit -n)"
    )]
    OpenFiles {
        /// The limit.
        open_files: u64,
        /// Connections asked for.
        asked: u32,
    },
    /// Too few pairs of source address and destination port.
    #[error(
        "{sources} source addresses and {destinations} destination ports carry {fit} connections ({ports} local ports each), not {asked}: {needed} source addresses would do, or more ports (--url)"
    )]
    Sources {
        /// As asked, or all that can be had.
        sources: usize,
        /// Different addresses of the server.
        destinations: usize,
        /// Size of the range of local ports.
        ports: u32,
        /// Connections that they could carry.
        fit: u64,
        /// Connections asked for.
        asked: u32,
        /// Source addresses that could carry them.
        needed: u64,
    },
}

/// How many workers hold `connections`: as many as asked for if that is enough; otherwise one a
/// core, or more.
pub fn workers(host: &Host, connections: u32, asked: Option<u32>) -> Result<u32, FitError> {
    let open_files = host.open_files_max;
    let needed = (1..=4096).find(|workers| capacity(host, *workers) >= u64::from(connections));
    let Some(needed) = needed else {
        return Err(FitError::OpenFiles {
            open_files,
            asked: connections,
        });
    };
    match asked {
        Some(workers) if workers < needed => {
            let fit = capacity(host, workers);
            Err(FitError::Workers {
                workers,
                fit,
                open_files,
                asked: connections,
                needed,
            })
        }
        Some(workers) => Ok(workers.min(connections)),
        None => Ok(needed.max(host.cores as u32).min(connections)),
    }
}

fn capacity(host: &Host, workers: u32) -> u64 {
    let workers = u64::from(workers);
    workers
        * host
            .open_files_max
            .saturating_sub(RESERVED_FILES + FILES_PER_WORKER * workers)
}

/// The source addresses to take turns with; `None` lets the kernel choose.
pub fn sources(
    host: &Host,
    connections: u32,
    destinations: &[SocketAddr],
    asked: &SourceAddresses,
) -> Result<Vec<Option<IpAddr>>, FitError> {
    let needed_at = |ports: u32| {
        u64::from(connections).div_ceil(u64::from(ports.max(1)) * destinations.len() as u64)
    };
    let on_loopback = destinations.iter().all(|address| match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(_) => false, // ::1 is a single address
    });
    let sources: Vec<Option<IpAddr>> = match asked {
        SourceAddresses::Auto if on_loopback => {
            loopback(needed_at(COMFORTABLE_PORTS.min(host.local_ports / 10 * 9)))
        }
        SourceAddresses::Auto => vec![None],
        SourceAddresses::Count(count) => loopback(u64::from(*count)),
        SourceAddresses::List(list) => list.iter().copied().map(Some).collect(),
    };
    let fit = sources.len() as u64 * destinations.len() as u64 * u64::from(host.local_ports);
    if fit < u64::from(connections) {
        return Err(FitError::Sources {
            sources: sources.len(),
            destinations: destinations.len(),
            ports: host.local_ports,
            fit,
            asked: connections,
            needed: needed_at(host.local_ports),
        });
    }
    Ok(sources)
}

/// 127.0.0.1, 127.0.0.2 … without those that end in 0 or 255, which look like a network or a
/// broadcast address.
fn loopback(count: u64) -> Vec<Option<IpAddr>> {
    let host_numbers = (1_u32..1 << 24).filter(|number| !matches!(number & 0xff, 0 | 0xff));
    let address = |number: u32| Some(IpAddr::V4(Ipv4Addr::from((127 << 24) | number)));
    host_numbers.take(count as usize).map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Host = Host {
        open_files_max: 20_000,
        cores: 2,
        local_ports: 28_232,
    };

    fn destinations(count: u16) -> Vec<SocketAddr> {
        (0..count)
            .map(|n| SocketAddr::from(([127, 0, 0, 1], 9001 + n)))
            .collect()
    }

    #[test]
    fn workers_follow_the_cores_until_open_files_demand_more() {
        for (connections, asked, expected) in [
            (1, None, 1),
            (10_000, None, 2),
            (39_000, None, 2),
            (41_000, None, 3),
            (1_000_000, None, 51),
            (10_000, Some(1), 1),
            (10_000, Some(7), 7),
        ] {
            assert_eq!(
                workers(&SMALL, connections, asked),
                Ok(expected),
                "{connections}, {asked:?}"
            );
        }
    }

    #[test]
    fn the_workers_of_a_million_hold_a_million() {
        assert!(capacity(&SMALL, 51) >= 1_000_000);
        assert!(capacity(&SMALL, 50) < 1_000_000);
    }

    #[test]
    fn too_few_workers_are_told_how_many_would_do() {
        let error = workers(&SMALL, 1_000_000, Some(4)).unwrap_err().to_string();
        assert_eq!(
            error,
            "4 workers hold 79840 connections (each may have 20000 open files), not 1000000: --workers 51 would do"
        );
    }

    #[test]
    fn a_limit_that_no_number_of_workers_can_overcome_is_told() {
        let host = Host {
            open_files_max: 256,
            ..SMALL
        };
        let error = workers(&host, 1_000_000, None).unwrap_err();
        assert_eq!(
            error,
            FitError::OpenFiles {
                open_files: 256,
                asked: 1_000_000
            }
        );
    }

    #[test]
    fn source_addresses_are_as_many_as_connections_need() {
        for (connections, ports, expected) in [
            (10_000, 1, 1),
            (25_000, 1, 1),
            (25_001, 1, 2),
            (1_000_000, 1, 40),
            (1_000_000, 4, 10),
        ] {
            let found = sources(
                &SMALL,
                connections,
                &destinations(ports),
                &SourceAddresses::Auto,
            )
            .unwrap();
            assert_eq!(found.len(), expected, "{connections} to {ports} ports");
        }
    }

    #[test]
    fn addresses_that_look_like_networks_are_left_out() {
        let found = loopback(600);
        assert_eq!(found[0], Some("127.0.0.1".parse().unwrap()));
        assert_eq!(found[253], Some("127.0.0.254".parse().unwrap()));
        assert_eq!(found[254], Some("127.0.1.1".parse().unwrap()));
        assert_eq!(found[508], Some("127.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_remote_server_gets_the_address_that_the_kernel_chooses() {
        let remote = ["192.0.2.1:80".parse().unwrap()];
        assert_eq!(
            sources(&SMALL, 10_000, &remote, &SourceAddresses::Auto),
            Ok(vec![None])
        );
        let error = sources(&SMALL, 100_000, &remote, &SourceAddresses::Auto)
            .unwrap_err()
            .to_string();
        assert!(error.contains("carry 28232 connections"), "{error}");
        assert!(error.contains("4 source addresses would do"), "{error}");
    }

    #[test]
    fn too_few_source_addresses_are_told_how_many_would_do() {
        let error = sources(
            &SMALL,
            100_000,
            &destinations(1),
            &SourceAddresses::Count(3),
        )
        .unwrap_err();
        assert!(
            matches!(
                error,
                FitError::Sources {
                    fit: 84_696,
                    needed: 4,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}
