// A connection over WebSocket. Speaks the protocol's JSON; knows nothing of reconnecting.

import { isFilter, sampleOf } from "./fanfare-positions.js";

const TOPICS_PER_COMMAND = 200;
/** Pings that set the clock right come soon after the start, then so often. */
const PING_FIRST_MS = [0, 300, 1000];
const PING_EVERY_MS = 20_000;
/** A server that sends no heartbeats is watched by our own pings. */
const PINGED_SILENCE_MS = 2 * PING_EVERY_MS;
/** What a frame holds besides a publish's data. */
const ENVELOPE_BYTES = 1024;

export class SocketSession {
  #core;
  #socket;
  #commands = new Map();
  #nextId = 1;
  #timers = new Set();
  #isDown = false;
  #isOpen = false;
  #heardMs;
  #silenceMs = Infinity;
  #frameBytes = Infinity;
  kind = "websocket";

  /** @param core what the client lends its sessions: see `Core` in fanfare.js */
  constructor(core) {
    this.#core = core;
    this.#heardMs = core.now();
    const Socket = core.options.WebSocket ?? globalThis.WebSocket;
    if (!Socket) {
      this.#after(0, () => this.#down({ reason: "there is no WebSocket here; pass one as options.WebSocket", isBlocked: true }));
      return;
    }
    try {
      this.#socket = new Socket(core.socketUrl, ["fanfare.v1.json"]);
    } catch (error) {
      // A page under https may not open ws:, for one.
      this.#after(0, () => this.#down({ reason: String(error?.message ?? error), isBlocked: true }));
      return;
    }
    this.#socket.onmessage = (event) => this.#onMessage(event.data);
    // Whatever an error is, a close follows it.
    this.#socket.onerror = () => {};
    this.#socket.onclose = (event) => this.#down({ code: event.code, reason: event.reason });
    this.#after(core.options.handshakeTimeoutMs, () => {
      if (!this.#isOpen) this.#abandon("no hello in time");
    });
  }

  /** Ends the connection; nothing is reported any more. */
  close(code = 1000) {
    this.#release();
    try {
      this.#socket?.close(code);
    } catch {
      // A socket that is only just being opened may refuse; it has no handlers left in any case.
    }
  }

  subscribe(wants, isResumed = false) {
    const plain = wants.filter((want) => !isFilter(want.name));
    const filters = wants.filter((want) => isFilter(want.name));
    for (let at = 0; at < plain.length; at += TOPICS_PER_COMMAND) {
      this.#subscribe(plain.slice(at, at + TOPICS_PER_COMMAND), isResumed);
    }
    if (filters.length === 0) return;
    if (this.#core.positions.epoch !== undefined) return this.#subscribe(filters, isResumed);
    // Acks of filters name no epoch, and without it nobody knows whether the positions of their topics still count.
    this.#command({ action: "check", topics: [sampleOf(filters[0].name)] }, (answer) => {
      if (answer.type === "state") this.#core.positions.learn(answer.topics[0]?.epoch);
      const still = filters.filter((want) => this.#core.wants.get(want.name) === want);
      if (still.length > 0) this.#subscribe(still, isResumed);
    });
  }

  #subscribe(wants, isResumed) {
    const topics = wants.map((want) => {
      const since = isResumed && !isFilter(want.name) ? this.#core.positions.since(want.name) : undefined;
      const options = { ...want.options };
      // Positions under a filter are only of use beside the newest value.
      if (isResumed && isFilter(want.name)) delete options.snapshot;
      return since ? { topic: want.name, ...options, since } : { topic: want.name, ...options };
    });
    this.#command({ action: "subscribe", topics }, (answer) => this.#core.subscribed(answer, wants));
  }

  unsubscribe(names) {
    this.#command({ action: "unsubscribe", topics: names }, () => {});
  }

  set(want) {
    this.#command({ action: "set", topics: [want.name], ...settable(want.options) }, (answer) => this.#core.answered(answer));
  }

  /** Hands in a token; `done` hears whether it was taken. */
  authenticate(token, done) {
    this.#command({ action: "auth", token }, done);
  }

  /** Sends a publish. False: it is too large for a frame and must go another way. */
  publish({ topic, data, key, text }, done) {
    if (text.length * 3 > this.#frameBytes - ENVELOPE_BYTES && new TextEncoder().encode(text).length > this.#frameBytes - ENVELOPE_BYTES) {
      return false;
    }
    this.#command({ action: "publish", topic, data, key }, done);
    return true;
  }

  check(topics, done) {
    this.#command({ action: "check", topics }, done);
  }

  #command(command, done) {
    const id = this.#nextId++;
    this.#commands.set(id, { command, done });
    this.#send({ action: command.action, id, ...command });
  }

  #send(message) {
    // Between a close that we do not know of yet and its event, a send is lost; so is the connection, and all is sent again.
    if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #onMessage(text) {
    this.#heardMs = this.#core.now();
    if (typeof text !== "string") return;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === "hello") return this.#onHello(frame);
    if (frame.id !== undefined && this.#commands.has(frame.id)) return this.#onAnswer(frame);
    this.#core.frame(frame);
  }

  #onHello(hello) {
    this.#isOpen = true;
    this.#frameBytes = hello.limits?.frame_bytes || Infinity;
    this.#silenceMs = hello.heartbeat_s > 0 ? hello.heartbeat_s * 2000 : PINGED_SILENCE_MS;
    this.#watch();
    this.#core.up(hello, () => {
      if (this.#isDown) return;
      for (const ms of PING_FIRST_MS) this.#after(ms, () => this.#ping());
      this.#every(PING_EVERY_MS, () => this.#ping());
    });
  }

  #onAnswer(frame) {
    const { command, done } = this.#commands.get(frame.id);
    if (frame.type === "error" && frame.code === 3000) {
      // Refused for its rate, not for what it is.
      this.#after(Math.max(frame.retry_ms ?? 1000, 20) * (1 + this.#core.random()), () => this.#send({ action: command.action, id: frame.id, ...command }));
      return;
    }
    this.#commands.delete(frame.id);
    done(frame);
  }

  #ping() {
    const sentMs = this.#core.now();
    this.#command({ action: "ping" }, (answer) => {
      if (answer.type === "pong") this.#core.latency.pong(sentMs, this.#core.now(), answer.time);
    });
  }

  #watch() {
    // Looked at often, so that a machine that wakes up notices at once.
    this.#every(Math.max(Math.min(this.#silenceMs / 8, 5000), 50), () => {
      if (this.#core.now() - this.#heardMs > this.#silenceMs) this.#abandon("nothing was heard of the server");
    });
  }

  /** The peer may not even be there to answer a close. */
  #abandon(reason) {
    const socket = this.#socket;
    this.#down({ reason });
    try {
      socket.close();
    } catch {
      // It is given up in any case.
    }
  }

  #down(why) {
    if (this.#isDown) return;
    const isOpen = this.#isOpen;
    this.#release();
    this.#core.down({ ...why, isOpen });
  }

  #release() {
    this.#isDown = true;
    for (const stop of this.#timers) stop();
    this.#timers.clear();
    if (this.#socket) {
      this.#socket.onmessage = null;
      this.#socket.onclose = null;
    }
  }

  #after(ms, run) {
    const timer = setTimeout(() => {
      this.#timers.delete(stop);
      run();
    }, ms);
    const stop = () => clearTimeout(timer);
    this.#timers.add(stop);
  }

  #every(ms, run) {
    const timer = setInterval(run, ms);
    this.#timers.add(() => clearInterval(timer));
  }
}

/** The options that `set` takes. */
function settable({ mode, on_slow, min_interval_ms, max_stale_ms }) {
  return { mode, on_slow, min_interval_ms, max_stale_ms };
}
