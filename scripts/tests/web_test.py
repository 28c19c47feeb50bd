"""The parts of scripts/web: definitions, how reports are judged, and the process that holds what never ends."""

from __future__ import annotations

import os
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS))

from comparelib.servers import Failed  # noqa: E402
from weblib import definitions, judging, main  # noqa: E402
from weblib.holding import HalfOpen, resident_bytes  # noqa: E402


def measured(cpu: float | None = None, rss: float | None = None, passed: bool = True) -> dict:
    """What one run of `measure` leaves behind."""
    return {"report": {
        "server_cpu_s_per_million": cpu, "sums": {"skipped": 0}, "verdict": {"passed": passed},
        "memory": {"rss_per_connection_bytes": rss, "kernel_slab_per_connection_bytes": 4000.0},
    }}


def loaded(p99_ms: float, growth: int | None = None, ended: int = 30, first_s: float = 20.1, last_s: float = 20.9) -> dict:
    """What one run of `run` leaves behind; with requests that never end if `growth` is given."""
    run = {"report": {"latency": {"delivery": {"p99_ns": p99_ms * 1e6}}, "verdict": {"passed": True}}}
    if growth is not None:
        after = {"count": ended, "min_ns": first_s * 1e9, "max_ns": last_s * 1e9}
        run |= {
            "resident_before_bytes": 8_000_000, "resident_held_bytes": 8_000_000 + growth,
            "half_open": {"asked": 30, "opened": 30, "ended": ended, "styles": [{"ended": {"408": ended}, "after": after}]},
        }
    return run


class Definitions(unittest.TestCase):
    def test_the_committed_figures_are_read_and_each_can_be_judged(self) -> None:
        figures = definitions.read(main.FIGURES)
        self.assertEqual([figure.id for figure in figures], ["delivery", "memory", "half-open"])
        for figure in figures[:2]:
            runs = {variant.name: [measured(1.0, 100.0)] for variant in figure.variants}
            self.assertTrue(judging.judge(figure, runs, False)["met"], figure.id)
        runs = {"without": [loaded(1.0)], "with": [loaded(1.0, 1000)]}
        self.assertTrue(judging.judge(figures[2], runs, False)["met"])

    def test_quick_replaces_some_arguments_and_the_deadlines(self) -> None:
        figure = definitions.read(main.FIGURES)[2]
        self.assertIn("10s", figure.words(figure.variants[0], False))
        self.assertNotIn("10s", figure.words(figure.variants[0], True))
        self.assertEqual(figure.half_open_words(False)[:2], ["--connections", "10000"])
        self.assertEqual(figure.half_open_words(True)[:2], ["--connections", "300"])
        self.assertEqual(figure.serve_words(True)[-4:], ["--handshake-timeout", "5s", "--body-timeout", "5s"])

    def test_what_makes_no_sense_is_told_in_a_sentence(self) -> None:
        good = main.FIGURES.read_text()
        for change, sentence in [
            (('tool = "run"', 'tool = "walk"'), "walk is neither of measure, run"),
            (("rounds = 3", "round = 3"), "unexpected keyword argument 'round'"),
            (('tool = "run"\n', ""), "missing 1 required positional argument: 'tool'"),
            (("[[figure.variant]]", "[[figure.variants]]"), "unexpected keyword argument 'variants'"),
        ]:
            with self.subTest(change), tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "web.toml")
                path.write_text(good.replace(*change))
                with self.assertRaises(definitions.Wrong) as raised:
                    definitions.read(path)
                self.assertIn(sentence, str(raised.exception))


class Judging(unittest.TestCase):
    def test_medians_are_held_against_a_websockets(self) -> None:
        runs = {
            "websocket": [measured(cpu) for cpu in (4.0, 9.0, 4.0)],
            "sse": [measured(cpu) for cpu in (5.0, 5.0, 99.0)],
            "poll": [measured(cpu) for cpu in (6.0, 6.0, 6.0)],
        }
        result = judging.delivery(runs)
        self.assertEqual(result["ratios"], {"sse": 1.25, "poll": 1.5})
        self.assertFalse(result["met"])
        self.assertIn("1.25 times a WebSocket's: met", result["lines"][1])
        self.assertIn("1.50 times a WebSocket's: MISSED", result["lines"][2])

    def test_what_cannot_be_compared_is_not_met(self) -> None:
        runs = {name: [measured(rss=rss)] for name, rss in (("websocket", 0.0), ("sse", 9.0), ("poll", 9.0))}
        result = judging.memory(runs)
        self.assertFalse(result["met"])
        self.assertIn("cannot be compared", result["lines"][1])

    def test_each_part_of_what_never_ends_is_judged(self) -> None:
        usual = {"p99_ms": 1.0, "growth": 4_000_000}
        for change, words in [
            ({}, ["met", "met", "met"]),
            ({"growth": 6_000_000}, ["MISSED", "met", "met"]),
            ({"p99_ms": 1.3}, ["met", "MISSED", "met"]),
            ({"ended": 29}, ["met", "met", "MISSED"]),
            ({"first_s": 3.0}, ["met", "met", "MISSED"]),
            ({"last_s": 25.0}, ["met", "met", "MISSED"]),
            ({"ended": 0}, ["met", "met", "MISSED"]),
        ]:
            with self.subTest(change):
                runs = {"without": [loaded(1.0)] * 3, "with": [loaded(**{**usual, **change})] * 3}
                result = judging.half_open(runs, 20)
                self.assertEqual([line.rsplit(": ", 1)[1] for line in result["lines"]], words)
                self.assertEqual(result["met"], words == ["met"] * 3)

    def test_a_run_is_verified_if_every_delivery_was_and_all_were_opened(self) -> None:
        self.assertTrue(judging.is_verified(measured()))
        self.assertFalse(judging.is_verified(measured(passed=False)))
        beside = loaded(1.0, 0)
        self.assertTrue(judging.is_verified(beside))
        beside["half_open"]["opened"] = 29
        self.assertFalse(judging.is_verified(beside))


class Holding(unittest.TestCase):
    def hold(self, script: str, folder: str) -> HalfOpen:
        report, log = Path(folder, "report.json"), Path(folder, "log.txt")
        return HalfOpen([sys.executable, "-c", script, str(report)], Path(folder), report, log)

    def test_the_report_is_read_when_it_has_ended(self) -> None:
        script = "import sys; print('opened 3', flush=True); open(sys.argv[1], 'w').write('{\"ended\": 3}')"
        with tempfile.TemporaryDirectory() as folder:
            with self.hold(script, folder) as held:
                held.wait_until_opened()
                self.assertEqual(held.wait(), {"ended": 3})
            self.assertEqual(Path(folder, "log.txt").read_text(), "opened 3\n")

    def test_one_that_ends_before_all_is_opened_is_told(self) -> None:
        with tempfile.TemporaryDirectory() as folder, self.hold("print('no room')", folder) as held:
            with self.assertRaisesRegex(Failed, "were not opened: no room"):
                held.wait_until_opened()
            with self.assertRaisesRegex(Failed, "left no report: no room"):
                held.wait()

    def test_leaving_ends_it(self) -> None:
        script = "import time; print('opened 1', flush=True); time.sleep(600)"
        with tempfile.TemporaryDirectory() as folder, self.hold(script, folder) as held:
            held.wait_until_opened()
        # The block is left only when the process is gone.

    def test_memory_is_that_of_the_process(self) -> None:
        self.assertGreater(resident_bytes(os.getpid()), 1_000_000)


if __name__ == "__main__":
    unittest.main()
