// The client library on a network that the test plays.

import assert from "node:assert/strict";
import test from "node:test";

import { addresses } from "../../pages/fanfare.js";
import { EPOCH, event, start } from "./fake_socket.js";

const QUICK = { backoffMinMs: 1, backoffMaxMs: 8, laterMinMs: 3 };

async function opened(t, options) {
  const setup = start(t, { ...QUICK, ...options });
  const socket = setup.network.sockets[0] ?? (await setup.network.next());
  return { ...setup, socket };
}

test("addresses lead to the socket and to the rest", () => {
  const page = new URL("https://h.example/push/chat");
  for (const [url, socketUrl, httpUrl] of [
    ["ws://h:1/ws", "ws://h:1/ws", "http://h:1"],
    ["http://h:1", "ws://h:1/ws", "http://h:1"],
    ["https://h/push/ws?a=b", "wss://h/push/ws?a=b", "https://h/push"],
    ["/push/ws", "wss://h.example/push/ws", "https://h.example/push"],
    [undefined, "wss://h.example/ws", "https://h.example"],
  ]) {
    assert.deepEqual(addresses(url, page), { socketUrl, httpUrl });
  }
});

test("a topic is resumed where it stood, and nothing is repeated", async (t) => {
  const { client, network, socket, data } = await opened(t);
  client.subscribe("a", { mode: "latest" });
  socket.hello();
  const first = await socket.command("subscribe");
  assert.deepEqual(first.topics, [{ topic: "a", mode: "latest" }]);
  socket.ack(first, { a: 1 });
  socket.data("snapshot", "a", 1);
  socket.data("update", "a", 2);
  const coming = network.next();
  socket.end(1006);
  const second = await coming;
  second.hello();
  const again = await second.command("subscribe");
  assert.deepEqual(again.topics, [{ topic: "a", mode: "latest", since: { epoch: EPOCH, seq: 2 } }]);
  second.ack(again, { a: 3 }, { recovered: "full", count: 1 });
  second.data("history", "a", 3);
  second.data("update", "a", 4);
  assert.deepEqual(data(), ["snapshot 1", "update 2", "history 3", "update 4"]);
});

test("a filter asks for the epoch first, and again after each reconnect", async (t) => {
  const { client, network, socket, data } = await opened(t);
  client.subscribe("px.*");
  socket.hello();
  const check = await socket.command("check");
  assert.deepEqual(check.topics, ["px.0"]);
  socket.say({ type: "state", id: check.id, topics: [{ topic: "px.0", epoch: EPOCH, seq: 0 }] });
  socket.ack(await socket.command("subscribe"), {});
  socket.data("snapshot", "px.a", 5);
  const coming = network.next();
  socket.end(1006);
  const second = await coming;
  second.hello();
  second.say({ type: "state", id: (await second.command("check")).id, topics: [{ topic: "px.0", epoch: EPOCH, seq: 0 }] });
  second.ack(await second.command("subscribe"), {});
  second.data("snapshot", "px.a", 5);
  second.data("update", "px.a", 8);
  assert.deepEqual(data(), ["snapshot 5", "gap 6..7", "update 8"]);
});

test("handlers hear of their own topics, and a second one of what is known already", async (t) => {
  const { client, socket } = await opened(t);
  const heard = [];
  const end = client.subscribe(["a", "b"], (event) => heard.push(["first", event.topic, event.seq]));
  socket.hello();
  const command = await socket.command("subscribe");
  socket.ack(command, { a: 1, b: 0 });
  socket.data("snapshot", "a", 1);
  const endSecond = client.subscribe("a", (event) => heard.push(["second", event.topic, event.seq]));
  socket.data("update", "a", 2);
  end();
  assert.deepEqual((await socket.command("unsubscribe")).topics, ["b"]);
  socket.data("update", "a", 3);
  endSecond();
  assert.deepEqual((await socket.command("unsubscribe")).topics, ["a"]);
  socket.data("update", "a", 4);
  assert.deepEqual(heard, [["first", "a", 1], ["second", "a", 1], ["first", "a", 2], ["second", "a", 2], ["second", "a", 3]]);
});

test("a handler that throws ends nothing", async (t) => {
  const { client, socket, data } = await opened(t);
  const reported = t.mock.method(console, "error", () => {});
  client.subscribe("a", () => {
    throw new Error("the page's mistake");
  });
  socket.hello();
  socket.ack(await socket.command("subscribe"), { a: 1 });
  socket.data("snapshot", "a", 1);
  socket.data("update", "a", 2);
  assert.deepEqual(data(), ["snapshot 1", "update 2"]);
  assert.equal(reported.mock.callCount(), 2);
});

