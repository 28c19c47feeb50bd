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
from .holding import HalfOpen, resident_bytes

ROOT = Path(__file__).resolve().parent.parent.parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
FIGURES = ROOT / "bench-results/definitions/web.toml"
SERVER_CORE, GENERATOR_CORE = 0, 1
TIMEOUT_S = 180
# What the first look at the server's memory waits for, and the one when all are held.
SETTLE_S = 1.0


def run(description: str, argv: list[str]) -> int:
    """Does what the command line asks for; returns the exit code: 0 every delivery verified, 1 not, 2 wrong use. Missed
    figures are printed and change nothing."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parse(description, argv)
    try:
        figures = choose(options.figures, read(FIGURES))
        if not options.no_build:
            _build()
    except Wrong as error:
        print(f"web: {error}")
        return 2
    try:
        return _Run(options, argv).carry_out(figures)
    except (Failed, subprocess.TimeoutExpired) as error:
        print(f"web: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nweb: interrupted")
        return 130


def _parse(description: str, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("web", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", metavar="A,B", help="only these")
    parser.add_argument("--quick", action="store_true", help="small and short, one round; the figures mean nothing")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (bench-results/<date>-<host>-web-<rev>)")
    parser.add_argument("--no-build", action="store_true", help="use the programs as they were last built")
    return parser.parse_args(argv[1:])


class _Run:
    def __init__(self, options: argparse.Namespace, argv: list[str]):
        self._quick, self._argv = options.quick, argv
        self._out = (options.out or _default_folder(options.quick)).resolve()
        # With fewer than two cores there is nothing to hold them to.
        can_pin = os.sched_getaffinity(0) >= {SERVER_CORE, GENERATOR_CORE}
        self._server_core, self._generator_core = (SERVER_CORE, GENERATOR_CORE) if can_pin else (None, None)
        self._commands: dict[str, dict[str, str]] = {}
        self._is_verified = True

    def carry_out(self, figures: list[Figure]) -> int:
        """Measures and writes."""
        for folder in ("raw", "logs"):
            (self._out / folder).mkdir(parents=True, exist_ok=True)
        self._write([self._measure(figure) for figure in figures])
        return 0 if self._is_verified else 1

    def _measure(self, figure: Figure) -> dict:
        print(f"\n{figure.id}: {figure.title}\n  aim: {figure.aim}", flush=True)
        runs: dict[str, list[dict]] = {}
        for round_ in range(1, (1 if self._quick else figure.rounds) + 1):
            for variant in figure.variants:
                runs.setdefault(variant.name, []).append(self._once(figure, variant, round_))
        result = judging.judge(figure, runs, self._quick)
        note = " (quick: they mean nothing)" if self._quick else ""
        print("\n".join(f"  {line}{note}" for line in result["lines"]), flush=True)
        return {"id": figure.id, "title": figure.title, "aim": figure.aim, **result}

    def _once(self, figure: Figure, variant: Variant, round_: int) -> dict:
        """One variant on a server started anew."""
        name = f"{figure.id}-{variant.name}-{round_}"
        port = free_port()
        serve = [str(BINARIES / "fanfare"), "serve", "--listen", f"127.0.0.1:{port}", *figure.serve_words(self._quick)]
        self._commands[name] = {"server": _shown(pinned(self._server_core, serve))}
        server = Server(serve, {}, port, self._out / "logs" / f"{name}.log", self._server_core)
        try:
            if variant.name == "with":
                measured = self._beside_half_open(figure, variant, name, server)
            else:
                measured = {"report": self._generate(figure, variant, name, server)}
        finally:
            server.end()
        self._is_verified &= judging.is_verified(measured)
        verdict = measured["report"]["verdict"]
        words = "verified" if verdict["passed"] else "NOT verified"
        if "half_open" in measured:
            words += f"; {measured['half_open']['ended']:,} of {measured['half_open']['opened']:,} ended"
        print(f"  {round_} {variant.name:<10} {words}" + "".join(
            f"\n    {line}" for line in [*verdict["failures"], *(f"INVALID: {why}" for why in verdict["invalid_because"])]), flush=True)
        return measured

    def _beside_half_open(self, figure: Figure, variant: Variant, name: str, server: Server) -> dict:
        time.sleep(SETTLE_S)
        before = resident_bytes(server.pid)
        report = self._out / "raw" / f"{name}-half-open.json"
        command = pinned(self._generator_core, [
            str(BINARIES / "fanfare-loadgen"), "half-open", "--url", f"ws://127.0.0.1:{server.port}/ws",
            *figure.half_open_words(self._quick), "--json", os.path.relpath(report, ROOT),
        ])
        self._commands[name]["half_open"] = _shown(command)
        with HalfOpen(command, ROOT, report, self._out / "logs" / f"{name}-half-open.txt") as never_end:
            never_end.wait_until_opened()
            time.sleep(SETTLE_S)
            held = resident_bytes(server.pid)
            told = self._generate(figure, variant, name, server)
            ended = never_end.wait()
        return {"report": told, "half_open": ended, "resident_before_bytes": before, "resident_held_bytes": held}

    def _generate(self, figure: Figure, variant: Variant, name: str, server: Server) -> dict:
        report = self._out / "raw" / f"{name}.json"
        report.unlink(missing_ok=True)
        own = ["--server-pid", str(server.pid)] if figure.tool == "measure" else ["--quiet", "--workers", "1"]
        command = pinned(self._generator_core, [
            str(BINARIES / "fanfare-loadgen"), figure.tool, "--url", f"ws://127.0.0.1:{server.port}/ws", *own,
            *figure.words(variant, self._quick), "--json", os.path.relpath(report, ROOT),
        ])
        self._commands[name]["generator"] = _shown(command)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        (self._out / "logs" / f"{name}-generator.txt").write_text(done.stdout + done.stderr)
        if not report.exists():
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise Failed(f"{name}: {lines[-1] if lines else 'the generator said nothing'}")
        return json.loads(report.read_text())

    def _write(self, results: list[dict]) -> None:
        described = host.manifest(ROOT, self._argv, {}, False)
        described["command"] = " ".join(["scripts/web", *self._argv[1:]])
        described["commands"] = self._commands
        host.write_json(self._out / "manifest.json", described)
        host.write_json(self._out / "summary.json", {
            "kind": "web", "quick": self._quick, "verified": self._is_verified, "figures": results,
        })
        verified = "every delivery verified" if self._is_verified else "NOT verified"
        parts = [f"{result['id']}: {result['title']}\n  aim: {result['aim']}\n" + "".join(f"  {line}\n" for line in result["lines"])
                 for result in results]
        (self._out / "summary.txt").write_text("\n".join([*parts, verified]) + "\n")
        print(f"\n{verified}; written to {self._out}")


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
    name = f"{date}-{platform.node()}-web-{revision}"
    return ROOT / ".cache/web" / name if quick else ROOT / "bench-results" / name
