// The pages in Chromium, with real updates, over connections that are cut, and servers that are restarted.

import assert from "node:assert/strict";
import test from "node:test";

import { live, openPage } from "./browser.js";
import { startProxy } from "./proxy.js";
import { startServer } from "./server.js";

const FEEDS = ["--sim", "50", "--replay", "builtin", "--topic-prefix", "daily.", "--speed", "86400", "--loop"];
const KEPT = ["--history", ">,count=1000"];

const at = (port, path = "/") => `http://127.0.0.1:${port}${path}`;
const row = (topic) => `tr[data-topic="${topic}"]`;

/// Waits until something holds in the page.
const until = (page, is, argument) => page.waitForFunction(is, argument);

/// Notes every event of a topic in the page, from now on. The page's own subscription brings them.
async function record(page) {
  await page.evaluate(() => {
    globalThis.recorded = [];
    for (const type of ["snapshot", "history", "update", "skip", "gap"]) globalThis.fanfare.on(type, (event) => globalThis.recorded.push(event));
  });
  return (topic) => page.evaluate((topic) => globalThis.recorded.filter((event) => event.topic === topic), topic);
}

async function addTopic(page, topic) {
  await page.fill("#search", topic);
  await page.press("#search", "Enter");
  await page.waitForSelector(row(topic));
}

test("the board shows the feeds, finds a topic by the keyboard, and slows down when it is asked to", async (t) => {
  const server = await startServer(t, ...FEEDS);
  const page = await openPage(t, at(server.port));
  await live(page);
  await page.waitForSelector(`${row("daily.AAPL")}[data-trend]`);
  await until(page, () => document.querySelectorAll("#rows tr").length === 14);
  const first = Number(await page.getAttribute(row("AAPL"), "data-seq"));
  await until(page, ([selector, first]) => Number(document.querySelector(selector).dataset.seq) > first + 5, [row("AAPL"), first]);
  await until(page, () => document.querySelector("#p99").textContent.endsWith("ms"));
  // What a screen reader and somebody who sees no colours get.
  await until(page, () => /[▲▼] [+−]\d/.test(document.querySelector("#rows").textContent));
  await page.press("body", "/");
  await page.keyboard.type("daily.ibm");
  await page.waitForSelector("#found li[aria-selected=true]");
  await page.keyboard.press("Enter");
  await page.click(`${row("daily.AAPL")} button`);
  await page.waitForSelector(row("daily.AAPL"), { state: "detached" });
  await page.check("input[name=rate][value='1000']");
  const events = await record(page);
  await until(page, () => globalThis.recorded.some(({ type, why }) => type === "skip" && why === "rate"));
  assert.ok((await events("daily.AAPL")).length === 0, "a topic that was removed is no longer sent");
  await page.reload();
  await live(page);
  await page.waitForSelector(row("AAPL"));
  assert.equal(await page.locator(row("daily.AAPL")).count(), 0, "the choice is remembered");
  assert.ok(await page.isChecked("input[name=rate][value='1000']"));
});

test("the board loses and repeats nothing when its connection is cut", async (t) => {
  const server = await startServer(t, ...KEPT);
  const proxy = await startProxy(t, server.port);
  await server.publish("px.a", 100);
  const page = await openPage(t, at(proxy.port));
  await live(page);
  await page.waitForSelector(`${row("px.a")}[data-seq="1"]`);
  const events = await record(page);
  for (let value = 101; value <= 140; value++) {
    await server.publish("px.a", value);
    if (value % 15 === 0) proxy.cut();
  }
  await page.waitForSelector(`${row("px.a")}[data-seq="41"]`);
  assert.deepEqual((await events("px.a")).map(({ seq }) => seq), Array.from({ length: 40 }, (_, at) => at + 2));
});

test("a restart of the server is shown as a gap, and a fresh value is taken", async (t) => {
  const server = await startServer(t);
  for (const value of [1, 2, 3]) await server.publish("px.a", value);
  const page = await openPage(t, at(server.port));
  await live(page);
  await page.waitForSelector(`${row("px.a")}[data-seq="3"]`);
  await server.kill();
  await page.waitForSelector("#link[data-state=waiting]");
  await server.start();
  await server.publish("px.a", 77);
  await page.waitForSelector(`${row("px.a")}[data-gap="epoch"][data-seq="1"]`);
  assert.match(await page.textContent(row("px.a")), /77\.00/);
  await page.waitForSelector("#notice[data-kind=gap]");
  assert.match(await page.textContent("#notice"), /px\.a.*the server began anew/);
  await live(page);
});

