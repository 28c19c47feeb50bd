"""What a user does by hand over https and wss: curl for topics, publishes and streams, `openssl s_client` for an upgrade.

Debian's curl speaks no WebSocket (before 8.11 it is an experiment that builds leave out), so the upgrade is spoken by hand.
"""

import asyncio
import json
import pathlib
import struct
import subprocess
import tempfile
import unittest

from fanfare_server import DEADLINE_S, REPOSITORY, Server

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# What RFC 6455, section 1.3, answers to this key.
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class CurlOverTls(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        command = [REPOSITORY / "scripts/dev-certs", "--dir", cls.folder.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        cls.ca = str(pathlib.Path(cls.folder.name) / "ca.pem")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    def server(self):
        stem = str(pathlib.Path(self.folder.name) / "localhost")
        return Server("--tls-listen", "127.0.0.1:0", "--tls-cert", f"{stem}.pem", "--tls-key", f"{stem}.key")

    async def spawn(self, *command):
        """A child with pipes, which has ended when the test is over."""
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.addAsyncCleanup(self.end, child)
        return child

    async def end(self, child):
        if child.returncode is not None:
            return
        try:
            # The server has gone, and whoever was connected to it ends by itself.
            await asyncio.wait_for(child.communicate(), DEADLINE_S)
        except asyncio.TimeoutError:
            child.kill()
            await child.wait()

    def curl_command(self, server, path, *flags, trust=True):
        url = server.address.replace("wss://", "https://") + path
        trusted = ("--cacert", self.ca) if trust else ()
        return ("curl", "-sS", "--noproxy", "*", "--max-time", str(int(DEADLINE_S)), *trusted, *flags, url)

    async def curl(self, *arguments, **options):
        """Exit code and standard output."""
        child = await self.spawn(*self.curl_command(*arguments, **options))
        out, _ = await asyncio.wait_for(child.communicate(), DEADLINE_S)
        return child.returncode, out.decode()

    async def test_topics_are_published_read_and_listed(self):
        async with self.server() as server:
            code, out = await self.curl(server, "/v1/topics/px.a", "--json", '{"price":1}')
            self.assertEqual((code, json.loads(out)["seq"]), (0, 1), out)
            self.assertEqual(await self.curl(server, "/v1/topics/px.a"), (0, '{"price":1}'))
            code, out = await self.curl(server, "/v1/topics")
            self.assertEqual(code, 0)
            self.assertIn('"px.a"', out)

    async def test_who_does_not_trust_the_authority_gets_nothing(self):
        async with self.server() as server:
            # CURLE_PEER_FAILED_VERIFICATION
            self.assertEqual(await self.curl(server, "/v1/topics", trust=False), (60, ""))

    async def test_a_stream_of_events_brings_what_is_published(self):
        async with self.server() as server:
            stream = await self.spawn(*self.curl_command(server, "/v1/sse?topics=s", "--no-buffer"))
            await asyncio.wait_for(self.until(stream.stdout, b'"subscribed"'), DEADLINE_S)
            for number in range(1, 11):
                code, _ = await self.curl(server, "/v1/topics/s", "--json", str(number))
                self.assertEqual(code, 0)
                line = await asyncio.wait_for(self.until(stream.stdout, b'"type":"update"'), DEADLINE_S)
                update = json.loads(line.removeprefix(b"data: "))
                self.assertEqual((update["topic"], update["seq"], update["data"]), ("s", number, number))

    async def until(self, reader, part):
        """The next line with `part` in it."""
        while line := await reader.readline():
            if part in line:
                return line
        raise AssertionError(f"the stream ended before {part}")

    async def test_an_upgrade_by_hand_opens_a_websocket(self):
        async with self.server() as server:
            address = server.address.removeprefix("wss://")
            flags = ("-quiet", "-verify_return_error", "-servername", "localhost", "-CAfile", self.ca)
            child = await self.spawn("openssl", "s_client", "-connect", address, *flags)
            child.stdin.write(UPGRADE)
            head = await asyncio.wait_for(child.stdout.readuntil(b"\r\n\r\n"), DEADLINE_S)
            self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
            self.assertIn(ACCEPT, head)
            self.assertEqual((await self.message(child))["type"], "hello")
            command = b'{"action":"subscribe","id":1,"topics":["w"]}'
            # A mask of zeros leaves the payload as it is.
            child.stdin.write(bytes([0x81, 0x80 | len(command)]) + bytes(4) + command)
            self.assertEqual((await self.message(child))["type"], "subscribed")
            await self.curl(server, "/v1/topics/w", "--json", '"by hand"')
            update = await self.message(child)
            self.assertEqual((update["seq"], update["data"]), (1, "by hand"))

    async def message(self, child):
        """The next text message, which the server sends in one unmasked frame."""

        async def read(count):
            return await asyncio.wait_for(child.stdout.readexactly(count), DEADLINE_S)

        first, length = await read(2)
        self.assertEqual(first, 0x81)
        if length == 126:
            (length,) = struct.unpack(">H", await read(2))
        return json.loads(await read(length))


if __name__ == "__main__":
    unittest.main()