test("a publish is sent again under its key until it is answered", async (t) => {
  const { client, network, socket } = await opened(t);
  const published = client.publish("a", { x: 1 });
  const behind = client.publish("a", { x: 2 });
  socket.hello();
  const first = await socket.command("publish");
  assert.deepEqual(first.data, { x: 1 });
  const coming = network.next();
  socket.end(1006);
  const second = await coming;
  second.hello();
  const again = await second.command("publish");
  const third = await second.command("publish");
  assert.equal(again.key, first.key);
  assert.deepEqual([again.data, third.data], [{ x: 1 }, { x: 2 }]);
  assert.notEqual(third.key, again.key);
  second.say({ type: "published", id: again.id, topic: "a", epoch: EPOCH, seq: 1 });
  second.say({ type: "published", id: third.id, topic: "a", epoch: EPOCH, seq: 2 });
  assert.deepEqual(await published, { topic: "a", epoch: EPOCH, seq: 1 });
  assert.deepEqual((await behind).seq, 2);
  assert.equal(client.pending, 0);
});

test("a publish whose key must be forgotten by now is refused, not repeated", async (t) => {
  let now = 1000;
  const { client, network, socket } = await opened(t, { now: () => now });
  const published = client.publish("a", 1);
  socket.hello();
  await socket.command("publish");
  const coming = network.next();
  socket.end(1006);
  now += 5 * 60_000;
  (await coming).hello();
  await assert.rejects(published, /may have been published or not/);
});

test("what came too fast is sent again, and what is refused is told", async (t) => {
  const { client, socket } = await opened(t);
  const published = client.publish("a", 1);
  const refused = client.publish("$sys.x", 1);
  socket.hello();
  const first = await socket.command("publish");
  const second = await socket.command("publish");
  socket.say({ type: "error", id: first.id, code: 3000, name: "rate", message: "wait", retry_ms: 5 });
  socket.say({ type: "error", id: second.id, code: 2003, name: "forbidden", message: "not this one" });
  await assert.rejects(refused, { code: 2003, message: "not this one" });
  const again = await socket.command("publish");
  assert.deepEqual([again.id, again.key], [first.id, first.key]);
  socket.say({ type: "published", id: again.id, topic: "a", epoch: EPOCH, seq: 1 });
  assert.equal((await published).seq, 1);
});

test("close codes say whether to come back, and when", async (t) => {
  for (const [code, state, least, most] of [
    [4001, "closed"],
    [4003, "closed"],
    [4099, "closed"],
    [4100, "waiting", 3, 6],
    [4103, "waiting", 3, 6],
    [4200, "waiting", 0, 2],
    [1006, "waiting", 0, 2],
    [1012, "waiting", 0, 2],
  ]) {
    for (const random of [0, 0.999]) {
      const { client, socket } = await opened(t, { random: () => random });
      socket.hello();
      const next = event(client, "state", ({ state }) => state !== "open");
      socket.end(code, "why");
      const { state: got, delayMs, code: told } = await next;
      assert.equal(got, state, `${code}`);
      assert.equal(told, code);
      if (state === "waiting") assert.ok(delayMs >= least && delayMs <= most, `${code}: ${delayMs}`);
      client.close();
    }
  }
});

test("waits double up to their bound, anywhere below it, and start anew after a connection that held", async (t) => {
  let now = 0;
  let share = 1;
  const { client, network, socket } = await opened(t, { random: () => share, now: () => now, transports: ["websocket"] });
  const waits = [];
  client.on("state", ({ state, delayMs }) => state === "waiting" && waits.push(delayMs));
  let current = socket;
  for (let failure = 0; failure < 5; failure++) {
    const coming = network.next();
    current.end(1006);
    current = await coming;
  }
  assert.deepEqual(waits, [2, 4, 8, 8, 8]);
  share = 0.5;
  now += 60_000;
  current.hello();
  now += 60_000;
  current.end(1006);
  assert.equal(waits.at(-1), 0.5);
});

test("a server that is being emptied says when to come back", async (t) => {
  const { client, network, socket } = await opened(t, { random: () => 0.5 });
  socket.hello();
  const waiting = event(client, "state", ({ state }) => state === "waiting");
  socket.say({ type: "notice", kind: "drain", in_ms: 30_000, reconnect_ms: [10_000, 20_000] });
  socket.end(4200);
  assert.equal((await waiting).delayMs, 15_000);
  assert.equal(network.sockets.length, 1);
});

test("within the advised window the client leaves by itself", async (t) => {
  const { network, socket } = await opened(t);
  socket.hello();
  const coming = network.next();
  socket.say({ type: "notice", kind: "drain", in_ms: 30_000, reconnect_ms: [1, 5] });
  await coming;
  assert.equal(socket.closedWith, 1000);
});