for (const [transport, unfriendly] of [
  ["sse", { refusesUpgrades: true }],
  ["poll", { refusesUpgrades: true, holdsStreams: true }],
]) {
  test(`where WebSocket is blocked the board lives on ${transport}, cuts included`, async (t) => {
    const server = await startServer(t, ...KEPT);
    const proxy = await startProxy(t, server.port);
    Object.assign(proxy, unfriendly);
    await server.publish("px.a", 1);
    const page = await openPage(t, at(proxy.port));
    await live(page, transport);
    await page.waitForSelector(`${row("px.a")}[data-seq="1"]`);
    const events = await record(page);
    for (let value = 2; value <= 21; value++) {
      await server.publish("px.a", value);
      if (value === 10) proxy.cut();
    }
    await page.waitForSelector(`${row("px.a")}[data-seq="21"]`);
    assert.deepEqual((await events("px.a")).map(({ seq }) => seq), Array.from({ length: 20 }, (_, at) => at + 2));
    assert.equal(await page.evaluate(() => globalThis.fanfare.transport), transport);
  });
}

test("two browsers chat, across a cut, and a newcomer reads what was said", async (t) => {
  const server = await startServer(t, ...KEPT, "--route", "/chat=/room/chat");
  const proxy = await startProxy(t, server.port);
  const [ada, grace] = [await openPage(t, at(proxy.port, "/chat")), await openPage(t, at(server.port, "/chat"))];
  const say = async (page, text) => {
    await page.fill("#text", text);
    await page.press("#text", "Enter");
  };
  const hears = (page, text) => page.waitForSelector(`#messages li[data-seq] .text:text-is("${text}")`);
  for (const [page, name] of [[ada, "Ada"], [grace, "Grace"]]) {
    await live(page);
    await page.fill("#name", name);
    await page.press("#name", "Tab");
  }
  await ada.waitForSelector('#here li:text-is("Grace")');
  await grace.waitForSelector('#here li:text-is("Ada")');
  await say(ada, "Hello, Grace");
  await hears(grace, "Hello, Grace");
  await say(grace, "Hello, Ada <b>&amp;");
  await hears(ada, "Hello, Ada <b>&amp;");
  proxy.isCut = true;
  proxy.cut();
  await ada.waitForSelector("#link[data-state=waiting]");
  await say(ada, "said while away");
  await ada.waitForSelector("#messages li.waiting");
  await say(grace, "said meanwhile");
  await hears(grace, "said meanwhile");
  proxy.isCut = false;
  await hears(ada, "said meanwhile");
  await hears(grace, "said while away");
  await hears(ada, "said while away");
  const texts = (page) => page.locator("#messages .text").allTextContents();
  assert.deepEqual(await texts(ada), await texts(grace));
  assert.equal((await texts(ada)).length, 4);
  // Who speaks in the raw room of the lobby's path is heard, too.
  await grace.evaluate(() => {
    const room = new WebSocket(`ws://${location.host}/chat`);
    room.onopen = () => room.send("from the raw room");
  });
  await hears(ada, "from the raw room");
  const late = await openPage(t, at(server.port, "/chat"));
  await hears(late, "Hello, Grace");
  assert.deepEqual(await texts(late), await texts(ada));
});

test("rooms of any name are kept apart", async (t) => {
  const server = await startServer(t, ...KEPT);
  const page = await openPage(t, at(server.port, "/chat"));
  await live(page);
  await page.fill("#room-name", "Über. uns? ☕");
  await page.press("#room-name", "Enter");
  await page.waitForSelector('h1:text-is("Über. uns? ☕")');
  await page.fill("#text", "in here");
  await page.press("#text", "Enter");
  await page.waitForSelector('#messages li[data-seq] .text:text-is("in here")');
  await page.click('#rooms button:text-is("lobby")');
  await page.waitForSelector(".nothing");
  const again = await openPage(t, at(server.port, "/chat"));
  await again.click('#rooms button:text-is("Über. uns? ☕")');
  await again.waitForSelector('#messages li[data-seq] .text:text-is("in here")');
});

