"""Slow requests and slow readers, as `slowhttptest` makes them: others are served meanwhile, and the memory comes back.

Without slowhttptest these are skipped; scripts/test installs it.
"""

import asyncio
import csv
import pathlib
import shutil
import tempfile
import time
import unittest

import httpx

from fanfare_server import DEADLINE_S, Server

CONNECTIONS = 500
LENGTH_S = 10
MODES = {
    # Heads that never end; each connection adds a line every two seconds.
    "slow headers": ("-H", "-i", "2", "-x", "24", "-u", "/v1/topics/large"),
    # Bodies that never end.
    "slow bodies": ("-B", "-i", "2", "-s", "8192", "-x", "10", "-u", "/v1/publish"),
    # A window of a few bytes, read at five bytes a second; several large answers are asked for at once.
    "slow reads": ("-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "5", "-k", "3", "-u", "/v1/topics/large"),
}


async def attack(server, arguments, report):
    """Runs slowhttptest against a path; what it counted, second by second."""
    *arguments, path = arguments
    bounded = ("-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-l", str(LENGTH_S), "-p", "5", "-g", "-o", report, "-v", "1")
    process = await asyncio.create_subprocess_exec(
        "slowhttptest", *bounded, *arguments, server.http(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), LENGTH_S + DEADLINE_S)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, out.decode()
    with open(f"{report}.csv", newline="") as file:
        return [{key.strip(): value for key, value in row.items() if key} for row in csv.DictReader(file)]


async def probe(http, is_over):
    """Asks until the attack is over; how long each answer took, seconds."""
    took = []
    while not is_over.is_set():
        begun = time.monotonic()
        seq = (await http.post("/v1/topics/probe", json=len(took))).json()["seq"]
        value = await http.get("/v1/topics/probe")
        assert (value.status_code, value.headers["fanfare-seq"]) == (200, str(seq)), value
        took.append(time.monotonic() - begun)
        await asyncio.sleep(0.05)
    return took


@unittest.skipUnless(shutil.which("slowhttptest"), "slowhttptest is not installed")
class SlowHttp(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    async def test_others_are_served_while_five_hundred_are_slow(self):
        flags = ("--handshake-timeout", "4s", "--body-timeout", "4s", "--slow-timeout", "4s", "--max-commands-per-s", "0")
        for mode, arguments in MODES.items():
            with self.subTest(mode), tempfile.TemporaryDirectory() as folder:
                async with Server(*flags) as server, httpx.AsyncClient(base_url=server.http(""), timeout=DEADLINE_S) as http:
                    await http.post("/v1/topics/large", json="x" * 200_000)
                    before = (await http.get("/v1/memory")).json()
                    is_over = asyncio.Event()
                    probing = asyncio.create_task(probe(http, is_over))
                    try:
                        rows = await attack(server, arguments, str(pathlib.Path(folder) / "report"))
                    finally:
                        is_over.set()
                        took = await probing
                    self.assertGreater(len(took), 3)
                    available = [row for row in rows if int(row["Service Available"]) > 0]
                    self.assertEqual(len(available), len(rows), f"{mode}: not available by its own probe: {rows}")
                    self.assertGreaterEqual(max(int(row["Connected"]) for row in rows), CONNECTIONS // 2, rows)
                    print(f"{mode}: {len(took)} answers meanwhile, the slowest within {max(took) * 1000:.0f} ms")
                    await self.assert_all_is_given_back(http, before)

    async def assert_all_is_given_back(self, http, before):
        held = ("connections", "input_bytes", "outbox_bytes", "frames")
        async with asyncio.timeout(DEADLINE_S):
            while True:
                now = (await http.get("/v1/memory")).json()
                if all(now[key] <= before[key] for key in held):
                    return
                await asyncio.sleep(0.2)


if __name__ == "__main__":
    unittest.main()
