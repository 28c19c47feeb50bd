// A text that everybody who opens this page writes at the same time.

import { $, connectPage, h, onFrame, say, showTroubles } from "./dom.js";
import { hue, nameField } from "./names.js";
import { Presence } from "./presence.js";
import { SharedText } from "./shared-text.js";

const SAY_CARET_MS = 120;

/** The path behind `/document/`, as segments of a topic. */
function documentName() {
  const path = decodeURIComponent(location.pathname.replace(/^\/document(\.html)?\/?/, "")) || "untitled";
  return path.split("/").filter(Boolean).slice(0, 8).map((part) => part.slice(0, 60)).join("/") || "untitled";
}

function segments(name) {
  const safe = (part) => encodeURIComponent(part).replace(/[.!'()*~]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  return name.split("/").map(safe).join(".").slice(0, 200);
}

const name = documentName();
const topic = `document.${segments(name)}`;
const kept = `fanfare.${topic}`;
const text = $("#text");
say($("#name"), name);
document.title = `${name} · fanfare`;

const client = connectPage();
showTroubles(client, $("#notice"));

// ---- what was not confirmed when the page went ----

function takeKept() {
  try {
    const json = sessionStorage.getItem(kept);
    sessionStorage.removeItem(kept);
    return json ? JSON.parse(json) : undefined;
  } catch {
    return undefined;
  }
}

function keep() {
  try {
    const left = shared.keep();
    if (left) sessionStorage.setItem(kept, JSON.stringify(left));
    else sessionStorage.removeItem(kept);
  } catch {
    // No room: the text is still here, as long as the page is.
  }
}

// ---- the text ----

let shown = "";
let isComposing = false;
const shared = new SharedText(client, topic, { onChange: () => render(), kept: takeKept() });

/** What was typed is the difference to what was shown; the caret tells it from others that look the same. */
function onInput() {
  if (isComposing) return;
  const now = text.value;
  const caret = text.selectionEnd;
  const tail = Math.max(0, now.length - caret);
  let end = 0;
  while (end < tail && end < shown.length && shown.at(-1 - end) === now.at(-1 - end)) end += 1;
  let start = 0;
  const most = Math.min(shown.length, now.length) - end;
  while (start < most && shown[start] === now[start]) start += 1;
  while (end < shown.length - start && end < now.length - start && shown.at(-1 - end) === now.at(-1 - end)) end += 1;
  // A character of two units is taken whole.
  const isHalf = (unit) => unit >= "\ud800" && unit <= "\udbff";
  if (start > 0 && isHalf(now[start - 1])) start -= 1;
  if (end > 0 && isHalf(now[now.length - end - 1] ?? "")) end -= 1;
  if (end > 0 && isHalf(shown[shown.length - end - 1] ?? "")) end -= 1;
  const deleted = shown.length - start - end;
  const inserted = now.slice(start, now.length - end);
  if (deleted > 0 || inserted) shared.edit(start, deleted, inserted);
  shown = now;
  if (shared.text !== now) render();
  afterChange();
}

/** Shows what others typed, and leaves the caret and what is selected where they were in the text. */
function render() {
  if (!isComposing) {
    const next = shared.text;
    if (next !== text.value) {
      const { selectionStart, selectionEnd, selectionDirection, scrollTop } = text;
      const marks = anchors ?? [selectionStart, selectionEnd].map((offset) => ({ offset }));
      text.value = next;
      const [from, to] = marks.map(({ anchor, offset }) => (anchor === undefined ? undefined : shared.offset(anchor)) ?? Math.min(offset, next.length));
      text.setSelectionRange(from, to, selectionDirection);
      text.scrollTop = scrollTop;
    }
    shown = next;
  }
  afterChange();
}

/** Where the caret is, by the characters before it. */
let anchors;
function noteCaret() {
  anchors = [text.selectionStart, text.selectionEnd].map((offset) => ({ offset, anchor: shared.anchor(offset) }));
}

const STATES = {
  loading: () => "Loading…",
  waiting: (count) => (client.state === "open" ? `Sending ${count === 1 ? "an edit" : `${count} edits`}…` : "Not connected. Go on writing: your edits are kept and merged later."),
  saved: () => "Everybody has this text",
};

function afterChange() {
  const pending = shared.pending;
  const state = pending > 0 || (client.state !== "open" && shared.isReady) ? "waiting" : shared.isReady ? "saved" : "loading";
  $("#saved").dataset.state = state;
  say($("#saved"), STATES[state](pending));
  if (!isComposing) noteCaret();
  askCarets();
}

text.addEventListener("input", onInput);
text.addEventListener("compositionstart", () => (isComposing = true));
text.addEventListener("compositionend", () => {
  isComposing = false;
  // Others may have typed meanwhile; the difference to what was shown before is still only what was composed.
  onInput();
  render();
});
addEventListener("pagehide", keep);
document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && keep());
client.on("state", afterChange);
setInterval(afterChange, 500);

// ---- the others ----

const myName = nameField($("#me"), () => presence.say());
let presence = new Presence(client, `${topic}.people`, shared.site, () => ({ name: myName(), caret: caret() }), showPeople);
let saying;

function caret() {
  return document.activeElement === text ? [shared.anchor(text.selectionStart), shared.anchor(text.selectionEnd)] : undefined;
}

function sayCaret() {
  if (saying) return;
  saying = setTimeout(() => {
    saying = undefined;
    presence.say();
  }, SAY_CARET_MS);
}

document.addEventListener("selectionchange", () => {
  if (document.activeElement !== text || isComposing) return;
  noteCaret();
  sayCaret();
});
text.addEventListener("blur", sayCaret);
text.addEventListener("input", sayCaret);

function showPeople(people) {
  $("#people").replaceChildren(...[...people].map(([id, { name }]) => h("li", { className: `hue-${hue(id)}` }, String(name || "Somebody").slice(0, 40))));
  askCarets();
}

/** Measures places in the text in a copy of it that has the same shape. */
const mirror = $("#mirror");
const askCarets = onFrame(() => {
  const marks = [];
  const people = presence?.people ?? new Map();
  const places = [];
  for (const [id, { name, caret }] of people) {
    if (!Array.isArray(caret)) continue;
    const [from, to] = caret.map((anchor) => shared.offset(anchor));
    if (to !== undefined) places.push({ id, name, from: from ?? to, to });
  }
  if (places.length > 0) {
    mirror.style.width = `${text.clientWidth}px`;
    mirror.textContent = `${text.value}\u200b`;
    const node = mirror.firstChild;
    const origin = mirror.getBoundingClientRect();
    for (const { id, name, from, to } of places) {
      const range = document.createRange();
      range.setStart(node, Math.min(from, to, text.value.length));
      range.setEnd(node, Math.min(Math.max(from, to), text.value.length));
      if (from !== to) for (const box of range.getClientRects()) marks.push(place(h("div", { className: `chosen hue-${hue(id)}` }), box, origin, box.width));
      range.setStart(node, Math.min(to, text.value.length));
      range.setEnd(node, Math.min(to, text.value.length) + 1);
      const box = range.getClientRects()[0] ?? range.getBoundingClientRect();
      const mark = h("div", { className: `caret hue-${hue(id)}`, "data-name": String(name || "Somebody").slice(0, 40) });
      place(mark, box, origin, 2);
      if (box.top - origin.top - text.scrollTop < 24) mark.classList.add("low");
      marks.push(mark);
    }
  }
  $("#carets").replaceChildren(...marks);
});

function place(element, box, origin, width) {
  element.style.transform = `translate(${box.left - origin.left}px, ${box.top - origin.top - text.scrollTop}px)`;
  element.style.width = `${width}px`;
  element.style.height = `${box.height}px`;
  return element;
}

text.addEventListener("scroll", askCarets);
new ResizeObserver(askCarets).observe(text);
render();
text.focus();