const typed = (page, text) => page.waitForFunction((text) => document.querySelector("#text").value === text, text);
const saved = (page) => page.waitForSelector("#saved[data-state=saved]");

test("two browsers edit one document to the same text, see each other, and merge what was typed offline", async (t) => {
  const server = await startServer(t);
  const proxy = await startProxy(t, server.port);
  const [ada, grace] = [await openPage(t, at(proxy.port, "/document/plan")), await openPage(t, at(server.port, "/document/plan"))];
  await saved(ada);
  await saved(grace);
  await ada.fill("#me", "Ada");
  await ada.press("#me", "Tab");
  await ada.locator("#text").pressSequentially("one\nthree");
  await typed(grace, "one\nthree");
  await grace.waitForSelector('.caret[data-name="Ada"]');
  await grace.evaluate(() => {
    const text = document.querySelector("#text");
    text.focus();
    text.setSelectionRange(4, 4);
  });
  await grace.keyboard.type("two\n");
  await typed(ada, "one\ntwo\nthree");
  // Ada's caret stayed behind her last letter, whatever was typed before it.
  await ada.keyboard.type("!");
  await typed(grace, "one\ntwo\nthree!");
  proxy.isCut = true;
  proxy.cut();
  await ada.waitForSelector("#link[data-state=waiting]");
  await ada.keyboard.type(" four 🦀");
  await ada.waitForSelector("#saved[data-state=waiting]");
  await grace.evaluate(() => document.querySelector("#text").setSelectionRange(0, 3));
  await grace.keyboard.type("ONE");
  await saved(grace);
  proxy.isCut = false;
  await typed(ada, "ONE\ntwo\nthree! four 🦀");
  await typed(grace, "ONE\ntwo\nthree! four 🦀");
  await Promise.all([saved(ada), saved(grace)]);
});

test("a document outlives a restart of a server that keeps nothing, and a reload without a connection", async (t) => {
  const server = await startServer(t);
  const page = await openPage(t, at(server.port, "/document/kept/here"));
  await saved(page);
  await page.locator("#text").pressSequentially("not lost");
  await saved(page);
  await server.kill();
  await page.waitForSelector("#link[data-state=waiting]");
  await page.keyboard.type(" at all");
  await server.start();
  await live(page);
  await typed(page, "not lost at all");
  await saved(page);
  const other = await openPage(t, at(server.port, "/document/kept/here"));
  await typed(other, "not lost at all");
  await other.context().setOffline(true);
  await other.evaluate(() => fanfare.close());
  await other.focus("#text");
  await other.keyboard.press("Control+End");
  await other.keyboard.type(", ever");
  await other.context().setOffline(false);
  await other.reload();
  await typed(other, "not lost at all, ever");
  await typed(page, "not lost at all, ever");
});

test("the status page shows the server's figures as they change", async (t) => {
  const server = await startServer(t, ...FEEDS);
  const page = await openPage(t, at(server.port, "/status"));
  await live(page);
  await until(page, () => Number(document.querySelector("#connections").textContent) >= 1);
  const board = await openPage(t, at(server.port));
  await live(board);
  await until(page, () => parseFloat(document.querySelector("#deliveries").textContent) > 0);
  await until(page, () => document.querySelector("#lag").textContent.endsWith("ms"));
  assert.equal(await page.locator("#shards tr").count(), 2);
  assert.ok((await page.locator("#memory li").count()) > 5);
  assert.match(await page.getAttribute("#charts canvas", "aria-label"), /p50 .*p99 /);
});

test("pages fit a phone and are dark where the reader wants that", async (t) => {
  const server = await startServer(t, ...FEEDS);
  for (const path of ["/", "/chat", "/document/phone", "/status"]) {
    const page = await openPage(t, at(server.port, path), { viewport: { width: 360, height: 740 }, colorScheme: "dark" });
    await live(page);
    const [wide, ground] = await page.evaluate(() => [document.documentElement.scrollWidth, getComputedStyle(document.documentElement).backgroundColor]);
    assert.ok(wide <= 360, `${path} is ${wide} wide`);
    assert.equal(ground, "rgb(17, 19, 23)");
  }
});
