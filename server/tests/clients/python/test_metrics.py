"""Metrics as Prometheus' own Python parsers read them, and the stats beside them."""

import asyncio
import http.client
import json
import unittest
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from websockets.asyncio.client import connect

from fanfare_server import DEADLINE_S, Server


def fetch(url):
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def fetch_both(server, *paths):
    """Both pages over one connection, so that none comes or goes between them."""
    connection = http.client.HTTPConnection(server.address.removeprefix("ws://"), timeout=DEADLINE_S)
    try:
        pages = []
        for path in paths:
            connection.request("GET", path)
            pages.append(connection.getresponse().read().decode())
        return pages
    finally:
        connection.close()


class Scrape:
    """Every family by its name; parsing fails on what breaks the format."""

    def __init__(self, text):
        self.families = {family.name: family for family in openmetrics(text)}

    def value(self, name, **labels):
        family = next(family for family in self.families.values() if any(sample.name == name for sample in family.samples))
        (value,) = [sample.value for sample in family.samples if sample.name == name and sample.labels == labels]
        return value


async def scrape(server):
    content_type, text = await asyncio.to_thread(fetch, server.http("/metrics"))
    assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8", content_type
    return Scrape(text)


async def receive_type(client, wanted):
    while True:
        event = json.loads(await asyncio.wait_for(client.recv(), DEADLINE_S))
        if event["type"] == wanted:
            return event


async def subscribe(server, topic):
    client = await connect(server.url("/ws"))
    await client.send(json.dumps({"action": "subscribe", "topics": [topic]}))
    await receive_type(client, "subscribed")
    return client


class Metrics(unittest.IsolatedAsyncioTestCase):
    async def test_the_text_is_valid_and_typed_for_both_parsers(self):
        async with Server() as server:
            _, text = await asyncio.to_thread(fetch, server.http("/metrics"))
            families = list(openmetrics(text))
            self.assertGreater(len(families), 30)
            for family in families:
                self.assertTrue(family.name.startswith("fanfare_") and family.documentation, family.name)
                self.assertIn(family.type, ("counter", "gauge", "histogram", "info"), family.name)
                self.assertTrue(family.samples, family.name)
            # The older format knows no counters without `_total` in their names; the samples are the same.
            samples = {(sample.name, tuple(sample.labels.items())) for family in families for sample in family.samples}
            older = {(sample.name, tuple(sample.labels.items())) for family in prometheus(text) for sample in family.samples}
            self.assertEqual(samples, older)

    async def test_deliveries_are_published_times_subscribers_while_it_is_scraped(self):
        async with Server() as server:
            subscribers = [await subscribe(server, "load") for _ in range(20)]
            publisher = await connect(server.url("/raw"))

            async def publish():
                for number in range(500):
                    await publisher.send(json.dumps({"action": "publish", "topic": "load", "data": number}))

            async def read(client):
                for number in range(500):
                    self.assertEqual((await receive_type(client, "update"))["data"], number)

            async def watch(stop):
                seen = 0.0
                while not stop.is_set():
                    deliveries = (await scrape(server)).value("fanfare_deliveries_total")
                    self.assertGreaterEqual(deliveries, seen)
                    seen = deliveries

            stop = asyncio.Event()
            watching = asyncio.create_task(watch(stop))
            await asyncio.gather(publish(), *map(read, subscribers))
            stop.set()
            await watching
            # The last may still be on their way into the counts.
            while (told := await scrape(server)).value("fanfare_deliveries_total") < 10_000:
                pass
            self.assertEqual(told.value("fanfare_deliveries_total"), 10_000)
            self.assertEqual(told.value("fanfare_delivery_lag_seconds_count"), 10_000)
            self.assertEqual(told.value("fanfare_delivery_lag_seconds_bucket", le="+Inf"), 10_000)
            self.assertGreaterEqual(told.value("fanfare_messages_received_total"), 520)
            self.assertEqual(told.value("fanfare_connections", kind="ws"), 20)
            self.assertEqual(told.value("fanfare_connections", kind="raw"), 1)

            await subscribers[0].close()
            for client in subscribers[1:5]:
                client.transport.abort()
            while (told := await scrape(server)).value("fanfare_connections", kind="ws") > 15:
                pass
            self.assertEqual(told.value("fanfare_disconnects_total", reason="peer_closed"), 1)
            ends = [told.value("fanfare_disconnects_total", reason=reason) for reason in ("peer_gone", "reset")]
            self.assertEqual(sum(ends), 4)

    async def test_stats_say_the_same_as_metrics_and_come_by_subscription(self):
        async with Server() as server:
            watcher = await subscribe(server, "$sys.stats")
            first = await receive_type(watcher, "update")
            second = await receive_type(watcher, "update")
            self.assertEqual(second["seq"], first["seq"] + 1)
            self.assertAlmostEqual(second["data"]["uptime_s"] - first["data"]["uptime_s"], 1, delta=10)
            self.assertEqual(second["data"]["connections"]["by_kind"]["ws"], 1)
            # Between the two questions the server may publish once more; asked again, it does not.
            for _ in range(20):
                text, body = await asyncio.to_thread(fetch_both, server, "/metrics", "/v1/stats")
                told, totals = Scrape(text), json.loads(body)["totals"]
                if told.value("fanfare_updates_published_total") == totals["updates_in"]:
                    break
            for name, key in (("accepts", "accepts"), ("updates_published", "updates_in"), ("deliveries", "deliveries"), ("handshakes", "handshakes")):
                self.assertEqual(told.value(f"fanfare_{name}_total"), totals[key], name)
            for reason, count in totals["disconnects"].items():
                self.assertEqual(told.value("fanfare_disconnects_total", reason=reason), count)

    async def test_the_public_port_keeps_nothing_of_what_was_moved_to_the_operators(self):
        async with Server("--admin-listen", "127.0.0.1:0") as server:
            for path in ("/metrics", "/v1/stats", "/v1/memory"):
                with self.assertRaises(urllib.error.HTTPError) as refused:
                    await asyncio.to_thread(fetch, server.http(path))
                self.assertEqual(refused.exception.code, 404)
                refused.exception.close()
                await asyncio.to_thread(fetch, server.admin + path)


if __name__ == "__main__":
    unittest.main()
