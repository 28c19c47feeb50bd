// The client library of fanfare: topics over WebSocket, over Server-Sent Events or long polls where that is blocked.
//
// Works in browsers and in Node 20 and later, without dependencies. It reconnects by itself, resumes every topic where it stood,
// passes no update on twice, and says by a `gap` or `skip` event which ones never came. docs/CLIENT.md tells how to use it.

import { PollSession, StreamSession, publishBatch } from "./fanfare-http.js";
import { Latency } from "./fanfare-latency.js";
import { Positions, covers, isFilter } from "./fanfare-positions.js";
import { SocketSession } from "./fanfare-socket.js";

export { covers, isFilter };

const SESSIONS = { websocket: SocketSession, sse: StreamSession, poll: PollSession };

const DEFAULTS = {
  transports: ["websocket", "sse", "poll"],
  backoffMinMs: 500,
  backoffMaxMs: 30_000,
  /** A connection that lived for so long was a good one. */
  stableMs: 5_000,
  /** After "come back later". */
  laterMinMs: 5_000,
  handshakeTimeoutMs: 10_000,
  streamTimeoutMs: 5_000,
  streamHeartbeatS: 15,
  pollWaitS: 25,
  /** After so long on a fallback, the next reconnect tries the first transport again. */
  retryFirstMs: 300_000,
  /** How long the server remembers a key: after that, a publish that may have arrived cannot be sent again. */
  keyAgeMs: 240_000,
};

/** An error that the server answered, or that no connection could be had. */
export class FanfareError extends Error {
  /** @param {{code?: number, name?: string, message?: string}} answer */
  constructor({ code, name, message }) {
    super(message || name || "failed");
    this.name = "FanfareError";
    this.code = code;
    this.errorName = name;
  }
}

/**
 * Connects to a server.
 * @param {string | URL} [url] `ws://host:port/ws`, or the same with http; the page's own server when not given
 * @param {object} [options] see docs/CLIENT.md
 * @returns {Client}
 */
export function connect(url, options = {}) {
  return new Client(url, options);
}

/** `ws://h/ws`, `http://h`, `https://h/push/ws` → where the WebSocket and where the rest of the HTTP endpoints are. */
export function addresses(url, page = globalThis.location) {
  const full = new URL(url ?? "/ws", page?.href);
  const isSecure = full.protocol === "https:" || full.protocol === "wss:";
  const base = full.pathname.replace(/\/ws$/, "").replace(/\/$/, "");
  return {
    socketUrl: `${isSecure ? "wss" : "ws"}://${full.host}${base}/ws${full.search}`,
    httpUrl: `${isSecure ? "https" : "http"}://${full.host}${base}`,
  };
}

/** One line of communication with a server, over however many connections. */
export class Client {
  #options;
  #positions = new Positions();
  #latency = new Latency();
  /** Subscriptions by name. @type {Map<string, {name: string, options: object, handlers: Set<Function>}>} */
  #wants = new Map();
  #listeners = new Map();
  /** Publishes that are not answered yet, in their order. */
  #publishes = new Set();
  #isBatching = false;
  #keyPrefix;
  #keys = 0;
  #core;
  #session;
  #hello;
  #upSinceMs;
  #level = 0;
  #levelSinceMs = 0;
  #failures = 0;
  #attempt = 0;
  #timer;
  #window;
  #token;
  #state = "connecting";
  #onOnline = () => this.#wakeUp();