test("a server that falls silent is left", async (t) => {
  const { client, network, socket } = await opened(t);
  socket.hello({ heartbeat_s: 0.05 });
  const { reason } = await event(client, "state", ({ state }) => state === "waiting");
  assert.match(reason, /nothing was heard/);
  const second = network.sockets[1] ?? (await network.next());
  second.hello({ heartbeat_s: 0.2 });
  for (let beat = 0; beat < 10; beat++) {
    await new Promise((resolve) => setTimeout(resolve, 60));
    second.say({ type: "heartbeat", time: 1 });
  }
  assert.equal(client.state, "open");
});

test("a server that says no hello is left", async (t) => {
  const { client } = await opened(t, { handshakeTimeoutMs: 20 });
  assert.match((await event(client, "state", ({ state }) => state === "waiting")).reason, /no hello/);
});

test("a token is asked for on each connection and when it expires", async (t) => {
  let asked = 0;
  const { client, network, socket } = await opened(t, { token: async () => `token ${++asked}` });
  client.subscribe("a");
  socket.hello({ auth: "required" });
  const first = await socket.command("auth");
  assert.equal(first.token, "token 1");
  assert.equal(client.state, "connecting");
  socket.say({ type: "ok", id: first.id });
  socket.ack(await socket.command("subscribe"), { a: 0 });
  socket.say({ type: "notice", kind: "token_expires", in_ms: 10_000 });
  const renewed = await socket.command("auth");
  assert.equal(renewed.token, "token 2");
  socket.say({ type: "ok", id: renewed.id });
  const coming = network.next();
  socket.end(1006);
  const second = await coming;
  second.hello({ auth: "required" });
  assert.equal((await second.command("auth")).token, "token 3");
});

test("a token that is refused ends it, and nothing is subscribed to without one", async (t) => {
  const { client, socket, heard } = await opened(t, { token: "wrong" });
  client.subscribe("a");
  const published = client.publish("a", 1);
  socket.hello({ auth: "required" });
  const auth = await socket.command("auth");
  socket.say({ type: "error", id: auth.id, code: 2001, name: "bad_token", message: "no" });
  assert.equal(client.state, "closed");
  assert.ok(heard.some(({ type, code }) => type === "error" && code === 2001));
  await assert.rejects(published, /not published/);
});

test("topics that may not be had are told, and the others live", async (t) => {
  const { client, socket, heard, data } = await opened(t);
  client.subscribe(["a", "vip"]);
  socket.hello();
  const command = await socket.command("subscribe");
  socket.say({ type: "subscribed", id: command.id, topics: [{ topic: "a", epoch: EPOCH, seq: 1 }], errors: [{ topic: "vip", code: 2003, message: "no" }] });
  socket.data("snapshot", "a", 1);
  assert.deepEqual(heard.filter(({ type }) => type === "error").map(({ topic, code }) => [topic, code]), [["vip", 2003]]);
  assert.deepEqual(data(), ["snapshot 1"]);
});

test("delivery is timed by the server's clock, whatever ours shows", async (t) => {
  // Our clock is an hour behind; the way there takes 4 ms, and so does the way back.
  let now = 1_000_000;
  const serverMs = () => now + 3_600_000;
  const { client, socket } = await opened(t, { now: () => now });
  client.subscribe("a");
  socket.hello({ time: serverMs() * 1000 });
  let ping;
  for (const message = socket.sent; !(ping = message.find(({ action }) => action === "ping")); ) await new Promise(setImmediate);
  now += 4;
  const time = serverMs() * 1000;
  now += 4;
  socket.say({ type: "pong", id: ping.id, time });
  const ts = serverMs() * 1000;
  now += 3;
  socket.say({ type: "update", topic: "a", seq: 1, ts, data: 1 });
  const { p50, p99, count, rtt } = client.latency();
  assert.deepEqual([Math.round(p50), Math.round(p99), count, rtt], [3, 3, 1, 8]);
});

test("set changes the options of a subscription, now and for later connections", async (t) => {
  const { client, network, socket } = await opened(t);
  client.subscribe("a", { min_interval_ms: 100 });
  socket.hello();
  socket.ack(await socket.command("subscribe"), { a: 0 });
  client.set("a", { min_interval_ms: 500 });
  const set = await socket.command("set");
  assert.deepEqual([set.topics, set.min_interval_ms], [["a"], 500]);
  assert.throws(() => client.set("b", {}), { code: 1004 });
  const coming = network.next();
  socket.end(1006);
  const second = await coming;
  second.hello();
  assert.equal((await second.command("subscribe")).topics[0].min_interval_ms, 500);
});
