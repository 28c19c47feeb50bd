// The server as Node's ws sees it.

import assert from "node:assert/strict";
import test from "node:test";
import WebSocket from "ws";

import { open } from "./inbox.js";
import { startServer, within } from "./server.js";

test("a page that subscribes to symbols reads symbol, price and change from each message", async (t) => {
  const server = await startServer(t, "--route", "/stocks=/raw", "--sim", "50", "--sim-rate", "500");
  // Written as a page would be, with the browser's names.
  const socket = new WebSocket(server.url("/stocks"));
  t.after(() => socket.terminate());
  const prices = new Map();
  const received = new Promise((resolve, reject) => {
    let messages = 0;
    socket.onopen = () => {
      socket.send(JSON.stringify({ action: "subscribe", symbols: ["AAPL", "GOOGL", "MSFT"] }));
    };
    socket.onmessage = (event) => {
      const data = JSON.parse(event.data);
      if (typeof data.symbol !== "string" || typeof data.price !== "number" || typeof data.change !== "number") {
        reject(new Error(`not a quote: ${event.data}`));
      }
      prices.set(data.symbol, data.price);
      messages += 1;
      if (messages >= 30 && prices.size === 3) resolve();
    };
    socket.onerror = (event) => reject(event.error);
  });
  await within(received, "thirty quotes of three symbols");
  assert.deepEqual([...prices.keys()].sort(), ["AAPL", "GOOGL", "MSFT"]);
});

test("a quote published by one client reaches the page as it was sent", async (t) => {
  const server = await startServer(t, "--route", "/stocks=/raw");
  const page = await open(t, server.url("/stocks"));
  page.send({ action: "subscribe", id: 1, symbols: ["AAPL", "GOOGL", "MSFT"] });
  assert.equal((await page.nextOf("subscribed")).topics.length, 3);
  const publisher = await open(t, server.url("/ws"));
  const quote = '{"symbol":"GOOGL","price":187.20,"change":-0.31}';
  publisher.send(`{"action":"publish","topic":"GOOGL","data":${quote}}`);
  assert.equal(await page.next(), quote);
});

test("a thousand updates arrive in order", async (t) => {
  const server = await startServer(t);
  const subscriber = await open(t, server.url("/ws"));
  subscriber.send({ action: "subscribe", id: 1, topics: ["a"] });
  await subscriber.nextOf("subscribed");
  const publisher = await open(t, server.url("/ws"));
  for (let n = 1; n <= 1000; n += 1) publisher.send({ action: "publish", topic: "a", data: { n } });
  for (let n = 1; n <= 1000; n += 1) {
    const event = JSON.parse(await subscriber.next());
    assert.deepEqual([event.type, event.seq, event.data.n], ["update", n, n]);
  }
});

test("a room carries text and binary to everybody in it", async (t) => {
  const server = await startServer(t);
  const one = await open(t, server.url("/room/lobby"));
  one.send("first");
  assert.equal(await one.next(), "first");
  const other = await open(t, server.url("/room/lobby"));
  other.send(Buffer.from([0, 255]));
  assert.deepEqual(await other.next(), Buffer.from([0, 255]));
  assert.deepEqual(await one.next(), Buffer.from([0, 255]));
});

test("an echo returns text, binary, fragments and a megabyte", async (t) => {
  const server = await startServer(t, "--echo", "--max-frame-bytes", "1m", "--max-outbox-bytes", "4m");
  const echo = await open(t, server.url("/echo"));
  for (const message of ["", "héllo ✓", Buffer.from([0, 255]), "y".repeat(70_000), Buffer.alloc(1 << 20, 7)]) {
    echo.send(message);
    assert.deepEqual(await echo.next(), message);
  }
  echo.socket.send("one ", { fin: false });
  echo.socket.ping("in between");
  echo.socket.send("two", { fin: true });
  assert.equal(await echo.next(), "one two");
});

test("a ping is answered with its payload", async (t) => {
  const server = await startServer(t);
  const inbox = await open(t, server.url("/ws"));
  const pong = new Promise((resolve) => inbox.socket.once("pong", resolve));
  inbox.socket.ping("payload");
  assert.equal((await within(pong, "a pong")).toString(), "payload");
});

test("a close is answered with its own code", async (t) => {
  const server = await startServer(t);
  const inbox = await open(t, server.url("/ws"));
  inbox.socket.close(1000, "done");
  assert.equal((await inbox.close()).code, 1000);
});

test("SIGTERM closes with 1001 and the server exits with 0", async (t) => {
  const server = await startServer(t);
  const inbox = await open(t, server.url("/ws"));
  await inbox.nextOf("hello");
  server.terminate();
  assert.equal((await inbox.close()).code, 1001);
  assert.equal(await server.exitCode(), 0);
});

test("a path that leads nowhere is 404 and a missing route does not open", async (t) => {
  const server = await startServer(t);
  for (const path of ["/nowhere", "/stocks", "/echo"]) {
    const socket = new WebSocket(server.url(path));
    t.after(() => socket.terminate());
    const refused = new Promise((resolve) => {
      socket.once("unexpected-response", (_, response) => resolve(response.statusCode));
      socket.once("error", () => {});
    });
    assert.equal(await within(refused, path), 404);
  }
});

test("version 8 is refused with the version that is spoken", async (t) => {
  const server = await startServer(t);
  const socket = new WebSocket(server.url("/ws"), { protocolVersion: 8 });
  t.after(() => socket.terminate());
  const refused = new Promise((resolve) => {
    socket.once("unexpected-response", (_, response) => resolve(response));
    socket.once("error", () => {});
  });
  const response = await within(refused, "an answer");
  assert.equal(response.statusCode, 426);
  assert.equal(response.headers["sec-websocket-version"], "13");
});

test("an oversized message is closed with 1009 and others go on", async (t) => {
  const server = await startServer(t);
  const calm = await open(t, server.url("/ws"));
  const loud = await open(t, server.url("/ws"));
  loud.send("x".repeat(100_000));
  assert.equal((await loud.close()).code, 1009);
  calm.send("ping");
  await calm.nextOf("hello");
  assert.equal(await calm.next(), "pong");
});

test("offered compression does no harm", async (t) => {
  const server = await startServer(t);
  const inbox = await open(t, server.url("/ws"), { perMessageDeflate: true });
  await inbox.nextOf("hello");
  inbox.send("ping");
  assert.equal(await inbox.next(), "pong");
});

test("a page that pauses wakes to the newest value and is told what it missed", async (t) => {
  const server = await startServer(t, "--send-buffer", "16k", "--max-outbox-bytes", "64k");
  const page = await open(t, server.url("/ws"));
  page.send({ action: "subscribe", id: 1, topics: ["a"], mode: "latest" });
  await page.nextOf("subscribed");
  const publisher = await open(t, server.url("/ws"));
  page.socket.pause();
  const data = "x".repeat(32_000);
  const rounds = 600;
  for (let n = 0; n < rounds; n += 1) {
    publisher.send({ action: "publish", topic: "a", data });
    await publisher.nextOf("published");
  }
  page.socket.resume();
  let [at, delivered, skipped] = [0, 0, 0];
  while (at < rounds) {
    const event = JSON.parse(await page.next());
    if (event.type === "update") {
      assert.equal(event.seq, at + 1);
      at += 1;
      delivered += 1;
    } else if (event.type === "skip") {
      assert.equal(event.from, at + 1);
      assert.equal(event.why, "slow");
      skipped += event.to - at;
      at = event.to;
    }
  }
  assert.equal(delivered + skipped, rounds);
  assert.ok(skipped > 0, "19 MB fit into no buffer");
});
