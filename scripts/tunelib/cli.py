"""Arguments, text or JSON, exit codes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Callable, List, Sequence

from . import change, checks, persist, proc, revert
from .check import BLOCKED, LOW, NA, OK, Check
from .host import Host, TuneError, why
from .need import BOTH, LOADGEN, OUR_BYTES, SERVER, Need
from .state import DEFAULT_FILE, State

CONNECTIONS_MAX = 100_000_000

DESCRIPTION = """\
Says what stands between this host and a million connections, mends what can be mended,
keeps the old values, and brings them back.

  check     one line for each limit: OK, LOW, BLOCKED or N/A, with the command that mends it
  apply     raises every sysctl that is LOW; shows the difference first; never lowers a value
  persist   writes /etc/sysctl.d/90-fanfare.conf and a systemd drop-in for fanfare.service
  revert    brings back every value and file as it was before the first apply or persist
"""

EPILOG = """\
examples:
  scripts/tune check                                   can this host serve a million?
  scripts/tune check --role both --connections 200000  server and load generator on this host
  scripts/tune check --pid "$(pidof fanfare)"          also the limits of the running server
  scripts/tune check --json | jq -r '.[] | select(.status != "OK") | .fix'
  scripts/tune apply --dry-run                         what would be changed
  sudo scripts/tune apply && sudo scripts/tune persist
  sudo scripts/tune revert

exit codes: 0 all OK or N/A; 1 something is LOW: apply mends it, or the command in its line;
2 something is BLOCKED, was refused, or the command was used wrongly.
An OK line with advice says what would help although nothing depends on it.
See docs/OPERATIONS.md.
"""


def run_command_line(arguments: Sequence[str]) -> int:
    """Parses, runs, and returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except TuneError as error:
        print(f"scripts/tune: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, grep -q) has enough. Python must not flush into the pipe at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except OSError as error:
        print(f"scripts/tune: {error.filename or 'output'}: {why(error)}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Runs one command."""
    host = Host(options.root)
    state_file = Path(options.state).absolute() if options.state else host.path(DEFAULT_FILE)

    def show(line: str) -> None:
        if not options.json:
            print(line)

    if options.command == "revert":
        results = revert.revert(host, State.load(state_file), options.only, options.dry_run, show)
        return report_changes(results, options.json)

    need = needed(host, options)
    found = checks.run(host, need, options.pid, options.only)
    if options.command == "check":
        return report_checks(found, options)
    state = State.load(state_file)
    if options.command == "apply":
        results = change.apply(host, found, state, options.dry_run, show)
    else:
        results = persist.persist(host, need, found, options.only, state, options.dry_run, show)
    return report_changes(results, options.json, options.dry_run)


def needed(host: Host, options: argparse.Namespace) -> Need:
    """What the options ask of this host. A running process has some of it already."""
    our_bytes = options.bytes_per_connection
    need = Need(
        connections=options.connections,
        role=options.role,
        listen_ports=tuple(options.ports),
        our_bytes=OUR_BYTES[options.role] if our_bytes is None else our_bytes,
    )
    if options.pid is None:
        return need
    sockets = proc.tcp_sockets(host, str(options.pid)).get("inuse", 0)
    return replace(need, connected=min(need.connections, sockets // need.ends))


def report_checks(found: Sequence[Check], options: argparse.Namespace) -> int:
    """Prints the checks; the exit code is that of the worst."""
    if options.json:
        print_json(found)
    else:
        for check in found:
            print(check.line())
        print(summary(found))
    statuses = {check.status for check in found}
    return 2 if BLOCKED in statuses else 1 if LOW in statuses else 0


def summary(found: Sequence[Check]) -> str:
    """The last line: how many of each, and what to do about it."""
    counts = ", ".join(
        f"{sum(check.status == status for check in found)} {status}"
        for status in (OK, LOW, BLOCKED, NA)
    )
    mendable = sum(check.status == LOW and check.setting is not None for check in found)
    return f"{counts}" + (f"; `scripts/tune apply` (as root) mends {mendable}" if mendable else "")


def report_changes(results: Sequence[Check], as_json: bool, dry_run: bool = False) -> int:
    """Prints what was refused; the exit code is 2 if anything was."""
    refused = [check for check in results if check.status == BLOCKED]
    if as_json:
        print_json(results)
    else:
        for check in refused:
            print(check.line())
    return 2 if refused and not dry_run else 0


def print_json(found: Sequence[Check]) -> None:
    print(json.dumps([check.as_json() for check in found], indent=2))


def parser() -> argparse.ArgumentParser:
    """All arguments."""
    top = argparse.ArgumentParser(
        prog="scripts/tune",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "command",
        choices=["check", "apply", "persist", "revert"],
        metavar="COMMAND",
        help="check, apply, persist or revert",
    )
    top.add_argument(
        "--connections",
        type=whole(1, CONNECTIONS_MAX),
        default=1_000_000,
        metavar="N",
        help="connections to be held (default 1000000)",
    )
    top.add_argument(
        "--role",
        choices=[SERVER, LOADGEN, BOTH],
        default=SERVER,
        help="what runs on this host (default server)",
    )
    top.add_argument(
        "--ports",
        type=port_list,
        default=[9001],
        metavar="PORT[,PORT...]",
        help="ports that the server listens on (default 9001)",
    )
    top.add_argument(
        "--bytes-per-connection",
        type=whole(0, 1 << 30),
        metavar="BYTES",
        help="our own memory for a connection, beside the kernel's "
        "(default 200 server, 1000 loadgen, 1200 both)",
    )
    top.add_argument(
        "--pid",
        type=whole(1, 1 << 30),
        help="look at this running process too; the TCP sockets that are open count as its own",
    )
    top.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PREFIX",
        help="only what begins with this, such as net. or fs.; may be repeated",
    )
    top.add_argument("--dry-run", action="store_true", help="show, change nothing")
    top.add_argument("--json", action="store_true", help="results as one JSON list")
    top.add_argument(
        "--state", metavar="FILE", help=f"where old values are kept (default {DEFAULT_FILE})"
    )
    top.add_argument(
        "--root",
        default="/",
        metavar="DIR",
        help="a folder with proc, sys and etc to look at instead of this host's, for tests",
    )
    return top


def whole(least: int, most: int) -> Callable[[str], int]:
    """An argument's type: a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {least} to {most}, not '{text}'"
            )
        return int(text)

    return parse


def port_list(text: str) -> List[int]:
    """An argument's type: ports, separated by commas."""
    return [whole(1, 65535)(part) for part in text.split(",")]
