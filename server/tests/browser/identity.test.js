// The client library and a server that asks who it is: over every transport, and when tokens expire.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";

import WebSocket from "ws";

import { connect } from "../../pages/fanfare.js";
import { within } from "../clients/node/server.js";
import { event } from "./fake_socket.js";
import { startServer } from "./server.js";

const SECRET = "a secret of thirty-two bytes, or more";

function token(lifetimeS, claims = {}) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + lifetimeS;
  const message = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ exp, sub: "ann", subscribe: ["px.>"], pub: ["px.>"], ...claims })}`;
  return `${message}.${createHmac("sha256", SECRET).update(message).digest("base64url")}`;
}

function startGuarded(t, ...flags) {
  const folder = mkdtempSync(join(tmpdir(), "fanfare-secret-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "secret"), SECRET);
  return startServer(t, "--jwt-key", join(folder, "secret"), ...flags);
}

function open(t, server, options) {
  const client = connect(`http://127.0.0.1:${server.port}`, { WebSocket, backoffMinMs: 20, ...options });
  t.after(() => client.close());
  return client;
}

for (const transport of ["websocket", "sse", "poll"]) {
  test(`${transport}: a token opens what it names, and nothing else`, async (t) => {
    const server = await startGuarded(t);
    const client = open(t, server, { transports: [transport], token: async () => token(600) });
    const errors = [];
    client.on("error", (error) => errors.push(error));
    client.subscribe(["px.a", "other"]);
    // What comes between two polls is no update but what the next one, which resumes, brings.
    const value = Promise.race(["update", "history", "snapshot"].map((type) => event(client, type)));
    await within(event(client, "subscribed"), "the ack");
    assert.equal((await within(client.publish("px.a", 1), "the answer")).seq, 1);
    assert.equal((await within(value, "the update")).data, 1);
    await assert.rejects(client.publish("other", 1), { code: 2003 });
    assert.deepEqual(errors.map(({ topic, code }) => [topic, code]).slice(0, 1), [["other", 2003]]);
    assert.equal((await client.topics("px.>")).topics.length, 1);
  });

  test(`${transport}: a wrong token ends it for good`, async (t) => {
    const server = await startGuarded(t);
    const client = open(t, server, { transports: [transport], token: "wrong" });
    client.subscribe("px.a");
    await within(event(client, "state", ({ state }) => state === "closed"), "the end");
  });
}

test("a token that expires is replaced while the stream goes on", async (t) => {
  const server = await startGuarded(t);
  let asked = 0;
  const client = open(t, server, { transports: ["websocket"], token: async () => token(++asked === 1 ? 3 : 600) });
  client.subscribe("px.a");
  await within(event(client, "subscribed"), "the ack");
  await within(event(client, "notice", ({ kind }) => kind === "token_expires"), "the notice");
  // Past the end of the first one.
  await new Promise((resolve) => setTimeout(resolve, 4000));
  assert.equal(client.state, "open");
  assert.equal(asked, 2);
  const update = event(client, "update");
  await client.publish("px.a", 1);
  assert.equal((await within(update, "the update")).seq, 1);
});
