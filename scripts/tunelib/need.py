"""What N connections need. Arithmetic only: no host, no files.

The numbers of threads follow `server/src/shards.rs` and `loadgen/src/plan/fit.rs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

SERVER = "server"
LOADGEN = "loadgen"
BOTH = "both"

# TCP socket 2368, inode 832, file 192, dentry 192, epoll item 128 (docs/ARCHITECTURE.md).
KERNEL_BYTES_AN_END = 3712
OUR_BYTES = {SERVER: 200, LOADGEN: 1000, BOTH: 1200}

# Connections from one source address to one destination port before the kernel's search for a
# free port slows down; the load generator's own figure.
COMFORTABLE_PORTS = 25_000

# Descriptors of a process that are no connections: streams, listeners, pollers, libraries.
FILES_OF_A_PROCESS = 1024
# systemd gives every service this hard limit; ours is never lower.
SYSTEMD_OPEN_FILES = 524_288


@dataclass(frozen=True)
class Threads:
    """How one of the binaries divides connections among threads, each with its own file table.

    The limit on open files therefore counts for each thread.
    """

    binary: str
    name: str
    files_reserved: int
    slack_percent: int
    most: int

    def room(self, limit: int, threads: int) -> int:
        """Connections that `threads` threads hold; each table has the pollers and wakers of all."""
        return threads * max(0, limit - self.files_reserved - 2 * threads)

    def least(self, limit: int, connections: int) -> Optional[int]:
        """The fewest threads that hold `connections`; None if no number does."""
        for threads in range(1, self.most + 1):
            # One alone has no others to be uneven with.
            slack = self.slack_percent if threads > 1 else 0
            if self.room(limit, threads) >= connections + -(-connections * slack // 100):
                return threads
        return None

    def fit(self, limit: int) -> int:
        """The most connections under a limit on open files."""
        room = max(self.room(limit, threads) for threads in range(1, self.most + 1))
        return room * 100 // (100 + self.slack_percent)


@dataclass(frozen=True)
class Need:
    """What this host is to carry."""

    connections: int
    role: str
    listen_ports: Tuple[int, ...]
    our_bytes: int
    # Connections that a running process has already, with their files and memory.
    connected: int = 0

    @property
    def has_server(self) -> bool:
        return self.role in (SERVER, BOTH)

    @property
    def has_loadgen(self) -> bool:
        return self.role in (LOADGEN, BOTH)

    @property
    def ends(self) -> int:
        """How many ends of a connection are on this host, each a socket of its own."""
        return 2 if self.role == BOTH else 1

    @property
    def sockets(self) -> int:
        return self.connections * self.ends

    @property
    def missing(self) -> int:
        """Connections that are still to come."""
        return max(0, self.connections - self.connected)

    @property
    def kernel_bytes(self) -> int:
        """The kernel's share of one connection, both ends if both are here."""
        return KERNEL_BYTES_AN_END * self.ends

    @property
    def connection_bytes(self) -> int:
        return self.our_bytes + self.kernel_bytes

    @property
    def table_files(self) -> int:
        """Open files of one table that would hold everything: what fs.nr_open should allow."""
        return self.connections + FILES_OF_A_PROCESS

    @property
    def open_files_limit(self) -> int:
        """A limit on open files under which a shard a core is enough."""
        return max(self.table_files, SYSTEMD_OPEN_FILES)

    def command_for(self, connections: int) -> str:
        """The command that does with fewer connections."""
        if self.has_server:
            return f"fanfare serve --max-connections {connections}"
        return f"fanfare-loadgen run --connections {connections}"

    def threads(self) -> Tuple[Threads, ...]:
        """The binaries of this role."""
        shards = Threads("fanfare", "shards", 64 + len(self.listen_ports), 5, 1024)
        workers = Threads("fanfare-loadgen", "workers", 32, 0, 4096)
        return (shards,) * self.has_server + (workers,) * self.has_loadgen

    def source_addresses(self, local_ports: int) -> int:
        """Source addresses that carry the load generator's connections."""
        a_pair = max(1, min(COMFORTABLE_PORTS, local_ports // 10 * 9))
        return -(-self.connections // (a_pair * len(self.listen_ports)))


def round_up(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def power_of_two(number: int) -> int:
    """The next power of two."""
    return 1 << max(0, number - 1).bit_length()
