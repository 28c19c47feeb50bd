// fanfare.v1.bin as Node's ws sees it, its records taken apart with a DataView.

import assert from "node:assert/strict";
import test from "node:test";

import { open } from "./inbox.js";
import { startServer } from "./server.js";

const KINDS = ["", "snapshot", "history", "update", "", "skip", "gap", "alias"];
const WHYS = { skip: ["", "slow", "rate", "stale"], gap: ["", "epoch", "history", "overflow"] };
const HEAD_BYTES = 24;

/// A record in the words of the JSON protocol. `topics` is what the connection has been told; a number that is not in it throws.
function read(message, topics) {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const kind = KINDS[view.getUint8(0)];
  assert.ok(kind, `kind ${view.getUint8(0)}`);
  assert.equal(view.getUint16(2, true), 0);
  const alias = view.getUint32(4, true);
  const seq = Number(view.getBigUint64(8, true));
  const rest = message.subarray(HEAD_BYTES);
  if (kind === "alias") {
    topics.set(alias, rest.toString());
    return { type: "alias", topic: rest.toString() };
  }
  assert.ok(topics.has(alias), `${kind} with the number ${alias}, which has not been told`);
  const topic = topics.get(alias);
  if (kind === "skip") {
    const to = Number(view.getBigUint64(HEAD_BYTES, true));
    return { type: kind, topic, from: seq, to, why: WHYS.skip[view.getUint8(HEAD_BYTES + 8)] };
  }
  if (kind === "gap") {
    return { type: kind, topic, from: seq, why: WHYS.gap[view.getUint8(HEAD_BYTES)], epoch: rest.subarray(1).toString() };
  }
  return { type: kind, topic, seq, data: view.getUint8(1) & 1 ? JSON.parse(rest) : rest };
}

/// The next record that is no alias.
async function nextRecord(inbox, topics) {
  for (;;) {
    const message = await inbox.next();
    assert.ok(Buffer.isBuffer(message), `a record was expected, not ${message}`);
    const record = read(message, topics);
    if (record.type !== "alias") return record;
  }
}

async function openBinary(t, server) {
  const inbox = await open(t, server.url("/ws"), ["fanfare.v1.bin", "fanfare.v1.json"]);
  assert.equal(inbox.socket.protocol, "fanfare.v1.bin");
  assert.equal(JSON.parse(await inbox.next()).type, "hello");
  return inbox;
}

test("the client's order decides which protocol is spoken", async (t) => {
  const server = await startServer(t);
  for (const [offered, chosen] of [
    [["fanfare.v1.json", "fanfare.v1.bin"], "fanfare.v1.json"],
    [["fanfare.v1.bin", "fanfare.v1.json"], "fanfare.v1.bin"],
    [[], ""],
  ]) {
    const inbox = await open(t, server.url("/ws"), offered);
    assert.equal(inbox.socket.protocol, chosen);
  }
});

test("data of a topic come under the number of its ack", async (t) => {
  const server = await startServer(t);
  const publisher = await open(t, server.url("/ws"));
  publisher.send({ action: "publish", topic: "a", data: { price: 187.1 } });
  await publisher.nextOf("published");
  const subscriber = await openBinary(t, server);
  subscriber.send({ action: "subscribe", topics: ["a"] });
  const { topics } = JSON.parse(await subscriber.next());
  const told = new Map([[topics[0].alias, "a"]]);
  assert.deepEqual(await nextRecord(subscriber, told), { type: "snapshot", topic: "a", seq: 1, data: { price: 187.1 } });
  publisher.send({ action: "publish", topic: "a", data: "é" });
  assert.deepEqual(await nextRecord(subscriber, told), { type: "update", topic: "a", seq: 2, data: "é" });
  subscriber.send({ action: "ping", id: 1 });
  assert.equal((await subscriber.nextOf("pong")).id, 1);
});

test("under filters a number is told before it is used, also with a skip", async (t) => {
  const server = await startServer(t);
  const publisher = await open(t, server.url("/ws"));
  publisher.send({ action: "publish", topic: "px.old", data: 1 });
  await publisher.nextOf("published");
  const subscriber = await openBinary(t, server);
  subscriber.send({ action: "subscribe", topics: ["px.*", ">"], snapshot: false, min_interval_ms: 200 });
  assert.equal(JSON.parse(await subscriber.next()).type, "subscribed");
  for (let n = 0; n < 40; n += 1) publisher.send({ action: "publish", topic: n % 4 ? `px.${n % 4}` : "px.old", data: n });
  const told = new Map();
  const at = new Map([["px.old", 1]]);
  let skips = 0;
  while ([...at.values()].reduce((sum, seq) => sum + seq, 0) < 41) {
    const record = await nextRecord(subscriber, told);
    assert.equal(record.seq ?? record.from, (at.get(record.topic) ?? 0) + 1, JSON.stringify(record));
    if (record.type === "skip") assert.equal(record.why, "rate");
    at.set(record.topic, record.seq ?? record.to);
    skips += record.type === "skip";
  }
  assert.ok(skips > 0);
  assert.deepEqual([...told.values()].sort(), ["px.1", "px.2", "px.3", "px.old"]);
});

test("what a room says comes as it was said", async (t) => {
  const server = await startServer(t);
  const subscriber = await openBinary(t, server);
  subscriber.send({ action: "subscribe", topics: ["lobby"] });
  const { topics } = JSON.parse(await subscriber.next());
  const told = new Map([[topics[0].alias, "lobby"]]);
  const room = await open(t, server.url("/room/lobby"));
  for (const [said, data] of [
    ["hello", Buffer.from("hello")],
    ["[1]", [1]],
    [Buffer.from([0, 255]), Buffer.from([0, 255])],
  ]) {
    room.send(said);
    assert.deepEqual((await nextRecord(subscriber, told)).data, data);
  }
});
