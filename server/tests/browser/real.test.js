// The client library against the real server, in Node: cut, restarted, and behind proxies that let little through.

import assert from "node:assert/strict";
import test from "node:test";

import WebSocket from "ws";

import { connect } from "../../pages/fanfare.js";
import { within } from "../clients/node/server.js";
import { event } from "./fake_socket.js";
import { startProxy } from "./proxy.js";
import { startServer } from "./server.js";

const QUICK = { WebSocket, backoffMinMs: 20, backoffMaxMs: 200, streamTimeoutMs: 1000 };

function open(t, port, options = {}) {
  const client = connect(`http://127.0.0.1:${port}`, { ...QUICK, ...options });
  t.after(() => client.close());
  client.on("error", (error) => t.diagnostic(JSON.stringify(error)));
  return client;
}

const isOpen = (client) => (client.state === "open" ? Promise.resolve() : event(client, "state", ({ state }) => state === "open"));

/// Collects a topic's events, and can wait for a seq.
class Reader {
  events = [];
  #client;

  constructor(client, name, options = {}) {
    this.#client = client;
    client.subscribe(name, options, (event) => this.events.push(event));
  }

  values() {
    return this.events.filter(({ type }) => type !== "skip" && type !== "gap").map(({ data }) => data);
  }

  of(type) {
    return this.events.filter((event) => event.type === type);
  }

  async until(is) {
    if (this.events.some(is)) return;
    await within(
      new Promise((resolve) => {
        const off = ["snapshot", "history", "update", "gap", "skip"].map((type) =>
          this.#client.on(type, () => {
            if (!this.events.some(is)) return;
            off.forEach((end) => end());
            resolve();
          }),
        );
      }),
      "the event",
    );
  }
}

