"""The server as `curl` sees it. Without curl these are skipped; scripts/test installs it."""

import asyncio
import json
import pathlib
import shutil
import tempfile
import unittest

from fanfare_server import DEADLINE_S, Server


async def curl(*arguments):
    """Standard output, and what --write-out adds to it."""
    command = ("curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(int(DEADLINE_S)), *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, error = await process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"curl {' '.join(arguments)}: {error.decode()}")
    return out.decode()


@unittest.skipUnless(shutil.which("curl"), "curl is not installed")
class Curl(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    async def test_many_requests_go_over_one_connection(self):
        async with Server() as server:
            url = server.http("/v1/topics/a")
            await curl("--json", "[1]", url)
            transfers = ["--output", "/dev/null", url] * 20
            counts = await curl("--write-out", "%{num_connects} ", *transfers)
            self.assertEqual(counts.split(), ["1"] + ["0"] * 19)

    async def test_a_file_that_has_not_changed_is_not_sent_again(self):
        async with Server() as server:
            with tempfile.TemporaryDirectory() as folder:
                tag, out = f"{folder}/tag", f"{folder}/out"
                saved = ("--etag-save", tag, "--etag-compare", tag, "--output", out, "--write-out", "%{http_code}")
                await curl("--json", '{"a":1}', server.http("/v1/topics/a"))
                self.assertEqual(await curl(*saved, server.http("/v1/topics/a")), "200")
                self.assertEqual(pathlib.Path(out).read_text(), '{"a":1}')
                self.assertEqual(await curl(*saved, server.http("/v1/topics/a")), "304")
                await curl("--json", '{"a":2}', server.http("/v1/topics/a"))
                self.assertEqual(await curl(*saved, server.http("/v1/topics/a")), "200")
                self.assertEqual(pathlib.Path(out).read_text(), '{"a":2}')

    async def test_a_large_upload_asks_first_and_one_that_is_too_large_is_not_sent(self):
        async with Server("--max-body-bytes", "2m") as server:
            with tempfile.NamedTemporaryFile() as file:
                url = server.http("/v1/publish")
                told = "%{http_code} %{size_upload}"
                ask = ("--expect100-timeout", str(int(DEADLINE_S)), "--header", "Expect: 100-continue", "--output", "/dev/null", "--write-out", told)
                for number in range(4000):
                    file.write(json.dumps({"topic": f"t.{number % 10}", "data": "x" * 400}).encode() + b"\n")
                file.flush()
                size = pathlib.Path(file.name).stat().st_size
                answer = await curl(*ask, "--data-binary", f"@{file.name}", url)
                self.assertEqual(answer, f"200 {size}")
                chunked = ("--header", "Transfer-Encoding: chunked")
                status, sent = (await curl(*ask, *chunked, "--data-binary", f"@{file.name}", url)).split()
                self.assertEqual(status, "200")
                self.assertGreater(int(sent), size, "what stands around the chunks is sent, too")
                file.write(b"\n" * (2 << 20))
                file.flush()
                answer = await curl(*ask, "--data-binary", f"@{file.name}", url)
                self.assertEqual(answer, "413 0")

    async def test_a_head_a_part_and_a_stream(self):
        async with Server() as server:
            head = await curl("--head", server.http("/robots.txt"))
            self.assertTrue(head.startswith("HTTP/1.1 200 OK\r\n"), head)
            whole = await curl(server.http("/robots.txt"))
            self.assertIn(f"Content-Length: {len(whole)}\r\n", head)
            self.assertEqual(await curl("--range", "2-5", server.http("/robots.txt")), whole[2:6])
            await curl("--json", "7", server.http("/v1/topics/s"))
            stream = await curl("--no-buffer", server.http("/v1/sse?topics=s&wait=20s"))
            self.assertIn('data: {"type":"snapshot","topic":"s","seq":1,', stream)
            old = await curl("--http1.0", "--include", server.http("/v1/topics/s"))
            self.assertIn("\r\nConnection: close\r\n", old)
            self.assertTrue(old.endswith("\r\n\r\n7"), old)


if __name__ == "__main__":
    unittest.main()
