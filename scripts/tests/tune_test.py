"""scripts/tune check, run as a user runs it on made-up hosts."""

from __future__ import annotations

import json
import os
import tempfile
import unittest
from pathlib import Path

from tune_hosts import (
    ALL_CAPABILITIES,
    CONTAINER,
    CONTAINER_V1,
    FIREWALL,
    LAPTOP,
    NO_CAPABILITIES,
    NOTHING,
    TUNED,
    MadeUpHost,
    limits,
    meminfo,
    status,
    sysctls,
)

# Found because tune_hosts says where.
from tunelib.need import Need


class Hosts(MadeUpHost):
    """check, on a table of hosts."""

    def test_each_kind_of_host_has_its_findings_and_its_exit_code(self) -> None:
        table = [
            (
                "laptop",
                LAPTOP,
                [],
                1,
                {
                    "open-files": "OK",
                    "fs.nr_open": "OK",
                    "fs.file-max": "LOW",
                    "fs.epoll.max_user_watches": "OK",
                    "net.core.somaxconn": "LOW",
                    "net.ipv4.tcp_max_syn_backlog": "LOW",
                    "net.ipv4.tcp_mem": "LOW",
                    "net.ipv4.tcp_ehash_entries": "OK",
                    "net.ipv4.tcp_max_tw_buckets": "LOW",
                    "net.ipv4.ip_local_port_range": "N/A",
                    "net.ipv4.tcp_tw_reuse": "N/A",
                    "net.netfilter.nf_conntrack_max": "N/A",
                    "memory": "OK",
                    "cgroup-memory": "N/A",
                    "swap": "OK",
                    "vm.overcommit_memory": "OK",
                },
            ),
            (
                "laptop, both ends",
                LAPTOP,
                ["--role", "both"],
                2,
                {
                    "net.ipv4.ip_local_port_range": "LOW",
                    "net.ipv4.tcp_tw_reuse": "OK",
                    "fs.epoll.max_user_watches": "LOW",
                    "source-addresses": "OK",
                    # 2 x 3712 + 1200 bytes a connection are more than 6 GiB.
                    "memory": "BLOCKED",
                },
            ),
            (
                "laptop, load generator",
                LAPTOP,
                ["--role", "loadgen"],
                1,
                {
                    "net.core.somaxconn": "N/A",
                    "net.ipv4.tcp_syncookies": "N/A",
                    "net.ipv4.ip_local_port_range": "LOW",
                    "net.ipv4.ip_local_reserved_ports": "N/A",
                },
            ),
            (
                "laptop, few",
                LAPTOP,
                ["--connections", "1000", "--only", "fs."],
                0,
                {"fs.file-max": "OK"},
            ),
            (
                "tuned server",
                TUNED,
                [],
                0,
                {"fs.file-max": "OK", "net.core.somaxconn": "OK", "net.ipv4.tcp_mem": "OK"},
            ),
            ("container", CONTAINER, [], 2, {"open-files": "OK", "cgroup-memory": "BLOCKED"}),
            ("container, cgroup v1", CONTAINER_V1, [], 2, {"cgroup-memory": "BLOCKED"}),
            (
                "container, fewer",
                CONTAINER,
                ["--connections", "300000"],
                0,
                {"cgroup-memory": "OK"},
            ),
            ("firewall", FIREWALL, [], 1, {"net.netfilter.nf_conntrack_max": "LOW"}),
            ("nothing readable", NOTHING, [], 0, {"open-files": "N/A", "memory": "N/A"}),
        ]
        for name, files, arguments, code, expected in table:
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                self.root = Path(folder)
                self.lay(files)
                run = self.tune("check", "--json", *arguments)
                found = {name: check["status"] for name, check in run.checks().items()}
                self.assertEqual({key: found.get(key) for key in expected}, expected)
                self.assertEqual(run.code, code)

    def test_on_a_host_without_any_file_everything_is_not_applicable(self) -> None:
        run = self.tune("check")
        self.assertEqual(run.code, 0)
        lines = run.out.splitlines()
        self.assertTrue(all(line.startswith("N/A ") for line in lines[:-1]), run.out)
        self.assertIn("0 OK, 0 LOW, 0 BLOCKED", lines[-1])

    def test_a_finding_is_one_line_with_value_wish_reason_and_command(self) -> None:
        self.lay(LAPTOP)
        run = self.tune("check", "--only", "net.core.somaxconn")
        line = run.out.splitlines()[0]
        self.assertRegex(
            line,
            r"^LOW +net\.core\.somaxconn: 4096, wanted 65535; .*ListenOverflows 321, "
            r"ListenDrops 654.*; fix: sysctl -w net\.core\.somaxconn=65535$",
        )
        self.assertIn("mends 1", run.out.splitlines()[-1])

    def test_json_has_the_same_six_strings_for_each_check(self) -> None:
        self.lay(LAPTOP)
        for check in json.loads(self.tune("check", "--json", "--role", "both").out):
            self.assertEqual(list(check), ["name", "status", "value", "wanted", "reason", "fix"])
            self.assertTrue(all(isinstance(text, str) for text in check.values()), check)
            self.assertIn(check["status"], ("OK", "LOW", "BLOCKED", "N/A"))


