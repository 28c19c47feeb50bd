"""Memory: what is free, what the cgroup allows, swap, and the kernel's policy of promises."""

from __future__ import annotations

from . import proc
from .check import BLOCKED, LOW, OK, Check, mebibytes, sysctl_command
from .host import Host, NotApplicable, Unreadable
from .need import Need


def available(host: Host, need: Need) -> Check:
    """MemAvailable against the forecast."""
    sizes = proc.memory_bytes(host)
    if "MemAvailable" not in sizes:
        raise Unreadable("/proc/meminfo has no line 'MemAvailable'")
    return _judge(need, "memory", sizes["MemAvailable"])


def cgroup(host: Host, need: Need, process: str) -> Check:
    """The tightest limit of a control group, at or above that of a process (or "self")."""
    room = proc.tightest_cgroup(host, process)
    if room is None:
        raise NotApplicable("no control group limits memory")
    limit = room.used_bytes + need.missing * need.connection_bytes
    more_memory = f"from outside: echo {limit} > {room.limit_file}; or "
    return _judge(need, "cgroup-memory", room.free_bytes, more_memory)


def _judge(need: Need, name: str, free_bytes: int, more_memory: str = "") -> Check:
    forecast = need.missing * need.connection_bytes
    reason = (
        f"{need.missing} connections of {need.connection_bytes} bytes "
        f"(the kernel's {need.kernel_bytes}, ours {need.our_bytes})"
        + (f"; {need.connected} are open already" if need.connected else "")
    )
    value, wanted = f"{mebibytes(free_bytes)} free", mebibytes(forecast)
    if free_bytes >= forecast:
        return Check(name, OK, value, wanted, reason)
    fit = need.connected + free_bytes // need.connection_bytes
    fix = more_memory + need.command_for(fit)
    return Check(name, BLOCKED, value, wanted, f"{reason}; {fit} would fit", fix)


def swap(host: Host, _need: Need) -> Check:
    """A connection that was swapped out is read from disk by the next ping or update."""
    sizes = proc.memory_bytes(host)
    total = sizes.get("SwapTotal", 0)
    used = total - sizes.get("SwapFree", total)
    if total == 0:
        raise NotApplicable("there is no swap")
    value = f"{mebibytes(used)} of {mebibytes(total)} used"
    if used == 0:
        return Check("swap", OK, value, "none used", "nothing is swapped out")
    reason = "pings touch every connection, so what is swapped out comes back from disk each time"
    return Check("swap", LOW, value, "none used", reason, "swapoff -a")


def overcommit(host: Host, _need: Need) -> Check:
    """Whether the kernel promises address space before there is memory for it."""
    key = "vm.overcommit_memory"
    value = host.sysctl(key)
    if value != "2":
        reason = "tables are reserved as address space, and memory comes as it is touched"
        return Check(key, OK, value, "0 or 1", reason)
    sizes = proc.memory_bytes(host)
    left = sizes.get("CommitLimit", 0) - sizes.get("Committed_AS", 0)
    reason = (
        "every reservation of address space counts as if it were used, so the server may be "
        f"refused its tables although memory is free; {mebibytes(max(0, left))} may still be "
        "promised"
    )
    # Not for apply: this policy belongs to all programs of the host.
    return Check(key, LOW, value, "0 or 1", reason, sysctl_command(key, "0"))
