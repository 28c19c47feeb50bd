// Filters and resuming as Node's ws sees them.

import assert from "node:assert/strict";
import test from "node:test";

import { open } from "./inbox.js";
import { startServer } from "./server.js";

test("a filter hears of every topic it covers, once, also of those born later", async (t) => {
  const server = await startServer(t);
  const subscriber = await open(t, server.url("/ws"));
  subscriber.send({ action: "subscribe", topics: ["px.*", ">"] });
  const acknowledged = await subscriber.nextOf("subscribed");
  assert.deepEqual(acknowledged.topics, [
    { topic: "px.*", matched: 0 },
    { topic: ">", matched: 0 },
  ]);
  const publisher = await open(t, server.url("/ws"));
  for (let n = 0; n < 50; n += 1) publisher.send({ action: "publish", topic: `px.${n % 10}`, data: n });
  const heard = new Map();
  for (let n = 0; n < 50; n += 1) {
    const event = JSON.parse(await subscriber.next());
    assert.equal(event.type, "update");
    assert.equal(event.seq, (heard.get(event.topic) ?? 0) + 1);
    heard.set(event.topic, event.seq);
  }
  assert.equal(heard.size, 10);
  subscriber.send({ action: "unsubscribe", topics: ["px.*", ">"] });
  assert.equal((await subscriber.nextOf("unsubscribed")).count, 2);
});

test("a page that reconnects goes on where it stood", async (t) => {
  const server = await startServer(t, "--history-count", "100");
  const publisher = await open(t, server.url("/ws"));
  const first = await open(t, server.url("/ws"));
  first.send({ action: "subscribe", topics: ["a"] });
  const { epoch } = (await first.nextOf("subscribed")).topics[0];
  for (let n = 1; n <= 3; n += 1) publisher.send({ action: "publish", topic: "a", data: n });
  let seen = 0;
  while (seen < 3) seen = (await first.nextOf("update")).seq;
  first.socket.terminate();
  for (let n = 4; n <= 9; n += 1) publisher.send({ action: "publish", id: n, topic: "a", data: n });
  for (let n = 1; n <= 9; n += 1) await publisher.nextOf("published");
  const second = await open(t, server.url("/ws"));
  second.send({ action: "subscribe", topics: [{ topic: "a", since: { epoch, seq: seen } }] });
  const [entry] = (await second.nextOf("subscribed")).topics;
  assert.deepEqual([entry.recovered, entry.count], ["full", 6]);
  for (let n = 4; n <= 9; n += 1) {
    const event = JSON.parse(await second.next());
    assert.deepEqual([event.type, event.seq, event.data], ["history", n, n]);
  }
});
