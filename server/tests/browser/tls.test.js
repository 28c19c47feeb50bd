// Chromium over TLS with permessage-deflate: what it negotiates, what arrives, and what the server says it sent.

import assert from "node:assert/strict";
import test from "node:test";

import { certificates, get } from "../clients/node/certificates.js";
import { DEADLINE_MS, startServer, within } from "../clients/node/server.js";
import { live, openPage } from "./browser.js";

const COMPRESS = ["--compress", "--history", ">,count=1000"];
const secure = (server, path = "/") => server.url(path).replace(/^wss:/, "https:");
const row = (topic) => `tr[data-topic="${topic}"]`;
/// Longer than the 256 bytes below which nothing is compressed, and easy to compress.
const long = (number) => ({ price: number, words: "again and again, ".repeat(60) });

/// The counter's value in the server's metrics.
async function metric(server, ca, name) {
  const text = await get(secure(server, "/metrics"), ca);
  const line = text.split("\n").find((line) => line.startsWith(`${name} `));
  assert.ok(line, `${name} is among the metrics`);
  return Number(line.split(" ")[1]);
}

/// What the browser itself saw of the page's first WebSocket: its URL, the server's answer, and the payload bytes of its frames.
async function watchSockets(page) {
  const devtools = await page.context().newCDPSession(page);
  const seen = { received: 0 };
  let opened;
  const isOpen = new Promise((resolve) => (opened = resolve));
  devtools.on("Network.webSocketCreated", ({ requestId, url }) => {
    if (!seen.id) Object.assign(seen, { id: requestId, url });
  });
  devtools.on("Network.webSocketHandshakeResponseReceived", ({ requestId, response }) => {
    if (requestId === seen.id) opened(response);
  });
  devtools.on("Network.webSocketFrameReceived", ({ requestId, response }) => {
    if (requestId === seen.id) seen.received += response.payloadData.length;
  });
  await devtools.send("Network.enable");
  seen.open = () => within(isOpen, "the WebSocket is open");
  return seen;
}

test("the board is served over TLS, its WebSocket is wss, and long updates come compressed", async (t) => {
  const { ca, flags } = certificates(t);
  const server = await startServer(t, ...flags, ...COMPRESS);
  const publish = (data) => get(secure(server, "/v1/topics/px.a"), ca, { method: "POST", body: JSON.stringify(data) });
  await publish(long(1));
  // A blank page first, so that nothing of the handshake is missed.
  const page = await openPage(t, "about:blank", { ignoreHTTPSErrors: true });
  const socket = await watchSockets(page);
  await page.goto(secure(server));
  await live(page);
  const { status, headers } = await socket.open();
  assert.equal(status, 101);
  assert.equal(socket.url.split("?")[0], server.url("/ws"));
  const named = Object.entries(headers).find(([name]) => name.toLowerCase() === "sec-websocket-extensions");
  assert.match(named?.[1] ?? "", /^permessage-deflate;.*server_no_context_takeover/);
  assert.equal(await page.evaluate(() => location.protocol), "https:");
  await page.waitForSelector(`${row("px.a")}[data-seq="1"]`);
  await page.evaluate(() => {
    globalThis.updates = [];
    globalThis.fanfare.on("update", ({ topic, seq, data }) => globalThis.updates.push({ topic, seq, data }));
  });
  const [sentBefore, shownBefore] = [await metric(server, ca, "fanfare_sent_bytes_total"), socket.received];
  for (let number = 2; number <= 101; number += 1) await publish(long(number));
  await page.waitForSelector(`${row("px.a")}[data-seq="101"]`);
  const updates = await page.evaluate(() => globalThis.updates.filter(({ topic }) => topic === "px.a"));
  assert.deepEqual(updates.map(({ seq, data }) => [seq, data]), Array.from({ length: 100 }, (_, at) => [at + 2, long(at + 2)]));
  const sent = (await metric(server, ca, "fanfare_sent_bytes_total")) - sentBefore;
  const shown = socket.received - shownBefore;
  assert.ok(shown > 100_000, `${shown} bytes after inflating`);
  assert.ok(sent * 2 < shown, `${sent} bytes, answers to the publisher among them, were sent of ${shown}`);
  const handshakes = (await metric(server, ca, "fanfare_tls_handshakes_total")) + (await metric(server, ca, "fanfare_tls_resumptions_total"));
  assert.ok(handshakes > 0, "what was served came over TLS");
});

test("a page of one's own talks both ways, compressed, whatever the size", async (t) => {
  const { ca, flags } = certificates(t);
  const server = await startServer(t, ...flags, ...COMPRESS, "--echo", "--max-frame-bytes", "1m", "--max-outbox-bytes", "4m");
  const page = await openPage(t, secure(server, "/robots.txt"), { ignoreHTTPSErrors: true });
  const outcome = await page.evaluate(
    ([url, deadline]) =>
      new Promise((resolve, reject) => {
        const sizes = [0, 1, 255, 256, 257, 5_000, 70_000];
        const socket = new WebSocket(url);
        const ask = () => socket.send("ü".repeat(sizes[0]));
        setTimeout(() => reject(new Error(`${sizes} are still to come`)), deadline);
        socket.onopen = ask;
        socket.onerror = () => reject(new Error("the WebSocket failed"));
        socket.onmessage = ({ data }) => {
          if (data !== "ü".repeat(sizes.shift())) reject(new Error("it came back as something else"));
          if (sizes.length > 0) return ask();
          resolve(socket.extensions);
          socket.close();
        };
      }),
    [server.url("/echo"), DEADLINE_MS],
  );
  assert.match(outcome, /^permessage-deflate/);
  // Twice 75 KB of "ü" went each way; received bytes count what is inside the TLS.
  assert.ok((await metric(server, ca, "fanfare_received_bytes_total")) < 50_000, "what the browser says is compressed as well");
});
