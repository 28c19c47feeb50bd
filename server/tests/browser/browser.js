// Chromium, one for each test, with a profile of its own for each page.

import assert from "node:assert/strict";

import { chromium } from "playwright-core";

import { DEADLINE_MS } from "../clients/node/server.js";

const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP elsewhere.test 127.0.0.1"];
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

/// The browser of each test.
const browsers = new WeakMap();

function browserOf(test) {
  if (!browsers.has(test)) {
    // Each launch has a profile of its own, which goes with it.
    const launched = chromium.launch({ executablePath, headless: true, args: ARGS });
    browsers.set(test, launched);
    test.after(async () => (await launched).close());
  }
  return browsers.get(test);
}

/// A page of a browser profile of its own. What goes wrong in it fails the test.
export async function openPage(test, url, options = {}) {
  const context = await (await browserOf(test)).newContext({ serviceWorkers: "block", ...options });
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => /Content.Security.Policy/i.test(message.text()) && wrong.push(message.text()));
  test.after(async () => {
    await context.close().catch(() => {});
    assert.deepEqual(wrong, [], "nothing goes wrong in the page");
  });
  await page.goto(url);
  return page;
}

/// Waits until the page is connected, over this transport.
export function live(page, transport = "websocket") {
  return page.waitForSelector(`#link[data-state="open"][data-transport="${transport}"]`);
}
