"""Filters and resuming as Python's `websockets` sees them."""

import asyncio
import json
import unittest

from websockets.asyncio.client import connect

from fanfare_server import Server
from test_websockets import receive, receive_type


async def publish(socket, topic, data):
    await socket.send(json.dumps({"action": "publish", "topic": topic, "data": data}))
    return await receive_type(socket, "published")


class Filters(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    async def test_a_filter_brings_what_is_there_and_what_is_born_later_once(self):
        async with Server() as server, connect(server.url("/ws")) as publisher, connect(server.url("/ws")) as subscriber:
            for number in range(10):
                await publish(publisher, f"px.{number}.eur", number)
            await subscriber.send('{"action":"subscribe","id":1,"topics":["px.*.eur","px.>",">"]}')
            acknowledged = await receive_type(subscriber, "subscribed")
            self.assertEqual([entry["matched"] for entry in acknowledged["topics"]], [10, 10, 10])
            snapshots = [json.loads(await receive(subscriber)) for _ in range(10)]
            self.assertEqual({(s["type"], s["topic"]) for s in snapshots}, {("snapshot", f"px.{n}.eur") for n in range(10)})
            for number in range(5, 15):
                published = await publish(publisher, f"px.{number}.eur", number)
                update = json.loads(await receive(subscriber))
                self.assertEqual(
                    (update["type"], update["topic"], update["seq"]), ("update", f"px.{number}.eur", published["seq"])
                )

    async def test_who_was_away_gets_history_or_is_told_that_it_cannot(self):
        async with Server("--history", "h.>,count=20") as server, connect(server.url("/ws")) as publisher:
            for number in range(1, 31):
                published = await publish(publisher, "h.a", number)
            for since, whole in ((25, True), (9, True), (8, False)):
                async with connect(server.url("/ws")) as subscriber:
                    topic = {"topic": "h.a", "since": {"epoch": published["epoch"], "seq": since}}
                    await subscriber.send(json.dumps({"action": "subscribe", "topics": [topic]}))
                    (entry,) = (await receive_type(subscriber, "subscribed"))["topics"]
                    if whole:
                        self.assertEqual((entry["recovered"], entry["count"]), ("full", 30 - since))
                        history = [json.loads(await receive(subscriber)) for _ in range(30 - since)]
                        self.assertEqual([frame["data"] for frame in history], list(range(since + 1, 31)))
                    else:
                        self.assertEqual(entry["recovered"], "none")
                        gap = json.loads(await receive(subscriber))
                        self.assertEqual((gap["type"], gap["from"], gap["why"]), ("gap", since + 1, "history"))
                        self.assertEqual((await receive_type(subscriber, "snapshot"))["seq"], 30)

    async def test_a_hundred_clients_with_overlapping_filters_hear_each_update_once(self):
        async with Server() as server, connect(server.url("/ws")) as publisher:
            sockets = await asyncio.gather(*(connect(server.url("/ws")) for _ in range(100)))
            for number, socket in enumerate(sockets):
                topics = ["a.*", "*.b", "a.>", "a.b"][: 1 + number % 4]
                await socket.send(json.dumps({"action": "subscribe", "topics": topics}))
                await receive_type(socket, "subscribed")
            for number in range(1, 11):
                await publish(publisher, "a.b", number)
            for socket in sockets:
                seqs = [json.loads(await receive(socket))["seq"] for _ in range(10)]
                self.assertEqual(seqs, list(range(1, 11)))
            await asyncio.gather(*(socket.close() for socket in sockets))


if __name__ == "__main__":
    unittest.main()
