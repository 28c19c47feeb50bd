"""The server as Python's `websockets` sees it."""

import asyncio
import json
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

from fanfare_server import DEADLINE_S, Server


async def receive(socket):
    return await asyncio.wait_for(socket.recv(), DEADLINE_S)


async def receive_type(socket, wanted):
    """The next event of this type; others are passed over."""
    while True:
        event = json.loads(await receive(socket))
        if event["type"] == wanted:
            return event


async def close_code(socket):
    """Reads to the end of the connection."""
    try:
        while True:
            await receive(socket)
    except ConnectionClosed as closed:
        return closed.rcvd and closed.rcvd.code


class Websockets(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # unittest turns it on; it would report every burst of messages as a slow callback.
        asyncio.get_running_loop().set_debug(False)

    async def test_a_thousand_updates_arrive_in_order(self):
        async with Server() as server, connect(server.url("/ws")) as subscriber, connect(server.url("/ws")) as publisher:
            await subscriber.send('{"action":"subscribe","id":1,"topics":["AAPL"]}')
            acknowledged = await receive_type(subscriber, "subscribed")
            self.assertEqual(acknowledged["topics"][0]["seq"], 0)
            for number in range(1, 1001):
                await publisher.send(json.dumps({"action": "publish", "topic": "AAPL", "data": {"n": number}}))
            for number in range(1, 1001):
                event = json.loads(await receive(subscriber))
                self.assertEqual((event["type"], event["seq"], event["data"]["n"]), ("update", number, number))
                # An answer left unread would stand before the server's close.
                self.assertEqual((await receive_type(publisher, "published"))["seq"], number)

    async def test_what_one_publishes_another_receives_and_a_third_gets_as_snapshot(self):
        async with Server() as server, connect(server.url("/ws")) as one, connect(server.url("/ws")) as other:
            await other.send('{"action":"subscribe","topics":["t"]}')
            await receive_type(other, "subscribed")
            await one.send('{"action":"publish","id":"x","topic":"t","data":{"price":187.2}}')
            published = await receive_type(one, "published")
            self.assertEqual((published["id"], published["seq"]), ("x", 1))
            update = await receive_type(other, "update")
            self.assertEqual((update["seq"], update["data"]), (1, {"price": 187.2}))
            async with connect(server.url("/ws")) as third:
                await third.send('{"action":"subscribe","topics":["t"]}')
                snapshot = await receive_type(third, "snapshot")
                self.assertEqual((snapshot["seq"], snapshot["data"]), (1, {"price": 187.2}))

    async def test_both_subprotocols_are_offered_and_one_is_chosen(self):
        offered = ["fanfare.v9.xml", "fanfare.v1.json"]
        async with Server() as server, connect(server.url("/ws"), subprotocols=offered) as socket:
            self.assertEqual(socket.subprotocol, "fanfare.v1.json")

    async def test_offered_compression_does_no_harm(self):
        async with Server() as server, connect(server.url("/ws"), compression="deflate") as socket:
            await receive_type(socket, "hello")
            await socket.send("ping")
            self.assertEqual(await receive(socket), "pong")

    async def test_a_room_carries_text_and_binary(self):
        async with Server() as server, connect(server.url("/room/lobby")) as one, connect(server.url("/room/lobby")) as other:
            for member in (one, other):
                await member.send("here")
                self.assertEqual(await receive(member), "here")
            await other.send(b"\x00\xff")
            heard = "here"
            while heard == "here":
                heard = await receive(one)
            self.assertEqual(heard, b"\x00\xff")

    async def test_an_echo_returns_text_binary_fragments_and_a_megabyte(self):
        flags = ("--echo", "--max-frame-bytes", "1m", "--max-outbox-bytes", "4m")
        async with Server(*flags) as server, connect(server.url("/echo"), max_size=None) as socket:
            for message in ("", "héllo ✓", b"", b"\x00\xff", "y" * 70_000, bytes(range(256)) * 4096):
                await socket.send(message)
                self.assertEqual(await receive(socket), message)
            # A list is sent as one message, a fragment for each item.
            await socket.send(["one ", "", "two ", "three"])
            self.assertEqual(await receive(socket), "one two three")
            await socket.send([b"\x01" * 30_000, b"\x02" * 30_000])
            self.assertEqual(await receive(socket), b"\x01" * 30_000 + b"\x02" * 30_000)

    async def test_a_ping_is_answered(self):
        async with Server() as server, connect(server.url("/ws")) as socket:
            pong = await socket.ping(b"are you there")
            await asyncio.wait_for(pong, DEADLINE_S)

    async def test_a_ping_of_the_server_keeps_a_silent_client_alive(self):
        flags = ("--ping-interval", "400ms", "--idle-timeout", "2s")
        async with Server(*flags) as server, connect(server.url("/ws"), ping_interval=None) as silent:
            async with connect(server.url("/ws"), ping_interval=None) as publisher:
                await silent.send('{"action":"subscribe","topics":["t"]}')
                await receive_type(silent, "subscribed")
                # Longer than the idle timeout, with nothing but pongs from the silent one.
                loop = asyncio.get_running_loop()
                end = loop.time() + 3.0
                while loop.time() < end:
                    await publisher.send('{"action":"publish","id":1,"topic":"t","data":1}')
                    await receive_type(publisher, "published")
                    await receive_type(silent, "update")

    async def test_routes_lead_where_they_say_and_other_paths_are_404(self):
        routes = ("--route", "/stocks=/raw", "--route", "/document/*=/room/document.*")
        async with Server(*routes) as server, connect(server.url("/stocks")) as stocks, connect(server.url("/document/a/b")) as document:
            await stocks.send('{"action":"subscribe","id":1,"symbols":["document.a.b"]}')
            await receive_type(stocks, "subscribed")
            await document.send('{"draft":1}')
            self.assertEqual(await receive(document), '{"draft":1}')
            self.assertEqual(await receive(stocks), '{"draft":1}')
            for path in ("/nowhere", "/document/", "/stocks/", "/echo"):
                with self.assertRaises(InvalidStatus) as refused:
                    await connect(server.url(path))
                self.assertEqual(refused.exception.response.status_code, 404, path)

    async def test_a_close_is_a_handshake_both_ways(self):
        async with Server() as server:
            async with connect(server.url("/ws")) as socket:
                await socket.close(CloseCode.NORMAL_CLOSURE, "done")
                self.assertEqual(socket.close_code, 1000)
            async with connect(server.url("/ws")) as one, connect(server.url("/room/a")) as other:
                await receive_type(one, "hello")
                server.terminate()
                self.assertEqual(await close_code(one), CloseCode.GOING_AWAY)
                self.assertEqual(await close_code(other), CloseCode.GOING_AWAY)
            self.assertEqual(await server.exit_code(), 0)

    async def test_an_oversized_message_is_closed_with_1009(self):
        async with Server("--echo") as server:
            for path in ("/ws", "/raw", "/room/a", "/echo"):
                async with connect(server.url(path)) as socket:
                    try:
                        await socket.send("x" * 100_000)
                    except ConnectionClosed:
                        pass
                    self.assertEqual(await close_code(socket), CloseCode.MESSAGE_TOO_BIG, path)

    async def test_two_hundred_clients_hear_one_publisher(self):
        async with Server() as server, connect(server.url("/ws")) as publisher:
            sockets = await asyncio.gather(*(connect(server.url("/ws")) for _ in range(200)))
            for socket in sockets:
                await socket.send('{"action":"subscribe","topics":["t"]}')
                await receive_type(socket, "subscribed")
            for number in range(10):
                await publisher.send(json.dumps({"action": "publish", "topic": "t", "data": number}))
            for socket in sockets:
                seqs = [(await receive_type(socket, "update"))["seq"] for _ in range(10)]
                self.assertEqual(seqs, list(range(1, 11)))
            await asyncio.gather(*(socket.close() for socket in sockets))


if __name__ == "__main__":
    unittest.main()
