//! How many shards a server needs: by cores, and by the limit on open files, which counts for each shard's own table.

use std::fmt;
use std::num::NonZeroUsize;

use anyhow::bail;

/// Open files a poller and a waker take; every shard's table holds those of all.
const FILES_A_SHARD: usize = 2;
/// `SO_REUSEPORT` spreads connections by hash, not evenly: with 20,000 places a shard the fullest stays within this
/// of the average (7 standard deviations).
const SLACK_PERCENT: usize = 5;
/// Most connections of a server that was not told how many.
const CONNECTIONS_MAX: usize = 100_000;
/// More shards than this are not tried; by then something else is wrong.
const SHARDS_MAX: usize = 1024;

/// How the connections are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// How many shards.
    pub shards: u16,
    /// Most connections of one, by its open files.
    pub shard_connections_max: usize,
    connections_max: usize,
    open_files: usize,
}

impl Division {
    /// How many connections a server is for that was not told: what one shard a core has room for. More shards than cores
    /// pass mail and wake each other up for nothing (2.4 times the CPU a delivery with six on one core), so they are for
    /// those who ask for more connections.
    #[must_use]
    pub fn room(cores: usize, open_files: usize, reserved: usize) -> usize {
        let room = cores * open_files.saturating_sub(reserved + cores * FILES_A_SHARD);
        let even = match cores {
            1 => room,
            _ => (room * 100 / (100 + SLACK_PERCENT)).saturating_sub(1),
        };
        even.clamp(1, CONNECTIONS_MAX)
    }

    /// Divides `connections_max` among shards that have `open_files` descriptors each, `reserved` of them for other things.
    ///
    /// `wanted` is the operator's own number of shards.
    ///
    /// # Errors
    /// When they cannot fit, with the number that would.
    pub fn plan(
        connections_max: usize,
        cores: usize,
        open_files: usize,
        reserved: usize,
        wanted: Option<NonZeroUsize>,
    ) -> anyhow::Result<Division> {
        let room = |shards: usize| open_files.saturating_sub(reserved + shards * FILES_A_SHARD);
        let needed = connections_max + (connections_max * SLACK_PERCENT).div_ceil(100);
        // One shard alone has no others to be uneven with.
        let fits = |shards: usize| {
            shards * room(shards) >= if shards == 1 { connections_max } else { needed }
        };
        let enough = (1..=SHARDS_MAX).find(|&shards| fits(shards));
        let Some(least) = enough else {
            let most = (1..=SHARDS_MAX)
                .map(|shards| shards * room(shards))
                .max()
                .unwrap_or(0)
                * 100
                / (100 + SLACK_PERCENT);
            bail!(
                "{connections_max} connections do not fit under a limit of {open_files} open files; {most} would (--max-connections {most}), or raise the limit (ulimit -n)"
            );
        };
        let shards = match wanted {
            Some(wanted) if wanted.get() > SHARDS_MAX => bail!("--shards is at most {SHARDS_MAX}"),
            Some(wanted) if !fits(wanted.get()) => {
                bail!(
                    "{connections_max} connections do not fit into {wanted} shards under a limit of {open_files} open files; {least} shards would do"
                )
            }
            Some(wanted) => wanted.get(),
            None => least.max(cores),
        };
        Ok(Division {
            shards: shards as u16,
            shard_connections_max: room(shards),
            connections_max,
            open_files,
        })
    }
}

impl fmt::Display for Division {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Division {
            connections_max,
            open_files,
            shards,
            ..
        } = self;
        let plural = if *shards == 1 { "" } else { "s" };
        write!(
            f,
            "{connections_max} connections under a limit of {open_files} open files: {shards} shard{plural}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_not_told_gets_a_shard_a_core() {
        for (cores, open_files) in [
            (1, 256),
            (1, 20_000),
            (2, 20_000),
            (8, 20_000),
            (2, 1 << 20),
        ] {
            let room = Division::room(cores, open_files, 65);
            let division = Division::plan(room, cores, open_files, 65, None).unwrap();
            assert_eq!(usize::from(division.shards), cores, "{room} connections");
        }
        assert_eq!(Division::room(8, 1 << 20, 65), 100_000);
        // With next to no open files there is an error later, which says what to do.
        assert_eq!(Division::room(2, 10, 65), 1);
    }

    fn plan(connections: usize, open_files: usize, wanted: Option<usize>) -> Result<u16, String> {
        let wanted = wanted.and_then(NonZeroUsize::new);
        Division::plan(connections, 2, open_files, 65, wanted)
            .map(|division| division.shards)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_million_connections_under_twenty_thousand_files_are_53_shards() {
        assert_eq!(plan(1_000_000, 20_000, None), Ok(53));
        let division = Division::plan(1_000_000, 2, 20_000, 65, None).unwrap();
        assert_eq!(
            division.to_string(),
            "1000000 connections under a limit of 20000 open files: 53 shards"
        );
    }

    #[test]
    fn with_room_enough_there_is_a_shard_a_core() {
        assert_eq!(plan(1_000_000, 2_000_000, None), Ok(2));
        assert_eq!(plan(10, 1024, None), Ok(2));
        assert_eq!(plan(10, 1024, Some(1)), Ok(1));
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_number_that_would() {
        assert!(
            plan(1_000_000, 1024, None)
                .unwrap_err()
                .contains("would (--max-connections")
        );
        assert!(
            plan(100_000, 20_000, Some(2))
                .unwrap_err()
                .contains("6 shards would do")
        );
        assert!(plan(10, 60, None).unwrap_err().contains("do not fit"));
    }
}