class OpenFiles(MadeUpHost):
    """The limit counts for each shard."""

    def finding(self, soft: str, hard: str, *arguments: str, capabilities: str = NO_CAPABILITIES):
        self.lay(TUNED, {"proc/self/limits": limits(soft, hard)})
        self.lay({"proc/self/status": status(capabilities)})
        run = self.tune("check", "--json", "--only", "open-files", *arguments)
        return run.code, run.checks()["open-files"]

    def test_twenty_thousand_are_enough_for_a_million_in_53_shards(self) -> None:
        code, finding = self.finding("1024", "20000")
        self.assertEqual((code, finding["status"]), (0, "OK"))
        self.assertIn("53 shards", finding["reason"])
        self.assertIn("raise soft to hard themselves", finding["reason"])

    def test_the_load_generator_counts_its_workers(self) -> None:
        code, finding = self.finding("20000", "20000", "--role", "both")
        self.assertEqual(code, 0)
        self.assertIn(
            "53 shards and fanfare-loadgen holds 1000000 in 51 workers", finding["reason"]
        )

    def test_a_hard_limit_that_no_number_of_shards_overcomes_is_blocked(self) -> None:
        code, finding = self.finding("1024", "1024")
        self.assertEqual((code, finding["status"]), (2, "BLOCKED"))
        self.assertRegex(finding["reason"], r"\d+ connections would fit")
        self.assertRegex(finding["fix"], r"^fanfare serve --max-connections \d+; or, .*ulimit -n")

    def test_who_may_raise_it_is_told_how(self) -> None:
        code, finding = self.finding("1024", "1024", capabilities=ALL_CAPABILITIES)
        self.assertEqual((code, finding["status"]), (1, "LOW"))
        self.assertEqual(finding["fix"], "ulimit -n 1001024")

    def test_unlimited_is_one_shard(self) -> None:
        code, finding = self.finding("1024", "unlimited")
        self.assertEqual((code, finding["value"]), (0, "soft 1024, hard unlimited"))
        self.assertIn("in 1 shard", finding["reason"])

    def test_a_running_process_is_looked_at_and_has_its_memory_already(self) -> None:
        self.lay(
            TUNED,
            {
                "proc/77/limits": limits("1024", "1024"),
                "proc/77/cgroup": "0::/fanfare.service\n",
                "proc/77/net/sockstat": "TCP: inuse 900000 orphan 0 tw 0 alloc 900000 mem 9\n",
                "sys/fs/cgroup/fanfare.service/memory.max": str(1 << 30),
                "sys/fs/cgroup/fanfare.service/memory.current": "0",
            },
        )
        found = self.checks("--pid", "77")
        self.assertEqual(found["open-files.77"]["status"], "BLOCKED")
        self.assertEqual(found["memory"]["wanted"], "373 MiB")
        self.assertIn("900000 are open already", found["cgroup-memory"]["reason"])
        run = self.tune("check", "--pid", "78")
        self.assertEqual((run.code, run.err), (2, "scripts/tune: there is no process 78\n"))

    def test_the_arithmetic_is_that_of_the_binaries(self) -> None:
        # The same rows as in server/src/shards.rs and loadgen/src/plan/fit.rs.
        server, loadgen = Need(1, "both", (9001,), 0).threads()
        for limit, connections, shards in [
            (20_000, 1_000_000, 53),
            (2_000_000, 1_000_000, 1),
            (1024, 10, 1),
            (20_000, 100_000, 6),
            (1024, 1_000_000, None),
            (60, 10, None),
        ]:
            self.assertEqual(server.least(limit, connections), shards, (limit, connections))
        for connections, workers in [(1, 1), (39_000, 2), (41_000, 3), (1_000_000, 51)]:
            self.assertEqual(loadgen.least(20_000, connections), workers, connections)
        self.assertEqual(loadgen.least(256, 1_000_000), None)


