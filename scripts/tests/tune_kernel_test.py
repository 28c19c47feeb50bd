"""scripts/tune on the real kernel, in a network namespace that the test makes.

Only keys that each namespace has for itself are written, so the host that runs this is not
changed; the test holds its values, before against after, to that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Dict

from tune_hosts import TUNE

# Found because tune_hosts says where.
from tunelib.host import sysctl_file

# Keys that every network namespace has for itself.
KEYS = (
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_tw_reuse",
)
# Those that there is only one of: never to be written from here.
KEYS_OF_HOST = ("fs.nr_open", "fs.file-max", "fs.epoll.max_user_watches", "net.ipv4.tcp_mem")


class RealKernel(unittest.TestCase):
    """In a network namespace of the test's own; the host's values must not move."""

    def setUp(self) -> None:
        # cat holds the namespace until its standard input is closed.
        try:
            self.holder = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo in; exec cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError:
            self.skipTest("there is no unshare(1)")
        self.addCleanup(self.let_go)
        if self.holder.stdout.readline() != "in\n":
            self.skipTest(f"no network namespace may be made: {self.holder.stderr.read().strip()}")
        ours = os.readlink("/proc/self/ns/net")
        self.assertNotEqual(os.readlink(f"/proc/{self.holder.pid}/ns/net"), ours)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = Path(folder.name) / "tune.json"
        done = self.inside("true")
        if done.returncode:
            self.skipTest(f"the namespace cannot be entered: {done.stderr.strip()}")

    def let_go(self) -> None:
        self.holder.communicate(timeout=60)

    def inside(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *command],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def tune(self, *arguments: str) -> subprocess.CompletedProcess:
        done = self.inside(
            sys.executable,
            str(TUNE),
            *arguments,
            "--role",
            "both",
            "--only",
            "net.",
            "--state",
            str(self.state),
        )
        self.assertNotIn("Traceback", done.stderr)
        return done

    def values_inside(self) -> Dict[str, str]:
        return {key: self.inside("cat", sysctl_file(key)).stdout for key in KEYS}

    def values_of_host(self) -> Dict[str, str]:
        files = [Path(sysctl_file(key)) for key in (*KEYS, *KEYS_OF_HOST)]
        return {str(file): file.read_text() for file in files if file.exists()}

    def test_values_change_in_the_namespace_alone_and_come_back_exactly(self) -> None:
        host, fresh = self.values_of_host(), self.values_inside()
        self.assertEqual(self.tune("check").returncode, 1)
        done = self.tune("apply")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        applied = self.values_inside()
        self.assertEqual(applied["net.core.somaxconn"], "65535\n")
        self.assertEqual(applied["net.ipv4.ip_local_port_range"], "1024\t65535\n")
        self.assertEqual(applied["net.ipv4.tcp_max_syn_backlog"], "65535\n")
        self.assertEqual(applied["net.ipv4.tcp_max_tw_buckets"], "1000000\n")
        self.assertEqual(self.values_of_host(), host)
        self.assertEqual(self.tune("check").returncode, 0, self.tune("check").stdout)

        done = self.tune("revert")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.values_inside(), fresh)
        self.assertEqual(self.values_of_host(), host)
        self.assertFalse(self.state.exists())

    def test_a_value_that_the_kernel_will_not_take_is_one_sentence(self) -> None:
        self.inside("sh", "-c", "echo 4000 4010 > /proc/sys/net/ipv4/ip_local_port_range")
        self.state.write_text(
            json.dumps(
                {
                    "version": 1,
                    "files": {},
                    "folders": [],
                    "sysctls": {"net.ipv4.ip_local_port_range": "9 1", "net.core.somaxconn": "77"},
                }
            )
        )
        done = self.tune("revert")
        self.assertEqual(done.returncode, 2)
        self.assertIn("the kernel refused 9 1: invalid argument", done.stdout)
        self.assertEqual(self.values_inside()["net.core.somaxconn"], "77\n")


if __name__ == "__main__":
    unittest.main()
