// The server over TLS as Node's ws sees it, with certificates that scripts/dev-certs makes.

import assert from "node:assert/strict";
import test from "node:test";

import { certificates, get } from "./certificates.js";
import { open } from "./inbox.js";
import { startServer } from "./server.js";

test("a thousand updates arrive in order over TLS", async (t) => {
  const { ca, flags } = certificates(t);
  const server = await startServer(t, ...flags);
  assert.match(server.url("/ws"), /^wss:/);
  const subscriber = await open(t, server.url("/ws"), { ca });
  subscriber.send({ action: "subscribe", id: 1, topics: ["a"] });
  await subscriber.nextOf("subscribed");
  const publisher = await open(t, server.url("/ws"), { ca });
  for (let n = 1; n <= 1000; n += 1) publisher.send({ action: "publish", topic: "a", data: { n } });
  for (let n = 1; n <= 1000; n += 1) {
    const event = JSON.parse(await subscriber.next());
    assert.deepEqual([event.type, event.seq, event.data.n], ["update", n, n]);
  }
});

test("an echo over TLS returns a megabyte, and a close is answered", async (t) => {
  const { ca, flags } = certificates(t);
  const server = await startServer(t, ...flags, "--echo", "--max-frame-bytes", "1m", "--max-outbox-bytes", "4m");
  const echo = await open(t, server.url("/echo"), { ca });
  for (const message of ["", "y".repeat(70_000), Buffer.alloc(1 << 20, 7)]) {
    echo.send(message);
    assert.deepEqual(await echo.next(), message);
  }
  echo.socket.close(1000, "done");
  assert.equal((await echo.close()).code, 1000);
});

test("a client that trusts others does not connect", async (t) => {
  const { flags } = certificates(t);
  const server = await startServer(t, ...flags);
  await assert.rejects(open(t, server.url("/ws")), /certificate/);
});

test("with compression, long updates arrive in order over TLS and take fewer bytes", async (t) => {
  const { ca, flags } = certificates(t);
  const server = await startServer(t, ...flags, "--compress");
  const subscriber = await open(t, server.url("/ws"), { ca });
  assert.match(subscriber.socket.extensions, /permessage-deflate/);
  subscriber.send({ action: "subscribe", id: 1, topics: ["a"] });
  await subscriber.nextOf("subscribed");
  const publisher = await open(t, server.url("/ws"), { ca, perMessageDeflate: { threshold: 0 } });
  const long = (n) => ({ n, words: "again and again, ".repeat(60) });
  const before = subscriber.socket._socket.bytesRead;
  let told = 0;
  for (let n = 1; n <= 200; n += 1) publisher.send({ action: "publish", topic: "a", data: long(n) });
  for (let n = 1; n <= 200; n += 1) {
    const text = await subscriber.next();
    const event = JSON.parse(text);
    assert.deepEqual([event.type, event.seq, event.data], ["update", n, long(n)]);
    told += text.length;
  }
  const read = subscriber.socket._socket.bytesRead - before;
  assert.ok(read > 0 && read * 3 < told, `${read} of ${told}`);
  const stats = JSON.parse(await get(server.url("/v1/stats").replace("wss:", "https:"), ca));
  assert.ok(stats.totals.bytes_out < told && stats.totals.deliveries >= 200, JSON.stringify(stats.totals));
});
