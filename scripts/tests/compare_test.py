"""The parts of scripts/compare: definitions, sums, the table, and a server's life."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS))

from comparelib import definitions, install, main, servers, summary, table  # noqa: E402
from comparelib.definitions import Load, Wrong, choose, fill  # noqa: E402
from comparelib.measuring import Bench  # noqa: E402

ROOT = SCRIPTS.parent
LISTEN = "import socket,sys; s=socket.socket(); s.bind(('127.0.0.1',int(sys.argv[1]))); s.listen(); [s.accept() for _ in iter(int,1)]"


def report(cpu: float, passed: bool = True, valid: bool = True) -> dict:
    latency = {"p50_ns": 1000, "p99_ns": 2000, "p999_ns": 3000, "max_ns": 4000}
    return {
        "server_cpu_s_per_million": cpu,
        "window": {"delivered_per_s": 5.0, "published_per_s": 1.0, "server": {"cores": 0.5}, "generator_cores": 0.4},
        "latency": latency, "time_to_last": latency,
        "join": {"joined_per_s": 9.0, "server_cpu_us_each": None, "server_cores": None, "generator_cores": 0.1},
        "memory": {"rss_per_connection_bytes": cpu * 50, "kernel_slab_per_connection_bytes": 9.0, "before": {"rss_bytes": 5}},
        "verdict": {"passed": passed, "valid": valid, "failures": [] if passed else ["7 updates lost"],
                    "invalid_because": [] if valid else ["saturated"]},
    }


def is_running(pid: int) -> bool:
    """A process that has ended stays a zombie until whoever adopted it has looked."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Definitions(unittest.TestCase):
    def read(self, text: str, kind=definitions.read_loads):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "some.toml")
            path.write_text(text)
            return kind(path if kind is definitions.read_loads else Path(folder))

    def test_the_committed_definitions_are_read_and_fit_together(self) -> None:
        loads = definitions.read_loads(ROOT / "bench-results/definitions/loads.toml")
        rivals = definitions.read_rivals(ROOT / "bench-results/rivals")
        self.assertEqual("fanfare", rivals[0].name)
        ids = {load.id for load in loads}
        for load in loads:
            self.assertLessEqual(set(load.rivals or []), {rival.name for rival in rivals}, load.id)
        for rival in rivals:
            self.assertLessEqual(set(rival.only_for or []), ids, rival.name)
            self.assertIn(rival.scheme, ("ws", "wss"), rival.name)
            self.assertTrue(any(rival.reason_against(load) is None for load in loads), rival.name)

    def test_what_makes_no_sense_is_refused_with_a_sentence(self) -> None:
        load = '[[load]]\nid = "1"\nkind = "{}"\ntitle = "t"\narguments = {{}}\n'
        for text, kind, sentence in (
            (load.format("dance"), definitions.read_loads, "kind must be one of"),
            (load.format("hold") * 2, definitions.read_loads, "two loads have the same id"),
            ("[[load", definitions.read_loads, "some.toml"),
            ("speed = 9", definitions.read_rivals, "unknown key 'speed'"),
            ('title = "t"', definitions.read_rivals, "missing"),
            ('same_server_as = "nobody"', definitions.read_rivals, "there is no nobody.toml"),
            ('same_server_as = "some"', definitions.read_rivals, "the same server as itself"),
        ):
            with self.subTest(text=text), self.assertRaisesRegex(Wrong, sentence):
                self.read(text, kind)

    def test_a_number_chooses_a_family_and_a_name_itself_alone(self) -> None:
        names = ["2a", "2b", "20", "fanfare", "fanfare-raw"]
        for wanted, expected in (
            (None, names), ("2", ["2a", "2b"]), ("2b", ["2b"]), ("fanfare", ["fanfare"]), ("20,2a", ["2a", "20"]),
        ):
            self.assertEqual(expected, choose(wanted, names, lambda name: name, "load"), wanted)
        with self.assertRaisesRegex(Wrong, "no load '9'"):
            choose("9", names, lambda name: name, "load")

    def test_quick_arguments_replace_the_others(self) -> None:
        load = Load("1", "hold", "t", {"connections": 5, "rate": 2}, {"connections": 1})
        self.assertEqual(["--connections", "5", "--rate", "2"], load.words(quick=False))
        self.assertEqual(["--connections", "1", "--rate", "2"], load.words(quick=True))
        self.assertEqual(["--rejoin"], Load("5", "rejoin", "t", {"rejoin": True}).words(quick=False))

    def test_a_variant_has_what_it_does_not_say_from_the_server_it_is_a_variant_of(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (
                ("fanfare", 'title = "f"\nabout = "f"\nserve = ["f"]\nversion = []\npath = "/ws"'),
                ("a-variant", 'title = "a"\nsame_server_as = "b-variant"\narguments = ["--ca", "{ca}"]'),
                ("b-variant", 'title = "b"\nsame_server_as = "fanfare"\nserve_more = ["--tls"]\nscheme = "wss"'),
            ):
                Path(folder, f"{name}.toml").write_text(text)
            rivals = {rival.name: rival for rival in definitions.read_rivals(Path(folder))}
        variant = rivals["a-variant"]
        self.assertEqual(("a", "f", "wss", "/"), (variant.title, variant.about, variant.scheme, variant.path))
        self.assertEqual(["f", "--tls"], variant.serve)
        self.assertEqual(["f"], rivals["fanfare"].serve)
        load = Load("9", "updates", "t", {}, rivals=["a-variant"])
        self.assertEqual([definitions.VARIANT, None], [rivals[name].reason_against(load) for name in ("fanfare", "a-variant")])

    def test_only_known_places_are_filled(self) -> None:
        self.assertEqual(["a7", '{"x":{topics}}'], fill(["a{port}", '{"x":{topics}}'], {"port": "7"}))


class Installing(unittest.TestCase):
    def test_what_is_installed_is_not_installed_again_until_something_else_is_wanted(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            done: list[str] = []
            for wanted in ("1", "1", "2", "1"):
                install.once(Path(folder, "new"), wanted, lambda: done.append(wanted))
            self.assertEqual(["1", "2", "1"], done)

    def test_what_broke_off_is_done_again(self) -> None:
        def break_off() -> None:
            raise install.Missing("no network")

        with tempfile.TemporaryDirectory() as folder:
            done: list[str] = []
            install.once(Path(folder), "1", lambda: done.append("before"))
            with self.assertRaises(install.Missing):
                install.once(Path(folder), "2", break_off)
            install.once(Path(folder), "1", lambda: done.append("after"))
            self.assertEqual(["before", "after"], done)

    def test_why_a_rival_cannot_be_had_is_told_for_each_that_needs_it(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            rivals = Path(folder, "rivals")
            (rivals / "pypi").mkdir(parents=True)
            (rivals / "pypi/requirements.txt").write_text("no such requirement!\n")
            shop = install.Shop(Path(folder, "cache"), rivals)
            for name in ("one", "two"):
                rival = definitions.Rival(name, name, name, [], [], pypi=name)
                with self.assertRaisesRegex(install.Missing, "pip.* failed"):
                    shop.places(rival)

    def test_a_version_is_the_first_line_wherever_it_is_said(self) -> None:
        said = install.version_of(["sh", "-c", "echo; echo \"$WHAT 1.2\" >&2; echo more >&2; exit 3"], {"WHAT": "nginx"})
        self.assertEqual("nginx 1.2", said)
        with self.assertRaisesRegex(install.Missing, "does not tell"):
            install.version_of(["true"], {})


class Configurations(unittest.TestCase):
    def test_a_server_finds_its_configuration_filled_in(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "some.conf").write_text("port {port} of {here}\n")
            # It listens, and says what it was told.
            serve = ["sh", "-c", f'cat "$1"; exec {sys.executable} -c "{LISTEN}" "$2"', "sh", "{conf}", "{port}"]
            rival = definitions.Rival("some", "some", "some", serve, [], configuration="some.conf", places={"here": folder})
            bench = Bench("no-generator", Path(folder), quick=True)
            report = bench.measure(rival, Load("1", "hold", "t", {}), 1)
            self.assertRegex((Path(folder) / "logs/1-some-1.log").read_text(), f"^port [0-9]+ of {folder}\n")
            self.assertIn("error", report)


class Sums(unittest.TestCase):
    def test_the_median_stands_with_least_and_most(self) -> None:
        result = summary.sum_up([report(3.0), report(1.0), report(2.0)])
        self.assertEqual({"median": 2.0, "min": 1.0, "max": 3.0}, result["figures"]["server_cpu_s_per_million"])
        self.assertNotIn("join_cpu_us_each", result["figures"])
        self.assertTrue(result["verified"] and result["valid"])

    def test_one_bad_round_is_enough_for_a_remark(self) -> None:
        lost = summary.sum_up([report(1.0), report(1.0, passed=False)])
        self.assertEqual((False, ["7 updates lost"]), (lost["verified"], lost["failures"]))
        failed = summary.sum_up([report(1.0), {"error": "did not listen"}])
        self.assertEqual((False, ["did not listen"]), (failed["verified"], failed["failures"]))
        self.assertFalse(summary.sum_up([report(1.0), report(1.0, valid=False)])["valid"])
        self.assertFalse(summary.sum_up([{"error": "x"}])["verified"])


class Table(unittest.TestCase):
    def test_the_cheapest_comes_first_and_every_remark_is_there(self) -> None:
        results = {
            "fanfare": summary.sum_up([report(2.0)] * 3), "bun": summary.sum_up([report(1.0, valid=False)] * 3),
            "ws": summary.sum_up([report(8.0, passed=False)]), "nats": {"reason": "has no echo"},
            "gone": summary.sum_up([{"error": "did not listen"}]),
        }
        rivals = {name: {"title": name} for name in results} | {"socketify": {"title": "socketify", "missing": "no wheel"}}
        for kind in definitions.KINDS:
            text = table.markdown({
                "rounds": 3, "quick": False, "cores": 2, "rivals": rivals,
                "loads": [{"id": "2a", "kind": kind, "title": "one topic", "results": results}],
            })
            lines = [line for line in text.splitlines() if line.startswith("| ")]
            self.assertEqual(["server", "bun", "**fanfare**", "ws", "nats", "gone"], [line.split(" | ")[0].strip("| ") for line in lines])
            self.assertIn("| 0.50 |", lines[1])
            # Memory does not depend on how fast the generator is.
            self.assertEqual(kind != "hold", "†" in lines[1])
            self.assertIn("7 updates lost", lines[3])
            self.assertIn("has no echo", lines[4])
            self.assertIn("did not listen", lines[5])
            self.assertIn("- socketify: no wheel", text)
            self.assertEqual(1, len({line.count("|") for line in lines}), text)


    def test_where_all_cores_are_shared_the_limit_is_told(self) -> None:
        for server, generator, limit in ((1.1, 0.85, "all 2 cores were busy"), (0.7, 0.99, "one thread"), (0.5, 0.4, "neither")):
            one = report(1.0)
            one["window"] |= {"server": {"cores": server}, "generator_cores": generator}
            load = {"id": "7a", "kind": "updates", "title": "t", "all_cores": True, "results": {"fanfare": summary.sum_up([one])}}
            text = table.markdown(
                {"rounds": 1, "quick": False, "cores": 2, "rivals": {"fanfare": {"title": "f"}}, "loads": [load]}
            )
            self.assertIn(limit, text)


class Outcome(unittest.TestCase):
    def test_only_what_is_ours_decides_the_exit_code(self) -> None:
        rivals = {"fanfare": {"title": "fanfare /ws"}, "ws": {"title": "Node ws"}, "floor": {"title": "the floor"}}

        def outcome(**passed: bool) -> bool:
            results = {name: summary.sum_up([report(1.0, passed=passed[name])]) for name in passed}
            return main.is_verified({"rivals": rivals, "loads": [{"results": {**results, "nats": {"reason": "no echo"}}}]})

        self.assertTrue(outcome(fanfare=True, ws=False, floor=True))
        self.assertFalse(outcome(fanfare=False, ws=True))
        self.assertFalse(outcome(fanfare=True, floor=False))
        self.assertFalse(outcome())


class Servers(unittest.TestCase):
    def start(self, folder: str, command: list[str], port: int = 0) -> servers.Server:
        return servers.Server(command, {}, port, Path(folder, "log"), None)

    def test_a_server_is_ready_when_it_listens_and_gone_when_it_is_ended(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            port = servers.free_port()
            server = self.start(folder, [sys.executable, "-c", LISTEN, str(port)], port)
            server.end()
            with self.assertRaises(ProcessLookupError):
                os.kill(server.pid, 0)

    def test_what_a_server_started_ends_with_it(self) -> None:
        # The shell leaves at once when it is asked to; its child does not hear of it.
        with tempfile.TemporaryDirectory() as folder:
            port = servers.free_port()
            child = f'{sys.executable} -c "{LISTEN}" {port} & echo $! > {folder}/child; wait'
            server = self.start(folder, ["sh", "-c", child], port)
            child_pid = int(Path(folder, "child").read_text())
            server.end()
            deadline = time.monotonic() + 10
            while is_running(child_pid) and time.monotonic() < deadline:
                os.sched_yield()
            self.assertFalse(is_running(child_pid))

    def test_why_a_server_did_not_start_is_told(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for command, sentence in (
                (["sh", "-c", "echo no such thing; exit 3"], "ended at once: no such thing"),
                (["/nowhere/at/all"], "cannot be started"),
            ):
                with self.assertRaisesRegex(servers.Failed, sentence):
                    self.start(folder, command)


if __name__ == "__main__":
    unittest.main()
