// Where WebSocket is blocked: streams of Server-Sent Events, or long polls where streams are, too. Publishing is by POST.
//
// Both read their answers with fetch instead of EventSource, which shows neither status nor comments and sends no
// Authorization. Both resume by naming the positions of their topics, so streams may even overlap.

import { isFilter } from "./fanfare-positions.js";

/** A browser has six connections to a host without HTTP/2; the rest is for publishing. */
const STREAMS_MAX = 4;
/** Names and positions in one URL; a server's limit for heads is 16 KB by default, a proxy's may be 8. */
const URL_BYTES_MAX = 6000;
const BATCH_LINES = 100;
const BATCH_BYTES = 256 * 1024;
/** With more polls than may wait at a time, they take turns. */
const TURN_MS = 1000;
const EXPAND_EVERY_MS = 5000;
const EXPAND_TOPICS_MAX = 5000;
/** Changes that come together make one new set of streams. */
const SETTLE_MS = 20;

/** What went wrong with a request, in the words of a closed session. */
export async function refusal(response) {
  const retryAfter = Number(response.headers.get("retry-after"));
  const body = await response.text().catch(() => "");
  let error;
  try {
    error = JSON.parse(body);
  } catch {
    error = { message: body.trim().slice(0, 200) };
  }
  return {
    status: response.status,
    code: error.code,
    reason: error.message || `the server answered ${response.status}`,
    retryAfterMs: retryAfter > 0 ? retryAfter * 1000 : undefined,
    // Whoever answers so is no server of these endpoints.
    isBlocked: [404, 405, 501].includes(response.status),
  };
}

/** None of the topics may be had, or one has no name that a topic can have: the others live on. */
function isAboutTopics({ status, code }) {
  return (status === 400 || status === 403) && (code === 1003 || code === 1004 || code === 2003);
}

/** Takes a text of events apart, however it was cut into pieces. */
export class EventReader {
  #rest = "";
  #data = [];

  /** @returns {string[]} the data of the events that are complete now */
  read(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    const events = [];
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.#data.length > 0) events.push(this.#data.join("\n"));
        this.#data = [];
      } else if (line.startsWith("data:")) {
        this.#data.push(line.slice(line.charAt(5) === " " ? 6 : 5));
      }
    }
    return events;
  }
}

class HttpSession {
  core;
  /** Ends everything that this session has under way. */
  ended = new AbortController();
  isOpen = false;

  constructor(core) {
    this.core = core;
  }

  close() {
    this.ended.abort();
  }

  fail(why) {
    if (this.ended.signal.aborted) return;
    this.ended.abort();
    this.core.down({ ...why, isOpen: this.isOpen });
  }

  open() {
    if (this.isOpen || this.ended.signal.aborted) return;
    this.isOpen = true;
    this.core.up({ type: "hello" }, () => {});
  }

  unsubscribe() {
    this.changed();
  }

  subscribe() {
    this.changed();
  }

  set() {
    this.changed();
  }

  /** A new token holds from the next request on. */
  authenticate(_token, done) {
    done({ type: "ok" });
  }

  check(_topics, done) {
    done({ type: "error", code: 1001, name: "unknown_action", message: "without a WebSocket, ask GET /v1/topics" });
  }

  /** Publishes go one request after the other, so that their order holds. */
  publish() {
    return false;
  }

  async request(path, init = {}) {
    const headers = { ...init.headers };
    const token = await this.core.token();
    if (token) headers.Authorization = `Bearer ${token}`;
    return this.core.fetch(this.core.httpUrl + path, { cache: "no-store", ...init, headers, signal: init.signal ?? this.ended.signal });
  }

  /** The names of plain topics, or of all, in as many parts as URLs need. */
  split(names) {
    const parts = [];
    let part = [];
    let bytes = 0;
    for (const name of names) {
      const since = this.core.positions.since(name);
      const cost = encodeURIComponent(name).length * (since ? 2 : 1) + (since ? since.epoch.length + 30 : 6);
      if (part.length > 0 && bytes + cost > URL_BYTES_MAX) {
        parts.push(part);
        part = [];
        bytes = 0;
      }
      part.push(name);
      bytes += cost;
    }
    if (part.length > 0) parts.push(part);
    return parts;
  }

  query(names, extra = {}) {
    const { options } = this;
    const ids = names.flatMap((name) => {
      const since = isFilter(name) ? undefined : this.core.positions.since(name);
      return since ? [`${name}=${since.epoch}:${since.seq}`] : [];
    });
    const query = new URLSearchParams({ topics: names.join(","), ...options, ...extra });
    if (ids.length > 0) query.set("last_event_id", ids.join(","));
    return `/v1/sse?${query}`;
  }

