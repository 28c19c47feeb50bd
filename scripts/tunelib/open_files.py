"""Open files: the limits of processes, fs.nr_open, fs.file-max and the watches of epoll."""

from __future__ import annotations

from . import proc
from .check import BLOCKED, LOW, OK, Check, judge
from .host import Host
from .need import Need, round_up

# Room for what other programs open later, and for our pollers and listeners.
FILES_OF_OTHERS = 65_536
WATCHES_OF_OTHERS = 4096


def of_shell(host: Host, need: Need) -> Check:
    """What a server started from here would get."""
    return _limits(host, need, "open-files", "self", f"ulimit -n {need.open_files_limit}")


def of_process(host: Host, need: Need, process: str) -> Check:
    """What a running process has. A new limit is for its next start: it has its shards by now."""
    fix = f"LimitNOFILE={need.open_files_limit} in its unit (tune persist), then restart it"
    return _limits(host, need, f"open-files.{process}", process, fix)


def _limits(host: Host, need: Need, name: str, process: str, fix: str) -> Check:
    limits = proc.open_file_limits(host, process)
    value = f"soft {_files(limits.soft)}, hard {_files(limits.hard)}"
    counts = {threads: threads.least(limits.hard, need.connections) for threads in need.threads()}
    if None not in counts.values():
        plan = " and ".join(
            f"{threads.binary} holds {need.connections} in {count} {_noun(threads.name, count)}"
            for threads, count in counts.items()
            if count is not None
        )
        reason = f"the limit counts for each shard, which has a file table of its own: {plan}"
        if limits.soft < limits.hard:
            reason += "; the binaries raise soft to hard themselves"
        return Check(name, OK, value, _enough(need), reason)
    fit = min(threads.fit(limits.hard) for threads, count in counts.items() if count is None)
    reason = f"no number of shards is enough under this hard limit: {fit} connections would fit"
    if proc.may_raise_limits(host):
        return Check(name, LOW, value, _enough(need), reason, fix)
    reason += "; raising it takes CAP_SYS_RESOURCE, which this shell does not have"
    fix = f"{need.command_for(fit)}; or, where that is allowed, {fix}"
    return Check(name, BLOCKED, value, _enough(need), reason, fix)


def _enough(need: Need) -> str:
    """The lowest hard limit, to the thousand, under which everything fits."""
    limit = 1000
    while any(threads.least(limit, need.connections) is None for threads in need.threads()):
        limit += 1000
    return f"hard {limit} or more"


def _files(limit: int) -> str:
    return "unlimited" if limit >= proc.UNLIMITED_FILES else str(limit)


def _noun(plural: str, count: int) -> str:
    return plural[:-1] if count == 1 else plural


def of_a_table(host: Host, need: Need) -> Check:
    """fs.nr_open is the most that any limit on open files can be."""
    reason = (
        "no limit on open files can be above it; with one this high a shard a core is enough, "
        "with less there are more shards"
    )
    return judge(host, "fs.nr_open", [need.table_files], reason)


def of_system(host: Host, need: Need) -> Check:
    """fs.file-max is for all processes together."""
    open_now = host.sysctl_numbers("fs.file-nr")[0]
    of_others = max(0, open_now - need.connected * need.ends)
    # In steps, so that a few files more do not make a value too low that was just applied.
    wanted = round_up(need.sockets + of_others + FILES_OF_OTHERS, FILES_OF_OTHERS)
    reason = (
        f"all processes together: {need.sockets} sockets and room for others; "
        f"{open_now} are open now"
    )
    return judge(host, "fs.file-max", [wanted], reason)


def watches(host: Host, need: Need) -> Check:
    """What one user may watch with epoll, in all processes together."""
    reason = (
        f"sockets one user may watch with epoll: {need.sockets}"
        + (" (both ends, if both run as the same user)" if need.ends == 2 else "")
        + " and a few for others"
    )
    return judge(host, "fs.epoll.max_user_watches", [need.sockets + WATCHES_OF_OTHERS], reason)
