"""TCP sockets: memory for what is on its way, the hash table, connection tracking, TIME_WAIT."""

from __future__ import annotations

import mmap
from typing import Tuple

from . import proc
from .check import OK, Check, judge, mebibytes
from .host import Host, NotApplicable, Unreadable, sysctl_file
from .need import Need, power_of_two

PAGE_BYTES = mmap.PAGESIZE
# The kernel's own bound for both ways of asking for a larger table.
BUCKETS_MAX = 1 << 24
# Sockets a bucket up to which a lookup is as good as direct.
COMFORTABLE_CHAIN = 2
FLOWS_OF_OTHERS = 65_536


def tcp_mem(host: Host, need: Need) -> Check:
    """Pages of buffers of all TCP sockets together: easy below the first, refused above the third.

    The forecast is a broadcast on its way to everybody. An idle socket takes no page; one with
    a small frame unread takes one (kernel 6.18, 5000 pairs on loopback, 120 bytes each: none
    when idle, 4600 to 4900 pages unread). The three are in the kernel's own proportions, and never
    more than half of the memory.
    """
    memory_pages = proc.memory_bytes(host).get("MemTotal", 0) // PAGE_BYTES
    pressure = min(need.sockets, memory_pages // 3)
    wanted = (pressure * 3 // 4, pressure, pressure * 3 // 2)
    bound = "" if pressure == need.sockets else " (wanted is held to half of the memory)"
    pages_now = proc.tcp_sockets(host).get("mem", 0)
    counters = proc.tcp_counters(host)
    reason = (
        f"buffers of all sockets, in pages: a frame on its way to each of {need.sockets} takes a "
        f"page each{bound}; {pages_now} in use, TCPMemoryPressures "
        f"{counters.get('TCPMemoryPressures', 0)}, TCPAbortOnMemory "
        f"{counters.get('TCPAbortOnMemory', 0)} so far"
    )
    return judge(host, "net.ipv4.tcp_mem", wanted, reason, describe=_pages)


def _pages(numbers: Tuple[int, ...]) -> str:
    pages = " ".join(str(number) for number in numbers)
    sizes = " ".join(str(number * PAGE_BYTES >> 20) for number in numbers)
    return f"{pages} pages ({sizes} MiB)"


def receive_buffer(host: Host, _need: Need) -> Check:
    """Informational."""
    return _buffer(host, "net.ipv4.tcp_rmem", "what clients send unread", "--recv-buffer")


def send_buffer(host: Host, _need: Need) -> Check:
    """Informational."""
    return _buffer(host, "net.ipv4.tcp_wmem", "what slow readers leave unread", "--send-buffer")


def _buffer(host: Host, key: str, what: str, flag: str) -> Check:
    numbers = host.sysctl_numbers(key)
    if len(numbers) != 3:
        raise Unreadable(f"{key} holds {len(numbers)} numbers instead of 3")
    reason = (
        f"an idle socket takes none of it; {what} may grow to {mebibytes(numbers[2])} in the "
        f"kernel for each connection, which fanfare serve {flag} bounds"
    )
    return Check(key, OK, " ".join(map(str, numbers)), "", reason)


def receive_buffer_max(host: Host, _need: Need) -> Check:
    """Informational."""
    return _buffer_max(host, "net.core.rmem_max", "--recv-buffer")


def send_buffer_max(host: Host, _need: Need) -> Check:
    """Informational."""
    return _buffer_max(host, "net.core.wmem_max", "--send-buffer")


def _buffer_max(host: Host, key: str, flag: str) -> Check:
    value = host.sysctl_number(key)
    reason = f"the most that {flag} can ask for; nothing else depends on it"
    return Check(key, OK, str(value), "", reason)


def hash_table(host: Host, need: Need) -> Check:
    """Buckets in which the kernel looks up a packet's socket. Advice only: fixed at boot."""
    key = "net.ipv4.tcp_ehash_entries"
    # Negative: this namespace shares the table of the first one.
    buckets = abs(host.sysctl_number(key))
    if buckets == 0:
        raise Unreadable(f"{key} holds 0")
    chain = need.sockets / buckets
    reason = f"{chain:.1f} sockets a bucket, walked for every packet"
    wanted = min(power_of_two(need.sockets // COMFORTABLE_CHAIN), BUCKETS_MAX)
    if chain <= COMFORTABLE_CHAIN or buckets >= wanted:
        return Check(key, OK, str(buckets), str(wanted), reason)
    fix = (
        f"boot with thash_entries={wanted} on the kernel's command line, or set "
        f"net.ipv4.tcp_child_ehash_entries={wanted} and run in a network namespace made after"
    )
    return Check(key, OK, str(buckets), str(wanted), f"{reason}; it works, only slower", fix)


def conntrack(host: Host, need: Need) -> Check:
    """Connection tracking, where it is in use. Read from /proc only: asking a tool can load it."""
    key = "net.netfilter.nf_conntrack_max"
    if not host.path(sysctl_file(key)).exists():
        raise NotApplicable("connection tracking is not loaded")
    flows = _tracked_flows(host)
    if flows == 0:
        raise NotApplicable("connection tracking is there, but tracks nothing")
    ports = ",".join(map(str, need.listen_ports))
    reason = (
        f"{flows} flows are tracked now, and every connection is one more; a full table drops "
        f"packets; a NOTRACK rule for port {ports} is the cheaper way"
    )
    return judge(host, key, [need.connections + FLOWS_OF_OTHERS], reason)


def _tracked_flows(host: Host) -> int:
    try:
        return host.sysctl_number("net.netfilter.nf_conntrack_count")
    except Unreadable:
        return len(host.text("/proc/net/nf_conntrack").splitlines())


def time_wait(host: Host, need: Need) -> Check:
    """Closed connections that the kernel remembers for a minute."""
    now = proc.tcp_sockets(host).get("tw", 0)
    reason = (
        "when all leave at once, the end that closed first remembers each for a minute (256 "
        f"bytes); {now} now, TCPTimeWaitOverflow "
        f"{proc.tcp_counters(host).get('TCPTimeWaitOverflow', 0)} so far"
    )
    return judge(host, "net.ipv4.tcp_max_tw_buckets", [need.connections], reason)


def time_wait_reuse(host: Host, need: Need) -> Check:
    """Whether a port in TIME_WAIT can be taken for a new outgoing connection."""
    if not need.has_loadgen:
        raise NotApplicable("a server opens no connections; --role loadgen or both looks at it")
    reason = "the next run need not wait a minute for the last one's ports; 2 means loopback only"
    return judge(host, "net.ipv4.tcp_tw_reuse", [1], reason)
