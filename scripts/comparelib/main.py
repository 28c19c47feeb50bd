"""The run, from the arguments to the folder."""

import argparse
import copy
import datetime
import json
import os
import platform
import signal
import subprocess
from pathlib import Path

from millionlib import host

from . import summary as summing
from . import table
from .definitions import VARIANT, Load, Rival, Wrong, choose, fill, read_loads, read_rivals
from .install import Missing, Shop, carry_out, version_of
from .measuring import Bench

ROOT = Path(__file__).resolve().parent.parent.parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
RIVALS = ROOT / "bench-results/rivals"
LOADS = ROOT / "bench-results/definitions/loads.toml"
CACHE = ROOT / ".cache/compare"
# From one measurement to the next, with the server's start and end; the mean of a whole run.
MEASUREMENT_S = 3.8


def run(description: str, argv: list[str]) -> int:
    """Does what the command line asks for; returns the exit code: 0 every delivery of ours verified, 1 not, 2 wrong use."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parse(description, argv)
    try:
        rivals = choose(options.rivals, _with_builds(read_rivals(RIVALS), options.fanfare), lambda rival: rival.name, "rival")
        loads = choose(options.loads, read_loads(LOADS), lambda load: load.id, "load")
        if options.list:
            return _list(rivals, loads, options.rounds)
        return _Run(options, argv, rivals, loads).carry_out()
    except Wrong as error:
        print(f"compare: {error}")
        return 2
    except KeyboardInterrupt:
        print("\ncompare: interrupted")
        return 130


def _parse(description: str, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "compare", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rivals", metavar="A,B", help="only these servers")
    parser.add_argument("--loads", metavar="2a,3", help="only these loads; 3 stands for 3a, 3b …")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each is measured (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see whether everything works")
    parser.add_argument("--list", action="store_true", help="show servers and loads, and end")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (bench-results/<date>-<host>-compare-<rev>)")
    parser.add_argument("--resume", action="store_true", help="keep loads that --out already holds all reports of, measure the others")
    parser.add_argument("--no-build", action="store_true", help="use the programs as they were last built")
    parser.add_argument("--fanfare", action="append", default=[], metavar="NAME=FILE", help="another build of fanfare, as well")
    options = parser.parse_args(argv[1:])
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _with_builds(rivals: list[Rival], builds: list[str]) -> list[Rival]:
    """Other builds stand beside fanfare, and speak as it does."""
    reference = next(rival for rival in rivals if rival.name == "fanfare")
    others = []
    for build in builds:
        name, equals, path = build.partition("=")
        if not equals or not Path(path).is_file():
            raise Wrong(f"--fanfare {build}: give a name and the file of a build, as in new=/tmp/fanfare")
        other = copy.deepcopy(reference)
        other.name, other.title, other.about = name, f"fanfare {name}", "another build"
        other.places["fanfare"] = str(Path(path).resolve())
        others.append(other)
    return others + rivals


def _list(rivals: list[Rival], loads: list[Load], rounds: int) -> int:
    for rival in rivals:
        print(f"{rival.name:<16} {rival.title}: {rival.about}")
    print()
    for load in loads:
        print(f"{load.id:<16} {load.title}")
    pairs = sum(rival.reason_against(load) is None for load in loads for rival in rivals)
    print(f"\n{pairs} measurements a round, {rounds} rounds: some {pairs * rounds * MEASUREMENT_S / 60:.0f} minutes")
    return 0


class _Run:
    def __init__(self, options: argparse.Namespace, argv: list[str], rivals: list[Rival], loads: list[Load]):
        self._options, self._argv, self._rivals, self._loads = options, argv, rivals, loads
        self._described: dict[str, dict] = {}
        self._reports: dict[tuple[str, str], list[dict]] = {}

    def carry_out(self) -> int:
        """Builds, installs, measures, writes."""
        if not self._options.no_build:
            _build()
        out = (self._options.out or _default_folder(self._options.quick)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        self._bench = Bench(str(BINARIES / "fanfare-loadgen"), out, self._options.quick)
        try:
            self._get_rivals()
            self._measure_all()
        except KeyboardInterrupt:
            print("\ncompare: interrupted; what has been measured is kept")
            self._write(out, interrupted=True)
            return 130
        return self._write(out, interrupted=False)

    def _get_rivals(self) -> None:
        shop = Shop(CACHE, RIVALS)
        programs = {"fanfare": str(BINARIES / "fanfare"), "loadgen": str(BINARIES / "fanfare-loadgen"), "repository": str(ROOT)}
        for rival in self._rivals:
            described = self._described[rival.name] = {"title": rival.title, "about": rival.about}
            try:
                certificate = shop.certificate(ROOT / "scripts/dev-certs") if rival.scheme == "wss" else {}
                rival.places = {**programs, **certificate, **shop.places(rival), **rival.places}
                if rival.needs_flag and rival.needs_flag not in carry_out(fill(["{fanfare}", "serve", "--help"], rival.places), ROOT):
                    raise Missing(f"this build knows no {rival.needs_flag}")
                described["version"] = version_of(fill(rival.version, rival.places), rival.filled_environment(rival.places))
                if "packages" in rival.places:
                    described["version"] += f" ({rival.places['packages']})"
            except Missing as reason:
                described["missing"] = str(reason)
                print(f"{rival.name} is missing: {reason}")

    def _measure_all(self) -> None:
        for load in self._loads:
            print(f"\n{load.id}: {load.title}", flush=True)
            able = [rival for rival in self._rivals if "missing" not in self._described[rival.name] and rival.reason_against(load) is None]
            rounds = range(1, self._options.rounds + 1)
            # Ratios are taken within a load, so a load is kept as a whole or measured as a whole.
            is_kept = self._options.resume and all(self._bench.report(rival, load, round_).exists() for round_ in rounds for rival in able)
            for round_ in rounds:
                for rival in able:
                    report = (self._bench.read if is_kept else self._bench.measure)(rival, load, round_)
                    self._reports.setdefault((load.id, rival.name), []).append(report)
                    print(f"  {round_} {rival.name:<16} {_line(load, report)}", flush=True)

    def _write(self, out: Path, interrupted: bool) -> int:
        summary = {
            "rounds": self._options.rounds, "quick": self._options.quick, "interrupted": interrupted,
            "cores": len(os.sched_getaffinity(0)), "rivals": self._described,
            "loads": [
                {"id": load.id, "kind": load.kind, "title": load.title, "all_cores": load.all_cores, "results": self._results(load)}
                for load in self._loads
            ],
        }
        described = host.manifest(ROOT, self._argv, {}, False)
        described["command"] = " ".join(["scripts/compare", *self._argv[1:]])
        before = json.loads((out / "manifest.json").read_text()) if self._options.resume and (out / "manifest.json").exists() else {}
        described["commands"] = {**before.get("commands", {}), **self._bench.commands, "generator": "taskset -c 1 fanfare-loadgen measure …; each in its raw report"}
        described["versions"] = {name: rival.get("version") for name, rival in self._described.items()}
        host.write_json(out / "manifest.json", described)
        host.write_json(out / "summary.json", summary)
        (out / "table.md").write_text(table.markdown(summary))
        if subprocess.run([str(BINARIES / "fanfare-loadgen"), "chart", str(out)], check=False).returncode != 0:
            print("the charts cannot be drawn")
        print(f"\nwritten to {out}")
        return 0 if is_verified(summary) and not interrupted else 1

    def _results(self, load: Load) -> dict:
        results = {}
        for rival in self._rivals:
            reason = rival.reason_against(load)
            reports = self._reports.get((load.id, rival.name))
            if reports:
                results[rival.name] = summing.sum_up(reports)
            elif reason and reason != VARIANT and "missing" not in self._described[rival.name]:
                results[rival.name] = {"reason": reason}
        return results


def is_verified(summary: dict) -> bool:
    """Whether fanfare has lost nothing, and something was measured. That a rival cannot keep up is a result, not a failure."""
    results = [(name, result) for load in summary["loads"] for name, result in load["results"].items() if "reason" not in result]
    return bool(results) and all(result["verified"] for name, result in results if _is_ours(name, summary))


def _is_ours(name: str, summary: dict) -> bool:
    return summary["rivals"][name]["title"].startswith("fanfare") or name == "floor"


def _line(load: Load, report: dict) -> str:
    if "error" in report:
        return f"ERROR: {report['error']}"
    window, latency = report["window"], report["latency"]
    cpu = report["server_cpu_s_per_million"]
    cost = "?" if cpu is None else f"{cpu:8.3f}"
    if load.kind == "hold":
        cost = f"{report['join']['server_cpu_us_each'] or 0:8.3f}"
        each = [report["memory"][f"{part}_per_connection_bytes"] or 0 for part in ("rss", "kernel_slab")]
        text = f"{each[0]:9,.0f} B each, kernel {each[1]:7,.0f} B; {cost} µs CPU each, {report['join']['joined_per_s']:9,.0f}/s"
    else:
        cores = (window["server"] or {}).get("cores", 0)
        text = (
            f"{cost} s CPU/M {window['delivered_per_s']:12,.0f}/s  p50 {latency['p50_ns'] / 1e6:8.2f} ms  p99 {latency['p99_ns'] / 1e6:8.2f} ms"
            f"  cores {cores:.2f} + {window['generator_cores']:.2f}"
        )
    verdict = report["verdict"]
    return text + ("" if verdict["passed"] else f"  FAILED: {verdict['failures'][0]}") + ("" if verdict["valid"] else "  INVALID")


def _build() -> None:
    command = ["cargo", "build", "--release", "-p", "fanfare", "-p", "fanfare-loadgen"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise Wrong("the programs cannot be built")


def _default_folder(quick: bool) -> Path:
    date = datetime.date.today().isoformat()
    revision = host.output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown"
    name = f"{date}-{platform.node()}-compare-{revision}"
    return ROOT / ".cache/compare/quick" / name if quick else ROOT / "bench-results" / name
