"""Starting, watching and ending the server and the load generator."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


class Failed(Exception):
    """The run cannot go on; the text says why in one sentence."""


class Server:
    """The server's process, from ready to its end."""

    def __init__(self, command: list[str], folder: Path, log: Path):
        self._log = log.open("w")
        self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=self._log, text=True)
        self.pid = self._process.pid
        self.address = ""
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        ready = threading.Event()
        threading.Thread(target=self._read, args=(ready,), daemon=True).start()
        # Whichever comes first: it says so, it ends, or the time is over.
        if not ready.wait(READY_TIMEOUT_S) or not self.address:
            self.end()
            raise Failed(f"the server did not become ready; see {self._log.name}")

    def _read(self, ready: threading.Event) -> None:
        for line in self._process.stdout:
            line = line.strip()
            if line.startswith("listening on ws://"):
                self.address = line.removeprefix("listening on ws://")
            if line == "ready":
                ready.set()
        ready.set()

    def end(self) -> int:
        """Ends it in order, or at last by force; returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._log.close()
        return code


def resident_bytes(pid: int) -> int:
    """The process's resident set."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def run_generator(command: list[str], folder: Path, out: Path) -> int:
    """Runs it to its end, its table shown and kept; an interrupt ends it in order. Returns its exit code."""
    with (out / "summary.txt").open("w") as table:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        for line in _lines(process):
            sys.stdout.write(line)
            sys.stdout.flush()
            table.write(line)
        return process.wait()


def _lines(process: subprocess.Popen):
    while True:
        try:
            line = process.stdout.readline()
        except KeyboardInterrupt:
            # The generator has the interrupt too, and still has its report to write.
            continue
        if not line:
            return
        yield line
