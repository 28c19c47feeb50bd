// Rooms to talk in. A room is a topic; a message is `{id, from, text}`, or any text that somebody says in a raw room of that topic.

import { $, connectPage, h, say, showTroubles } from "./dom.js";
import { nameField, newId } from "./names.js";
import { Presence } from "./presence.js";

const LOBBY = "lobby";
const SHOWN_MAX = 500;
const HISTORY = 100;
/** Messages of one person within so long stand together. */
const TOGETHER_MS = 120_000;
const ROOMS_EVERY_MS = 15_000;

const id = newId();
const client = connectPage();
const tell = showTroubles(client, $("#notice"), { unit: "room" });
const myName = nameField($("#name"), () => presence?.say());

let room;
let presence;
let leave = () => {};
/** Messages of the room by their seq, and those of one's own that have none yet. */
let messages = new Map();
let sending = new Map();

/** The lobby is the topic of `/room/chat`, so that those who speak there are heard. */
function topicOf(name) {
  return name === LOBBY ? "chat" : `chat.${segment(name)}`;
}

/** A name as one segment of a topic: other characters stand in it as `%` and their bytes. */
function segment(name) {
  return encodeURIComponent(name).replace(/[.!'()*~]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function nameOf(topic) {
  if (topic === "chat") return LOBBY;
  try {
    return decodeURIComponent(topic.slice("chat.".length));
  } catch {
    return topic.slice("chat.".length);
  }
}

// ---- rooms ----

const rooms = new Map([[LOBBY, {}]]);

function showRooms() {
  $("#rooms").replaceChildren(
    ...[...rooms].map(([name, { isUnread }]) => {
      const button = h("button", { type: "button", onclick: () => enter(name) }, name);
      if (name === room) button.setAttribute("aria-current", "true");
      else if (isUnread) button.dataset.unread = "";
      return h("li", {}, button);
    }),
  );
}

async function lookForRooms() {
  try {
    const { topics } = await client.topics("chat.*", { limit: 100 });
    for (const { topic, seq } of topics) {
      const name = nameOf(topic);
      const known = rooms.get(name);
      rooms.set(name, { seq, isUnread: name !== room && known?.seq !== undefined && seq > known.seq ? true : (known?.isUnread && name !== room) || false });
    }
    showRooms();
  } catch {
    // Rooms that are known stay.
  }
}

function enter(name) {
  if (name === room) return;
  leave();
  room = name;
  const topic = topicOf(name);
  if (!rooms.has(name)) rooms.set(name, {});
  rooms.get(name).isUnread = false;
  messages = new Map();
  sending = new Map();
  const url = new URL(location.href);
  if (name === LOBBY) url.searchParams.delete("room");
  else url.searchParams.set("room", name);
  history.replaceState(null, "", url);
  document.title = `${name} · fanfare`;
  say($("#room"), name);
  showRooms();
  show();
  let isCurrent = true;
  const end = client.subscribe(topic, (event) => isCurrent && take(event));
  // What came before the last message is the server's to keep or not.
  const endAck = client.on("subscribed", ({ topics }) => topics.filter((ack) => ack.topic === topic && ack.seq > 1).forEach((ack) => isCurrent && fetchOlder(topic, ack, () => isCurrent)));
  presence = new Presence(client, `presence.${topic}`, id, () => ({ name: myName() }), showHere);
  leave = () => {
    isCurrent = false;
    end();
    endAck();
    presence.end();
  };
  showHere(new Map());
}

function showHere(people) {
  const names = [...people.values()].map(({ name }) => String(name || "Somebody").slice(0, 40)).sort();
  $("#here").replaceChildren(h("li", {}, `${myName()} (you)`), ...names.map((name) => h("li", {}, name)));
  say($("#about"), names.length === 0 ? "Only you are here" : `${names.length + 1} people are here`);
}

async function fetchOlder(topic, { seq, epoch }, isCurrent) {
  try {
    const { updates, epoch: now } = await client.history(topic, { since: Math.max(0, seq - HISTORY), limit: HISTORY });
    if (!isCurrent() || now !== epoch) return;
    for (const { seq, ts, data } of updates) if (!messages.has(seq)) messages.set(seq, message(data, ts));
    show();
  } catch {
    // Without it the room begins with its last message.
  }
}

// ---- messages ----

function message(data, ts) {
  if (typeof data === "object" && data !== null && typeof data.text === "string") {
    return { id: data.id, from: String(data.from || "Somebody").slice(0, 40), text: data.text.slice(0, 4000), ts };
  }
  return { from: "Somebody", text: (typeof data === "string" ? data : JSON.stringify(data)).slice(0, 4000), ts };
}

function take(event) {
  if (event.type === "skip") return;
  if (event.type === "gap") {
    // A count that begins anew would mix with the old one.
    if (event.why === "epoch") messages = new Map([...messages.values()].map((kept, at) => [at - messages.size, kept]));
    messages.set(event.why === "epoch" ? 0 : event.from, { gap: event.why === "epoch" ? "The server began anew; what was said meanwhile may be missing." : "Some messages are missing here." });
    return show();
  }
  if (event.encoding === "base64") return;
  const said = message(event.data, event.ts);
  messages.set(event.seq, said);
  sending.delete(said.id);
  show();
}

function show() {
  const list = $("#messages");
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  const all = [...messages].sort(([a], [b]) => a - b).slice(-SHOWN_MAX);
  messages = new Map(all);
  let before;
  const items = [...all.map(([seq, said]) => [said, seq]), ...[...sending.values()].map((said) => [said])].map(([said, seq]) => {
    if (said.gap) {
      before = undefined;
      return h("li", { className: "gap" }, said.gap);
    }
    const at = new Date(said.ts / 1000);
    const goesOn = before && before.from === said.from && said.ts - before.ts < TOGETHER_MS * 1000;
    before = said;
    const classes = [goesOn && "goes-on", said.from === myName() && "own", said.isFailed ? "failed" : seq === undefined && "waiting"].filter(Boolean).join(" ");
    const item = h(
      "li",
      { className: classes },
      h("div", { className: "by" }, h("span", {}, said.from), h("time", { dateTime: at.toISOString() }, at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }))),
      h("div", { className: "text" }, said.text),
    );
    if (seq !== undefined) item.dataset.seq = seq;
    return item;
  });
  list.replaceChildren(...(items.length > 0 ? items : [h("li", { className: "nothing" }, "Nothing was said here yet.")]));
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

$("#say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("#text").value.trim();
  if (!text) return;
  $("#text").value = "";
  const said = { id: newId(), from: myName(), text, ts: Date.now() * 1000 };
  const mine = sending;
  mine.set(said.id, said);
  show();
  $("#messages").scrollTop = $("#messages").scrollHeight;
  client.publish(topicOf(room), { id: said.id, from: said.from, text }).catch((error) => {
    said.isFailed = true;
    tell("error", `Not sent: ${error.message}`);
    if (mine === sending) show();
  });
});

$("#text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("#say").requestSubmit();
});

$("#new-room").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("#room-name").value.trim();
  $("#room-name").value = "";
  if (!name) return;
  if (topicOf(name).length > 200) return tell("error", "That name is too long.");
  enter(name);
  $("#text").focus();
});

$("#name").addEventListener("change", () => presence && showHere(presence.people));
client.on("state", ({ state }) => state === "open" && lookForRooms());
setInterval(lookForRooms, ROOMS_EVERY_MS);
enter(new URLSearchParams(location.search).get("room")?.trim() || LOBBY);
