"""Made-up hosts: folders with the files of /proc, /sys and /etc that scripts/tune reads."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Dict, List, Optional

SCRIPTS = Path(__file__).resolve().parent.parent
TUNE = SCRIPTS / "tune"

# So that tests can import what the command is made of; as root, without leaving root's files.
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPTS))

from tunelib.cli import run_command_line  # noqa: E402  (found by the line above)

SYSCTL_FILE = "etc/sysctl.d/90-fanfare.conf"
UNIT_FILE = "etc/systemd/system/fanfare.service.d/limits.conf"
STATE_FILE = "var/lib/fanfare/tune.json"
GIB_KB = 1 << 20
NO_CAPABILITIES = "0000000000000000"
ALL_CAPABILITIES = "000001ffffffffff"

Files = Dict[str, Optional[str]]


def sysctls(values: Dict[str, str]) -> Files:
    """Sysctls as files of /proc/sys."""
    return {"proc/sys/" + key.replace(".", "/"): text for key, text in values.items()}


def limits(soft: str, hard: str) -> str:
    return (
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max processes             96365                96365                processes\n"
        f"Max open files            {soft:<20} {hard:<20} files\n"
    )


def status(capabilities: str) -> str:
    return f"Name:\ttune\nCapPrm:\t{capabilities}\nCapEff:\t{capabilities}\n"


def meminfo(available_gib: float, swap_used_kb: int = 0, total_gib: float = 8) -> str:
    return (
        f"MemTotal: {int(total_gib * GIB_KB)} kB\n"
        f"MemAvailable: {int(available_gib * GIB_KB)} kB\n"
        f"SwapTotal: {2 * GIB_KB} kB\nSwapFree: {2 * GIB_KB - swap_used_kb} kB\n"
        f"CommitLimit: {4 * GIB_KB} kB\nCommitted_AS: {GIB_KB} kB\nHugePages_Total: 0\n"
    )


# What a distribution ships, on a machine with 8 GiB.
LAPTOP: Files = {
    **sysctls(
        {
            "fs.nr_open": "1048576",
            "fs.file-max": "800000",
            "fs.file-nr": "9000\t0\t800000",
            "fs.epoll.max_user_watches": "1700000",
            "net.core.somaxconn": "4096",
            "net.core.rmem_max": "212992",
            "net.core.wmem_max": "212992",
            "net.ipv4.ip_local_port_range": "32768\t60999",
            "net.ipv4.ip_local_reserved_ports": "",
            "net.ipv4.tcp_max_syn_backlog": "1024",
            "net.ipv4.tcp_syncookies": "1",
            "net.ipv4.tcp_mem": "93000\t124000\t186000",
            "net.ipv4.tcp_rmem": "4096\t131072\t6291456",
            "net.ipv4.tcp_wmem": "4096\t16384\t4194304",
            "net.ipv4.tcp_ehash_entries": "65536",
            "net.ipv4.tcp_max_tw_buckets": "32768",
            "net.ipv4.tcp_tw_reuse": "2",
            "vm.overcommit_memory": "0",
        }
    ),
    "proc/self/limits": limits("1024", "524288"),
    "proc/self/status": status(NO_CAPABILITIES),
    "proc/self/cgroup": "0::/user.slice\n",
    "proc/meminfo": meminfo(6),
    "proc/net/sockstat": "sockets: used 300\nTCP: inuse 40 orphan 0 tw 17 alloc 45 mem 8\n",
    "proc/net/netstat": (
        "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPReqQFullDrop TCPMemoryPressures\n"
        "TcpExt: 0 321 654 7 2\nIpExt: InNoRoutes\nIpExt: 0\n"
    ),
}

# fs.file-max as systemd sets it: the greatest there is.
TUNED: Files = {
    **LAPTOP,
    **sysctls(
        {
            "fs.file-max": "9223372036854775807",
            "net.core.somaxconn": "65535",
            "net.ipv4.ip_local_port_range": "1024\t65535",
            "net.ipv4.ip_local_reserved_ports": "8080,9000-9010",
            "net.ipv4.tcp_max_syn_backlog": "65535",
            "net.ipv4.tcp_mem": "750000\t1000000\t1500000",
            "net.ipv4.tcp_ehash_entries": "2097152",
            "net.ipv4.tcp_max_tw_buckets": "1000000",
        }
    ),
}

CONTAINER: Files = {
    **TUNED,
    "proc/self/limits": limits("20000", "20000"),
    "proc/self/cgroup": "0::/pod/app\n",
    "sys/fs/cgroup/pod/memory.max": str(2 << 30),
    "sys/fs/cgroup/pod/memory.current": str(1 << 30),
    "sys/fs/cgroup/pod/memory.stat": f"anon 5\ninactive_file {512 << 20}\n",
    "sys/fs/cgroup/pod/app/memory.max": "max",
}

CONTAINER_V1: Files = {
    **TUNED,
    # A path of the host's, which the container does not see: only the mount's top is there.
    "proc/self/cgroup": "5:cpu:/docker/abc\n4:memory:/docker/abc\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(3 << 30),
    "sys/fs/cgroup/memory/memory.usage_in_bytes": str(1 << 30),
}

FIREWALL: Files = {
    **TUNED,
    **sysctls(
        {"net.netfilter.nf_conntrack_max": "262144", "net.netfilter.nf_conntrack_count": "1200"}
    ),
}

NOTHING: Files = {}


class Run:
    """One command line, run in this process: four times as fast as an interpreter for each."""

    def __init__(self, arguments: List[str]) -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                self.code: object = run_command_line(arguments)
            except SystemExit as end:
                # How argparse ends, after --help or wrong use.
                self.code = end.code
        self.out, self.err = out.getvalue(), err.getvalue()

    def checks(self) -> Dict[str, Dict[str, str]]:
        return {check["name"]: check for check in json.loads(self.out)}


class MadeUpHost(unittest.TestCase):
    """A folder that stands for a host."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def lay(self, *hosts: Files) -> None:
        """Writes the files; None removes one."""
        for files in hosts:
            for name, text in files.items():
                path = self.root / name
                if text is None:
                    path.unlink()
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text if text.endswith("\n") else text + "\n")

    def tune(self, *arguments: str) -> Run:
        return Run([*arguments, "--root", str(self.root)])

    def checks(self, *arguments: str) -> Dict[str, Dict[str, str]]:
        return self.tune("check", "--json", *arguments).checks()

    def everything(self) -> Dict[str, str]:
        """All files of the host, and its folders."""
        return {
            str(path.relative_to(self.root)): path.read_text() if path.is_file() else "folder"
            for path in self.root.rglob("*")
        }

    def sysctl(self, key: str) -> str:
        return (self.root / "proc/sys" / key.replace(".", "/")).read_text().strip()