  /** Options of a stream hold for all its topics: those with which every subscription gets what it asked for. */
  get options() {
    const all = [...this.core.wants.values()].map((want) => want.options);
    const least = (name) => Math.min(...all.map((options) => options[name] ?? 0));
    const merged = {};
    if (all.length === 0) return merged;
    if (all.every((options) => options.mode === "latest")) merged.mode = "latest";
    for (const name of ["min_interval_ms", "max_stale_ms"]) if (least(name) > 0) merged[name] = least(name);
    if (all.every((options) => options.snapshot === false)) merged.snapshot = "false";
    return merged;
  }

  frame(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return undefined;
    }
    if (frame.type === "closed") this.fail({ code: frame.code, reason: frame.message });
    else if (frame.type === "subscribed") this.core.subscribed(frame, [...this.core.wants.values()]);
    else this.core.frame(frame);
    return frame.type;
  }
}

/** One stream, or a few where the URL of one would be too long. */
export class StreamSession extends HttpSession {
  kind = "sse";
  #streams = [];
  #settling;

  constructor(core) {
    super(core);
    this.changed();
  }

  changed() {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#reopen(), this.isOpen ? SETTLE_MS : 0);
  }

  close() {
    clearTimeout(this.#settling);
    super.close();
  }

  async #reopen() {
    if (this.ended.signal.aborted) return;
    const before = this.#streams;
    const parts = this.split(this.core.wants.keys());
    if (parts.length > STREAMS_MAX) return this.fail({ reason: "too many topics for streams", isBlocked: true });
    this.#streams = parts.map((names) => new Stream(this, names));
    if (parts.length === 0) await this.#probe();
    await Promise.all(this.#streams.map((stream) => stream.acked));
    // The old streams go on until the new ones stand; what both bring is passed on once.
    for (const stream of before) stream.stop();
    this.open();
  }

  /** Nothing is subscribed to yet: is there anybody? */
  async #probe() {
    try {
      const response = await this.request("/healthz");
      if (response.status >= 500) this.fail(await refusal(response));
    } catch (error) {
      this.fail({ reason: String(error?.message ?? error) });
    }
  }
}

