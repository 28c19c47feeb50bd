"""permessage-deflate as Python's `websockets` sees it, and frame by frame with Python's own `zlib`."""

import asyncio
import base64
import json
import os
import struct
import unittest
import zlib

from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from fanfare_server import DEADLINE_S, Server
from test_filters import publish
from test_websockets import receive, receive_type

COMPRESS = ("--compress", "--compress-threshold", "100")
LONG = {"words": "again and again, " * 60}
TAIL = b"\x00\x00\xff\xff"


def agreed(socket):
    return socket.response.headers.get("Sec-WebSocket-Extensions", "")


def deflate(message: bytes) -> bytes:
    """The compressed form of a message, as RFC 7692, section 7.2.1, makes it."""
    compressor = zlib.compressobj(wbits=-15)
    made = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert made.endswith(TAIL)
    return made[:-4]


class Plain:
    """A WebSocket of which every byte is seen."""

    async def open(self, server: Server, path: str, offer: str) -> str:
        host = server.address.removeprefix("ws://")
        name, port = host.rsplit(":", 1)
        self.reader, self.writer = await asyncio.open_connection(name, int(port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Extensions: {offer}", "", ""]
        self.writer.write("\r\n".join(lines).encode())
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        return head.decode()

    def send(self, first: int, payload: bytes) -> None:
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else bytes([0xFE]) + struct.pack(">H", length)
        # A mask of zeros leaves the payload as it is.
        self.writer.write(bytes([first]) + size + bytes(4) + payload)

    async def next(self) -> tuple[int, bytes]:
        """The first byte and the payload of the next frame."""
        first, length = await asyncio.wait_for(self.reader.readexactly(2), DEADLINE_S)
        if length == 126:
            (length,) = struct.unpack(">H", await self.reader.readexactly(2))
        return first, await asyncio.wait_for(self.reader.readexactly(length), DEADLINE_S)


class CompressionTest(unittest.IsolatedAsyncioTestCase):
    async def test_updates_come_compressed_and_say_what_was_published(self):
        async with Server(*COMPRESS) as server:
            async with (
                connect(server.url("/ws")) as one,
                connect(server.url("/ws"), compression=None) as other,
                connect(server.url("/ws")) as publisher,
            ):
                self.assertEqual(agreed(one), "permessage-deflate; server_no_context_takeover; client_no_context_takeover")
                self.assertEqual(agreed(other), "")
                for socket in (one, other):
                    await socket.send(json.dumps({"action": "subscribe", "topics": ["A"]}))
                    await receive_type(socket, "subscribed")
                for number in range(20):
                    data = LONG | {"number": number}
                    # What this client sends comes compressed as well.
                    await publish(publisher, "A", data)
                    for socket in (one, other):
                        update = await receive_type(socket, "update")
                        self.assertEqual((update["seq"], update["data"]), (number + 1, data))

    async def test_records_come_compressed(self):
        async with Server(*COMPRESS) as server:
            async with connect(server.url("/ws"), subprotocols=["fanfare.v1.bin"]) as socket:
                await socket.send(json.dumps({"action": "subscribe", "topics": ["A"]}))
                await receive_type(socket, "subscribed")
                await socket.send(json.dumps({"action": "publish", "topic": "A", "data": LONG}))
                while isinstance(record := await receive(socket), str):
                    pass
                if record[0] == 7:  # The alias stands before the first update.
                    record = await receive(socket)
                self.assertEqual(json.loads(record[24:]), LONG)

    async def test_contexts_are_kept_as_far_as_they_are_allowed(self):
        async with Server(*COMPRESS, "--compress-contexts", "2", "--echo") as server:
            factory = ClientPerMessageDeflateFactory(client_max_window_bits=True)
            async with connect(server.url("/echo"), compression=None, extensions=[factory]) as socket:
                self.assertEqual(agreed(socket), "permessage-deflate; server_no_context_takeover")
                for number in range(50):
                    text = f"{number} {LONG['words']}"
                    await socket.send(text)
                    self.assertEqual(await receive(socket), text)

    async def test_a_message_in_fragments_is_read_by_zlib(self):
        async with Server(*COMPRESS, "--echo") as server:
            plain = Plain()
            head = await plain.open(server, "/echo", "permessage-deflate; server_max_window_bits=15")
            self.assertIn("server_max_window_bits=15", head)
            message = ("grüße " * 200).encode()
            payload = deflate(message)
            plain.send(0x41, payload[:5])
            plain.send(0x89, b"between")
            plain.send(0x00, b"")
            plain.send(0x80, payload[5:])
            self.assertEqual(await plain.next(), (0x8A, b"between"))
            first, payload = await plain.next()
            self.assertEqual(first, 0xC1)
            self.assertLess(len(payload), 60)
            self.assertEqual(zlib.decompressobj(wbits=-15).decompress(payload + TAIL), message)
            plain.writer.close()

    async def test_bombs_and_rubbish_are_closed_with_their_codes(self):
        async with Server(*COMPRESS, "--echo") as server:
            for payload, code in ((deflate(bytes(20 << 20)), 1009), (b"\xff" * 9, 1007), (deflate(b"\xff" * 300), 1007)):
                plain = Plain()
                await plain.open(server, "/echo", "permessage-deflate")
                plain.send(0xC1, payload)
                first, closing = await plain.next()
                self.assertEqual((first, struct.unpack(">H", closing[:2])), (0x88, (code,)))
                plain.writer.close()

    async def test_a_bad_header_is_refused_and_a_bad_offer_passed_over(self):
        async with Server(*COMPRESS, "--echo") as server:
            plain = Plain()
            head = await plain.open(server, "/echo", "permessage-deflate; =")
            self.assertTrue(head.startswith("HTTP/1.1 400 "), head)
            plain.writer.close()
            head = await plain.open(server, "/echo", "permessage-deflate; server_max_window_bits=07, permessage-deflate")
            self.assertIn("Sec-WebSocket-Extensions: permessage-deflate;", head)
            plain.writer.close()
            head = await plain.open(server, "/echo", "permessage-deflate; client_no_context_takeover=1")
            self.assertIn("101 Switching", head)
            self.assertNotIn("Sec-WebSocket-Extensions", head)
            plain.writer.close()

    async def test_a_server_compresses_only_if_it_is_told_to(self):
        async with Server() as server:
            async with connect(server.url("/ws")) as socket:
                self.assertEqual(agreed(socket), "")
                self.assertEqual(json.loads(await receive(socket))["type"], "hello")


if __name__ == "__main__":
    unittest.main()
