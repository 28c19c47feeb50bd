// The server's own figures, as it publishes them every second.

import { LineChart } from "./chart.js";
import { $, bytes, connectPage, duration, h, say, short, showTroubles } from "./dom.js";

const client = connectPage();
const tell = showTroubles(client, $("#notice"));
const SVG = "http://www.w3.org/2000/svg";

const us = (value) => duration(value / 1000);
const rate = (value) => short(value);

// ---- charts ----

const CHARTS = [
  {
    title: "Delivery lag",
    format: us,
    series: [
      { label: "p50", color: "--c1", of: ({ lag_us }) => lag_us.p50 },
      { label: "p90", color: "--c2", dash: [6, 3], of: ({ lag_us }) => lag_us.p90 },
      { label: "p99", color: "--c3", dash: [2, 3], of: ({ lag_us }) => lag_us.p99 },
    ],
  },
  {
    title: "Updates a second",
    format: rate,
    series: [
      { label: "delivered", color: "--c1", of: ({ rates }) => rates.last_second.deliveries },
      { label: "published", color: "--c2", dash: [6, 3], of: ({ rates }) => rates.last_second.updates_in },
    ],
  },
  {
    title: "Connections",
    format: rate,
    series: [
      { label: "all", color: "--c1", of: ({ connections }) => connections.now },
      { label: "waiting for their reader", color: "--c3", dash: [2, 3], of: ({ waiting }) => waiting.connections },
    ],
  },
  {
    title: "Bytes a second",
    format: bytes,
    series: [
      { label: "sent", color: "--c1", of: ({ rates }) => rates.last_second.bytes_out },
      { label: "read", color: "--c2", dash: [6, 3], of: ({ rates }) => rates.last_second.bytes_in },
    ],
  },
].map((chart) => {
  const canvas = h("canvas", {});
  const legend = h("ul", { className: "legend" }, ...chart.series.map(({ label, color, dash }) => h("li", {}, stroke(color.slice(2), dash), label)));
  $("#charts").append(h("figure", { className: "card" }, h("figcaption", {}, chart.title, legend), canvas));
  return { ...chart, lines: new LineChart(canvas, chart) };
});

/** A piece of the line, as it looks in the chart. */
function stroke(color, dash = []) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 8");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  for (const [name, value] of Object.entries({ d: "M0 4h20", class: color, "stroke-width": 2, "stroke-dasharray": dash.join(" ") })) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}

// ---- tables ----

/** Rows that are there are changed, not made anew: what a reader has selected stays selected. */
function fill(body, rows, nothing) {
  if (rows.length === 0) {
    if (!body.querySelector(".nothing")) body.replaceChildren(h("tr", {}, h("td", { className: "nothing", colSpan: 20 }, nothing)));
    return;
  }
  body.querySelector(".nothing")?.parentElement.remove();
  while (body.children.length > rows.length) body.lastElementChild.remove();
  rows.forEach((cells, at) => {
    let row = body.children[at];
    if (!row) body.append((row = h("tr", {}, ...cells.map((cell, column) => h(column === 0 ? "th" : "td", { className: typeof cell === "object" ? "number" : "" })))));
    cells.forEach((cell, column) => say(row.children[column], typeof cell === "object" ? cell.number : cell));
  });
}

const number = (text) => ({ number: text });

function fillBars(list, rows, format) {
  const most = Math.max(1, ...rows.map(([, value]) => value));
  while (list.children.length > rows.length) list.lastElementChild.remove();
  rows.forEach(([label, value], at) => {
    let row = list.children[at];
    if (!row) list.append((row = h("li", {}, h("span"), h("meter", { min: 0 }), h("span"))));
    say(row.children[0], label);
    row.children[1].max = most;
    row.children[1].value = value;
    row.children[1].setAttribute("aria-label", label);
    say(row.children[2], format(value));
  });
}

const words = (key) => key.replace(/_bytes$/, "").replaceAll("_", " ");

// ---- one report ----

function show(stats) {
  const { connections, rates, totals, lag_us: lag, waiting, topics, memory } = stats;
  const { last_ten_seconds: ten } = rates;
  say($("#about"), `fanfare ${stats.version} · up ${duration(stats.uptime_s * 1000)} · epoch ${stats.epoch}`);
  say($("#connections"), connections.now.toLocaleString("en"));
  const kinds = Object.entries(connections.by_kind).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${short(count)} ${kind}`);
  say($("#connections-more"), kinds.slice(0, 3).join(", ") || `of ${connections.limit.toLocaleString("en")}`);
  say($("#updates"), rate(ten.updates_in));
  say($("#updates-more"), `${short(topics.topics)} topics`);
  say($("#deliveries"), rate(ten.deliveries));
  say($("#deliveries-more"), `${short(topics.subscriptions)} subscriptions`);
  say($("#lag"), lag.count > 0 ? us(lag.p99) : "–");
  say($("#lag-more"), lag.count > 0 ? `median ${us(lag.p50)}` : "nothing delivered lately");
  say($("#sent"), bytes(ten.bytes_out));
  say($("#sent-more"), `${bytes(totals.bytes_out)} in all`);
  say($("#resident"), memory.rss_bytes ? bytes(memory.rss_bytes) : "–");
  say($("#resident-more"), `${bytes(memory.accounted_bytes)} accounted for`);
  for (const { lines, series } of CHARTS) lines.push(stats.time / 1000, series.map(({ of }) => of(stats) ?? null));
  fill(
    $("#slowest"),
    stats.slowest.map((slow) => [slow.conn, slow.kind, number(bytes(slow.waiting_bytes)), number(short(slow.waiting_marks)), number(duration(slow.waited_ms)), number(short(slow.subscriptions))]),
    waiting.connections > 0 ? "Being looked up…" : "Everybody reads as fast as there is something to read.",
  );
  const owners = Object.entries(memory).filter(([key, value]) => key.endsWith("_bytes") && typeof value === "number" && !["accounted_bytes", "rss_bytes", "tcp_buffer_bytes"].includes(key));
  fillBars($("#memory"), owners.map(([key, value]) => [words(key), value]).sort((a, b) => b[1] - a[1]), bytes);
  fill(
    $("#shards"),
    stats.shards.map((shard) => [
      String(shard.shard),
      number(short(shard.connections)),
      number(short(shard.subscriptions)),
      number(short(shard.topics)),
      number(rate(shard.deliveries)),
      number(us(shard.lag_p99_us)),
      number(us(shard.tick_p99_us)),
      [shard.jammed && "mail refused", shard.resting && "rests from accepting", shard.full && "full", shard.slow_connections > 0 && `${shard.slow_connections} slow`].filter(Boolean).join(", ") || "well",
    ]),
    "No shard has reported yet.",
  );
  const ends = Object.entries(totals.disconnects).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1]);
  fillBars($("#ends"), ends.map(([reason, count]) => [words(reason), count]), (count) => count.toLocaleString("en"));
}

function take(stats) {
  try {
    show(stats);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    tell("error", "The server's figures are of another version than this page.");
  }
}

client.subscribe("$sys.stats", { mode: "latest" }, ({ type, data }) => {
  if (type === "update" || type === "snapshot") take(data);
});
