// permessage-deflate as Node's ws sees it.

import assert from "node:assert/strict";
import test from "node:test";

import { open } from "./inbox.js";
import { startServer } from "./server.js";

const COMPRESS = ["--compress", "--compress-threshold", "100"];
const LONG = { words: "again and again, ".repeat(60) };

/// The next message of this type.
async function nextOf(inbox, type) {
  for (;;) {
    const message = JSON.parse(await inbox.next());
    if (message.type === type) return message;
  }
}

test("updates come compressed, in order, and take fewer bytes", async (t) => {
  const server = await startServer(t, ...COMPRESS);
  const compressed = await open(t, server.url("/ws"), { perMessageDeflate: { threshold: 0 } });
  const plain = await open(t, server.url("/ws"), { perMessageDeflate: false });
  assert.match(compressed.socket.extensions, /permessage-deflate/);
  assert.equal(plain.socket.extensions, "");
  const inboxes = [compressed, plain];
  for (const inbox of inboxes) {
    inbox.socket.send(JSON.stringify({ action: "subscribe", topics: ["A"] }));
    await nextOf(inbox, "subscribed");
  }
  for (let number = 1; number <= 50; number += 1) {
    const data = { ...LONG, number };
    // What this client says comes compressed.
    compressed.socket.send(JSON.stringify({ action: "publish", topic: "A", data }));
    for (const inbox of inboxes) {
      const update = await nextOf(inbox, "update");
      assert.deepEqual([update.seq, update.data], [number, data]);
    }
  }
  const read = inboxes.map((inbox) => inbox.socket._socket.bytesRead);
  assert.ok(read[0] * 3 < read[1], `${read}`);
});

test("every combination of offers is answered as it may be", async (t) => {
  const server = await startServer(t, ...COMPRESS, "--echo");
  for (const serverMaxWindowBits of [undefined, 9, 15]) {
    for (const clientMaxWindowBits of [undefined, 9]) {
      for (const clientNoContextTakeover of [true, undefined]) {
        const perMessageDeflate = { threshold: 0, serverMaxWindowBits, clientMaxWindowBits, clientNoContextTakeover };
        const inbox = await open(t, server.url("/echo"), { perMessageDeflate });
        for (const bytes of [0, 1, 500, 5_000, 60_000]) {
          const text = "ü, again ".repeat(bytes / 10);
          inbox.socket.send(text);
          assert.equal(await inbox.next(), text);
        }
        inbox.socket.close();
      }
    }
  }
});
