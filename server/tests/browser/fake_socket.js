// A WebSocket whose other end is the test.

import assert from "node:assert/strict";

import { connect } from "../../pages/fanfare.js";

export const EPOCH = "e1";

/// The sockets that a client opens, in their order.
export class Network {
  sockets = [];
  #waiting = [];

  constructor() {
    const network = this;
    this.WebSocket = class extends FakeSocket {
      constructor(url) {
        super(url);
        network.sockets.push(this);
        network.#waiting.shift()?.(this);
      }
    };
  }

  /// The next socket that the client opens.
  next() {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

class FakeSocket {
  readyState = 0;
  sent = [];
  closedWith = undefined;
  #waiting = [];

  constructor(url) {
    this.url = url;
  }

  send(text) {
    const message = JSON.parse(text);
    const waiting = this.#waiting.shift();
    if (waiting) waiting(message);
    else this.sent.push(message);
  }

  close(code) {
    this.closedWith = code ?? 1000;
    this.readyState = 3;
  }

  /// The next command that is no ping.
  async command(action) {
    for (;;) {
      const message = this.sent.shift() ?? (await new Promise((resolve) => this.#waiting.push(resolve)));
      if (message.action === "ping") continue;
      if (action) assert.equal(message.action, action, JSON.stringify(message));
      return message;
    }
  }

  hello(more = {}) {
    this.readyState = 1;
    this.say({ type: "hello", version: 1, conn: "c", time: Date.now() * 1000, heartbeat_s: 15, auth: "none", limits: { frame_bytes: 65536 }, ...more });
  }

  say(frame) {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /// Acknowledges a subscribe as the server would: `stands` says where topics stand.
  ack(command, stands, more = {}) {
    const topics = command.topics.map(({ topic }) => (topic in stands ? { topic, epoch: EPOCH, seq: stands[topic], ...more } : { topic, matched: 0 }));
    this.say({ type: "subscribed", id: command.id, topics });
  }

  data(type, topic, seq, data = seq) {
    this.say({ type, topic, seq, ts: Date.now() * 1000, data });
  }

  end(code, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/// A client on a network of its own; the test ends it. Its random numbers are zeros: every wait is as short as it may be.
export function start(t, options = {}) {
  const network = new Network();
  const heard = [];
  const client = connect("ws://server/ws", { WebSocket: network.WebSocket, fetch: () => Promise.reject(new Error("no way")), random: () => 0, ...options });
  for (const type of ["state", "update", "snapshot", "history", "skip", "gap", "error", "notice"]) client.on(type, (event) => heard.push(event));
  t.after(() => client.close());
  return { client, network, heard, data: () => heard.filter(({ type, topic }) => topic && type !== "error").map(({ type, seq, from, to }) => (seq ? `${type} ${seq}` : `${type} ${from}..${to ?? ""}`)) };
}

/// Resolves with the next event of this type that `test` likes.
export function event(client, type, test = () => true) {
  return new Promise((resolve) => {
    const off = client.on(type, (event) => {
      if (!test(event)) return;
      off();
      resolve(event);
    });
  });
}
