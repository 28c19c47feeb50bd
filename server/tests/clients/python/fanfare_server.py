"""Starts the server under test and ends it, by its process id.

Every wait has a deadline, so that a hanging server fails a test instead of hanging it.
"""

import asyncio
import os
import pathlib
import signal

REPOSITORY = pathlib.Path(__file__).resolve().parents[4]
BINARY = os.environ.get("FANFARE_BIN", REPOSITORY / "target/debug/fanfare")
DEADLINE_S = 30.0


class Server:
    """`fanfare serve` on a free port, for `async with`."""

    def __init__(self, *flags: str):
        self.flags = flags
        self.address = ""
        self.admin = ""
        self.process: asyncio.subprocess.Process

    async def __aenter__(self) -> "Server":
        basic = ("--listen", "127.0.0.1:0", "--shards", "2", "--max-connections", "1000")
        self.process = await asyncio.create_subprocess_exec(
            BINARY, "serve", *basic, "--log-level", "warn", *self.flags, stdout=asyncio.subprocess.PIPE
        )
        try:
            await asyncio.wait_for(self._ready(), DEADLINE_S)
        except BaseException:
            await self._kill()
            raise
        return self

    async def __aexit__(self, *_) -> None:
        await self._kill()

    async def _ready(self) -> None:
        while line := (await self.process.stdout.readline()).decode().strip():
            if line == "ready":
                return
            if line.startswith("admin on "):
                self.admin = line.removeprefix("admin on ")
            else:
                self.address = line.removeprefix("listening on ")
        raise RuntimeError("the server ended before it was ready")

    async def _kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def url(self, path: str) -> str:
        return self.address + path

    def http(self, path: str) -> str:
        return self.address.replace("ws://", "http://") + path

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self) -> int:
        return await asyncio.wait_for(self.process.wait(), DEADLINE_S)
