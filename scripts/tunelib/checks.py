"""The table of checks, in the order they are shown."""

from __future__ import annotations

from functools import partial
from typing import Callable, List, Optional, Sequence, Tuple

from . import listening, memory, open_files, ports, sockets
from .check import NA, Check
from .host import Host, NotApplicable, TuneError
from .need import Need

Row = Tuple[str, Callable[[Host, Need], Check]]


def table(pid: Optional[int]) -> List[Row]:
    """The name of each check, and its function. With `pid`, also those of a running process."""
    process = "self" if pid is None else str(pid)
    of_process: Row = (f"open-files.{process}", partial(open_files.of_process, process=process))
    return [
        ("open-files", open_files.of_shell),
        *([] if pid is None else [of_process]),
        ("fs.nr_open", open_files.of_a_table),
        ("fs.file-max", open_files.of_system),
        ("fs.epoll.max_user_watches", open_files.watches),
        (ports.RANGE_KEY, ports.port_range),
        ("source-addresses", ports.source_addresses),
        (ports.RESERVED_KEY, ports.reserved_ports),
        ("net.core.somaxconn", listening.somaxconn),
        ("net.ipv4.tcp_max_syn_backlog", listening.syn_backlog),
        ("net.ipv4.tcp_syncookies", listening.syncookies),
        ("net.ipv4.tcp_mem", sockets.tcp_mem),
        ("net.ipv4.tcp_rmem", sockets.receive_buffer),
        ("net.ipv4.tcp_wmem", sockets.send_buffer),
        ("net.core.rmem_max", sockets.receive_buffer_max),
        ("net.core.wmem_max", sockets.send_buffer_max),
        ("net.ipv4.tcp_ehash_entries", sockets.hash_table),
        ("net.netfilter.nf_conntrack_max", sockets.conntrack),
        ("net.ipv4.tcp_max_tw_buckets", sockets.time_wait),
        ("net.ipv4.tcp_tw_reuse", sockets.time_wait_reuse),
        ("memory", memory.available),
        ("cgroup-memory", partial(memory.cgroup, process=process)),
        ("swap", memory.swap),
        ("vm.overcommit_memory", memory.overcommit),
    ]


def selected(name: str, only: Sequence[str]) -> bool:
    """Whether a name begins with one of the prefixes, if there are any."""
    return not only or name.startswith(tuple(only))


def run(host: Host, need: Need, pid: Optional[int], only: Sequence[str]) -> List[Check]:
    """All selected checks. One that cannot look says why and is N/A."""
    if pid is not None and not host.path(f"/proc/{pid}").is_dir():
        raise TuneError(f"there is no process {pid}")
    rows = [row for row in table(pid) if selected(row[0], only)]
    if not rows:
        raise TuneError(f"no check's name begins with {' or '.join(only)}")
    return [_run_one(name, check, host, need) for name, check in rows]


def _run_one(name: str, check: Callable[[Host, Need], Check], host: Host, need: Need) -> Check:
    try:
        return check(host, need)
    except NotApplicable as reason:
        return Check(name, NA, reason=str(reason))
