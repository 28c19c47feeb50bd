"""A network namespace for the run, made where the kernel lets us.

Inside it the network's settings are the run's own, and so is the kernel's table of connections. The host's table has
262,144 places on a machine of 24 GB; with two million sockets in it each packet walks a chain of eight. Measured on a
shared machine: a million connected at 13,700 a second with that table (other programs were at work for part of it), and at
19,800 and 21,200 with one that fits.
"""

import os
import subprocess
import sys
from pathlib import Path

INSIDE = "FANFARE_MILLION_NAMESPACE"
TABLE = Path("/proc/sys/net/ipv4/tcp_child_ehash_entries")


def is_inside() -> bool:
    """Whether this process was started by enter()."""
    return INSIDE in os.environ


def is_possible() -> bool:
    """Whether this process may make a network namespace."""
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return probe.returncode == 0


def enter(argv: list[str], connections: int) -> int:
    """Runs the same command again in a namespace whose table fits; returns its exit code."""
    # Both ends of each connection are in the table.
    entries = 1 << max(18, (2 * connections - 1).bit_length())
    arrived, arrival = os.pipe()
    before = _set_table(str(entries))
    try:
        environment = dict(os.environ, **{INSIDE: str(arrival)})
        command = ["unshare", "--net", sys.executable, os.path.abspath(argv[0]), *argv[1:]]
        child = subprocess.Popen(command, env=environment, pass_fds=[arrival])
        os.close(arrival)
        # The size counts at the moment the namespace is made: wait until the child is in it, or has ended.
        os.read(arrived, 1)
    finally:
        os.close(arrived)
        _set_table(before)
    return _wait(child)


def set_up() -> None:
    """Tells whoever started us that we have arrived, and brings the namespace's loopback interface up."""
    arrival = int(os.environ[INSIDE])
    os.write(arrival, b"!")
    os.close(arrival)
    for command in (["ip", "link", "set", "lo", "up"], ["ifconfig", "lo", "up"]):
        try:
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return
        except FileNotFoundError:
            continue
    raise SystemExit("million: cannot bring the loopback interface up: neither ip nor ifconfig is there")


def _wait(child: subprocess.Popen) -> int:
    """An interrupt reaches the child too, which then tidies up; so wait for it."""
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def _set_table(entries: str | None) -> str | None:
    """Sets the size of the tables of namespaces to come; returns what it was. Not possible: the size stays."""
    if entries is None:
        return None
    try:
        before = TABLE.read_text().strip()
        TABLE.write_text(entries)
        return before
    except OSError:
        return None
