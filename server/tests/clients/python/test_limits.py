"""What one client may ask for, as Python's `websockets` meets it."""

import asyncio
import json
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fanfare_server import DEADLINE_S, Server


async def receive(client):
    return json.loads(await asyncio.wait_for(client.recv(), DEADLINE_S))


async def ask(client, **command):
    await client.send(json.dumps(command))
    return await receive(client)


class Rates(unittest.IsolatedAsyncioTestCase):
    async def test_who_waits_as_told_is_served_and_who_does_not_is_closed(self):
        async with Server("--max-commands-per-s=20") as server, connect(server.url("/ws")) as client:
            self.assertEqual((await receive(client))["limits"]["commands_per_s"], 20)
            while True:
                answer = await ask(client, action="list", id=1)
                if answer["type"] == "error":
                    break
            self.assertEqual((answer["code"], answer["id"]), (3000, 1))
            await asyncio.sleep(answer["retry_ms"] / 1000)
            self.assertEqual((await ask(client, action="list", id=2))["type"], "subscriptions")
            with self.assertRaises(ConnectionClosed) as closed:
                while True:
                    await client.send("ping")
                    await client.recv()
            self.assertEqual(closed.exception.rcvd.code, 4101)

    async def test_publishes_are_counted_by_themselves(self):
        flags = ("--max-publishes-per-s=10", "--max-payload-bytes=20")
        async with Server(*flags) as server, connect(server.url("/ws")) as client:
            await receive(client)
            published = 0
            while (answer := await ask(client, action="publish", topic="a", data=published))["type"] == "published":
                published += 1
                self.assertEqual(answer["seq"], published)
            self.assertGreaterEqual(published, 100)
            self.assertEqual(answer["name"], "rate")
            self.assertEqual((await ask(client, action="ping"))["type"], "pong")
            await asyncio.sleep(answer["retry_ms"] / 1000)
            self.assertEqual((await ask(client, action="publish", topic="a", data="x" * 30))["code"], 3004)
            async with connect(server.url("/room/r")) as room:
                with self.assertRaises(ConnectionClosed) as closed:
                    while True:
                        await room.send("hello")
                        await room.recv()
                self.assertEqual(closed.exception.rcvd.code, 4101)


if __name__ == "__main__":
    unittest.main()
