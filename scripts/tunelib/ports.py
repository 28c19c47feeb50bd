"""Ports of outgoing connections: the load generator's local ports, and the server's own port."""

from __future__ import annotations

from typing import List, Tuple

from .check import OK, Check, judge, sysctl_command, widened
from .host import Host, NotApplicable, Unreadable
from .need import COMFORTABLE_PORTS, Need

RANGE_KEY = "net.ipv4.ip_local_port_range"
RESERVED_KEY = "net.ipv4.ip_local_reserved_ports"
WIDEST = (1024, 65535)


def port_range(host: Host, need: Need) -> Check:
    """Local ports that outgoing connections can have."""
    _only_for_loadgen(need)
    reason = "the wider, the fewer source addresses the load generator needs"
    return judge(host, RANGE_KEY, WIDEST, reason, merge=widened)


def source_addresses(host: Host, need: Need) -> Check:
    """How many local addresses the load generator must connect from."""
    _only_for_loadgen(need)
    first, last = _range(host)
    local_ports = last - first + 1
    sources = need.source_addresses(local_ports)
    destinations = len(need.listen_ports)
    value = f"{local_ports} local ports, {_count(destinations, 'destination port')}"
    reason = (
        f"about {COMFORTABLE_PORTS} connections a source address and destination port, then the "
        "search for a free port slows down; on loopback the load generator takes so many itself"
    )
    fix = (
        f"fanfare-loadgen run --connections {need.connections} --source-addresses {sources}"
        if sources > 1
        else ""
    )
    return Check("source-addresses", OK, value, _count(sources, "source address"), reason, fix)


def reserved_ports(host: Host, need: Need) -> Check:
    """Whether an outgoing connection could take the server's port before the server starts."""
    if not need.has_server:
        raise NotApplicable("the server's port matters only on the server's host")
    reserved = host.sysctl(RESERVED_KEY)
    first, last = widened(_range(host), WIDEST) if need.has_loadgen else _range(host)
    taken = _ports(reserved)
    open_to_all = [
        str(port)
        for port in need.listen_ports
        if first <= port <= last and not any(low <= port <= high for low, high in taken)
    ]
    if not open_to_all:
        reason = "no outgoing connection is given the server's port"
        return Check(RESERVED_KEY, OK, reserved or "none", "", reason)
    ports = ",".join(open_to_all)
    reason = (
        f"the range of local ports covers {ports}: an outgoing connection could take it while "
        "the server is down, and the server could then not listen"
    )
    fix = sysctl_command(RESERVED_KEY, ",".join(filter(None, [reserved, ports])))
    return Check(RESERVED_KEY, OK, reserved or "none", "", reason, fix)


def _only_for_loadgen(need: Need) -> None:
    if not need.has_loadgen:
        raise NotApplicable("a server opens no connections; --role loadgen or both looks at it")


def _range(host: Host) -> Tuple[int, int]:
    numbers = host.sysctl_numbers(RANGE_KEY)
    if len(numbers) != 2:
        raise Unreadable(f"{RANGE_KEY} holds {len(numbers)} numbers instead of 2")
    return numbers[0], numbers[1]


def _ports(text: str) -> List[Tuple[int, int]]:
    """8080,9148-9150 as ranges."""
    try:
        bounds = [part.partition("-") for part in text.split(",") if part]
        return [(int(low), int(high or low)) for low, _, high in bounds]
    except ValueError:
        raise Unreadable(f"{RESERVED_KEY} holds '{text[:40]}', no list of ports") from None


def _count(number: int, noun: str) -> str:
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{plural}"
