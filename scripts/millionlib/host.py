"""What a figure needs beside it: the machine, its limits and settings, and the revisions of everything."""

import datetime
import json
import os
import platform
import resource
import subprocess
from pathlib import Path

SYSCTLS = (
    "fs.file-max",
    "fs.nr_open",
    "fs.epoll.max_user_watches",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_ehash_entries",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)


def sysctl(name: str) -> str | None:
    """The value in force, or None where the kernel has none."""
    try:
        return Path("/proc/sys", name.replace(".", "/")).read_text().strip()
    except OSError:
        return None


def output(*command: str) -> str | None:
    """What a command prints; None where it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _field(path: str, name: str) -> str | None:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def manifest(root: Path, argv: list[str], commands: dict[str, list[str]], namespace: bool) -> dict:
    """Everything that somebody would need to judge or repeat the run."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "command": " ".join(["scripts/million", *argv[1:]]),
        "commands": {name: " ".join(command) for name, command in commands.items()},
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": {
            "name": platform.node(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "cpu": _field("/proc/cpuinfo", "model name"),
            "cores": os.cpu_count(),
            "memory": _field("/proc/meminfo", "MemTotal"),
            "swap": _field("/proc/meminfo", "SwapTotal"),
            "open_files_soft": soft,
            "open_files_hard": hard,
            "network_namespace_of_its_own": namespace,
            "load_average_before": os.getloadavg(),
        },
        "sysctl": {name: sysctl(name) for name in SYSCTLS},
        "revision": output("git", "-C", str(root), "rev-parse", "HEAD"),
        "uncommitted_changes": bool(output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")),
        "rustc": output("rustc", "--version"),
    }


def write_json(path: Path, value: object) -> None:
    """Pretty, with a newline at the end, as git likes it."""
    path.write_text(json.dumps(value, indent=2) + "\n")