class Network(MadeUpHost):
    """Ports, sockets, tracking."""

    def test_source_addresses_follow_connections_and_destination_ports(self) -> None:
        self.lay(TUNED)
        for arguments, count in [
            ([], 40),
            (["--ports", "9001,9002,9003,9004"], 10),
            (["--connections", "60000"], 3),
        ]:
            finding = self.checks("--role", "loadgen", *arguments)["source-addresses"]
            self.assertEqual(finding["wanted"], f"{count} source addresses")
            self.assertIn(f"--source-addresses {count}", finding["fix"])
        one = self.checks("--role", "loadgen", "--connections", "9")["source-addresses"]
        self.assertEqual((one["wanted"], one["fix"]), ("1 source address", ""))

    def test_the_servers_port_is_advised_to_be_reserved_where_the_range_covers_it(self) -> None:
        key = "net.ipv4.ip_local_reserved_ports"
        self.lay(LAPTOP)
        self.assertEqual(self.checks()[key]["fix"], "")
        # The range that apply would set covers it.
        self.assertEqual(self.checks("--role", "both")[key]["fix"], f"sysctl -w {key}=9001")
        self.lay(TUNED)
        self.assertEqual(self.checks()[key]["fix"], "")
        fix = self.checks("--ports", "9001,9443")[key]["fix"]
        self.assertEqual(fix, f"sysctl -w {key}=8080,9000-9010,9443")

    def test_tcp_mem_is_shown_in_pages_and_mebibytes_and_held_to_half_the_memory(self) -> None:
        self.lay(LAPTOP)
        finding = self.checks()["net.ipv4.tcp_mem"]
        pages_of_mib = (1 << 20) // os.sysconf("SC_PAGE_SIZE")
        third = 8 * 1024 * pages_of_mib // 3
        self.assertIn(f"({93000 // pages_of_mib} {124000 // pages_of_mib} ", finding["value"])
        pressure = min(third, 1_000_000)
        expected = f"{pressure * 3 // 4} {pressure} {pressure * 3 // 2}"
        self.assertTrue(finding["wanted"].startswith(f"{expected} pages ("), finding)
        self.assertEqual(finding["fix"], f"sysctl -w net.ipv4.tcp_mem='{expected}'")
        self.assertIn("half of the memory", finding["reason"])

    def test_a_small_hash_table_is_advice_and_no_fault(self) -> None:
        for entries in ("65536", "-65536"):
            self.lay(TUNED, sysctls({"net.ipv4.tcp_ehash_entries": entries}))
            run = self.tune("check")
            self.assertEqual(run.code, 0, run.out)
            self.assertRegex(
                run.out,
                r"OK +net.ipv4.tcp_ehash_entries: 65536.* 15\.3 sockets a bucket.*"
                r"advice: boot with thash_entries=524288.*tcp_child_ehash_entries=524288",
            )

    def test_connection_tracking_that_tracks_nothing_is_not_applicable(self) -> None:
        key = "net.netfilter.nf_conntrack_max"
        self.lay(FIREWALL, sysctls({"net.netfilter.nf_conntrack_count": "0"}))
        self.assertEqual(self.checks()[key]["status"], "N/A")
        self.lay({"proc/sys/net/netfilter/nf_conntrack_count": None})
        self.assertEqual(self.checks()[key]["status"], "N/A")
        self.lay({"proc/net/nf_conntrack": "ipv4 2 tcp 6 431999 ESTABLISHED src=10.0.0.1\n"})
        finding = self.checks()[key]
        self.assertEqual(finding["status"], "LOW")
        self.assertIn("NOTRACK rule for port 9001", finding["reason"])


class Memory(MadeUpHost):
    """Forecasts."""

    def test_the_forecast_counts_both_ends_and_ours(self) -> None:
        self.lay(TUNED)
        for arguments, a_connection in [
            ([], 3912),
            (["--role", "loadgen"], 4712),
            (["--role", "both"], 8624),
            (["--bytes-per-connection", "1288"], 5000),
        ]:
            reason = self.checks(*arguments)["memory"]["reason"]
            self.assertIn(f"1000000 connections of {a_connection} bytes", reason)

    def test_too_little_says_how_many_would_fit(self) -> None:
        self.lay(TUNED, {"proc/meminfo": meminfo(1)})
        finding = self.checks()["memory"]
        self.assertEqual(finding["status"], "BLOCKED")
        self.assertEqual(finding["fix"], f"fanfare serve --max-connections {(1 << 30) // 3912}")

    def test_a_cgroup_above_ours_counts_without_its_old_pages(self) -> None:
        self.lay(CONTAINER)
        finding = self.checks()["cgroup-memory"]
        self.assertEqual(finding["value"], "1.5 GiB free")
        needed = (512 << 20) + 1_000_000 * 3912
        self.assertIn(f"echo {needed} > /sys/fs/cgroup/pod/memory.max", finding["fix"])

    def test_swap_in_use_and_strict_overcommit_are_low_and_not_for_apply(self) -> None:
        self.lay(TUNED, {"proc/meminfo": meminfo(6, swap_used_kb=4096)})
        self.lay(sysctls({"vm.overcommit_memory": "2"}))
        run = self.tune("check", "--json")
        found = run.checks()
        self.assertEqual(run.code, 1)
        self.assertEqual((found["swap"]["status"], found["swap"]["fix"]), ("LOW", "swapoff -a"))
        self.assertEqual(found["vm.overcommit_memory"]["status"], "LOW")
        self.assertIn("3.0 GiB may still be promised", found["vm.overcommit_memory"]["reason"])
        self.assertEqual(self.tune("apply").out, "nothing to change\n")


if __name__ == "__main__":
    unittest.main()
