"""One measurement: a server started anew, the load generator against it, its report read."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from .definitions import fill
from .servers import Failed, Server, free_port, pinned

TIMEOUT_S = 120
SERVER_CORE, GENERATOR_CORE = 0, 1
# What arguments of the generator may name; its templates have braces of their own.
GENERATOR_PLACES = ("ca", "repository")


class Bench:
    """Where the programs are and how long is measured."""

    def __init__(self, loadgen: str, out: Path, quick: bool):
        self._loadgen = loadgen
        self._out = out
        self._quick = quick
        # With fewer than two cores there is nothing to hold them to.
        self._can_pin = os.sched_getaffinity(0) >= {SERVER_CORE, GENERATOR_CORE}
        self.commands: dict[str, str] = {}

    def report(self, rival, load, round_: int) -> Path:
        """Where the generator's report is, or will be."""
        return self._out / "raw" / f"{load.id}-{rival.name}-{round_}.json"

    def read(self, rival, load, round_: int) -> dict:
        """A report that is there already."""
        return json.loads(self.report(rival, load, round_).read_text())

    def measure(self, rival, load, round_: int) -> dict:
        """The generator's report; with the key `error` alone if there is none."""
        name = f"{load.id}-{rival.name}-{round_}"
        with tempfile.TemporaryDirectory(prefix="fanfare-compare-") as folder:
            try:
                server = self._start(rival, load, name, Path(folder))
            except Failed as error:
                return {"error": str(error)}
            try:
                return self._generate(rival, load, server, self.report(rival, load, round_))
            finally:
                server.end()

    def _start(self, rival, load, name: str, folder: Path) -> Server:
        """Its configuration, and whatever it writes, is in a folder of its own, which is gone when it has ended."""
        port = free_port()
        places = {**rival.places, "port": str(port), "run": str(folder), "conf": str(folder / "conf")}
        if rival.configuration:
            text = (Path(places["here"]) / rival.configuration).read_text()
            (folder / "conf").write_text("".join(fill([text], places)))
        template = rival.serve_all_cores if load.all_cores else rival.serve
        command = fill(template, places)
        environment = rival.filled_environment(places)
        core = SERVER_CORE if self._can_pin and not load.all_cores else None
        self.commands[f"{rival.name}{' on all cores' if load.all_cores else ''}"] = " ".join(pinned(core, template))
        (self._out / "logs").mkdir(exist_ok=True)
        return Server(command, environment, port, self._out / "logs" / f"{name}.log", core)

    def _generate(self, rival, load, server: Server, report: Path) -> dict:
        report.parent.mkdir(exist_ok=True)
        path = rival.echo if load.kind == "echo" else rival.path
        length = ["--warm-up", "200ms", "--duration", "500ms"] if self._quick else ["--warm-up", "500ms", "--duration", "2s"]
        # What a server has not delivered by then, it cannot keep up with.
        length += ["--drain-timeout", "5s"]
        words = ["--url", f"{rival.scheme}://127.0.0.1:{server.port}{path}", "--server-pid", str(server.pid), *length,
                 *([] if load.kind == "echo" else rival.arguments), *load.words(self._quick)]
        words = fill(words, {name: rival.places[name] for name in GENERATOR_PLACES if name in rival.places})
        core = GENERATOR_CORE if self._can_pin and not load.all_cores else None
        command = pinned(core, [self._loadgen, "measure", *words, "--json", str(report)])
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {TIMEOUT_S} s"}
        except OSError as error:
            return {"error": f"the generator cannot be started: {error}"}
        if not report.exists():
            lines = (done.stderr or done.stdout).strip().splitlines()
            return {"error": lines[-1] if lines else f"the generator ended with {done.returncode}"}
        return json.loads(report.read_text())
