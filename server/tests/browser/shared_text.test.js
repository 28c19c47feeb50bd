// Several writers of one text over the real server, which is cut off and restarted under their hands.

import assert from "node:assert/strict";
import test from "node:test";

import WebSocket from "ws";

import { connect } from "../../pages/fanfare.js";
import { SharedText } from "../../pages/shared-text.js";
import { within } from "../clients/node/server.js";
import { start } from "./fake_socket.js";
import { startProxy } from "./proxy.js";
import { generator } from "./random.js";
import { startServer } from "./server.js";

const TOPIC = "document.test";

class Writer {
  constructor(t, port, kept) {
    this.client = connect(`http://127.0.0.1:${port}`, { WebSocket, backoffMinMs: 20, backoffMaxMs: 200 });
    this.shared = new SharedText(this.client, TOPIC, { kept, onChange: () => this.#changed.forEach((look) => look()) });
    t.after(() => this.leave());
  }

  #changed = new Set();

  get text() {
    return this.shared.text;
  }

  type(offset, text) {
    this.shared.edit(offset, 0, text);
  }

  leave() {
    this.shared.close();
    this.client.close();
  }

  /// Waits until something holds of this writer's text.
  until(is, what) {
    return within(
      new Promise((resolve) => {
        const timer = setInterval(() => look(), 20);
        const look = () => {
          if (!is(this.shared)) return;
          clearInterval(timer);
          this.#changed.delete(look);
          resolve();
        };
        this.#changed.add(look);
        look();
      }),
      what,
    ).catch((error) => {
      throw new Error(`${error.message}: ready ${this.shared.isReady}, pending ${this.shared.pending}, ${JSON.stringify(this.text)}`);
    });
  }
}

/// All have the same text, and nothing is on its way.
async function settled(...writers) {
  const isSame = () => writers.every(({ text, shared }) => text === writers[0].text && shared.isReady && shared.pending === 0);
  await writers[0].until(isSame, "all have the same text").catch((error) => {
    throw new Error(`${error.message}\n${writers.map(({ text, shared }) => JSON.stringify([text, shared.isReady, shared.pending])).join("\n")}`);
  });
  return writers[0].text;
}

test("two writers see what the other types, at once and in the right place", async (t) => {
  const server = await startServer(t);
  const [a, b] = [new Writer(t, server.port), new Writer(t, server.port)];
  await a.until(({ isReady }) => isReady, "ready");
  a.type(0, "hello world");
  await b.until(({ text }) => text === "hello world", "what a typed");
  b.type(5, ",");
  a.type(11, "!");
  assert.equal(await settled(a, b), "hello, world!");
});

test("a newcomer gets the text from the state that was left, when all others have gone and nothing is kept", async (t) => {
  const server = await startServer(t);
  const a = new Writer(t, server.port);
  a.type(0, "the text");
  await settled(a);
  a.type(8, " that stays");
  await settled(a);
  // Its state is published a moment after the last edit.
  await within((async () => {
    while (!(await a.client.topics(`${TOPIC}.state`)).topics.length) await new Promise((resolve) => setTimeout(resolve, 50));
  })(), "the state");
  a.leave();
  const b = new Writer(t, server.port);
  await b.until(({ text }) => text === "the text that stays", "the text");
});

test("a newcomer who finds no state asks those who are there", async (t) => {
  const server = await startServer(t);
  const a = new Writer(t, server.port);
  await a.until(({ isReady }) => isReady, "ready");
  a.type(0, "just");
  await settled(a);
  a.type(4, " now");
  await settled(a);
  const b = new Writer(t, server.port);
  await b.until(({ text }) => text === "just now", "the text");
});

test("what was typed without a connection is merged with what the others did meanwhile", async (t) => {
  const server = await startServer(t, "--history", "document.>,count=100");
  const proxy = await startProxy(t, server.port);
  const [a, b] = [new Writer(t, proxy.port), new Writer(t, server.port)];
  a.type(0, "shared line");
  await b.until(({ text }) => text === "shared line", "the text");
  await settled(a, b);
  proxy.isCut = true;
  proxy.cut();
  a.type(0, "A ");
  b.type(11, " B");
  a.shared.edit(2, 6, "");
  assert.equal(a.shared.pending > 0, true);
  await settled(b);
  proxy.isCut = false;
  assert.equal(await settled(a, b), "A  line B");
});

test("a log with a hole is mended by somebody who has it", async (t) => {
  const server = await startServer(t);
  const proxy = await startProxy(t, server.port);
  const [a, b] = [new Writer(t, proxy.port), new Writer(t, server.port)];
  a.type(0, "start");
  await settled(a, b);
  proxy.isCut = true;
  proxy.cut();
  a.type(5, " of a");
  for (const word of [" one", " two", " three"]) {
    b.type(b.text.length, word);
    await settled(b);
  }
  proxy.isCut = false;
  const text = await settled(a, b);
  assert.ok(["start of a one two three", "start one two three of a"].includes(text), text);
});

test("a restarted server that has lost everything gets it back, typed in the middle of it all", async (t) => {
  const server = await startServer(t);
  const [a, b] = [new Writer(t, server.port), new Writer(t, server.port)];
  a.type(0, "before [] after");
  await b.until(({ text }) => text === "before [] after", "the text");
  a.type(8, "from a");
  await server.kill();
  b.type(8, "from b");
  await server.start();
  const text = await settled(a, b);
  assert.ok(["before [from afrom b] after", "before [from bfrom a] after"].includes(text), text);
  const c = new Writer(t, server.port);
  await c.until((shared) => shared.text === text, "the same for a newcomer");
});

test("what is typed before a new connection has said which log it leads to waits for that", async (t) => {
  const { client, network } = start(t);
  const shared = new SharedText(client, TOPIC);
  t.after(() => shared.close());
  const stands = { [TOPIC]: 0, [`${TOPIC}.state`]: 0, [`${TOPIC}.asks`]: 0 };
  const acked = async (socket) => {
    const commands = [await socket.command("subscribe")];
    while (commands.flatMap(({ topics }) => topics).length < 3) commands.push(await socket.command("subscribe"));
    return (more) => commands.forEach((command) => socket.ack(command, stands, more));
  };
  const first = await within(network.next(), "a connection");
  const ackFirst = acked(first);
  first.hello();
  (await within(ackFirst, "the subscribes"))();
  shared.edit(0, 0, "here");
  shared.flush();
  assert.equal((await within(first.command("publish"), "the first edit")).topic, TOPIC);
  const next = network.next();
  first.end(1006);
  const second = await within(next, "another connection");
  const ackSecond = acked(second);
  second.hello();
  const ack = await within(ackSecond, "the subscribes");
  shared.edit(4, 0, " and there");
  shared.flush();
  assert.deepEqual(second.sent.filter(({ action }) => action === "publish"), []);
  ack({ epoch: "e2", recovered: "none" });
  // The log is another one: all goes there at once, with the places that it hangs on.
  const { data } = await within(second.command("publish"), "what was typed");
  assert.ok(data.merge, JSON.stringify(data));
  assert.equal(shared.text, "here and there");
});

test("edits that were kept when the page went are merged when it comes back", async (t) => {
  const server = await startServer(t);
  const proxy = await startProxy(t, server.port);
  const [a, b] = [new Writer(t, proxy.port), new Writer(t, server.port)];
  a.type(0, "text");
  await settled(a, b);
  proxy.isCut = true;
  proxy.cut();
  a.type(4, " typed on a train");
  const kept = JSON.parse(JSON.stringify(a.shared.keep()));
  a.leave();
  b.type(0, "the ");
  await settled(b);
  proxy.isCut = false;
  const again = new Writer(t, proxy.port, kept);
  assert.equal(again.text, "text typed on a train");
  assert.equal(await settled(again, b), "the text typed on a train");
  assert.equal(b.shared.keep(), undefined);
});

test("tombstones are bounded, and everybody drops the same", async (t) => {
  const server = await startServer(t, "--history", "document.>,count=100");
  const [a, b] = [new Writer(t, server.port), new Writer(t, server.port)];
  for (let round = 0; round < 4; round++) {
    a.type(0, "x".repeat(400));
    a.shared.flush();
    a.shared.edit(0, 400, "");
    a.shared.flush();
  }
  a.type(0, "left");
  assert.equal(await settled(a, b), "left");
  await a.until(({ tombstones }) => tombstones <= 500, "the tombstones go");
  await b.until(({ tombstones }) => tombstones <= 500, "the tombstones go");
  b.type(4, " over");
  assert.equal(await settled(a, b), "left over");
});

test("what is no edit harms nobody", async (t) => {
  const server = await startServer(t, "--history", "document.>,count=100");
  const [a, b] = [new Writer(t, server.port), new Writer(t, server.port)];
  a.type(0, "fine");
  await settled(a, b);
  for (const junk of [7, null, "text", { ops: 1 }, { ops: [{}] }, { ops: [{ ids: [[1]] }] }, { merge: 1 }, { reset: { runs: 1 } }, { compact: {} }]) await server.publish(TOPIC, junk);
  for (const junk of [7, { epoch: 1 }, { seq: "x" }]) await server.publish(`${TOPIC}.state`, junk);
  a.type(4, "!");
  b.type(0, "still ");
  assert.equal(await settled(a, b), "still fine!");
  const c = new Writer(t, server.port);
  await c.until(({ text }) => text === "still fine!", "the text");
});

test("random edits of four writers converge through cuts and restarts, and every letter is there once", async (t) => {
  const server = await startServer(t);
  const proxies = await Promise.all([0, 1, 2].map(() => startProxy(t, server.port)));
  const writers = [...proxies.map(({ port }) => new Writer(t, port)), new Writer(t, server.port)];
  const random = generator(4711);
  let next = 0x4e00;
  const deleted = new Set();
  for (let step = 0; step < 160; step++) {
    const writer = writers[random(4)];
    const { text } = writer;
    if (text.length > 4 && random(4) === 0) {
      const at = random(text.length);
      deleted.add(text[at]);
      writer.shared.edit(at, 1, "");
    } else {
      writer.type(random(text.length + 1), String.fromCharCode(next++));
    }
    if (step % 8 === 0) await new Promise((resolve) => setTimeout(resolve, 30));
    if (step % 23 === 11) {
      const proxy = proxies[random(3)];
      proxy.isCut = !proxy.isCut;
      proxy.cut();
    }
    if (step === 80) await server.restart();
  }
  for (const proxy of proxies) proxy.isCut = false;
  const text = await settled(...writers);
  assert.equal(new Set(text).size, text.length, "no letter is there twice");
  for (let code = 0x4e00; code < next; code++) {
    const letter = String.fromCharCode(code);
    assert.equal(text.includes(letter), !deleted.has(letter), `${letter}, ${deleted.has(letter) ? "deleted" : "typed"}`);
  }
  const late = new Writer(t, server.port);
  await late.until((shared) => shared.text === text, "the same for a newcomer");
});
