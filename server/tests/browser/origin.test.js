// Pages of other origins, in Chromium: one that may use the server, and one that may not.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { openPage } from "./browser.js";
import { startServer } from "./server.js";

const pages = fileURLToPath(new URL("../../pages/", import.meta.url));

/// Somebody's web server, which has the client library and a page of its own.
async function startSite(t) {
  const site = createServer(async (request, response) => {
    const name = /^\/(fanfare[a-z-]*\.js)$/.exec(request.url)?.[1];
    response.setHeader("Content-Type", name ? "text/javascript" : "text/html");
    response.end(name ? await readFile(pages + name) : "<!doctype html><title>elsewhere</title>");
  });
  t.after(() => {
    site.close();
    site.closeAllConnections();
  });
  await once(site.listen(0, "127.0.0.1"), "listening");
  // Pages of this machine may use a server that only this machine can reach; this one has another name.
  return `http://elsewhere.test:${site.address().port}`;
}

/// What becomes of a client in a page of `site`: the value of a topic, or that every way was tried in vain.
async function outcome(t, site, server, transports) {
  const page = await openPage(t, `${site}/`);
  return page.evaluate(
    async ([url, transports]) => {
      const { connect } = await import("/fanfare.js");
      const client = connect(url, { transports, backoffMinMs: 5, backoffMaxMs: 20, streamTimeoutMs: 2000 });
      const failed = new Set();
      return new Promise((resolve) => {
        client.subscribe("a", ({ data }) => resolve(data));
        client.on("state", ({ state, transport }) => {
          if (state === "waiting") failed.add(transport);
          if (state === "closed" || failed.size === transports.length) resolve("refused");
        });
      });
    },
    [`http://127.0.0.1:${server.port}`, transports],
  );
}

test("a page of another origin is refused, over whatever transport", async (t) => {
  const site = await startSite(t);
  const server = await startServer(t, "--allow-origin", "https://example.org");
  assert.equal(await outcome(t, site, server, ["websocket", "sse", "poll"]), "refused");
});

for (const transport of ["websocket", "sse", "poll"]) {
  test(`a page of an origin that is allowed is served over ${transport}`, async (t) => {
    const site = await startSite(t);
    const server = await startServer(t, "--allow-origin", site);
    await server.publish("a", "for you");
    assert.equal(await outcome(t, site, server, [transport]), "for you");
  });
}
