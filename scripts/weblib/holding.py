"""The requests that never end, held by a generator of their own, and the server's memory meanwhile."""

import json
import subprocess
import threading
from pathlib import Path

from comparelib.servers import Failed

OPEN_TIMEOUT_S = 60
END_TIMEOUT_S = 120
STOP_TIMEOUT_S = 10


class HalfOpen:
    """`fanfare-loadgen half-open`, from its start to its end. Leaving the block ends it."""

    def __init__(self, command: list[str], folder: Path, report: Path, log: Path):
        self._report, self._log = report, log
        report.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self._lines: list[str] = []
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._lines.append(line)
            if line.startswith("opened "):
                self._opened.set()
        # Whoever waits need not wait for what will not come.
        self._opened.set()

    def __enter__(self) -> "HalfOpen":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._thread.join()
        self._process.stdout.close()
        self._log.write_text("".join(self._lines))

    def wait_until_opened(self) -> None:
        """Returns when all have sent their first bytes."""
        is_told = self._opened.wait(OPEN_TIMEOUT_S)
        if not is_told or not any(line.startswith("opened ") for line in self._lines):
            raise Failed(f"the requests that never end were not opened: {self._last_line()}")

    def wait(self) -> dict:
        """The report, when the server has ended all or the time is over."""
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise Failed("the requests that never end have not ended in time") from error
        if not self._report.exists():
            self._thread.join()
            raise Failed(f"the requests that never end left no report: {self._last_line()}")
        return json.loads(self._report.read_text())

    def _last_line(self) -> str:
        return self._lines[-1].strip() if self._lines else "it said nothing"


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError as error:
        raise Failed("the server is gone") from error
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmRSS:")), "0")
    return int(kilobytes) * 1024
