// Streams of events as the `eventsource` package reads them: a browser's EventSource for Node.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import test from "node:test";
import { EventSource } from "eventsource";

import { startServer, within } from "./server.js";

/// A way to the server that can be cut, as a network does. Ends with the test.
async function startNetwork(t, server) {
  const { port } = new URL(server.url("/"));
  const sockets = new Set();
  const network = createServer((client) => {
    const way = connect(Number(port), "127.0.0.1");
    for (const [socket, other] of [[client, way], [way, client]]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    client.pipe(way).pipe(client);
  });
  network.listen(0, "127.0.0.1");
  await once(network, "listening");
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  t.after(() => {
    network.close();
    cut();
  });
  return { url: (path) => `http://127.0.0.1:${network.address().port}${path}`, cut };
}

/// An EventSource whose events can be awaited one by one, and the ids that it came back with.
class Stream {
  #events = [];
  #waiting = [];
  ids = [];

  constructor(t, url) {
    this.source = new EventSource(url, {
      fetch: (input, init) => {
        this.ids.push(new Headers(init.headers).get("last-event-id"));
        return fetch(input, init);
      },
    });
    t.after(() => this.source.close());
    this.source.onmessage = ({ data, lastEventId }) => {
      const event = { ...JSON.parse(data), lastEventId };
      const waiting = this.#waiting.shift();
      if (waiting) waiting(event);
      else this.#events.push(event);
    };
  }

  next() {
    const event = this.#events.shift();
    if (event) return Promise.resolve(event);
    return within(new Promise((resolve) => this.#waiting.push(resolve)), "an event");
  }

  async nextOf(type) {
    const event = await this.next();
    assert.equal(event.type, type, JSON.stringify(event));
    return event;
  }
}

const http = (server, path) => server.url(path).replace("ws://", "http://");

async function publish(server, topic, data) {
  const answer = await fetch(http(server, `/v1/topics/${topic}`), { method: "POST", body: JSON.stringify(data, null, 2) });
  assert.equal(answer.status, 200);
  return (await answer.json()).seq;
}

test("an EventSource gets what is published, in order", async (t) => {
  const server = await startServer(t);
  const stream = new Stream(t, http(server, "/v1/sse?topics=a"));
  assert.equal((await stream.nextOf("subscribed")).topics[0].topic, "a");
  for (let n = 1; n <= 200; n += 1) await publish(server, "a", { n, text: "two\nlines" });
  for (let n = 1; n <= 200; n += 1) {
    const event = await stream.nextOf("update");
    assert.deepEqual([event.seq, event.data], [n, { n, text: "two\nlines" }]);
  }
});

for (const topics of ["a", "a,b,c.*"]) {
  test(`an EventSource of ${topics} that is cut again and again misses nothing and gets nothing twice`, async (t) => {
    const server = await startServer(t, "--history-count", "1000");
    const network = await startNetwork(t, server);
    const stream = new Stream(t, network.url(`/v1/sse?topics=${topics}`));
    await stream.nextOf("subscribed");
    const plain = topics.split(",").filter((topic) => !topic.includes("*"));
    const seen = Object.fromEntries(plain.map((topic) => [topic, 0]));
    // The next event of each topic must be the next in its row, until each has come to `last`.
    const hear = async (last) => {
      while (plain.some((topic) => seen[topic] < last)) {
        const event = await stream.next();
        if (event.type === "subscribed") continue;
        assert.ok(["update", "history"].includes(event.type), JSON.stringify(event));
        seen[event.topic] += 1;
        assert.equal(event.seq, seen[event.topic], JSON.stringify(event));
      }
    };
    for (let round = 1; round <= 3; round += 1) {
      for (let n = 1; n <= 20; n += 1) for (const topic of plain) await publish(server, topic, n);
      await hear(round * 21 - 1);
      network.cut();
      // Published while nobody listens.
      for (const topic of plain) await publish(server, topic, "missed");
      await hear(round * 21);
    }
    // It may have come back more than once for each cut, but always from where it stood.
    assert.ok(stream.ids.length >= 4, String(stream.ids));
    assert.ok(stream.ids.slice(1).every((id) => id.split(",").length === plain.length), String(stream.ids));
  });
}

test("an EventSource hears that the server stops, and of the gap once another has come", async (t) => {
  const server = await startServer(t);
  const stream = new Stream(t, http(server, "/v1/sse?topics=a"));
  await stream.nextOf("subscribed");
  await publish(server, "a", 1);
  const { lastEventId } = await stream.nextOf("update");
  server.terminate();
  assert.deepEqual(await stream.nextOf("closed").then(({ code }) => code), 1001);
  stream.source.close();
  const another = await startServer(t);
  await publish(another, "a", 2);
  const resumed = new Stream(t, http(another, `/v1/sse?topics=a&last_event_id=${encodeURIComponent(lastEventId)}`));
  assert.equal((await resumed.nextOf("subscribed")).topics[0].recovered, "none");
  assert.deepEqual([(await resumed.nextOf("gap")).why, (await resumed.nextOf("snapshot")).data], ["epoch", 2]);
});

test("a stream that may not be had fails once and for all", async (t) => {
  const server = await startServer(t);
  const source = new EventSource(http(server, "/v1/sse?topics=no..topic"));
  t.after(() => source.close());
  const error = await within(new Promise((resolve) => (source.onerror = resolve)), "an error");
  assert.equal(error.code, 400);
  assert.equal(source.readyState, EventSource.CLOSED);
});
