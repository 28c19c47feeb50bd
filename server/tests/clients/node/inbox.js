// A WebSocket whose messages can be awaited one by one.

import WebSocket from "ws";

import { within } from "./server.js";

/// Opens `url` and collects what comes, from the very first message on.
export async function open(test, url, options) {
  const socket = new WebSocket(url, options);
  const inbox = new Inbox(socket);
  test.after(() => socket.terminate());
  await within(
    new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    }),
    `open ${url}`,
  );
  return inbox;
}

export class Inbox {
  #messages = [];
  #waiting = [];

  constructor(socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() })));
    // A failed handshake and a broken connection are told by "close" as well.
    socket.on("error", () => {});
    socket.on("message", (data, isBinary) => {
      const message = isBinary ? data : data.toString();
      const waiting = this.#waiting.shift();
      if (waiting) waiting(message);
      else this.#messages.push(message);
    });
  }

  /// The next message: a string, or a Buffer.
  next() {
    const message = this.#messages.shift();
    if (message !== undefined) return Promise.resolve(message);
    return within(new Promise((resolve) => this.#waiting.push(resolve)), "a message");
  }

  /// The next event of this type; others are passed over.
  async nextOf(type) {
    for (;;) {
      const event = JSON.parse(await this.next());
      if (event.type === type) return event;
    }
  }

  send(message) {
    this.socket.send(typeof message === "string" || Buffer.isBuffer(message) ? message : JSON.stringify(message));
  }

  close() {
    return within(this.closed, "the close");
  }
}
