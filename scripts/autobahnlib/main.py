"""The run, from the arguments to the last line."""

import argparse
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from comparelib.servers import Failed, Server, free_port

from . import judging
from .install import Missing, suite

ROOT = Path(__file__).resolve().parent.parent.parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
EXPECTED = Path(__file__).resolve().parent / "expected.json"
AGENT = "fanfare"

PLAIN = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
COMPRESSED = ["12.*", "13.*"]
# The largest message of the suite has 16 MiB, and comes in fragments of 64 bytes.
LIMITS = ["--max-frame-bytes", "32m", "--max-message-bytes", "32m", "--max-fragments", "0", "--max-outbox-bytes", "64m"]
SERVE = ["serve", "--echo", "--compress", "--compress-threshold", "0", *LIMITS]
# A case that hangs is given up by the suite itself; this is for a suite that hangs.
TIMEOUT_S = 3600


def run(description: str, argv: list[str]) -> int:
    """Does what the command line asks for; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = _parse(description, argv)
    wanted = options.cases.split(",") if options.cases else PLAIN + (COMPRESSED if options.all else [])
    roles = {"server": _against_server, "client": _against_client}
    chosen = list(roles) if options.role == "both" else [options.role]
    expected = json.loads(EXPECTED.read_text())
    passed = failed = 0
    try:
        wstest = suite(ROOT / ".cache/autobahn")
        if not options.no_build:
            _build()
        for role in chosen:
            out = options.out.resolve() / role
            began_s = time.monotonic()
            found = roles[role](wstest, out, wanted)
            if options.accept:
                _accept(expected, role, found)
            good, failures = judging.compare(expected[role], found, wanted)
            words = ", ".join(f"{count} {word}" for word, count in sorted(Counter(found.values()).items()))
            print(f"{role}: {len(found)} cases in {time.monotonic() - began_s:.0f} s: {words}; reports in {out}")
            for failure in failures:
                print(f"  {failure}")
            passed, failed = passed + good, failed + len(failures)
    except (Missing, Failed) as reason:
        print(f"scripts/autobahn: {reason}")
        return 2
    except KeyboardInterrupt:
        print("\nscripts/autobahn: interrupted")
        return 130
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


def _parse(description: str, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("autobahn", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="the sections on compression as well: all 517 cases")
    parser.add_argument("--cases", metavar="A,B", help="only these, such as 7.*,12.1.3")
    parser.add_argument("--role", choices=("server", "client", "both"), default="both", help="who is tested (both)")
    parser.add_argument("--accept", action="store_true", help="write what is found as what is expected")
    parser.add_argument("--out", type=Path, default=ROOT / "target/autobahn", metavar="DIR", help="the suite's own reports (target/autobahn)")
    parser.add_argument("--no-build", action="store_true", help="use the programs as they were last built")
    return parser.parse_args(argv[1:])


def _build() -> None:
    if subprocess.run(["cargo", "build", "--locked", "-p", "fanfare", "-p", "fanfare-loadgen"], cwd=ROOT, check=False).returncode:
        raise Failed("the build failed")


def _against_server(wstest: Path, out: Path, cases: list[str]) -> dict[str, str]:
    """Autobahn's fuzzing client puts the cases to the server."""
    port = free_port()
    servers = [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}/echo"}]
    spec = _spec(out, cases, {"servers": servers})
    serve = [str(BINARIES / "fanfare"), *SERVE, "--listen", f"127.0.0.1:{port}"]
    server = Server(serve, {}, port, out / "server.log", None)
    try:
        _carry_out([str(wstest), "--mode", "fuzzingclient", "--spec", str(spec)], out / "suite.log")
    finally:
        server.end()
    return judging.read_report(out / "index.json", AGENT)


def _against_client(wstest: Path, out: Path, cases: list[str]) -> dict[str, str]:
    """Autobahn's fuzzing server puts them to the load generator's side of a WebSocket."""
    port = free_port()
    spec = _spec(out, cases, {"url": f"ws://127.0.0.1:{port}"})
    fuzz = [str(wstest), "--mode", "fuzzingserver", "--spec", str(spec), "--webport", "0"]
    server = Server(fuzz, {}, port, out / "suite.log", None)
    try:
        generator = str(BINARIES / "fanfare-loadgen")
        _carry_out([generator, "autobahn", "--agent", AGENT, f"ws://127.0.0.1:{port}"], out / "client.log")
    finally:
        server.end()
    return judging.read_report(out / "index.json", AGENT)


def _spec(out: Path, cases: list[str], beside: dict) -> Path:
    """The file that tells the suite what to do."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.json").unlink(missing_ok=True)
    spec = out / "spec.json"
    everything = {"outdir": str(out), "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}, **beside}
    spec.write_text(json.dumps(everything, indent=1))
    return spec


def _carry_out(command: list[str], log: Path) -> None:
    with log.open("w") as output:
        try:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{command[0]} did not end within {TIMEOUT_S} s") from error
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise Failed(f"{command[0]} failed: {' '.join(last)}")


def _accept(expected: dict, role: str, found: dict[str, str]) -> None:
    expected[role].update(found)
    expected[role] = dict(sorted(expected[role].items(), key=lambda one: judging.in_order(one[0])))
    EXPECTED.write_text(json.dumps(expected, indent=0) + "\n")
