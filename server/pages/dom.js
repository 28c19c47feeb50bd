// What all pages do: make elements, connect, and show in the header how the connection is.

import { connect } from "./fanfare.js";

export const $ = (selector) => document.querySelector(selector);

/** An element with properties (`class`, `data-…` and `aria-…` as attributes) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name === "className" ? "class" : name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets a text only where it changes, so that nothing is laid out anew for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const TRANSPORTS = { websocket: "WebSocket", sse: "event stream", poll: "long poll" };

/** A token from `#token=…`, which leaves the address bar at once and is kept for this tab. */
function pageToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token) {
    sessionStorage.setItem("fanfare.token", token);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem("fanfare.token") ?? undefined;
}

/** Connects the page to its server, and keeps the header's `#link` true. */
export function connectPage(options = {}) {
  pageToken();
  const client = connect(undefined, { token: () => sessionStorage.getItem("fanfare.token") ?? undefined, ...options });
  addEventListener("hashchange", pageToken);
  const link = $("#link");
  let countdown;
  const show = ({ state, delayMs, reason, transport }) => {
    clearInterval(countdown);
    link.dataset.state = state;
    link.dataset.transport = transport ?? "";
    link.title = reason ?? "";
    if (state === "open") return say(link, `Live · ${TRANSPORTS[transport]}`);
    if (state === "closed") return say(link, `Closed · ${reason || "for good"}`);
    if (state === "connecting") return say(link, "Connecting…");
    const at = performance.now() + delayMs;
    const tell = () => say(link, at - performance.now() > 1000 ? `Reconnecting in ${Math.ceil((at - performance.now()) / 1000)} s` : "Reconnecting…");
    countdown = setInterval(tell, 1000);
    tell();
  };
  client.on("state", show);
  show({ state: "connecting" });
  // For the curious, and for the browser's console.
  globalThis.fanfare = client;
  return client;
}

/**
 * Shows in one line what a reader has to know: gaps by their number, errors by their text. The latest stands.
 * @param {HTMLElement} element a live region
 */
export function showTroubles(client, element, { unit = "topic" } = {}) {
  const gaps = new Map();
  let timer;
  const tell = (kind, text) => {
    element.dataset.kind = kind;
    say(element, text);
  };
  const WHY = {
    epoch: "the server began anew",
    history: "more was missed than it keeps",
    overflow: "more was missed than may be sent at once",
    unseen: "they came while the connection was gone",
  };
  client.on("gap", ({ topic, why, from, to }) => {
    const gap = gaps.get(why) ?? { topics: new Set(), lost: 0 };
    gap.topics.add(topic);
    gap.lost += to === undefined ? 0 : to - from + 1;
    gaps.set(why, gap);
    clearTimeout(timer);
    timer = setTimeout(() => {
      for (const [why, { topics, lost }] of gaps) {
        const what = topics.size === 1 ? [...topics][0] : `${topics.size} ${unit}s`;
        const how = lost > 0 ? `${lost.toLocaleString("en")} update${lost === 1 ? "" : "s"} missed` : "some updates missed";
        tell("gap", `Gap at ${new Date().toLocaleTimeString()}: ${how} in ${what}, because ${WHY[why] ?? why}.`);
      }
      gaps.clear();
    }, 200);
  });
  client.on("error", ({ topic, message, name }) => tell("error", `${topic ? `${topic}: ` : ""}${message || name}`));
  return tell;
}

/** Calls `draw` before the next frame, once, however often it is asked for; not at all while the page is hidden. */
export function onFrame(draw) {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      draw();
    });
  };
}

const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** Bytes with the unit that makes them short. */
export function bytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** A count or rate in few characters: 950, 12.3 k, 4.56 M. */
export function short(count) {
  if (count < 1000) return count < 10 && count % 1 !== 0 ? count.toFixed(1) : count.toFixed(0);
  if (count < 1e6) return `${(count / 1e3).toFixed(count < 1e4 ? 2 : 1)} k`;
  return `${(count / 1e6).toFixed(2)} M`;
}

/** A duration in milliseconds: 0.31 ms, 12 ms, 1.4 s. */
export function duration(ms) {
  if (ms === undefined || Number.isNaN(ms)) return "–";
  if (ms === 0) return "0 ms";
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 120) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} d`;
}
