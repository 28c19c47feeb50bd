"""What single files of /proc and /sys say. Shapes: proc(5), and the kernel's cgroup-v2.rst."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Dict, Iterator, List, Optional

from .host import Host, Unreadable

CAP_SYS_RESOURCE = 24
# cgroup v1 writes "no limit" as the largest multiple of a page, v2 as "max".
NO_LIMIT_BYTES = 1 << 60
UNLIMITED_FILES = 1 << 30


@dataclass(frozen=True)
class OpenFileLimits:
    """RLIMIT_NOFILE of one process."""

    soft: int
    hard: int


@dataclass(frozen=True)
class CgroupRoom:
    """How much memory a cgroup still allows."""

    limit_file: str
    limit_bytes: int
    used_bytes: int

    @property
    def free_bytes(self) -> int:
        return max(0, self.limit_bytes - self.used_bytes)


def open_file_limits(host: Host, process: str) -> OpenFileLimits:
    """The limits of a process: its number, or "self"."""
    name = f"/proc/{process}/limits"
    for line in host.text(name).splitlines():
        if line.startswith("Max open files"):
            soft, hard = line.split()[3:5]
            return OpenFileLimits(_limit(name, soft), _limit(name, hard))
    raise Unreadable(f"{name} has no line 'Max open files'")


def _limit(name: str, text: str) -> int:
    return UNLIMITED_FILES if text == "unlimited" else _number(name, text)


def may_raise_limits(host: Host) -> bool:
    """Whether this process has CAP_SYS_RESOURCE, which raising a hard limit takes."""
    try:
        for line in host.text("/proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    except (Unreadable, ValueError, IndexError):
        pass
    return False


def memory_bytes(host: Host) -> Dict[str, int]:
    """/proc/meminfo, in bytes."""
    name = "/proc/meminfo"
    sizes = {}
    for line in host.text(name).splitlines():
        key, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            sizes[key] = _number(name, rest[:-3]) * 1024
    return sizes


def tcp_counters(host: Host) -> Dict[str, int]:
    """The counters TcpExt of this network namespace since it was made; none if unreadable."""
    try:
        lines = [line.split() for line in host.text("/proc/net/netstat").splitlines()]
        names, numbers = [words[1:] for words in lines if words[:1] == ["TcpExt:"]]
        return {name: int(number) for name, number in zip(names, numbers)}
    except (Unreadable, ValueError):
        return {}


def tcp_sockets(host: Host, process: str = "self") -> Dict[str, int]:
    """inuse, orphan, tw (TIME_WAIT), alloc and mem (pages) of TCP; none if unreadable.

    They are those of the process's network namespace, but for mem, which is the whole host's.
    """
    name = "/proc/net/sockstat" if process == "self" else f"/proc/{process}/net/sockstat"
    try:
        for line in host.text(name).splitlines():
            words = line.split()
            if words[:1] == ["TCP:"]:
                return {name: int(number) for name, number in zip(words[1::2], words[2::2])}
    except (Unreadable, ValueError):
        pass
    return {}


def tightest_cgroup(host: Host, process: str) -> Optional[CgroupRoom]:
    """The cgroup at or above the process's that allows the least more memory."""
    rooms = [room for folder in _cgroup_folders(host, process) for room in _rooms(host, folder)]
    return min(rooms, key=lambda room: room.free_bytes, default=None)


def _cgroup_folders(host: Host, process: str) -> Iterator[str]:
    for line in host.text(f"/proc/{process}/cgroup").splitlines():
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if controllers == "":
            yield from _upwards("/sys/fs/cgroup", path)
        elif "memory" in controllers.split(","):
            yield from _upwards("/sys/fs/cgroup/memory", path)


def _upwards(mount: str, path: str) -> Iterator[str]:
    # A path that leaves our cgroup namespace (/../x) cannot be followed; the mount's top can.
    below = [] if ".." in path.split("/") else [part for part in path.split("/") if part]
    folder = PurePosixPath(mount).joinpath(*below)
    while len(folder.parts) >= len(PurePosixPath(mount).parts):
        yield str(folder)
        folder = folder.parent


def _rooms(host: Host, folder: str) -> List[CgroupRoom]:
    v2 = ("memory.max", "memory.current", "inactive_file")
    v1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    rooms = []
    for limit_name, used_name, cache_name in (v2, v1):
        limit_file = f"{folder}/{limit_name}"
        limit = _optional_number(host, limit_file)
        if limit is None or limit >= NO_LIMIT_BYTES:
            continue
        used = _optional_number(host, f"{folder}/{used_name}") or 0
        # Old pages of files are given up before anybody is killed.
        cache = _memory_stat(host, folder).get(cache_name, 0)
        rooms.append(CgroupRoom(limit_file, limit, max(0, used - cache)))
    return rooms


def _memory_stat(host: Host, folder: str) -> Dict[str, int]:
    try:
        lines = [line.split() for line in host.text(f"{folder}/memory.stat").splitlines()]
        return {words[0]: int(words[1]) for words in lines}
    except (Unreadable, ValueError, IndexError):
        return {}


def _optional_number(host: Host, name: str) -> Optional[int]:
    try:
        return int(host.text(name))
    except (Unreadable, ValueError):
        return None


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Unreadable(f"{name} holds '{text.strip()[:40]}', which is not a number") from None
