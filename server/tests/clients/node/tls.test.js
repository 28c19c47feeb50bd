// The server over TLS as Node's ws sees it, with certificates that scripts/dev-certs makes.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { open } from "./inbox.js";
import { startServer } from "./server.js";

const devCerts = fileURLToPath(new URL("../../../../scripts/dev-certs", import.meta.url));

function certificates(t) {
  const folder = mkdtempSync(join(tmpdir(), "fanfare-tls-"));
  t.after(() => rmSync(folder, { recursive: true }));
  execFileSync(devCerts, ["--dir", folder], { stdio: ["ignore", "ignore", "inherit"] });
  const files = ["--tls-cert", join(folder, "localhost.pem"), "--tls-key", join(folder, "localhost.key")];
  return { ca: readFileSync(join(folder, "ca.pem")), flags: ["--tls-listen", "127.0.0.1:0", ...files] };
}

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
