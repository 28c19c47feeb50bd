"""Streams of events as Python's `httpx-sse` reads them."""

import asyncio
import json
import unittest

import httpx
from httpx_sse import aconnect_sse

from fanfare_server import DEADLINE_S, Server


async def publish(http, topic, data):
    answer = await http.post(f"/v1/topics/{topic}", json=data)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def events(http, params, last_id=None):
    """Ids and events. What is no more than an id comes as one, with `None`: an EventSource would only remember it."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with aconnect_sse(http, "GET", "/v1/sse", params=params, headers=headers) as source:
        async for event in source.aiter_sse():
            if event.data or event.id:
                yield event.id, json.loads(event.data) if event.data else None


async def take(stream, count):
    taken = []
    async with asyncio.timeout(DEADLINE_S):
        while len(taken) < count:
            event_id, event = await anext(stream)
            if event is not None:
                taken.append((event_id, event))
    return taken


class Streams(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    async def test_updates_come_in_order_with_ids_that_resume(self):
        async with Server("--history-count", "100") as server:
            async with httpx.AsyncClient(base_url=server.http(""), timeout=DEADLINE_S) as http:
                for number in range(1, 11):
                    await publish(http, "a", {"text": "two\nlines", "n": number})
                stream = events(http, {"topics": "a"})
                (_, ack), (last_id, snapshot) = await take(stream, 2)
                self.assertEqual((ack["type"], snapshot["type"], snapshot["seq"]), ("subscribed", "snapshot", 10))
                self.assertEqual(snapshot["data"]["text"], "two\nlines")
                await publish(http, "a", 11)
                ((last_id, update),) = await take(stream, 1)
                self.assertEqual((update["type"], update["data"]), ("update", 11))
                await stream.aclose()
                for number in range(12, 31):
                    await publish(http, "a", number)
                stream = events(http, {"topics": "a"}, last_id)
                ((_, ack),) = await take(stream, 1)
                self.assertEqual((ack["topics"][0]["recovered"], ack["topics"][0]["count"]), ("full", 19))
                history = [event["data"] for _, event in await take(stream, 19)]
                self.assertEqual(history, list(range(12, 31)))
                await stream.aclose()

    async def test_another_server_is_another_epoch(self):
        async with Server() as server, httpx.AsyncClient(base_url=server.http(""), timeout=DEADLINE_S) as http:
            await publish(http, "a", 1)
            stream = events(http, {"topics": "a"})
            last_id = (await take(stream, 2))[-1][0]
            await stream.aclose()
        async with Server() as server, httpx.AsyncClient(base_url=server.http(""), timeout=DEADLINE_S) as http:
            await publish(http, "a", 2)
            stream = events(http, {"topics": "a"}, last_id)
            (_, ack), (_, gap), (_, snapshot) = await take(stream, 3)
            self.assertEqual(ack["topics"][0]["recovered"], "none")
            self.assertEqual((gap["type"], gap["why"], gap["from"]), ("gap", "epoch", 2))
            self.assertEqual((snapshot["seq"], snapshot["data"]), (1, 2))
            await stream.aclose()

    async def test_a_chain_of_waits_tells_everything_once(self):
        async with Server("--history-count", "1000") as server:
            async with httpx.AsyncClient(base_url=server.http(""), timeout=DEADLINE_S) as http:
                first = await publish(http, "a", 0)
                await publish(http, "b", 0)
                last_id = f"a={first['epoch']}:1,b={first['epoch']}:1"

                async def write():
                    for number in range(1, 101):
                        await publish(http, "ab"[number % 2], number)

                writing = asyncio.create_task(write())
                seen = []
                async with asyncio.timeout(DEADLINE_S):
                    while len(seen) < 100:
                        async for event_id, event in events(http, {"topics": "a,b", "wait": "10s"}, last_id):
                            last_id = event_id or last_id
                            if event is not None and event["type"] in ("history", "update"):
                                seen.append(event["data"])
                await writing
                self.assertEqual(sorted(seen), list(range(1, 101)))
                for parity in (0, 1):
                    numbers = [number for number in seen if number % 2 == parity]
                    self.assertEqual(numbers, sorted(numbers))


if __name__ == "__main__":
    unittest.main()
