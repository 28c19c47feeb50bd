// The board: topics as rows, with the way they went.

import { Sparkline } from "./chart.js";
import { $, connectPage, duration, h, onFrame, say, short, showTroubles } from "./dom.js";
import { reading } from "./reading.js";

const FIRST_ROWS = 14;
const FOUND_MAX = 50;
const LIST_MAX = 10_000;
const FLASH_MS = 350;
const GAP_MS = 8000;
const KEPT = "fanfare.board";

const client = connectPage();
showTroubles(client, $("#notice"));
const rows = new Map();
let known = [];
let received = 0;
let skipped = 0;

// ---- what is remembered of the last visit ----

function remembered() {
  try {
    const { topics, interval } = JSON.parse(localStorage.getItem(KEPT));
    return { topics: Array.isArray(topics) ? topics.filter((topic) => typeof topic === "string") : undefined, interval: Number(interval) || 0 };
  } catch {
    return { topics: undefined, interval: 0 };
  }
}

function remember() {
  try {
    localStorage.setItem(KEPT, JSON.stringify({ topics: [...rows.keys()], interval }));
  } catch {
    // A browser that keeps nothing shows the first topics again.
  }
}

let { topics: wanted, interval } = remembered();

// ---- rows ----

class Row {
  #price;
  #flash;
  #gap;
  #event;
  #label = "";
  trend = 0;

