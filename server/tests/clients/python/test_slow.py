"""Clients that stall, as Python's `websockets` and bare sockets do it."""

import asyncio
import json
import socket
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fanfare_server import DEADLINE_S, Server

PAYLOAD = "x" * 4000


async def receive(client):
    return json.loads(await asyncio.wait_for(client.recv(), DEADLINE_S))


async def receive_type(client, wanted):
    """The next event of this type; others are passed over."""
    while True:
        event = await receive(client)
        if event["type"] == wanted:
            return event


def connect_narrow(server, **options):
    """A client whose kernel and library keep little for it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = server.address.removeprefix("ws://").split(":")
    sock.connect((host, int(port)))
    return connect(server.url("/ws"), sock=sock, max_queue=1, ping_interval=None, compression=None, **options)


class Stream:
    """Every seq must be delivered, or named by one skip."""

    def __init__(self):
        self.at = 0
        self.delivered = 0
        self.skipped = 0
        self.reasons = set()

    def take(self, event):
        if event["type"] == "update":
            assert event["seq"] == self.at + 1, event
            self.at += 1
            self.delivered += 1
        else:
            assert event["from"] == self.at + 1 and event["to"] >= event["from"], event
            self.skipped += event["to"] - self.at
            self.at = event["to"]
            self.reasons.add(event["why"])


async def read_up_to(client, topics, last):
    streams = {topic: Stream() for topic in topics}
    while any(stream.at < last for stream in streams.values()):
        event = await receive(client)
        if event["type"] in ("update", "skip"):
            streams[event["topic"]].take(event)
    return streams


class SlowReaders(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        # unittest turns it on; it would report every burst of messages as a slow callback.
        asyncio.get_running_loop().set_debug(False)

    async def publish(self, publisher, topics, rounds):
        for _ in range(rounds):
            for topic in topics:
                await publisher.send(json.dumps({"action": "publish", "topic": topic, "data": PAYLOAD}))
            for _ in topics:
                await receive_type(publisher, "published")

    async def test_a_client_that_stalls_wakes_to_the_newest_values_and_is_told_of_all_others(self):
        flags = ("--send-buffer", "16k", "--max-outbox-bytes", "64k")
        topics = [f"t{n}" for n in range(10)]
        async with Server(*flags) as server, connect(server.url("/ws")) as publisher:
            for mode in ("latest", "all"):
                async with connect_narrow(server) as client:
                    names = [f"{mode}.{topic}" for topic in topics]
                    await client.send(json.dumps({"action": "subscribe", "topics": names, "mode": mode}))
                    await receive_type(client, "subscribed")
                    # 4 MB, and nobody reads.
                    await self.publish(publisher, names, 100)
                    streams = await read_up_to(client, names, 100)
                    for stream in streams.values():
                        self.assertEqual(stream.delivered + stream.skipped, 100)
                        self.assertEqual(stream.reasons, {"slow"})
                    self.assertLess(sum(stream.delivered for stream in streams.values()), 200)
                    # Awake, it gets everything.
                    await publisher.send(json.dumps({"action": "publish", "topic": names[0], "data": 1}))
                    self.assertEqual((await receive_type(client, "update"))["seq"], 101)
                    await receive_type(publisher, "published")

    async def test_a_client_that_asked_to_be_closed_is_closed_with_4103(self):
        flags = ("--send-buffer", "16k", "--max-outbox-bytes", "64k")
        async with Server(*flags) as server, connect(server.url("/ws")) as publisher, connect_narrow(server) as client:
            await client.send('{"action":"subscribe","topics":["a"],"on_slow":"close"}')
            await receive_type(client, "subscribed")
            await self.publish(publisher, ["a"], 100)
            with self.assertRaises(ConnectionClosed) as closed:
                while True:
                    await receive(client)
            self.assertEqual(closed.exception.rcvd.code, 4103)

    async def test_an_interval_is_kept_by_the_clock_of_the_client(self):
        async with Server() as server, connect(server.url("/ws")) as publisher, connect(server.url("/ws")) as client:
            await client.send('{"action":"subscribe","topics":["a"],"min_interval_ms":200}')
            await receive_type(client, "subscribed")
            stream, times = Stream(), []
            loop = asyncio.get_running_loop()

            async def publish_for_a_while():
                for number in range(100):
                    await publisher.send(json.dumps({"action": "publish", "topic": "a", "data": number}))
                    await receive_type(publisher, "published")
                    await asyncio.sleep(0.01)

            publishing = asyncio.create_task(publish_for_a_while())
            while stream.at < 100:
                event = await receive(client)
                if event["type"] == "update":
                    times.append(loop.time())
                if event["type"] in ("update", "skip"):
                    stream.take(event)
            await publishing
            self.assertEqual(stream.delivered + stream.skipped, 100)
            self.assertEqual(stream.reasons, {"rate"})
            # Each may arrive late by what the machine is busy with, so the whole is what the clock can judge.
            self.assertGreaterEqual(times[-1] - times[0], 0.2 * (len(times) - 1) - 0.1)
            self.assertGreaterEqual(len(times), 3)


if __name__ == "__main__":
    unittest.main()