  constructor(url, options) {
    this.#options = { ...DEFAULTS, ...options };
    for (const kind of this.#options.transports) if (!SESSIONS[kind]) throw new TypeError(`there is no transport ${kind}`);
    const random = this.#options.random ?? Math.random;
    const now = this.#options.now ?? (() => performance.timeOrigin + performance.now());
    const wants = this.#wants;
    this.#keyPrefix = Array.from({ length: 4 }, () => Math.floor(random() * 2 ** 32).toString(36)).join("");
    // What sessions may see of the client.
    this.#core = {
      ...addresses(url),
      options: this.#options,
      wants,
      positions: this.#positions,
      latency: this.#latency,
      random,
      now,
      fetch: (...what) => (this.#options.fetch ?? globalThis.fetch)(...what),
      token: () => this.#currentToken(),
      up: (hello, done) => this.#onUp(hello, done),
      down: (why) => this.#onDown(why),
      frame: (frame) => this.#onFrame(frame),
      subscribed: (answer, asked) => this.#onSubscribed(answer, asked),
      answered: (answer) => answer.type === "error" && this.#complain(answer),
      complain: (error) => this.#complain({ type: "error", ...error }),
    };
    globalThis.addEventListener?.("online", this.#onOnline);
    // Whoever connects hears of the first state, too.
    this.#later(0, () => this.#connect());
  }

  /** `connecting`, `open`, `waiting` (for the next attempt) or `closed`. */
  get state() {
    return this.#state;
  }

  /** `websocket`, `sse` or `poll`. */
  get transport() {
    return this.#options.transports[this.#level];
  }

  /** What the server said of itself: `conn`, `heartbeat_s`, `limits`. */
  get hello() {
    return this.#hello;
  }

  /** The server's epoch, once anything has told it. */
  get epoch() {
    return this.#positions.epoch;
  }

  /** Publishes that were not answered yet. */
  get pending() {
    return this.#publishes.size;
  }

  /** Milliseconds from the server's clock to arrival: `{count, p50, p99, max, rtt}` of the last 4,096 updates. */
  latency() {
    return this.#latency.summary();
  }

  /** What to add to this machine's clock to get the server's, in milliseconds; undefined while nobody knows. */
  get clockOffsetMs() {
    return this.#latency.offsetMs;
  }

  /**
   * Calls `listener` for every event of a type: state, update, snapshot, history, skip, gap, error, notice, subscribed.
   * @returns {() => void} ends it
   */
  on(type, listener) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(listener);
    return () => this.#listeners.get(type).delete(listener);
  }

  /**
   * Subscribes to topics or filters. Of a name that is subscribed to already the options are replaced, and `handler` is told the last
   * value that is known.
   * @param {string | string[]} names
   * @param {object | Function} [options] mode, on_slow, min_interval_ms, max_stale_ms, snapshot
   * @param {Function} [handler] called with each snapshot, history, update, skip and gap
   * @returns {() => void} ends it
   */
  subscribe(names, options = {}, handler = undefined) {
    if (typeof options === "function") return this.subscribe(names, {}, options);
    const all = [names].flat();
    const fresh = [];
    for (const name of all) {
      const known = this.#wants.get(name);
      if (known) {
        if (handler) known.handlers.add(handler);
        if (Object.keys(options).length > 0) this.set(name, options);
        const last = isFilter(name) ? undefined : this.#positions.last(name);
        if (handler && last) handler({ ...last, type: "snapshot" });
        continue;
      }
      const want = { name, options: { ...options }, handlers: new Set(handler ? [handler] : []) };
      this.#wants.set(name, want);
      fresh.push(want);
    }
    if (fresh.length > 0 && this.#state === "open") this.#session.subscribe(fresh);
    return () => {
      for (const name of all) {
        const want = this.#wants.get(name);
        want?.handlers.delete(handler);
        if (want?.handlers.size === 0) this.unsubscribe(name);
      }
    };
  }

  /** Ends subscriptions, whoever made them. */
  unsubscribe(names) {
    const ended = [names].flat().filter((name) => this.#wants.delete(name));
    if (ended.length === 0) return;
    this.#positions.retain((topic) => this.#isWanted(topic));
    if (this.#state === "open") this.#session.unsubscribe(ended);
  }

  /** Changes the options that are named of a subscription; they hold from the next update on. */
  set(name, options) {
    const want = this.#wants.get(name);
    if (!want) throw new FanfareError({ code: 1004, name: "bad_field", message: `${name} is not subscribed to` });
    Object.assign(want.options, options);
    if (this.#state === "open") this.#session.set(want);
  }

  /**
   * Publishes a value. It is sent again after a lost connection, under the same key, until it is answered; so it arrives once.
   * @param {string} topic
   * @param {unknown} data any JSON value
   * @param {{key?: string, signal?: AbortSignal}} [options] a signal stops it from being sent again; it may have arrived
   * @returns {Promise<{topic: string, epoch: string, seq: number}>}
   */
  publish(topic, data, { key, signal } = {}) {
    if (this.#state === "closed") return Promise.reject(new FanfareError({ message: "the client is closed" }));
    const text = JSON.stringify(data);
    if (text === undefined) return Promise.reject(new TypeError("data must be a JSON value"));
    return new Promise((resolve, reject) => {
      this.#keys += 1;
      const entry = { topic, data, text, key: key ?? `${this.#keyPrefix}-${this.#keys}`, resolve, reject, sentMs: undefined, isSent: false };
      this.#publishes.add(entry);
      signal?.addEventListener("abort", () => this.#publishes.delete(entry) && reject(signal.reason), { once: true });
      this.#pump();
    });
  }

  /** Where topics stand: `[{topic, epoch, seq}]`. Needs a WebSocket. */
  check(topics) {
    return new Promise((resolve, reject) => {
      if (this.#state !== "open") return reject(new FanfareError({ message: "not connected" }));
      this.#session.check([topics].flat(), (answer) => (answer.type === "state" ? resolve(answer.topics) : reject(new FanfareError(answer))));
    });
  }

  /** Topics with a value that a filter covers: `{epoch, topics: [{topic, seq, subscribers}], truncated}`. */
  topics(filter = ">", { limit } = {}) {
    return this.#get(`/v1/topics?${new URLSearchParams({ filter, ...(limit === undefined ? {} : { limit }) })}`);
  }

  /** Updates of a topic that the server keeps: `{topic, epoch, seq, updates: [{seq, ts, data}], gap?}`. */
  history(topic, { since = 0, limit } = {}) {
    const query = new URLSearchParams({ since, ...(limit === undefined ? {} : { limit }) });
    return this.#get(`/v1/topics/${encodeURIComponent(topic)}/history?${query}`);
  }

  /** Ends the connection for good; what was not answered yet is refused. */
  close() {
    this.#end({ code: 1000, reason: "closed by the client" });
  }

  async #get(path) {
    const token = await this.#currentToken();
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await this.#core.fetch(this.#core.httpUrl + path, { headers, cache: "no-store" });
    const body = await response.json().catch(() => ({ message: `the server answered ${response.status}` }));
    if (!response.ok) throw new FanfareError(body);
    return body;
  }

  // ---- connecting ----

  #connect() {
    clearTimeout(this.#timer);
    this.#window = undefined;
    this.#hello = undefined;
    this.#token = undefined;
    this.#positions.begin();
    this.#latency.forgetClock();
    const isOld = this.#core.now() - this.#levelSinceMs > this.#options.retryFirstMs;
    if (this.#level > 0 && isOld) this.#level = 0;
    this.#enter("connecting", { attempt: this.#attempt });
    this.#session = new SESSIONS[this.transport](this.#core);
  }

  async #onUp(hello, done) {
    const session = this.#session;
    this.#hello = hello;
    let token;
    try {
      token = session.kind === "websocket" && hello.auth === "none" ? undefined : await this.#currentToken();
    } catch (error) {
      this.#complain({ code: 2000, name: "auth_required", message: `no token could be had: ${error?.message ?? error}` });
      session.close();
      if (session === this.#session) this.#onDown({ reason: "no token", isOpen: true });
      return;
    }
    if (session !== this.#session || this.#state === "closed") return;
    if (token === undefined || session.kind !== "websocket") return this.#onReady(session, done);
    session.authenticate(token, (answer) => {
      if (answer.type !== "error") return this.#onReady(session, done);
      this.#complain(answer);
      session.close();
      this.#end({ code: 4001, reason: answer.message });
    });
  }

  #onReady(session, done) {
    this.#failures = 0;
    this.#upSinceMs = this.#core.now();
    this.#enter("open");
    // Nobody who hears of the state may have closed it again.
    if (this.#state !== "open" || session !== this.#session) return;
    done();
    if (session.kind === "websocket" && this.#wants.size > 0) session.subscribe([...this.#wants.values()], true);
    for (const entry of this.#publishes) entry.isSent = false;
    this.#pump();
  }

  async #onDown({ code, status, reason, retryAfterMs, isOpen, isBlocked }) {
    const kind = this.transport;
    const wasStable = this.#upSinceMs !== undefined && this.#core.now() - this.#upSinceMs > this.#options.stableMs;
    this.#upSinceMs = undefined;
    this.#session = undefined;
    if (this.#isFinal({ code, status })) {
      this.#complain({ code, name: "closed", message: reason || `closed with ${code ?? status}` });
      return this.#end({ code, reason });
    }
    this.#attempt = wasStable ? 0 : this.#attempt + 1;
    const delayMs = this.#delay({ code, retryAfterMs, wasStable });
    this.#enter("waiting", { code, status, reason, delayMs, attempt: this.#attempt });
    if (this.#state !== "waiting") return;
    const started = this.#core.now();
    // Only where the server is reachable and this transport is not, another one is worth a try.
    this.#failures = isOpen ? 0 : this.#failures + 1;
    const isHopeless = isBlocked || (kind === "websocket" ? this.#failures >= 2 : this.#failures >= 1);
    if (isHopeless && this.#options.transports.length > 1 && (await this.#isReachable())) this.#fallBack();
    else if (isHopeless && this.#level > 0 && !isBlocked) this.#fallBack(0);
    if (this.#state !== "waiting") return;
    this.#later(Math.max(0, delayMs - (this.#core.now() - started)), () => this.#connect());
  }

  #fallBack(level = (this.#level + 1) % this.#options.transports.length) {
    this.#level = level;
    this.#levelSinceMs = this.#core.now();
    this.#failures = 0;
  }

  async #isReachable() {
    try {
      const signal = AbortSignal.timeout(this.#options.handshakeTimeoutMs);
      const response = await this.#core.fetch(`${this.#core.httpUrl}/healthz`, { mode: "no-cors", cache: "no-store", signal });
      return response.status < 500;
    } catch {
      return false;
    }
  }

  #isFinal({ code, status }) {
    return (code >= 4000 && code < 4100) || status === 401 || status === 403;
  }

  /** Full jitter: anywhere between nothing and a bound that doubles with each attempt. */
  #delay({ code, retryAfterMs, wasStable }) {
    const { backoffMinMs, backoffMaxMs, laterMinMs } = this.#options;
    const within = ([low, high]) => low + this.#core.random() * Math.max(0, high - low);
    if (retryAfterMs !== undefined) return within([retryAfterMs, retryAfterMs * 1.5]);
    if (this.#window) return within(this.#window);
    const bound = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#attempt, 16));
    const isLater = (code >= 4100 && code < 4200) || code === 1008 || code === 1013;
    if (isLater) return within([laterMinMs, Math.max(laterMinMs * 2, bound)]);
    if (code >= 4200 && code < 4300 && wasStable) return within([0, backoffMinMs]);
    return within([0, bound]);
  }

  /** The machine has a network again. */
  #wakeUp() {
    if (this.#state !== "waiting") return;
    this.#attempt = 0;
    this.#later(this.#core.random() * this.#options.backoffMinMs, () => this.#connect());
  }

  #later(ms, run) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(run, ms);
  }

  #end({ code, reason }) {
    if (this.#state === "closed") return;
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.("online", this.#onOnline);
    this.#session?.close();
    this.#session = undefined;
    const left = [...this.#publishes];
    this.#publishes.clear();
    this.#enter("closed", { code, reason });
    for (const { reject } of left) reject(new FanfareError({ code, message: `not published: ${reason || "closed"}` }));
  }

  #enter(state, more = {}) {
    this.#state = state;
    this.#emit("state", { type: "state", state, transport: this.transport, ...more });
  }

  async #currentToken(isNew = false) {
    const { token } = this.#options;
    if (typeof token !== "function") return token;
    if (isNew || this.#token === undefined) this.#token = Promise.resolve(token());
    return this.#token;
  }

  // ---- what comes ----

  #onFrame(frame) {
    switch (frame.type) {
      case "update":
      case "snapshot":
      case "history":
      case "skip":
      case "gap":
        if (!this.#isWanted(frame.topic)) return;
        for (const event of this.#positions.take(frame)) this.#pass(event);
        return;
      case "error":
        return this.#complain(frame);
      case "notice":
        return this.#onNotice(frame);
      default:
      // Heartbeats have done their work by coming; of types that are newer than this library nothing is known.
    }
  }

  #pass(event) {
    if (event.type === "update") event.latencyMs = this.#latency.note(event.ts, this.#core.now());
    for (const want of this.#wants.values()) {
      if (want.handlers.size > 0 && covers(want.name, event.topic)) for (const handler of want.handlers) this.#call(handler, event);
    }
    this.#emit(event.type, event);
  }

  #onSubscribed(answer, asked) {
    if (answer.type === "error") return this.#complain({ ...answer, topics: asked.map(({ name }) => name) });
    for (const ack of answer.topics) {
      if (ack.epoch === undefined || !this.#isWanted(ack.topic)) continue;
      const hasSnapshot = this.#wants.get(ack.topic)?.options.snapshot !== false;
      for (const event of this.#positions.acked(ack, hasSnapshot)) this.#pass(event);
    }
    for (const error of answer.errors ?? []) this.#complain({ ...error, type: "error" });
    this.#emit("subscribed", answer);
  }

  async #onNotice(notice) {
    this.#emit("notice", notice);
    const session = this.#session;
    if (notice.kind === "drain" && Array.isArray(notice.reconnect_ms)) {
      this.#window = notice.reconnect_ms;
      const [low, high] = notice.reconnect_ms;
      this.#later(low + this.#core.random() * Math.max(0, high - low), () => {
        if (session !== this.#session || this.#state !== "open") return;
        session.close();
        this.#connect();
      });
    }
    if (notice.kind === "token_expires" && this.#options.token !== undefined) {
      try {
        const token = await this.#currentToken(true);
        if (session !== this.#session || this.#state !== "open") return;
        session.authenticate(token, (answer) => answer.type === "error" && this.#complain(answer));
        session.changed?.();
      } catch (error) {
        this.#complain({ code: 2000, name: "auth_required", message: `no token could be had: ${error?.message ?? error}` });
      }
    }
  }

  #complain(error) {
    this.#emit("error", { ...error, type: "error" });
  }

  #isWanted(topic) {
    if (this.#wants.has(topic)) return true;
    for (const name of this.#wants.keys()) if (covers(name, topic)) return true;
    return false;
  }

  #emit(type, event) {
    for (const listener of this.#listeners.get(type) ?? []) this.#call(listener, event);
  }

  /** A page's mistake must not end the stream of all others. */
  #call(listener, event) {
    try {
      listener(event);
    } catch (error) {
      globalThis.reportError ? globalThis.reportError(error) : console.error(error);
    }
  }

  // ---- publishing ----

  /** Sends what is not on its way yet. What has to go by POST holds back what comes behind it on the same topic. */
  #pump() {
    if (this.#state !== "open") return;
    const session = this.#session;
    const held = new Set();
    const posts = [];
    const isOnTheWay = new Set();
    for (const entry of this.#publishes) {
      if (held.has(entry.topic)) continue;
      if (entry.isSent) {
        isOnTheWay.add(entry.topic);
        if (entry.isPosted) held.add(entry.topic);
        continue;
      }
      if (this.#isTooOld(entry)) continue;
      if (entry.text.length > 0 && session.publish(entry, (answer) => this.#onPublished(entry, answer))) {
        entry.isSent = true;
        entry.isPosted = false;
        entry.sentMs ??= this.#core.now();
        isOnTheWay.add(entry.topic);
        continue;
      }
      if (session.kind === "websocket") {
        held.add(entry.topic);
        if (isOnTheWay.has(entry.topic)) continue;
      }
      posts.push(entry);
    }
    if (posts.length > 0) this.#post(posts, session);
  }

  async #post(entries, session) {
    if (this.#isBatching) return;
    this.#isBatching = true;
    const held = session.kind === "websocket" ? entries : [];
    for (const entry of held) Object.assign(entry, { isSent: true, isPosted: true });
    for (const entry of entries) entry.sentMs ??= this.#core.now();
    let waitMs = 0;
    try {
      const request = (path, init) => this.#request(path, init);
      for (const { entry, answer } of await publishBatch(request, entries)) {
        if (answer.type === "error" && (answer.code === 3000 || answer.code === 5001)) waitMs = answer.retry_ms ?? 1000;
        else this.#onPublished(entry, answer);
        // What follows a line that is to be sent again must not overtake it.
        if (waitMs > 0) break;
      }
    } catch (error) {
      const { status, code, reason, retryAfterMs } = error.why ?? {};
      if (status !== undefined && status !== 429 && status < 500) {
        this.#onPublished(entries[0], { type: "error", code: code ?? status, message: reason });
      } else {
        waitMs = retryAfterMs ?? this.#options.backoffMinMs * (1 + this.#core.random());
      }
    }
    for (const entry of held) entry.isSent = false;
    setTimeout(() => {
      this.#isBatching = false;
      this.#pump();
    }, waitMs);
  }

  async #request(path, init) {
    const token = await this.#currentToken();
    const headers = token ? { ...init.headers, Authorization: `Bearer ${token}` } : init.headers;
    return this.#core.fetch(this.#core.httpUrl + path, { ...init, headers, signal: AbortSignal.timeout(30_000) });
  }

  #isTooOld(entry) {
    if (entry.sentMs === undefined || this.#core.now() - entry.sentMs < this.#options.keyAgeMs) return false;
    this.#publishes.delete(entry);
    entry.reject(new FanfareError({ name: "uncertain", message: "it may have been published or not: the answer was lost, and its key is forgotten by now" }));
    return true;
  }

  #onPublished(entry, answer) {
    if (!this.#publishes.has(entry)) return;
    // A server that is being emptied takes nothing in; the next connection does.
    if (answer.type === "error" && answer.code === 5001) return;
    this.#publishes.delete(entry);
    if (answer.type === "published") {
      entry.resolve({ topic: answer.topic, epoch: answer.epoch, seq: answer.seq });
    } else {
      entry.reject(new FanfareError(answer));
    }
    this.#pump();
  }
}
