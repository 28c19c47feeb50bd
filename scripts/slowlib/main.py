"""The run, from the arguments to the folder."""

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import time
from pathlib import Path

from comparelib.servers import Failed, Server, free_port, pinned
from millionlib import host

from . import judging
from .definitions import Figure, Variant, Wrong, choose, read
from .watching import Watch

ROOT = Path(__file__).resolve().parent.parent.parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
FIGURES = ROOT / "bench-results/definitions/slow-readers.toml"
SERVER_CORE, GENERATOR_CORE = 0, 1
TIMEOUT_S = 180


def run(description: str, argv: list[str]) -> int:
    """Does what the command line asks for; returns the exit code: 0 verified and all aims met (with --quick: verified), 1
    not, 2 wrong use."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parse(description, argv)
    try:
        figures = choose(options.figures, read(FIGURES))
        if not options.no_build:
            _build()
        return _Run(options, argv).carry_out(figures)
    except (Wrong, Failed) as error:
        print(f"slow-readers: {error}")
        return 2
    except KeyboardInterrupt:
        print("\nslow-readers: interrupted")
        return 130


def _parse(description: str, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "slow-readers", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", metavar="A,B", help="only these")
    parser.add_argument("--quick", action="store_true", help="small and short; nothing is judged but the accounts")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (bench-results/<date>-<host>-slow-readers-<rev>)")
    parser.add_argument("--no-build", action="store_true", help="use the programs as they were last built")
    return parser.parse_args(argv[1:])


class _Run:
    def __init__(self, options: argparse.Namespace, argv: list[str]):
        self._options, self._argv = options, argv
        self._out = (options.out or _default_folder(options.quick)).resolve()
        # With fewer than two cores there is nothing to hold them to.
        self._can_pin = os.sched_getaffinity(0) >= {SERVER_CORE, GENERATOR_CORE}
        self._commands: dict[str, str] = {}
        self._is_verified = True

    def carry_out(self, figures: list[Figure]) -> int:
        """Measures and writes."""
        for folder in ("raw", "logs"):
            (self._out / folder).mkdir(parents=True, exist_ok=True)
        results = [self._measure(figure) for figure in figures]
        self._write(results)
        is_met = self._options.quick or all(result["met"] for result in results)
        return 0 if self._is_verified and is_met else 1

    def _measure(self, figure: Figure) -> dict:
        print(f"\n{figure.id}: {figure.title}\n  aim: {figure.aim}", flush=True)
        runs: dict[str, list[dict]] = {}
        for round_ in range(1, (1 if self._options.quick else figure.rounds) + 1):
            for variant in figure.variants:
                runs.setdefault(variant.name, []).append(self._once(figure, variant, round_))
        result = judging.judge(figure, runs)
        word = "" if self._options.quick else (" met" if result["met"] else " MISSED")
        print(f" {word} {result['line']}", flush=True)
        return {"id": figure.id, "title": figure.title, "aim": figure.aim, **result, "phases": list(_phases(runs))}

    def _once(self, figure: Figure, variant: Variant, round_: int) -> dict:
        """One variant on a server started anew."""
        name = f"{figure.id}-{variant.name}-{round_}"
        port = free_port()
        serve = [str(BINARIES / "fanfare"), "serve", "--listen", f"127.0.0.1:{port}", *figure.server]
        core = SERVER_CORE if self._can_pin else None
        server = Server(serve, {}, port, self._out / "logs" / f"{name}.log", core)
        report = self._out / "raw" / f"{name}.json"
        report.unlink(missing_ok=True)
        generate = pinned(GENERATOR_CORE if self._can_pin else None, [
            str(BINARIES / "fanfare-loadgen"), "run", "--quiet", "--url", f"ws://127.0.0.1:{port}/ws", "--workers", "1",
            *figure.words(variant, self._options.quick), "--json", os.path.relpath(report, ROOT),
        ])
        self._commands[name] = {"server": _shown(pinned(core, serve)), "generator": _shown(generate)}
        try:
            with Watch(f"127.0.0.1:{port}", server.pid) as watch:
                began_s = time.monotonic() - watch.begin
                done = subprocess.run(generate, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        finally:
            server.end()
        (self._out / "logs" / f"{name}-generator.txt").write_text(done.stdout + done.stderr)
        if not report.exists():
            raise Failed((done.stderr or done.stdout).strip().splitlines()[-1])
        told = json.loads(report.read_text())
        self._is_verified &= judging.is_verified(told)
        print(f"  {round_} {variant.name:<14} {done.stdout.strip().splitlines()[-1]}"
              + "".join(f"\n    {line}" for line in told["verdict"]["failures"] + told["verdict"]["invalid_because"]), flush=True)
        return {"report": told, "looks": watch.looks, "began_s": began_s}

    def _write(self, results: list[dict]) -> None:
        described = host.manifest(ROOT, self._argv, {}, False)
        described["command"] = " ".join(["scripts/slow-readers", *self._argv[1:]])
        described["commands"] = self._commands
        host.write_json(self._out / "manifest.json", described)
        phases = [phase for result in results for phase in result.pop("phases")]
        host.write_json(self._out / "summary.json", {
            "kind": "readers", "quick": self._options.quick, "verified": self._is_verified, "figures": results, "phases": phases,
        })
        lines = [f"{result['id']}: {result['title']}\n  aim: {result['aim']}\n  {'met' if result['met'] else 'MISSED'}: {result['line']}\n"
                 for result in results]
        verified = "every subscription verified" if self._is_verified else "NOT verified"
        (self._out / "summary.txt").write_text("\n".join([*lines, verified]) + "\n")
        if subprocess.run([str(BINARIES / "fanfare-loadgen"), "chart", str(self._out)], check=False).returncode != 0:
            print("the charts cannot be drawn")
        print(f"\n{verified}; written to {self._out}")


def _phases(runs: dict[str, list[dict]]):
    """As the charts of a scenario want them: a phase a measurement."""
    for name, rounds in runs.items():
        for round_, run in enumerate(rounds, 1):
            delivery = run["report"]["readers"]["classes"]["healthy"]["delivery"]
            phase = {"name": f"{name} {round_}" if len(rounds) > 1 else name, "connections_open": run["report"]["connections"]["opened"]}
            if delivery["count"]:
                phase["latency_us"] = {"delivery": {
                    "count": delivery["count"], "p50": delivery["p50_ns"] / 1000, "p90": delivery["p90_ns"] / 1000,
                    "p99": delivery["p99_ns"] / 1000, "p99_9": delivery["p999_ns"] / 1000, "max": delivery["max_ns"] / 1000,
                }}
            waiting = [look for look in run["looks"] if look["marks"] > 0]
            if waiting and phase["connections_open"] > 1:
                phase["server_memory"] = max(waiting, key=lambda look: look["rss_bytes"])
            phase["looks"] = [
                {key: look[key] for key in ("at_s", "rss_bytes", "accounted_bytes", "marks", "mark_bytes", "tcp_buffer_bytes")}
                for look in run["looks"]
            ]
            yield phase


def _shown(command: list[str]) -> str:
    """As seen from the project's folder, so that it says nothing about where that is."""
    binaries = {str(BINARIES / name): f"target/release/{name}" for name in ("fanfare", "fanfare-loadgen")}
    return " ".join(binaries.get(word, word) for word in command)


def _build() -> None:
    command = ["cargo", "build", "--release", "-p", "fanfare", "-p", "fanfare-loadgen"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise Wrong("the programs cannot be built")


def _default_folder(quick: bool) -> Path:
    date = datetime.date.today().isoformat()
    revision = host.output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown"
    name = f"{date}-{platform.node()}-slow-readers-{revision}"
    return ROOT / ".cache/slow-readers" / name if quick else ROOT / "bench-results" / name