for (const [transport, unfriendly] of [
  ["websocket", {}],
  ["sse", { refusesUpgrades: true }],
  ["poll", { refusesUpgrades: true, holdsStreams: true }],
]) {
  test(`${transport}: cuts lose and repeat nothing that the server keeps`, async (t) => {
    const server = await startServer(t, "--history", "kept.>,count=1000");
    const proxy = await startProxy(t, server.port);
    Object.assign(proxy, unfriendly);
    const client = open(t, proxy.port);
    const reader = new Reader(client, "kept.a");
    await within(isOpen(client), `open over ${transport}`);
    assert.equal(client.transport, transport);
    for (let value = 1; value <= 60; value++) {
      await server.publish("kept.a", value);
      if (value % 20 === 10) proxy.cut();
    }
    await reader.until(({ data }) => data === 60);
    assert.deepEqual(reader.values(), Array.from({ length: 60 }, (_, at) => at + 1));
    assert.deepEqual(reader.of("gap"), []);
    assert.equal(client.transport, transport);
  });

  test(`${transport}: what is not kept is said to be missing, once`, async (t) => {
    const server = await startServer(t);
    const proxy = await startProxy(t, server.port);
    Object.assign(proxy, unfriendly);
    const client = open(t, proxy.port);
    await server.publish("a", 1);
    const reader = new Reader(client, "a");
    await reader.until(({ data }) => data === 1);
    proxy.isCut = true;
    proxy.cut();
    for (const value of [2, 3, 4]) await server.publish("a", value);
    proxy.isCut = false;
    await reader.until(({ data }) => data === 4);
    assert.deepEqual(reader.events.map(({ type, seq, from, to }) => [type, seq ?? from, to]).slice(1), [["gap", 2, 3], ["snapshot", 4, undefined]]);
  });

  test(`${transport}: a restart of the server is a gap and a fresh value`, async (t) => {
    const server = await startServer(t, "--history", ">,count=100");
    const proxy = await startProxy(t, server.port);
    Object.assign(proxy, unfriendly);
    const client = open(t, proxy.port);
    for (const value of [1, 2, 3]) await server.publish("a", value);
    const reader = new Reader(client, "a");
    await reader.until(({ data }) => data === 3);
    await server.restart();
    await server.publish("a", "new");
    await reader.until(({ data }) => data === "new");
    const [gap] = reader.of("gap");
    assert.deepEqual([gap.from, gap.why], [4, "epoch"]);
    assert.equal(reader.of("gap").length, 1);
    await server.publish("a", "newer");
    await reader.until(({ data }) => data === "newer");
    assert.deepEqual(reader.values(), [3, "new", "newer"]);
  });

  test(`${transport}: a filter goes on after a cut, each topic where it stood`, async (t) => {
    const server = await startServer(t);
    const proxy = await startProxy(t, server.port);
    Object.assign(proxy, unfriendly);
    const client = open(t, proxy.port);
    for (const topic of ["px.a", "px.b", "px.c"]) await server.publish(topic, 1);
    const reader = new Reader(client, "px.*");
    await reader.until(({ topic }) => topic === "px.a");
    await reader.until(({ topic }) => topic === "px.b");
    await reader.until(({ topic }) => topic === "px.c");
    proxy.isCut = true;
    proxy.cut();
    await server.publish("px.b", 2);
    await server.publish("px.b", 3);
    await server.publish("px.c", 2);
    proxy.isCut = false;
    await reader.until(({ topic, data }) => topic === "px.b" && data === 3);
    await reader.until(({ topic, data }) => topic === "px.c" && data === 2);
    await server.publish("px.new", 1);
    await reader.until(({ topic }) => topic === "px.new");
    const of = (name) => reader.events.filter(({ topic }) => topic === name).map(({ type, seq, from, to }) => (type === "gap" ? `gap ${from}..${to}` : seq));
    assert.deepEqual([of("px.a"), of("px.b"), of("px.c")], [[1], [1, "gap 2..2", 3], [1, 2]]);
  });

  test(`${transport}: publishes arrive once and in order, cuts or not`, async (t) => {
    const server = await startServer(t, "--history", ">,count=1000");
    const proxy = await startProxy(t, server.port);
    Object.assign(proxy, unfriendly);
    const client = open(t, proxy.port);
    await within(isOpen(client), "open");
    const answers = [];
    for (let value = 1; value <= 30; value++) {
      answers.push(client.publish("said", value));
      if (value % 10 === 5) {
        await new Promise(setImmediate);
        proxy.cut();
      }
    }
    // More than a frame may hold goes another way, and keeps its place all the same.
    answers.push(client.publish("said", "x".repeat(200_000)), client.publish("said", 31));
    const seqs = (await within(Promise.all(answers), "all answers")).map(({ seq }) => seq);
    assert.deepEqual(seqs, Array.from({ length: 32 }, (_, at) => at + 1));
    const { updates } = await client.history("said", { limit: 1000 });
    assert.deepEqual(updates.map(({ data }) => (typeof data === "string" ? data.length : data)), [...Array.from({ length: 30 }, (_, at) => at + 1), 200_000, 31]);
  });
}

test("known topics are listed, and one that is forbidden is an error that ends nothing", async (t) => {
  const server = await startServer(t);
  const client = open(t, server.port);
  await server.publish("list.a", 1);
  await within(isOpen(client), "open");
  const { topics } = await client.topics("list.>");
  assert.deepEqual(topics.map(({ topic, seq }) => [topic, seq]), [["list.a", 1]]);
  await assert.rejects(client.publish("$sys.x", 1), { code: 2003 });
  await assert.rejects(client.topics("a..b"), { code: 1003 });
  assert.equal(client.state, "open");
});

test("latency is measured as soon as the clocks are compared", async (t) => {
  const server = await startServer(t);
  const client = open(t, server.port);
  const reader = new Reader(client, "a");
  await within(isOpen(client), "open");
  while (client.clockOffsetMs === undefined) await within(new Promise(setImmediate), "a pong");
  await server.publish("a", 1);
  await reader.until(({ type }) => type === "update");
  const { count, p50 } = client.latency();
  assert.equal(count, 1);
  assert.ok(p50 >= 0 && p50 < 30_000, `${p50}`);
});

test("subscribing to more over a stream loses and repeats nothing of what runs", async (t) => {
  const server = await startServer(t, "--history", ">,count=1000");
  const client = open(t, server.port, { transports: ["sse"] });
  const a = new Reader(client, "a");
  await within(isOpen(client), "open");
  for (let value = 1; value <= 40; value++) {
    await server.publish("a", value);
    if (value % 10 === 5) client.subscribe(`other.${value}`);
  }
  await a.until(({ data }) => data === 40);
  assert.deepEqual(a.values(), Array.from({ length: 40 }, (_, at) => at + 1));
});
