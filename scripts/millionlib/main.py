"""The run, from the arguments to the folder."""

import argparse
import datetime
import os
import platform
import subprocess
from pathlib import Path

from . import host, namespace, phases, verdict
from .processes import Failed, Server, resident_bytes, run_generator

ROOT = Path(__file__).resolve().parent.parent.parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# Room for the generator's publishers, its control connection, and those who come back before they are missed.
SPARE_CONNECTIONS = 2_000


def run(description: str, argv: list[str]) -> int:
    """Does what the command line asks for; returns the exit code."""
    options = _parse(description, argv)
    if not namespace.is_inside() and not options.no_namespace and namespace.is_possible():
        return namespace.enter(argv, options.connections)
    try:
        if namespace.is_inside():
            namespace.set_up()
        return _run(options, argv)
    except Failed as error:
        print(f"million: {error}")
        return 1


def _parse(description: str, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "million", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=1_000_000, metavar="N", help="how many (1000000)")
    parser.add_argument("--brief", action="store_true", help="timed phases of 5 s instead of 60")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (bench-results/<date>-<host>-<rev>)")
    parser.add_argument("--phases", type=Path, metavar="FILE", help="phases of your own, as scripts/millionlib/phases.py writes them")
    parser.add_argument("--no-build", action="store_true", help="use the programs as they were last built")
    parser.add_argument("--no-namespace", action="store_true", help="work in the host's own network namespace")
    options = parser.parse_args(argv[1:])
    if options.connections < 100:
        parser.error("--connections must be at least 100: percentages of fewer mean nothing")
    return options


def _run(options: argparse.Namespace, argv: list[str]) -> int:
    if not options.no_build:
        _build()
    out = options.out or _default_folder(options.connections)
    out.mkdir(parents=True, exist_ok=True)
    tune = _Tune(options.connections, out)
    try:
        tune.apply()
        return _measure(options, argv, out)
    finally:
        tune.revert()


def _measure(options: argparse.Namespace, argv: list[str], out: Path) -> int:
    lengths = phases.BRIEF if options.brief else phases.FULL
    text = options.phases.read_text() if options.phases else phases.phases(options.connections, lengths)
    (out / "phases.toml").write_text(text)
    serve = [
        _place(BINARIES / "fanfare"), "serve", "--listen", "127.0.0.1:0",
        "--max-connections", str(options.connections + SPARE_CONNECTIONS), "--backlog", "65535",
        # Pings alone show who is alive; a heartbeat for each of a million every 15 s would be the largest load of all.
        "--ping-interval", "30s", "--idle-timeout", "120s", "--heartbeat", "0s",
    ]
    server = Server(serve, ROOT, out / "server.log")
    empty_bytes = resident_bytes(server.pid)
    generate = [
        _place(BINARIES / "fanfare-loadgen"), "scenario", "--url", f"ws://{server.address}/ws",
        "--connections", str(options.connections), "--phases", _place(out / "phases.toml"), "--out", _place(out),
        "--server-pid", str(server.pid),
    ]
    described = host.manifest(ROOT, argv, {"server": serve, "generator": generate}, namespace.is_inside())
    described["server_rss_before_bytes"] = empty_bytes
    host.write_json(out / "manifest.json", described)
    try:
        generated = run_generator(generate, ROOT, out)
    finally:
        ended = server.end()
    _draw(out)
    print(f"\nwritten to {out}")
    return verdict.judge(out, generated, ended)


def _build() -> None:
    command = ["cargo", "build", "--release", "-p", "fanfare", "-p", "fanfare-loadgen"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise Failed("the programs cannot be built")


def _draw(out: Path) -> None:
    chart = [_place(BINARIES / "fanfare-loadgen"), "chart", _place(out)]
    if subprocess.run(chart, cwd=ROOT, check=False).returncode != 0:
        print("million: the charts cannot be drawn")


def _place(path: Path) -> str:
    """As seen from the project's folder, so that a run's manifest says nothing about where that is."""
    return os.path.relpath(path.resolve(), ROOT)


def _default_folder(connections: int) -> Path:
    date = datetime.date.today().isoformat()
    revision = host.output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown"
    name = f"{date}-{platform.node()}-{revision}"
    if connections != 1_000_000:
        name += f"-{connections}"
    return ROOT / "bench-results" / name


class _Tune:
    """The host's settings, raised for the run and put back after it."""

    def __init__(self, connections: int, out: Path):
        self._out = out
        self._arguments = ["--connections", str(connections), "--role", "both"]
        self._state = out / "tune-state.json"
        self._tune = str(ROOT / "scripts/tune")

    def apply(self) -> None:
        """Raises what it may; what stays too low is in the reports, and the run shows what came of it."""
        self._report("before")
        # In a namespace of our own only its settings are ours to raise.
        only = ["--only", "net."] if namespace.is_inside() else []
        subprocess.run([self._tune, "apply", *self._arguments, *only, "--state", str(self._state)], check=False)
        self._report("after")

    def revert(self) -> None:
        """Puts everything back."""
        if self._state.exists():
            subprocess.run([self._tune, "revert", "--state", str(self._state)], check=False)

    def _report(self, when: str) -> None:
        check = subprocess.run([self._tune, "check", *self._arguments, "--json"], capture_output=True, text=True, check=False)
        (self._out / f"tune-{when}.json").write_text(check.stdout)
