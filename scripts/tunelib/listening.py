"""Connections that wait to be accepted."""

from __future__ import annotations

from . import proc
from .check import OK, Check, judge
from .host import Host, NotApplicable
from .need import Need

# The most that every kernel takes: older ones keep the queue's length in 16 bits.
BACKLOG_MAX = 65_535


def somaxconn(host: Host, need: Need) -> Check:
    """The cap on every listener's queue."""
    _only_for_server(need)
    reason = (
        "caps what --backlog asks for (4096 a shard unless told otherwise); a storm of "
        f"reconnects beyond it is dropped; {_evidence(host, 'ListenOverflows', 'ListenDrops')}"
    )
    return judge(host, "net.core.somaxconn", [BACKLOG_MAX], reason)


def syn_backlog(host: Host, need: Need) -> Check:
    """Half-open connections."""
    _only_for_server(need)
    evidence = _evidence(host, "TCPReqQFullDrop", "TCPReqQFullDoCookies")
    reason = f"half-open connections; decides only where tcp_syncookies is 0; {evidence}"
    return judge(host, "net.ipv4.tcp_max_syn_backlog", [BACKLOG_MAX], reason)


def syncookies(host: Host, need: Need) -> Check:
    """What happens to newcomers once the queue is full."""
    _only_for_server(need)
    value = host.sysctl("net.ipv4.tcp_syncookies")
    reason = (
        "newcomers to a full queue are dropped, and try again after a second"
        if value == "0"
        else "newcomers to a full queue get a cookie instead of a place; good as it is"
    )
    return Check("net.ipv4.tcp_syncookies", OK, value, "", reason)


def _evidence(host: Host, *names: str) -> str:
    counters = proc.tcp_counters(host)
    if not counters:
        return "no counters to be had"
    return ", ".join(f"{name} {counters.get(name, 0)}" for name in names) + " so far"


def _only_for_server(need: Need) -> None:
    if not need.has_server:
        raise NotApplicable("the load generator does not listen")
