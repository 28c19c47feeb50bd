"""The server from outside while it is under load: resident memory, and its own account of it, a look a second."""

import json
import threading
import time
import urllib.request
from pathlib import Path

EVERY_S = 1.0
ANSWER_TIMEOUT_S = 5


class Watch:
    """Looks until it is told to stop; the looks are a list of dictionaries with `at_s` and the fields of /v1/memory."""

    def __init__(self, address: str, pid: int):
        self.looks: list[dict] = []
        self._url, self._pid = f"http://{address}/v1/memory", pid
        self.begin = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            look = self._look()
            if look:
                self.looks.append(look)
            if self._stop.wait(EVERY_S):
                return

    def _look(self) -> dict | None:
        try:
            with urllib.request.urlopen(self._url, timeout=ANSWER_TIMEOUT_S) as answer:
                memory = json.load(answer)
        except (OSError, ValueError):
            return None
        return {"at_s": round(time.monotonic() - self.begin, 3), "cpu_s": cpu_s(self._pid), **memory}


def cpu_s(pid: int) -> float | None:
    """User and system time of a process so far; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    # Fields 14 and 15 of proc(5), in ticks of 10 ms; the state is field 3.
    return (int(fields[11]) + int(fields[12])) / 100