  constructor(topic) {
    this.topic = topic;
    this.label = h("small", {}, "");
    this.value = h("span", {}, "–");
    this.change = h("td", { className: "number change" }, "");
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.volume = h("td", { className: "number volume" });
    this.seq = h("td", { className: "number seq" });
    this.element = h(
      "tr",
      { "data-topic": topic },
      h("th", { scope: "row" }, topic, this.label),
      h("td", { className: "number value" }, this.value),
      this.change,
      h("td", {}, this.canvas),
      this.volume,
      this.seq,
      h("td", {}, h("button", { type: "button", className: "icon-button", "aria-label": `Remove ${topic}`, title: "Remove", onclick: () => remove(topic) }, "✕")),
    );
    this.line = new Sparkline(this.canvas);
    this.ask = onFrame(() => this.#show());
    this.end = client.subscribe(topic, { min_interval_ms: interval }, (event) => this.#take(event));
  }

  #take(event) {
    if (event.type === "skip") return void (skipped += event.to - event.from + 1);
    if (event.type === "gap") return this.#onGap(event);
    received += 1;
    const before = this.#price;
    const { price, label } = reading(event.data);
    this.#event = event;
    this.#label = label;
    this.#price = price;
    if (price !== undefined) {
      this.line.push(price);
      if (before !== undefined && price !== before) this.#show(price > before ? "up" : "down");
    }
    this.before = before ?? price;
    this.ask();
  }

  #onGap({ why, from, to }) {
    this.line.hole();
    this.element.dataset.gap = why;
    this.#label = to === undefined ? "began anew" : `${to - from + 1} missed`;
    clearTimeout(this.#gap);
    this.#gap = setTimeout(() => delete this.element.dataset.gap, GAP_MS);
    this.ask();
  }

  #show(flash) {
    if (flash) {
      this.element.dataset.flash = flash;
      clearTimeout(this.#flash);
      this.#flash = setTimeout(() => delete this.element.dataset.flash, FLASH_MS);
      return;
    }
    if (!("gap" in this.element.dataset) || this.label.textContent === "") say(this.label, this.#label ?? "");
    if ("gap" in this.element.dataset) say(this.label, this.element.dataset.gap === "epoch" ? "gap: began anew" : `gap: ${this.#label}`);
    if (!this.#event) return;
    const { text, change, percent, volume } = reading(this.#event.data, this.before);
    say(this.value, text);
    const trend = Math.sign(change ?? 0);
    if (this.line.trend !== trend) this.line.ask();
    this.line.trend = trend;
    this.element.dataset.trend = trend > 0 ? "up" : trend < 0 ? "down" : "flat";
    this.change.replaceChildren(...changeText(change, percent));
    say(this.volume, volume === undefined ? "" : short(volume));
    say(this.seq, this.#event.seq.toLocaleString("en"));
    this.element.dataset.seq = this.#event.seq;
  }

  remove() {
    this.end();
    this.line.remove();
    this.element.remove();
  }
}

/** An arrow and a sign say what the colour says. */
function changeText(change, percent) {
  if (change === undefined) return [""];
  const [arrow, sign] = change > 0 ? ["▲", "+"] : change < 0 ? ["▼", "−"] : ["＝", "±"];
  const amount = `${arrow === "＝" ? "" : `${arrow} `}${sign}${Math.abs(change).toFixed(2)}`;
  return percent === undefined ? [amount] : [amount, h("small", {}, ` ${sign}${Math.abs(percent).toFixed(2)} %`)];
}

function add(topic) {
  if (rows.has(topic)) return;
  const row = new Row(topic);
  rows.set(topic, row);
  $("#rows").append(row.element);
  $("#empty").hidden = true;
}

function remove(topic) {
  const row = rows.get(topic);
  if (!row) return;
  const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
  row.remove();
  rows.delete(topic);
  $("#empty").hidden = rows.size > 0;
  remember();
  (next?.querySelector("button") ?? $("#search")).focus();
}

// ---- topics that there are ----

async function look() {
  try {
    const { topics, truncated } = await client.topics(">", { limit: LIST_MAX });
    known = topics.sort((a, b) => b.seq - a.seq || a.topic.localeCompare(b.topic));
    $("#search").placeholder = `Search ${known.length.toLocaleString("en")}${truncated ? " and more" : ""} topics`;
  } catch {
    // Without the list, a name that is typed in full still is one.
  }
}

/** Without a choice of the reader's own: some recorded prices, and the topics that had most updates. */
function firstTopics() {
  const prices = known.filter(({ topic }) => !/^(chat|document|presence)(\.|$)/.test(topic)).map(({ topic }) => topic);
  const daily = prices.filter((topic) => topic.startsWith("daily.")).slice(0, 5);
  const others = prices.filter((topic) => !topic.startsWith("daily.")).slice(0, FIRST_ROWS - daily.length);
  return [...others, ...daily];
}

let isFilled = false;
async function fill() {
  if (isFilled) return;
  isFilled = true;
  await look();
  (wanted ?? firstTopics()).forEach(add);
  $("#empty").hidden = rows.size > 0;
  isFilled = rows.size > 0 || wanted !== undefined;
}

client.on("state", ({ state }) => state === "open" && fill());

// ---- search ----

const search = $("#search");
const found = $("#found");
let selected = 0;

function showFound() {
  const text = search.value.trim().toLowerCase();
  const matches = known.filter(({ topic }) => topic.toLowerCase().includes(text)).slice(0, FOUND_MAX);
  const exact = search.value.trim();
  if (exact && !known.some(({ topic }) => topic === exact)) matches.push({ topic: exact });
  selected = Math.min(selected, Math.max(0, matches.length - 1));
  found.replaceChildren(
    ...matches.map(({ topic, seq }, at) =>
      h(
        "li",
        { role: "option", id: `found-${at}`, "aria-selected": String(at === selected), onpointerdown: (event) => event.preventDefault(), onclick: () => choose(topic) },
        topic,
        h("span", {}, rows.has(topic) ? "on the board" : seq === undefined ? "not published yet" : `${seq.toLocaleString("en")} updates`),
      ),
    ),
  );
  found.hidden = matches.length === 0;
  search.setAttribute("aria-expanded", String(!found.hidden));
  if (found.hidden) search.removeAttribute("aria-activedescendant");
  else search.setAttribute("aria-activedescendant", `found-${selected}`);
  found.children[selected]?.scrollIntoView({ block: "nearest" });
}

function hideFound() {
  found.hidden = true;
  search.setAttribute("aria-expanded", "false");
}

function choose(topic) {
  search.value = "";
  selected = 0;
  hideFound();
  if (!rows.has(topic)) {
    add(topic);
    remember();
  }
  rows.get(topic).element.scrollIntoView({ block: "nearest" });
}

search.addEventListener("input", () => ((selected = 0), showFound()));
search.addEventListener("focus", () => look().then(() => document.activeElement === search && showFound()));
search.addEventListener("blur", hideFound);
search.addEventListener("keydown", (event) => {
  const count = found.children.length;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (found.hidden) return showFound();
    selected = (selected + (event.key === "ArrowDown" ? 1 : count - 1)) % count;
    showFound();
  } else if (event.key === "Enter" && !found.hidden) {
    event.preventDefault();
    choose(found.children[selected].firstChild.textContent);
  } else if (event.key === "Escape") {
    hideFound();
  }
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, textarea")) return;
  event.preventDefault();
  search.focus();
});

// ---- rates ----

for (const radio of document.querySelectorAll("#rates input")) {
  radio.checked = Number(radio.value) === interval;
  radio.addEventListener("change", () => {
    interval = Number(radio.value);
    for (const topic of rows.keys()) client.set(topic, { min_interval_ms: interval });
    remember();
  });
}

let before = { received: 0, at: performance.now() };
setInterval(() => {
  const now = performance.now();
  say($("#rate"), short(((received - before.received) * 1000) / (now - before.at)));
  before = { received, at: now };
  const { p50, p99 } = client.latency();
  say($("#p50"), duration(p50));
  say($("#p99"), duration(p99));
  say($("#skipped"), short(skipped));
}, 1000);

say($("#host"), location.host);
