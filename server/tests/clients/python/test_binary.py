"""`fanfare.v1.bin` as Python's `websockets` sees it, its records taken apart with `struct`."""

import asyncio
import json
import struct
import unittest

from websockets.asyncio.client import connect

from fanfare_server import Server
from test_filters import publish
from test_slow import connect_narrow
from test_websockets import receive, receive_type

HEAD = struct.Struct("<BBHIQq")
KINDS = {1: "snapshot", 2: "history", 3: "update", 5: "skip", 6: "gap", 7: "alias"}
BINARY = {"subprotocols": ["fanfare.v1.bin"]}


class Reader:
    """Takes messages apart; a number that has not been told is a KeyError."""

    def __init__(self, socket):
        self.socket = socket
        self.topics = {}

    async def next(self):
        """The next message: an answer as it is; a record as a tuple of kind, topic, seq and what else it says."""
        message = await receive(self.socket)
        if isinstance(message, str):
            answer = json.loads(message)
            assert answer["type"] not in KINDS.values(), answer
            if answer["type"] == "subscribed":
                self.topics |= {entry["alias"]: entry["topic"] for entry in answer["topics"] if "matched" not in entry}
            return answer
        kind, flags, zero, alias, seq, ts = HEAD.unpack_from(message)
        rest = message[HEAD.size :]
        assert zero == 0 and flags in (0, 1) and alias > 0, message
        if KINDS[kind] == "alias":
            assert (flags, seq, ts) == (0, 0, 0), message
            self.topics[alias] = rest.decode()
            return await self.next()
        topic = self.topics[alias]
        if KINDS[kind] == "skip":
            to, why = struct.unpack("<QB", rest)
            return "skip", topic, seq, to, {1: "slow", 2: "rate", 3: "stale"}[why]
        if KINDS[kind] == "gap":
            return "gap", topic, seq, {1: "epoch", 2: "history", 3: "overflow"}[rest[0]], rest[1:].decode()
        assert ts > 1_600_000_000_000_000, message
        return KINDS[kind], topic, seq, json.loads(rest) if flags & 1 else rest

    async def subscribe(self, *topics, **options):
        await self.socket.send(json.dumps({"action": "subscribe", "topics": topics, **options}))
        answer = await self.next()
        assert answer["type"] == "subscribed", answer
        return answer["topics"]


async def greeted(socket):
    assert json.loads(await receive(socket))["type"] == "hello"
    return Reader(socket)


class Binary(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    async def test_the_clients_order_decides_which_protocol_is_spoken(self):
        json_name, binary_name = "fanfare.v1.json", "fanfare.v1.bin"
        async with Server() as server:
            for offered, chosen in (
                ([json_name, binary_name], json_name),
                ([binary_name, json_name], binary_name),
                (["chat", binary_name], binary_name),
                (["chat"], None),
                (None, None),
            ):
                async with connect(server.url("/ws"), subprotocols=offered) as socket:
                    self.assertEqual(socket.subprotocol, chosen)
            async with connect(server.url("/raw"), subprotocols=[binary_name]) as socket:
                self.assertIsNone(socket.subprotocol)

    async def test_snapshots_updates_and_history_are_records(self):
        async with Server("--history-count", "10") as server, connect(server.url("/ws")) as publisher:
            epoch = [await publish(publisher, "a", number) for number in range(1, 6)][0]["epoch"]
            async with connect(server.url("/ws"), **BINARY) as socket:
                reader = await greeted(socket)
                (entry,) = await reader.subscribe("a")
                self.assertEqual((entry["topic"], entry["seq"]), ("a", 5))
                self.assertEqual(await reader.next(), ("snapshot", "a", 5, 5))
                await publish(publisher, "a", {"price": 187.2})
                self.assertEqual(await reader.next(), ("update", "a", 6, {"price": 187.2}))
            async with connect(server.url("/ws"), **BINARY) as socket:
                reader = await greeted(socket)
                (again,) = await reader.subscribe({"topic": "a", "since": {"epoch": epoch, "seq": 4}})
                self.assertEqual((again["recovered"], again["count"], again["alias"]), ("full", 2, entry["alias"]))
                self.assertEqual([(await reader.next())[:3] for _ in range(2)], [("history", "a", 5), ("history", "a", 6)])
            async with connect(server.url("/ws"), **BINARY) as socket:
                reader = await greeted(socket)
                await reader.subscribe({"topic": "a", "since": {"epoch": "other", "seq": 4}})
                self.assertEqual(await reader.next(), ("gap", "a", 5, "epoch", epoch))
                self.assertEqual((await reader.next())[:3], ("snapshot", "a", 6))

    async def test_under_filters_a_number_is_told_before_it_is_used(self):
        async with Server() as server, connect(server.url("/ws")) as publisher:
            topics = {f"px.{number}" for number in range(10)}
            for topic in topics:
                await publish(publisher, topic, 0)
            for options in ({}, {"snapshot": False}, {"mode": "latest"}):
                async with connect(server.url("/ws"), **BINARY) as socket:
                    reader = await greeted(socket)
                    await reader.subscribe("px.*", "px.>", **options)
                    if options.get("snapshot", True):
                        snapshots = [await reader.next() for _ in topics]
                        self.assertEqual({one[:2] for one in snapshots}, {("snapshot", topic) for topic in topics})
                    born = f"px.{len(topics)}"
                    for topic in ("px.3", born, "px.3", born):
                        seq = (await publish(publisher, topic, 0))["seq"]
                        self.assertEqual((await reader.next())[:3], ("update", topic, seq))
                    topics.add(born)
                    self.assertEqual(set(reader.topics.values()), topics)

    async def test_what_a_stalled_reader_misses_is_named_by_skip_records(self):
        async with Server() as server, connect(server.url("/ws")) as publisher:
            async with connect_narrow(server, **BINARY) as socket:
                reader = await greeted(socket)
                await reader.subscribe("s.*", mode="latest")
                updates = 3000
                for number in range(1, updates + 1):
                    command = {"action": "publish", "topic": "s.a", "data": [number, "x" * 4000]}
                    await publisher.send(json.dumps(command))
                for _ in range(updates):
                    await receive_type(publisher, "published")
                at, skips = 0, 0
                while at < updates:
                    record = await reader.next()
                    self.assertEqual(record[1:3], ("s.a", at + 1), record)
                    if record[0] == "skip":
                        self.assertEqual(record[4], "slow")
                        at, skips = record[3], skips + 1
                    else:
                        self.assertEqual((record[0], record[3][0]), ("update", record[2]))
                        at = record[2]
                self.assertGreater(skips, 0)


if __name__ == "__main__":
    unittest.main()
