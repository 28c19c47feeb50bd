// A TCP proxy that the test can cut, and that can be as unfriendly as some offices' are.

import net from "node:net";

import { within } from "../clients/node/server.js";

/// A proxy in front of `port`; the test ends it.
export async function startProxy(test, port) {
  const proxy = new Proxy(port);
  test.after(() => proxy.close());
  await within(new Promise((resolve) => proxy.listen(resolve)), "the proxy listens");
  return proxy;
}

class Proxy {
  #upstream;
  #pairs = new Set();
  #server = net.createServer((client) => this.#accept(client));
  /// Requests for an upgrade are answered 403.
  refusesUpgrades = false;
  /// Answers of unknown length are held back until they are complete.
  holdsStreams = false;
  /// Nobody gets through.
  isCut = false;
  /// Request lines, in their order.
  requests = [];

  constructor(upstream) {
    this.#upstream = upstream;
  }

  get port() {
    return this.#server.address().port;
  }

  listen(done) {
    this.#server.listen(0, "127.0.0.1", done);
  }

  /// Ends all connections, without a word.
  cut() {
    for (const { client, server } of this.#pairs) {
      client.destroy();
      server.destroy();
    }
    this.#pairs.clear();
  }

  close() {
    this.cut();
    this.#server.close();
  }

  #accept(client) {
    if (this.isCut) return client.destroy();
    const server = net.connect(this.#upstream, "127.0.0.1");
    const pair = { client, server };
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on("error", end);
    client.on("close", end);
    let held = null;
    client.on("data", (bytes) => {
      const text = bytes.toString("latin1");
      const line = /^(GET|POST|HEAD|OPTIONS) \S+/.exec(text);
      if (line) this.requests.push(line[0]);
      if (line && this.refusesUpgrades && /\r\nupgrade:\s*websocket/i.test(text)) {
        return client.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      }
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      if (this.holdsStreams && held === null && /\r\ncontent-type: text\/event-stream/i.test(bytes.toString("latin1"))) held = [];
      if (held) held.push(bytes);
      else client.write(bytes);
    });
    server.on("end", () => {
      client.end(held ? Buffer.concat(held) : undefined);
      held = null;
    });
  }
}
