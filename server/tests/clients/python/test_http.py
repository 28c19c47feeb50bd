"""Topics over plain HTTP as Python's `httpx` sees them."""

import asyncio
import json
import unittest

import httpx

from fanfare_server import DEADLINE_S, Server


def client(server):
    return httpx.AsyncClient(base_url=server.http(""), timeout=DEADLINE_S)


class Topics(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)

    async def test_values_keep_their_types_and_tags(self):
        async with Server() as server, client(server) as http:
            for kind, body in (
                ("application/json", b'{"a": 1.50}'),
                ("text/html; charset=utf-8", "<p>grüße".encode()),
                ("image/png", bytes(range(256))),
            ):
                published = await http.post("/v1/topics/typed", content=body, headers={"Content-Type": kind})
                self.assertEqual(published.status_code, 200, published.text)
                value = await http.get("/v1/topics/typed")
                self.assertEqual((value.headers["content-type"], value.content), (kind, body))
                self.assertEqual(int(value.headers["fanfare-seq"]), published.json()["seq"])
                self.assertEqual(value.headers["fanfare-epoch"], published.json()["epoch"])
                same = await http.get("/v1/topics/typed", headers={"If-None-Match": value.headers["etag"]})
                self.assertEqual((same.status_code, same.content), (304, b""))

    async def test_long_polls_follow_a_topic_without_missing_where_it_stands(self):
        async with Server() as server, client(server) as http, client(server) as publisher:

            async def follow():
                tag, seen = "", []
                while not seen or seen[-1] < 200:
                    value = await http.get("/v1/topics/f", params={"wait": "20s"}, headers={"If-None-Match": tag})
                    self.assertEqual(value.status_code, 200)
                    tag = value.headers["etag"]
                    seen.append(value.json())
                return seen

            followers = [asyncio.create_task(follow()) for _ in range(5)]
            for number in range(1, 201):
                published = await publisher.post("/v1/topics/f", json=number)
                self.assertEqual(published.json()["seq"], number)
            for seen in await asyncio.wait_for(asyncio.gather(*followers), DEADLINE_S):
                self.assertEqual(seen, sorted(set(seen)))

    async def test_a_wait_without_news_ends_as_it_was_asked(self):
        async with Server("--max-wait", "300ms") as server, client(server) as http:
            await http.post("/v1/topics/quiet", json=1)
            value = await http.get("/v1/topics/quiet")
            # A wait longer than the server lets anybody wait is shortened.
            answers = await asyncio.gather(
                http.get("/v1/topics/quiet", params={"wait": "1m", "after": 1}),
                http.get("/v1/topics/quiet", params={"wait": "1m"}, headers={"If-None-Match": value.headers["etag"]}),
                http.get("/v1/topics/never", params={"wait": "1m"}),
            )
            self.assertEqual([answer.status_code for answer in answers], [204, 304, 204])

    async def test_a_request_that_is_given_up_leaves_nothing_behind(self):
        async with Server() as server, client(server) as http:
            waits = [asyncio.create_task(http.get("/v1/topics/w", params={"wait": "60s"})) for _ in range(20)]

            async def polls():
                return (await http.get("/v1/stats")).json()["connections"]["by_kind"]["poll"]

            async with asyncio.timeout(DEADLINE_S):
                while await polls() < 20:
                    await asyncio.sleep(0.1)
                for wait in waits:
                    wait.cancel()
                while await polls() > 0:
                    await asyncio.sleep(0.1)
            await http.post("/v1/topics/w", json=1)
            self.assertEqual((await http.get("/v1/topics/w")).json(), 1)

    async def test_a_body_made_while_it_is_sent_goes_in_chunks(self):
        async def lines():
            for number in range(1000):
                yield json.dumps({"topic": f"c.{number % 7}", "data": number}).encode() + b"\n"
                if number % 100 == 0:
                    await asyncio.sleep(0)

        async with Server() as server, client(server) as http:
            answer = await http.post("/v1/publish", content=lines())
            self.assertEqual(answer.status_code, 200)
            published = [json.loads(line) for line in answer.text.splitlines()]
            self.assertEqual([line["topic"] for line in published], [f"c.{number % 7}" for number in range(1000)])
            self.assertEqual([line["seq"] for line in published], [number // 7 + 1 for number in range(1000)])

    async def test_history_and_lists_are_json(self):
        async with Server("--history-count", "5") as server, client(server) as http:
            for number in range(1, 11):
                await http.post("/v1/topics/h.a", json={"n": number})
            page = (await http.get("/v1/topics/h.a/history", params={"since": 2, "limit": 3})).json()
            self.assertEqual((page["seq"], page["gap"]), (10, {"from": 3, "to": 4}))
            self.assertEqual([update["data"]["n"] for update in page["updates"]], [5, 6, 7])
            page = (await http.get("/v1/topics", params={"filter": "h.>"})).json()
            self.assertEqual(page["topics"], [{"topic": "h.a", "seq": 10, "subscribers": 0}])


if __name__ == "__main__":
    unittest.main()
