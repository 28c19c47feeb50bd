//! Other processes of this host, seen through `/proc`: CPU time and resident memory, of one or of a
//! whole tree. What cannot be had is absent, and fails nothing.

use crate::sys;
use std::collections::HashMap;
use std::path::Path;

/// A process, or a tree of them, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time in user mode since it began.
    pub cpu_user_s: f64,
    /// CPU time in the kernel since it began.
    pub cpu_system_s: f64,
    /// Resident memory.
    pub rss_bytes: u64,
}

impl Usage {
    /// Of a process of this host; `None` if there is none with this id.
    pub fn of(pid: &str) -> Option<Usage> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Usage::parse(&stat, sys::clock_ticks_per_s(), sys::page_bytes())
    }

    /// Of a process and all that descend from it and are alive: servers that use several cores often
    /// have a process for each. Pages that they share are counted in each.
    pub fn of_tree(pid: u32) -> Option<Usage> {
        let own = Usage::of(&pid.to_string())?;
        let descendants = descendants(pid);
        let parts = descendants
            .iter()
            .filter_map(|pid| Usage::of(&pid.to_string()));
        Some(parts.fold(own, |sum, part| Usage {
            cpu_user_s: sum.cpu_user_s + part.cpu_user_s,
            cpu_system_s: sum.cpu_system_s + part.cpu_system_s,
            rss_bytes: sum.rss_bytes + part.rss_bytes,
        }))
    }

    /// Reads `/proc/PID/stat` (proc(5)): the name in parentheses may hold anything.
    fn parse(stat: &str, ticks_per_s: f64, page_bytes: u64) -> Option<Usage> {
        let number = |field: usize| field_of(stat, field)?.parse::<u64>().ok();
        Some(Usage {
            cpu_user_s: number(14)? as f64 / ticks_per_s,
            cpu_system_s: number(15)? as f64 / ticks_per_s,
            rss_bytes: number(24)? * page_bytes,
        })
    }

    /// User and system time together.
    pub fn cpu_s(&self) -> f64 {
        self.cpu_user_s + self.cpu_system_s
    }
}

/// A field of `/proc/PID/stat` by its number in proc(5), from 3 on: the state is the first one after
/// the name.
fn field_of(stat: &str, field: usize) -> Option<&str> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field.checked_sub(3)?)
}

/// What the kernel's own structures take on the whole host: objects in use of all slab caches
/// (slabinfo(5)); `None` for all but root. The pages of what was freed a moment ago, which
/// `/proc/meminfo` still counts, are left out.
pub fn kernel_slab_bytes() -> Option<u64> {
    slab_bytes(&std::fs::read_to_string("/proc/slabinfo").ok()?)
}

fn slab_bytes(slabinfo: &str) -> Option<u64> {
    let mut sum = 0;
    // A line with the version, a line with the columns, then a line a cache.
    for line in slabinfo.lines().skip(2) {
        let mut columns = line.split_whitespace().skip(1);
        let in_use: u64 = columns.next()?.parse().ok()?;
        let object_bytes: u64 = columns.nth(1)?.parse().ok()?;
        sum += in_use * object_bytes;
    }
    Some(sum)
}

fn descendants(pid: u32) -> Vec<u32> {
    descend(pid, &parents(Path::new("/proc")))
}

/// The parent of every process in a folder like `/proc`.
fn parents(proc: &Path) -> HashMap<u32, u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pairs = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((pid, field_of(&stat, 4)?.parse().ok()?))
    });
    pairs.collect()
}

fn descend(root: u32, parents: &HashMap<u32, u32>) -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        let children = parents.iter().filter(|(_, of)| **of == parent);
        for (child, _) in children {
            found.push(*child);
            next.push(*child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slab_caches_are_summed_by_what_is_in_use() {
        let text = "slabinfo - version: 2.1\n\
            # name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n\
            TCPv6   26   30   2496   13    8 : tunables    0    0    0\n\
            TCP   1508   1510   2368   13    8 : tunables    0    0    0\n";
        assert_eq!(slab_bytes(text), Some(26 * 2496 + 1508 * 2368));
        assert_eq!(slab_bytes("a\nb\nTCP many"), None);
    }

    #[test]
    fn the_stat_of_a_process_with_an_odd_name_is_read() {
        // Fields 14 and 15 are 250 and 50 ticks, field 24 is 1000 pages.
        let stat =
            "77 (a) b (c) S 1 77 77 0 -1 4194560 500 0 0 0 250 50 0 0 20 0 3 0 9 8192 1000 1";
        let usage = Usage::parse(stat, 100.0, 4096).unwrap();
        assert_eq!((usage.cpu_user_s, usage.cpu_system_s), (2.5, 0.5));
        assert_eq!(usage.rss_bytes, 4_096_000);
        assert_eq!(usage.cpu_s(), 3.0);
        for broken in ["", "77 (a", "77 (a) S 1"] {
            assert_eq!(Usage::parse(broken, 100.0, 4096), None, "{broken}");
        }
        assert_eq!(Usage::of("0"), None);
    }

    #[test]
    fn a_tree_holds_children_of_children_and_nobody_else() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 2), (5, 4), (6, 1), (7, 6)]);
        let mut found = descend(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [3, 4, 5]);
        assert!(descend(7, &parents).is_empty());
    }

    #[test]
    fn a_child_of_this_process_counts_with_it() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(descendants(std::process::id()).contains(&child.id()));
        let (own, tree) = (
            Usage::of("self").unwrap(),
            Usage::of_tree(std::process::id()).unwrap(),
        );
        assert!(tree.cpu_s() >= own.cpu_s());
        // Its end of file: it goes by itself.
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
