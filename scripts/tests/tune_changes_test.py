"""scripts/tune apply, persist and revert on made-up hosts, and wrong use."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest

from tune_hosts import (
    FIREWALL,
    LAPTOP,
    STATE_FILE,
    SYSCTL_FILE,
    TUNE,
    UNIT_FILE,
    MadeUpHost,
    Run,
    sysctls,
)

# Found because tune_hosts says where.
from tunelib import change, state
from tunelib.check import Check, Setting
from tunelib.host import Host


class Apply(MadeUpHost):
    """apply and revert."""

    def test_it_shows_the_difference_changes_and_brings_back_exactly(self) -> None:
        self.lay(LAPTOP)
        before = self.everything()
        run = self.tune("apply", "--role", "both")
        self.assertEqual(run.code, 0, run.err)
        self.assertIn("net.core.somaxconn: 4096 -> 65535\n", run.out)
        self.assertIn("net.ipv4.ip_local_port_range: 32768 60999 -> 1024 65535\n", run.out)
        self.assertEqual(self.sysctl("net.core.somaxconn"), "65535")
        self.assertEqual(self.tune("apply", "--role", "both").out, "nothing to change\n")

        run = self.tune("revert")
        self.assertEqual(run.code, 0, run.err)
        self.assertIn("net.core.somaxconn: 65535 -> 4096\n", run.out)
        after = {name: " ".join(text.split()) for name, text in self.everything().items()}
        self.assertEqual(after, {name: " ".join(text.split()) for name, text in before.items()})

    def test_a_dry_run_changes_nothing(self) -> None:
        self.lay(LAPTOP)
        before = self.everything()
        for command in ("apply", "persist"):
            run = self.tune(command, "--dry-run")
            self.assertEqual(run.code, 0)
            self.assertIn("65535", run.out)
        self.assertEqual(self.everything(), before)

    def test_nothing_is_lowered_part_by_part(self) -> None:
        self.lay(
            LAPTOP,
            sysctls(
                {
                    "net.ipv4.tcp_mem": "10 2000000 20",
                    "net.core.somaxconn": "100000",
                    "net.ipv4.ip_local_port_range": "1000 40000",
                }
            ),
        )
        self.tune("apply", "--role", "loadgen", "--connections", "1000")
        self.tune("apply", "--connections", "1000")
        self.assertEqual(self.sysctl("net.ipv4.tcp_mem"), "750 2000000 1500")
        self.assertEqual(self.sysctl("net.core.somaxconn"), "100000")
        self.assertEqual(self.sysctl("net.ipv4.ip_local_port_range"), "1000 65535")

    def test_the_first_value_stays_the_one_that_revert_restores(self) -> None:
        self.lay(LAPTOP)
        self.tune("apply", "--connections", "100000")
        self.tune("apply", "--connections", "1000000")
        self.assertEqual(self.sysctl("net.ipv4.tcp_max_tw_buckets"), "1000000")
        self.tune("revert")
        self.assertEqual(self.sysctl("net.ipv4.tcp_max_tw_buckets"), "32768")

    def test_a_refused_key_is_blocked_and_the_others_are_set(self) -> None:
        self.lay(LAPTOP)
        (self.root / "proc/sys/net/core/somaxconn").chmod(0o444)
        run = self.tune("apply")
        self.assertEqual(run.code, 2)
        self.assertRegex(run.out, r"(?m)^BLOCKED +net\.core\.somaxconn: 4096, wanted 65535;")
        self.assertIn("1 refused", run.out)
        self.assertEqual(self.sysctl("net.ipv4.tcp_max_syn_backlog"), "65535")
        self.assertEqual(self.tune("check").code, 2)

    def test_what_the_kernel_refuses_or_bends_is_blocked(self) -> None:
        class Kernel(Host):
            def write_sysctl(self, key: str, value: str) -> str:
                return "" if key == "net.good" else "the kernel made it 7"

        self.lay({"proc/x": ""})
        checks = [
            Check(key, "LOW", setting=Setting(key, "1", "2"), fix="sysctl")
            for key in ("net.bad", "net.good")
        ]
        kept = state.State(self.root / "state.json")
        results = change.apply(Kernel(str(self.root)), checks, kept, False, lambda line: None)
        self.assertEqual([result.status for result in results], ["BLOCKED", "OK"])
        self.assertEqual(results[0].reason, "the kernel made it 7")

    def test_only_a_prefix(self) -> None:
        self.lay(LAPTOP)
        self.tune("apply", "--only", "net.core.", "--only", "fs.")
        self.assertEqual(self.sysctl("net.core.somaxconn"), "65535")
        self.assertEqual(self.sysctl("net.ipv4.tcp_max_syn_backlog"), "1024")
        self.tune("revert", "--only", "fs.")
        self.assertEqual(self.sysctl("fs.file-max"), "800000")
        self.assertEqual(self.sysctl("net.core.somaxconn"), "65535")
        self.tune("revert")
        self.assertEqual(self.sysctl("net.core.somaxconn"), "4096")
        self.assertFalse((self.root / STATE_FILE).exists())

    def test_a_value_that_cannot_be_restored_stays_remembered(self) -> None:
        self.lay(LAPTOP)
        self.tune("apply")
        self.lay({"proc/sys/net/core/somaxconn": None})
        run = self.tune("revert")
        self.assertEqual(run.code, 2)
        self.assertRegex(run.out, r"(?m)^BLOCKED +net\.core\.somaxconn")
        saved = json.loads((self.root / STATE_FILE).read_text())
        self.assertEqual(saved["sysctls"], {"net.core.somaxconn": "4096"})

    def test_json_of_what_was_done(self) -> None:
        self.lay(LAPTOP)
        found = self.tune("apply", "--json").checks()
        self.assertEqual(found["net.core.somaxconn"]["status"], "OK")
        self.assertEqual(found["net.core.somaxconn"]["reason"], "was 4096")
        self.assertIn(f"/{UNIT_FILE}", self.tune("persist", "--json").checks())
        self.assertIn("net.core.somaxconn", self.tune("revert", "--json").checks())


class Persist(MadeUpHost):
    """The two files."""

    def test_it_writes_two_files_once_and_revert_removes_them(self) -> None:
        self.lay(LAPTOP)
        before = self.everything()
        run = self.tune("persist")
        self.assertEqual(run.code, 0, run.err)
        conf, unit = [(self.root / name).read_text() for name in (SYSCTL_FILE, UNIT_FILE)]
        self.assertIn(conf, run.out)
        self.assertIn(unit, run.out)
        self.assertIn("\nnet.core.somaxconn = 65535\n", conf)
        self.assertIn("\nfs.nr_open = 1048576\n", conf)
        self.assertRegex(unit, r"\[Service\]\n(#.*\n)+LimitNOFILE=1001024\n$")
        self.assertEqual(self.sysctl("net.core.somaxconn"), "4096")

        written = self.everything()
        self.assertIn("is as it should be", self.tune("persist").out)
        self.assertEqual(self.everything(), written)
        self.assertEqual(self.tune("revert").code, 0)
        self.assertEqual(self.everything(), before)

    def test_the_same_files_come_out_before_and_after_apply(self) -> None:
        self.lay(LAPTOP)
        self.tune("persist")
        before = (self.root / SYSCTL_FILE).read_text()
        self.tune("apply")
        self.tune("persist")
        self.assertEqual((self.root / SYSCTL_FILE).read_text(), before)

    def test_earlier_texts_are_brought_back(self) -> None:
        mine = "# mine\r\nnet.core.somaxconn = 5000\n"
        self.lay(LAPTOP)
        (self.root / "etc/sysctl.d").mkdir(parents=True)
        (self.root / SYSCTL_FILE).write_bytes(mine.encode() + b"# \xff\n")
        before = (self.root / SYSCTL_FILE).read_bytes()
        self.tune("persist", "--connections", "500000")
        self.tune("persist")
        self.assertNotEqual((self.root / SYSCTL_FILE).read_bytes(), before)
        self.tune("revert")
        self.assertEqual((self.root / SYSCTL_FILE).read_bytes(), before)
        self.assertFalse((self.root / UNIT_FILE).exists())

    def test_a_load_generators_host_gets_no_unit(self) -> None:
        self.lay(FIREWALL)
        self.tune("persist", "--role", "loadgen")
        self.assertFalse((self.root / UNIT_FILE).exists())
        conf = (self.root / SYSCTL_FILE).read_text()
        self.assertIn("\nnet.ipv4.ip_local_port_range = 1024 65535\n", conf)
        self.assertIn("\n-net.netfilter.nf_conntrack_max = 1065536\n", conf)


class WrongUse(MadeUpHost):
    """One clear sentence, exit code 2."""

    def test_wrong_arguments(self) -> None:
        self.lay(LAPTOP)
        for arguments, message in [
            (["check", "--connections", "many"], "must be a whole number from 1 to"),
            (["check", "--connections", "0"], "must be a whole number from 1 to"),
            (["check", "--ports", "9001,70000"], "must be a whole number from 1 to 65535"),
            (["check", "--role", "proxy"], "invalid choice"),
            (["tidy"], "invalid choice"),
            (["check", "--only", "x."], "no check's name begins with x."),
        ]:
            run = self.tune(*arguments)
            self.assertEqual(run.code, 2, arguments)
            self.assertIn(message, run.err)
        run = Run(["check", "--root", "/nonexistent"])
        self.assertEqual(
            (run.code, run.err), (2, "scripts/tune: --root /nonexistent is no folder\n")
        )

    def test_a_wrong_number_makes_only_its_check_not_applicable(self) -> None:
        self.lay(LAPTOP, sysctls({"net.core.somaxconn": "lots", "net.ipv4.tcp_mem": "1 2"}))
        self.lay(
            {"proc/self/limits": "Max open files many many files", "proc/meminfo": "MemTotal: x kB"}
        )
        found = self.checks()
        for name, reason in [
            (
                "net.core.somaxconn",
                "/proc/sys/net/core/somaxconn holds 'lots', which is not a number",
            ),
            ("open-files", "/proc/self/limits holds 'many', which is not a number"),
            ("memory", "/proc/meminfo holds 'x', which is not a number"),
        ]:
            self.assertEqual((found[name]["status"], found[name]["reason"]), ("N/A", reason))
        self.assertEqual(found["net.ipv4.tcp_max_syn_backlog"]["status"], "LOW")

    def test_revert_without_a_state_says_so(self) -> None:
        run = self.tune("revert")
        self.assertEqual(run.code, 0)
        self.assertEqual(run.out, f"nothing to revert: there is no {self.root / STATE_FILE}\n")

    def test_a_strange_state_file_is_left_alone(self) -> None:
        self.lay(LAPTOP)
        mine = self.root / "mine.json"
        for text in ("{}", "[1]", "not json", '{"version": 1, "sysctls": {"a": 1}}'):
            mine.write_text(text)
            for command in ("apply", "persist", "revert"):
                run = self.tune(command, "--state", str(mine))
                self.assertEqual((run.code, run.out), (2, ""))
                self.assertIn("is no state file of tune", run.err)
            self.assertEqual(mine.read_text(), text)
        self.assertEqual(self.sysctl("net.core.somaxconn"), "4096")

    def test_where_old_values_cannot_be_kept_nothing_is_changed(self) -> None:
        self.lay(LAPTOP, {"file": "in the way"})
        run = self.tune("apply", "--state", str(self.root / "file/tune.json"))
        self.assertEqual(run.code, 2)
        self.assertRegex(run.err, r"^scripts/tune: the state file .*: not a directory\n$")
        self.assertEqual(self.sysctl("net.core.somaxconn"), "4096")

    def test_a_reader_that_goes_away_is_no_error(self) -> None:
        self.lay(LAPTOP)
        command = f"{sys.executable} {TUNE} check --root {self.root} | true"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stderr, "")

    def test_help_has_examples(self) -> None:
        run = Run(["--help"])
        self.assertEqual(run.code, 0)
        self.assertIn("examples:", run.out)


if __name__ == "__main__":
    unittest.main()
