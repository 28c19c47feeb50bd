"""The parts of scripts/slow-readers: definitions, and how reports are judged."""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS))

from slowlib import definitions, judging, main  # noqa: E402

CLASS = {"connections": 1, "published": 9, "delivered": 4, "skipped": 5, "gaps": 0, "lost": 0, "closed_4103": 0}


def look(at_s: float, rss: int, marks: int = 0, mark_bytes: int = 0) -> dict:
    """One look at the server's memory."""
    parts = {part: 0 for part in judging.OWN_PARTS}
    return {**parts, "at_s": at_s, "cpu_s": at_s / 2, "rss_bytes": rss, "marks": marks, "mark_bytes": mark_bytes, "tcp_buffer_bytes": 0}


def run(connections: int = 200, p99_ns: int = 0, looks: list[dict] | None = None, **readers: object) -> dict:
    """What one measurement leaves behind."""
    woken = {"clients": connections, "newest_max": 100, "older_max": 7, "older_published_after_ns": 5e6}
    classes = {name: {**CLASS, "delivery": {"p99_ns": p99_ns}} for name in ("healthy", "slow", "stalled", "half_open")}
    return {
        "looks": looks or [], "began_s": 0.0,
        "report": {
            "connections": {"asked": connections}, "subscriptions": {"per_connection": 100, "acked": 20}, "publishing": {"acked": 1000},
            "phases": [{"phase": "steady", "started_ms": 0, "length_ms": 10_000}],
            "readers": {"classes": classes, "woken": woken, **readers},
        },
    }


class Definitions(unittest.TestCase):
    def test_the_committed_figures_are_read_and_each_can_be_judged(self) -> None:
        figures = definitions.read(main.FIGURES)
        self.assertEqual(["stalled", "others", "resume"], [figure.id for figure in figures])
        for figure in figures:
            for variant in figure.variants:
                words = figure.words(variant, quick=True)
                self.assertEqual("3s", words[words.index("--duration") + 1], figure.id)

    def test_what_makes_no_sense_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "figures.toml")
            for text in ("", "figure = 7", "[[figure]]\nid = 'a'\n"):
                path.write_text(text)
                self.assertRaises(definitions.Wrong, definitions.read, path)
        figures = definitions.read(main.FIGURES)
        self.assertRaises(definitions.Wrong, definitions.choose, "resume,nonsense", figures)
        self.assertEqual(["resume"], [figure.id for figure in definitions.choose("resume", figures)])


class Judging(unittest.TestCase):
    def stalled(self, rss: int, mark_bytes: int = 0, **woken: object) -> dict:
        many = run(200, looks=[look(0, 9_999_999), look(1, 9_999_999, 20_000, mark_bytes)])
        many["report"]["readers"]["woken"].update(woken)
        few = run(100, looks=[look(1, 8_000_000, 100)])
        return judging.stalled({"many": [many], "thousand": [run(1000, looks=[look(0, 0), look(1, rss, 9)])], "hundred": [few]})

    def test_memory_is_the_difference_by_clients_and_looks_before_the_stall_do_not_count(self) -> None:
        result = self.stalled(8_000_000 + 900 * 15_000)
        self.assertEqual((True, 15_000), (result["met"], result["resident_bytes_each"]))
        self.assertFalse(self.stalled(8_000_000 + 900 * 17_000)["met"])
        # The server's own account counts as well.
        self.assertTrue(self.stalled(8_000_000, mark_bytes=200 * 15_000)["met"])
        self.assertFalse(self.stalled(8_000_000, mark_bytes=200 * 17_000)["met"])

    def test_whoever_wakes_up_gets_no_more_than_the_newest_of_each_topic_and_everybody_wakes_up(self) -> None:
        self.assertFalse(self.stalled(8_000_000, newest_max=101)["met"])
        self.assertFalse(self.stalled(8_000_000, clients=199)["met"])

    def test_the_ratio_is_that_of_the_medians(self) -> None:
        def of(healthy: list[int], others: list[int]) -> dict:
            return judging.others({"all-healthy": [run(p99_ns=ns) for ns in healthy], "1-percent-not": [run(p99_ns=ns) for ns in others]})

        self.assertEqual((1.1, True), (of([10, 99, 1], [11, 1, 99])["ratio"], of([10, 99, 1], [11, 1, 99])["met"]))
        self.assertFalse(of([10, 10, 10], [13, 13, 13])["met"])

    def test_a_resume_is_met_when_all_recover_without_a_gap(self) -> None:
        def of(recovered: int, unrecovered: int) -> bool:
            times = {"max_ns": 2e9, "p50_ns": 1e9}
            resumed = {"recovered": recovered, "unrecovered": unrecovered, "back": times, "complete": times}
            return judging.resume({"resume": [run(resumed=resumed)]})["met"]

        self.assertEqual([True, False, False], [of(20, 0), of(19, 1), of(19, 0)])


if __name__ == "__main__":
    unittest.main()
