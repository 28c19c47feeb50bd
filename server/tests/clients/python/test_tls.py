"""The server over TLS as Python's `websockets`, curl and OpenSSL see it, with certificates that scripts/dev-certs makes."""

import asyncio
import json
import pathlib
import ssl
import subprocess
import tempfile
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake

from fanfare_server import DEADLINE_S, REPOSITORY, Server
from test_websockets import close_code, receive, receive_type


class Tls(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.certificates = pathlib.Path(cls.folder.name)
        hosts = ("localhost", "*.example.test", "--client", "alice")
        command = [REPOSITORY / "scripts/dev-certs", "--dir", cls.certificates, *hosts]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    def path(self, name):
        return str(self.certificates / name)

    def server(self, *flags):
        pairs = []
        for name in ("localhost", "any.example.test"):
            pairs += ["--tls-cert", self.path(f"{name}.pem"), "--tls-key", self.path(f"{name}.key")]
        return Server("--tls-listen", "127.0.0.1:0", *pairs, *flags)

    def trust(self, version=ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=self.path("ca.pem"))
        context.minimum_version = context.maximum_version = version
        return context

    async def run_openssl(self, server, *flags, said=b"Q\n"):
        """What `openssl s_client` prints."""
        address = server.address.removeprefix("wss://")
        command = ["openssl", "s_client", "-connect", address, "-CAfile", self.path("ca.pem"), *flags]
        child = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        printed, _ = await asyncio.wait_for(child.communicate(said), DEADLINE_S)
        return printed.decode(errors="replace")

    async def test_updates_and_large_messages_cross_in_both_versions(self):
        limits = ("--echo", "--max-frame-bytes", "1m", "--max-outbox-bytes", "4m")
        async with self.server(*limits) as server:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                trust = self.trust(version)
                async with connect(server.url("/ws"), ssl=trust) as one, connect(server.url("/ws"), ssl=trust) as other:
                    await one.send('{"action":"subscribe","topics":["t"],"snapshot":false}')
                    await receive_type(one, "subscribed")
                    for number in range(100):
                        await other.send(f'{{"action":"publish","topic":"t","data":{number}}}')
                    heard = [(await receive_type(one, "update"))["data"] for _ in range(100)]
                    self.assertEqual(heard, list(range(100)))
                async with connect(server.url("/echo"), ssl=trust, max_size=None) as socket:
                    for message in ("", "héllo", b"\x00\xff", bytes(range(256)) * 4096):
                        await socket.send(message)
                        self.assertEqual(await receive(socket), message)

    async def test_compression_is_agreed_on_and_long_updates_cross_in_both_versions(self):
        words = "again and again, " * 60
        async with self.server("--compress") as server:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                trust, topic = self.trust(version), f"t.{version.name}"
                async with connect(server.url("/ws"), ssl=trust) as one, connect(server.url("/ws"), ssl=trust, compression=None) as other:
                    self.assertIn("permessage-deflate", one.response.headers["Sec-WebSocket-Extensions"])
                    self.assertNotIn("Sec-WebSocket-Extensions", other.response.headers)
                    self.assertEqual(one.transport.get_extra_info("ssl_object").version(), version.name.replace("_", "."))
                    for socket in (one, other):
                        await socket.send(json.dumps({"action": "subscribe", "topics": [topic], "snapshot": False}))
                        await receive_type(socket, "subscribed")
                    for number in range(100):
                        # Who publishes over the compressed connection says it compressed.
                        await (one, other)[number % 2].send(
                            json.dumps({"action": "publish", "topic": topic, "data": {"number": number, "words": words}})
                        )
                        for socket in (one, other):
                            update = await receive_type(socket, "update")
                            self.assertEqual(update["data"], {"number": number, "words": words})

    async def test_a_stop_is_told_by_a_close_frame(self):
        async with self.server() as server:
            async with connect(server.url("/ws"), ssl=self.trust()) as socket:
                await receive_type(socket, "hello")
                server.terminate()
                self.assertEqual(await close_code(socket), 1001)
            self.assertEqual(await server.exit_code(), 0)

    async def test_a_client_that_trusts_others_is_not_connected(self):
        async with self.server() as server:
            with self.assertRaises(ssl.SSLCertVerificationError):
                await connect(server.url("/ws"), ssl=ssl.create_default_context())

    async def test_old_versions_and_other_protocols_are_refused(self):
        async with self.server() as server:
            weak = ("-cipher", "ALL:@SECLEVEL=0")
            for flags in (("-tls1", *weak), ("-tls1_1", *weak)):
                self.assertIn("alert", await self.run_openssl(server, *flags), flags)
            self.assertIn("ALPN protocol: http/1.1", await self.run_openssl(server, "-alpn", "h2,http/1.1"))
            self.assertIn("no application protocol", await self.run_openssl(server, "-alpn", "h2"))
            self.assertIn("No ALPN negotiated", await self.run_openssl(server))

    async def test_the_name_that_is_asked_for_chooses_the_certificate(self):
        async with self.server() as server:
            for name, subject in (
                ("localhost", "localhost"),
                ("a.example.test", "*.example.test"),
                ("a.b.example.test", "localhost"),
                ("elsewhere.test", "localhost"),
            ):
                printed = await self.run_openssl(server, "-servername", name)
                self.assertIn(f"subject=CN = {subject}\n", printed, name)
            self.assertIn("subject=CN = localhost\n", await self.run_openssl(server, "-noservername"))

    async def test_sessions_are_resumed_by_ticket_in_both_versions(self):
        async with self.server() as server:
            for version in ("-tls1_2", "-tls1_3"):
                session = self.path(f"session{version}")
                # A ticket of TLS 1.3 comes behind the handshake; the answer comes behind the ticket.
                request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                first = await self.run_openssl(server, version, "-quiet", "-sess_out", session, said=request)
                self.assertIn("200 OK", first)
                second = await self.run_openssl(server, version, "-sess_in", session)
                self.assertIn("Reused, ", second, version)

    async def test_curl_gets_its_answers(self):
        async with self.server() as server:
            url = server.address.replace("wss://", "https://") + "/healthz"
            for version in ("--tls-max 1.2", "--tlsv1.3"):
                command = ["curl", "-sS", *version.split(), "--cacert", self.path("ca.pem"), url, url]
                child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
                printed, _ = await asyncio.wait_for(child.communicate(), DEADLINE_S)
                self.assertEqual((child.returncode, printed), (0, b"ok\nok\n"))

    async def test_client_certificates_may_be_shown_and_must_then_be_good(self):
        async with self.server("--tls-client-ca", self.path("ca.pem"), "--allow-anonymous", "all") as server:
            good, stranger = self.trust(), self.trust()
            good.load_cert_chain(self.path("client-alice.pem"), self.path("client-alice.key"))
            # A server's certificate is none for a client.
            stranger.load_cert_chain(self.path("localhost.pem"), self.path("localhost.key"))
            for context in (self.trust(), good):
                async with connect(server.url("/ws"), ssl=context) as socket:
                    await receive_type(socket, "hello")
            with self.assertRaises((ssl.SSLError, OSError, InvalidHandshake)):
                async with connect(server.url("/ws"), ssl=stranger) as socket:
                    await receive_type(socket, "hello")


if __name__ == "__main__":
    unittest.main()