class Stream {
  #session;
  #names;
  #stopped = new AbortController();
  #isAcked = false;
  #onAcked;
  /** Kept when the server has acknowledged the topics; never, if it does not. */
  acked = new Promise((resolve) => (this.#onAcked = resolve));

  constructor(session, names) {
    this.#session = session;
    this.#names = names;
    session.ended.signal.addEventListener("abort", () => this.#stopped.abort(), { once: true });
    this.#run().catch((error) => this.#fail({ reason: String(error?.message ?? error) }));
  }

  stop() {
    this.#stopped.abort();
  }

  #fail(why) {
    if (!this.#stopped.signal.aborted) this.#session.fail(why);
  }

  async #run() {
    const { core } = this.#session;
    let heardMs = core.now();
    // What holds back the first event holds back all: a proxy that waits for the end of the answer.
    const early = setTimeout(() => {
      if (!this.#isAcked) this.#fail({ reason: "the stream brought nothing in time", isBlocked: true });
    }, core.options.streamTimeoutMs);
    const silenceMs = core.options.streamHeartbeatS * 2000;
    const watch = setInterval(() => {
      if (core.now() - heardMs > silenceMs) this.#fail({ reason: "nothing was heard of the server" });
    }, Math.min(silenceMs / 8, 5000));
    try {
      const response = await this.#session.request(this.#session.query(this.#names), {
        headers: { Accept: "text/event-stream" },
        signal: this.#stopped.signal,
      });
      if (response.status !== 200) {
        const why = await refusal(response);
        if (!isAboutTopics(why)) return this.#fail(why);
        core.complain({ code: why.code, message: why.reason, topics: this.#names });
        this.#isAcked = true;
        return this.#onAcked();
      }
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      const events = new EventReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return this.#fail({ reason: "the stream ended" });
        if (this.#stopped.signal.aborted) return;
        heardMs = core.now();
        for (const text of events.read(decoder.decode(value, { stream: true }))) {
          if (this.#session.frame(text) === "subscribed") {
            this.#isAcked = true;
            this.#onAcked();
          }
        }
      }
    } finally {
      clearTimeout(early);
      clearInterval(watch);
    }
  }
}

/** Long polls: each ends with the first news, and the next one goes on where it ended. */
export class PollSession extends HttpSession {
  kind = "poll";
  #round = 0;
  #settling;
  #expanding;
  /** Topics that filters cover, as far as they have been found. */
  #found = new Set();
  #wake = new AbortController();

  constructor(core) {
    super(core);
    this.changed();
  }

  changed() {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#restart(), this.isOpen ? SETTLE_MS : 0);
  }

  close() {
    clearTimeout(this.#settling);
    clearTimeout(this.#expanding);
    super.close();
  }

  async #restart() {
    if (this.ended.signal.aborted) return;
    const round = ++this.#round;
    this.#wake.abort();
    const wake = (this.#wake = new AbortController());
    this.ended.signal.addEventListener("abort", () => wake.abort(), { once: true });
    try {
      await this.#expand();
      const parts = this.split(this.#names());
      const waiting = parts.length > STREAMS_MAX ? TURN_MS : this.core.options.pollWaitS * 1000;
      let next = 0;
      const work = async () => {
        // Each part's first poll does not wait: it shows that polls get through, and where the topics stand.
        while (next < parts.length && round === this.#round) await this.#poll(parts[next++], 0, wake);
      };
      await Promise.all(Array.from({ length: STREAMS_MAX }, work));
      if (round !== this.#round || wake.signal.aborted) return;
      this.open();
      if ([...this.core.wants.keys()].some(isFilter)) this.#expanding = setTimeout(() => this.#lookAgain(), EXPAND_EVERY_MS);
      const loop = async () => {
        while (round === this.#round && !wake.signal.aborted && parts.length > 0) {
          const part = parts.shift();
          await this.#poll(part, waiting, wake);
          parts.push(part);
          await this.#rest(wake.signal);
        }
      };
      await Promise.all(Array.from({ length: Math.min(STREAMS_MAX, parts.length) }, loop));
    } catch (error) {
      if (!wake.signal.aborted && round === this.#round) this.fail(error.why ?? { reason: String(error?.message ?? error) });
    }
  }

  #names() {
    const plain = [...this.core.wants.keys()].filter((name) => !isFilter(name));
    return [...new Set([...plain, ...this.#found])];
  }

  /** A filter would open each poll anew with every last value; so polls name the topics that it covers. */
  async #expand() {
    const found = new Set();
    for (const filter of [...this.core.wants.keys()].filter(isFilter)) {
      const query = new URLSearchParams({ filter, limit: EXPAND_TOPICS_MAX });
      const response = await this.request(`/v1/topics?${query}`, { signal: this.#wake.signal });
      if (response.status !== 200) throw Object.assign(new Error("refused"), { why: await refusal(response) });
      const list = await response.json();
      for (const { topic } of list.topics) found.add(topic);
      if (list.truncated) this.core.complain({ code: 3001, name: "subscription_limit", message: `${filter} covers too many topics to poll for all of them` });
    }
    const isNew = [...found].some((topic) => !this.#found.has(topic));
    this.#found = found;
    return isNew;
  }

  async #lookAgain() {
    const round = this.#round;
    try {
      if ((await this.#expand()) && round === this.#round) return this.changed();
      if (round === this.#round) this.#expanding = setTimeout(() => this.#lookAgain(), EXPAND_EVERY_MS);
    } catch (error) {
      if (!this.ended.signal.aborted && round === this.#round) this.fail(error.why ?? { reason: String(error?.message ?? error) });
    }
  }

  async #poll(names, waitMs, wake) {
    const response = await this.request(this.query(names, { wait: `${waitMs}ms` }), { signal: wake.signal });
    if (response.status !== 200) {
      const why = await refusal(response);
      if (!isAboutTopics(why)) throw Object.assign(new Error("refused"), { why });
      // Said once for each part, when it is first asked for.
      if (waitMs === 0) this.core.complain({ code: why.code, message: why.reason, topics: names });
      return this.#pause(this.core.options.laterMinMs, wake.signal);
    }
    const text = await response.text();
    if (wake.signal.aborted) return;
    for (const event of new EventReader().read(text)) this.frame(event);
  }

  /** `min_interval_ms` holds for polls, too. */
  async #rest(signal) {
    const ms = Number(this.options.min_interval_ms ?? 0);
    if (ms > 0) await this.#pause(ms, signal);
  }

  async #pause(ms, signal) {
    if (signal.aborted) return;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
  }
}

/**
 * Publishes some of `entries` in one request.
 * @returns {Promise<{entry: object, answer: object}[]>} one answer for each that was sent; throws when no answer came, with `why`
 * when the server refused all of them
 */
export async function publishBatch(session, entries) {
  const batch = [];
  let bytes = 0;
  for (const entry of entries) {
    if (batch.length > 0 && (batch.length === BATCH_LINES || bytes + entry.text.length > BATCH_BYTES)) break;
    batch.push(entry);
    bytes += entry.text.length;
  }
  const body = batch.map(({ topic, text, key }) => `{"topic":${JSON.stringify(topic)},"data":${text},"key":${JSON.stringify(key)}}\n`).join("");
  const response = await session("/v1/publish", { method: "POST", headers: { "Content-Type": "application/x-ndjson" }, body });
  if (response.status !== 200) throw Object.assign(new Error("refused"), { why: await refusal(response) });
  const answers = (await response.text()).split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  if (answers.length !== batch.length) throw new Error("the server did not answer for every line");
  return batch.map((entry, at) => ({ entry, answer: answers[at] }));
}
