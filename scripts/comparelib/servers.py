"""A rival's server, from its start to its end. It runs in a session of its own, so that an interrupt reaches us first and
whatever it started ends with it."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

READY_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10
LOOK_EVERY_S = 0.02


class Failed(Exception):
    """The server did not start; the text says why in one sentence."""


def free_port() -> int:
    """A port of the system's choice. Somebody else may take it before the server does; then the server says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(core: int | None, command: list[str]) -> list[str]:
    """The command, held to one core; None leaves it free."""
    return command if core is None else ["taskset", "-c", str(core), *command]


class Server:
    """The process, ready to be connected to."""

    def __init__(self, command: list[str], environment: dict[str, str], port: int, log: Path, core: int | None):
        self.port = port
        self._log = log
        self._output = log.open("w")
        try:
            self._process = subprocess.Popen(
                pinned(core, command), env={**os.environ, **environment},
                stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True,
            )
        except OSError as error:
            self._output.close()
            raise Failed(f"cannot be started: {error}") from error
        # taskset becomes the command: the number stays.
        self.pid = self._process.pid
        try:
            self._wait_until_ready()
        except BaseException:
            self.end()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise Failed(f"ended at once: {self._last_line()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(LOOK_EVERY_S)
        raise Failed(f"did not listen within {READY_TIMEOUT_S} s: {self._last_line()}")

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def end(self) -> None:
        """Asks it to end, and its session after it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                pass
        try:
            # The group has its leader's number; it is gone when nobody is left in it.
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._output.close()
