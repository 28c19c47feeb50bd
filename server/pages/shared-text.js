// One text that several people edit, over a topic.
//
// The topic is a log: everybody takes its entries in the order of their seq, so all that stands in `#confirmed` is the same for all who have
// read as far. What was typed here is shown at once and kept in `#pending` until it comes back. Entries are
//
//     {by, batch, ops}      edits of a Sequence
//     {merge: state}        what somebody knew before the log began anew
//     {reset: state}        the log goes on from here: nobody has what stood before it
//     {compact: gen}        drop the tombstones of this tree
//
// The last value of a second topic is a state and how far it had read, so that a newcomer needs no long log. When a reader misses entries,
// because the server was restarted or does not keep so many, it takes the next such state or asks for one, and gives what it knew itself by
// `merge`. Nothing that anybody still has is lost.

import { Sequence } from "./sequence.js";

/** Edits that come together are one entry. */
const BATCH_MS = 40;
/** A state is published so long after the last edit of one's own. */
const SAVE_MS = 1500;
/** Others do it for an author who has gone. */
const SAVE_FOR_OTHERS_MS = 6000;
/** A state usually comes by itself; after so long it is asked for. */
const ASK_AFTER_MS = 300;
/** How long to wait for somebody who has it before going on without. */
const ASK_MS = 2500;
/** Whoever knows more waits a random part of that, so that not all say it. */
const SPREAD_MS = 700;
/** Fewer tombstones than that are not worth a compaction. */
const TOMBSTONES_MIN = 500;
const WAITING_MAX = 5000;

export class SharedText {
  #client;
  #topic;
  #onChange;
  #random;
  /** Names what is typed here; never used twice. */
  site;
  #n = 0;
  #batches = 0;
  /** The log as far as it was read, and where that is. */
  #confirmed = new Sequence();
  #epoch;
  #seq = 0;
  #isReady = false;
  /** Whether this connection has said which log it leads to. */
  #isLogKnown = false;
  /** What was known when the log was lost, until it is certain that the log has it. */
  #known;
  /** The best state that was offered, as long as entries behind it are missing. */
  #candidate;
  /** `#confirmed`, `#known` and `#pending` together: what is shown. */
  #view = new Sequence();
  #pending = [];
  #ops = [];
  /** Entries that came while the state before them was missing. */
  #waiting = new Map();
  #savedSeq = 0;
  #timers = new Map();
  #offs = [];
  #isClosed = false;

  /**
   * @param client a connected client of fanfare.js
   * @param {string} topic what is typed is published to it; `topic.state` and `topic.asks` belong to it
   * @param {{onChange?: () => void, kept?: object, random?: () => number}} [options] `kept`: what `keep` returned in an earlier life
   */
  constructor(client, topic, { onChange = () => {}, kept, random = Math.random } = {}) {
    this.#client = client;
    this.#topic = topic;
    this.#onChange = onChange;
    this.#random = random;
    this.site = Array.from({ length: 2 }, () => Math.floor(random() * 2 ** 32).toString(36)).join("");
    if (kept) this.#restore(kept);
    this.#offs.push(
      client.on("state", ({ state }) => {
        if (state === "open") return;
        this.#isLogKnown = false;
        this.#holdBack();
      }),
      client.on("subscribed", ({ topics }) => topics.filter((ack) => ack.topic === topic).forEach((ack) => this.#onAck(ack))),
      client.subscribe(topic, (event) => this.#onLog(event)),
      client.subscribe(`${topic}.state`, (event) => this.#onState(event)),
      client.subscribe(`${topic}.asks`, { snapshot: false }, (event) => this.#onAsk(event)),
    );
  }

  get text() {
    return this.#view.text;
  }

  /** Edits that the server has not confirmed yet. */
  get pending() {
    return this.#pending.length + (this.#ops.length > 0 ? 1 : 0);
  }

  /** Whether all that the log says is known. */
  get isReady() {
    return this.#isReady;
  }

  get tombstones() {
    return this.#confirmed.tombstones;
  }

  /** Replaces `deleted` UTF-16 units at `offset` by `inserted`. */
  edit(offset, deleted, inserted) {
    if (deleted > 0) this.#ops.push(this.#view.deleteAt(offset, deleted));
    if (inserted) {
      this.#ops.push(this.#view.insertAt(offset, inserted, this.site, this.#n));
      this.#n += Array.from(inserted).length;
    }
    this.#after("batch", BATCH_MS, () => this.flush());
  }

  /** Publishes what was typed, now. */
  flush() {
    this.#stop("batch");
    if (this.#ops.length === 0) return;
    const entry = { by: this.site, batch: this.#batches++, ops: this.#ops };
    this.#ops = [];
    this.#pending.push({ entry, at: undefined, sending: undefined });
    this.#resend();
  }

  /** The name of the character before an offset, or null at the start: where a caret is, whatever others type. */
  anchor(offset) {
    return this.#view.idBefore(offset);
  }

  /** Where that is now; undefined: the character is gone. */
  offset(anchor) {
    return this.#view.offsetBehind(anchor);
  }

  /** What must not be lost when the page goes: undefined, or all that is known here, of which some may be known nowhere else. */
  keep() {
    this.flush();
    return this.#known || this.#pending.length > 0 ? this.#view.toJSON() : undefined;
  }

  #restore(kept) {
    try {
      this.#known = Sequence.from(kept);
      this.#rebuild();
    } catch {
      // Of an older page, or cut short: there is nothing to be had of it.
      this.#known = undefined;
    }
  }

  /** Ends it, with what can still be sent. */
  close() {
    this.flush();
    if (this.#timers.has("save")) this.#save();
    this.#isClosed = true;
    for (const name of [...this.#timers.keys()]) this.#stop(name);
    for (const off of this.#offs) off();
  }

  // ---- the log ----

  #onAck({ epoch, seq, recovered }) {
    this.#isLogKnown = true;
    const isSame = epoch === this.#epoch;
    if (isSame && recovered !== "none") return this.#resend();
    if (!isSame) this.#lose(epoch);
    if (seq === 0) {
      // Nothing was ever said in this epoch: everybody begins with an empty text.
      this.#confirmed = new Sequence();
      this.#seq = 0;
      this.#becomeReady();
    } else if (!this.#isReady) {
      this.#ask();
    }
    this.#resend();
  }

  /** The log is another one, or has a hole: all that was shown is what is known, be it in the new log or not. */
  #lose(epoch) {
    if (this.#view.size + this.#view.tombstones > 0) this.#known = this.#view;
    // Their places are in the tree that goes with `#known`; by themselves they would have none in the new log.
    this.#holdBack();
    this.#pending = [];
    this.#ops = [];
    this.#confirmed = new Sequence();
    this.#epoch = epoch;
    this.#seq = 0;
    this.#savedSeq = 0;
    this.#isReady = false;
    this.#candidate = undefined;
    this.#waiting.clear();
    this.#rebuild();
  }

  #onLog(event) {
    if (event.type === "gap") {
      if (event.epoch !== undefined && event.epoch !== this.#epoch) this.#lose(event.epoch);
      else if (event.why !== "epoch" && this.#isReady && (event.to === undefined || event.to > this.#seq)) this.#lose(this.#epoch);
      return this.#isReady ? undefined : this.#ask();
    }
    if (event.type === "skip") {
      if (event.to > this.#seq && this.#isReady) this.#lose(this.#epoch);
      return this.#ask();
    }
    if (event.seq <= this.#seq) return;
    // The first entry of a log needs nothing before it, and a reset replaces it.
    if (this.#isReady && event.seq === this.#seq + 1) {
      this.#take(event.seq, event.data);
      return this.#onChange();
    }
    if (this.#waiting.size < WAITING_MAX) this.#waiting.set(event.seq, event.data);
    if (this.#isReady) {
      this.#lose(this.#epoch);
      this.#waiting.set(event.seq, event.data);
    }
    if (event.data?.reset) this.#adoptReset(event.seq, event.data.reset);
    if (!this.#isReady) this.#ask();
  }

  /** Takes the next entry. What it means depends on nothing but the entries before it. */
  #take(seq, entry) {
    this.#seq = seq;
    const gen = `${this.#epoch}:${seq}`;
    let isRegular = true;
    try {
      if (entry?.reset) {
        const state = Sequence.from(entry.reset);
        // What stood before is no longer there, so those who had it bring it back.
        if (this.#view.size + this.#view.tombstones > 0) this.#known = this.#view;
        this.#confirmed = state;
        this.#confirmed.gen = gen;
        isRegular = false;
      } else if (entry?.merge) {
        this.#confirmed.merge(Sequence.from(entry.merge));
        isRegular = false;
      } else if (typeof entry?.compact === "string") {
        if (entry.compact === this.#confirmed.gen) this.#confirmed.compact(gen);
        isRegular = false;
      } else if (Array.isArray(entry?.ops)) {
        for (const op of entry.ops) isRegular = this.#confirmed.apply(op) && isRegular;
        if (isRegular && !this.#isOurs(entry)) for (const op of entry.ops) isRegular = this.#view.apply(op) && isRegular;
      }
    } catch (error) {
      // Whatever else may be published to the topic: it is skipped by everybody alike, as far as it is no edit.
      if (!(error instanceof TypeError)) throw error;
      isRegular = false;
    }
    const isOurs = this.#isOurs(entry);
    if (isOurs) this.#pending = this.#pending.filter((pending) => pending.entry.batch !== entry.batch || pending.entry.by !== entry.by);
    if (!isRegular) this.#rebuild();
    this.#settleKnown();
    // A large text is a large state, so it is published less often.
    this.#soon(isOurs ? "save" : "save for others", Math.max(isOurs ? SAVE_MS : SAVE_FOR_OTHERS_MS + this.#random() * SPREAD_MS, this.#confirmed.size / 20), () => this.#save());
    if (this.#hasTooMany()) this.#soon("compact", isOurs ? 0 : SPREAD_MS * (1 + this.#random()), () => this.#hasTooMany() && this.#publish({ compact: this.#confirmed.gen }));
  }

  #hasTooMany() {
    const { tombstones, size } = this.#confirmed;
    return tombstones > Math.max(TOMBSTONES_MIN, size);
  }

  #isOurs(entry) {
    return this.#pending.some((pending) => pending.entry.by === entry?.by && pending.entry.batch === entry?.batch);
  }

  // ---- states ----

  #onState(event) {
    if (event.type === "gap" || event.type === "skip") return;
    const { epoch, seq, state } = event.data ?? {};
    if (epoch !== this.#epoch || !Number.isSafeInteger(seq)) return;
    this.#savedSeq = Math.max(this.#savedSeq, seq);
    if (this.#isReady || seq < (this.#candidate?.seq ?? 0)) return;
    let confirmed;
    try {
      confirmed = Sequence.from(state);
    } catch (error) {
      if (error instanceof TypeError) return;
      throw error;
    }
    this.#candidate = { seq, confirmed };
    this.#adopt();
  }

  /** Goes on from the state that was offered, if everything behind it is there. */
  async #adopt() {
    const { seq, confirmed } = this.#candidate;
    const epoch = this.#epoch;
    const newest = Math.max(seq, ...this.#waiting.keys());
    if (!this.#isWhole(seq, newest)) await this.#fetch(seq);
    if (this.#isReady || epoch !== this.#epoch || this.#candidate?.seq !== seq || this.#isClosed) return;
    const end = Math.max(seq, ...this.#waiting.keys());
    if (!this.#isWhole(seq, end)) return this.#ask();
    this.#goOn(seq, confirmed);
  }

  #isWhole(from, to) {
    for (let seq = from + 1; seq <= to; seq++) if (!this.#waiting.has(seq)) return false;
    return true;
  }

  /** What the server still has behind a state. */
  async #fetch(since) {
    const epoch = this.#epoch;
    try {
      const history = await this.#client.history(this.#topic, { since, limit: WAITING_MAX });
      if (history.epoch !== epoch || this.#epoch !== epoch) return;
      for (const { seq, data } of history.updates) this.#waiting.set(seq, data);
    } catch {
      // A server without that, or none at all right now: somebody else may have it.
    }
  }

  #adoptReset(seq, json) {
    try {
      const state = Sequence.from(json);
      state.gen = `${this.#epoch}:${seq}`;
      this.#goOn(seq, state);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }

  #goOn(seq, confirmed) {
    this.#confirmed = confirmed;
    this.#seq = seq;
    this.#becomeReady();
    this.#resend();
  }

  #becomeReady() {
    this.#isReady = true;
    this.#candidate = undefined;
    this.#stop("ask");
    for (let entry; (entry = this.#waiting.get(this.#seq + 1)) !== undefined; ) {
      this.#waiting.delete(this.#seq + 1);
      this.#take(this.#seq + 1, entry);
    }
    this.#waiting.clear();
    this.#rebuild();
    this.#settleKnown();
    this.#onChange();
  }

  /** Asks for a state until there is one; goes on without, if nobody has it. */
  #ask() {
    if (this.#isReady) return;
    this.#soon("ask", ASK_AFTER_MS, () => {
      if (this.#isReady) return;
      if (this.#client.state === "open") this.#client.publish(`${this.#topic}.asks`, { ask: this.site }).catch(() => {});
      this.#after("ask", ASK_MS * (1 + this.#random() / 2), () => this.#goOnWithout());
    });
  }

  async #goOnWithout() {
    if (this.#client.state !== "open") return this.#ask();
    // The log itself, from its beginning, is as good as a state.
    await this.#fetch(0);
    if (this.#isReady || this.#isClosed) return;
    const newest = Math.max(0, ...this.#waiting.keys());
    if (newest > 0 && this.#isWhole(0, newest)) return this.#goOn(0, new Sequence());
    const base = this.#candidate?.confirmed.clone() ?? new Sequence();
    if (this.#known) base.merge(this.#known);
    for (const seq of [...this.#waiting.keys()].sort((a, b) => a - b)) {
      const entry = this.#waiting.get(seq);
      for (const op of Array.isArray(entry?.ops) ? entry.ops : []) tryApply(base, op);
    }
    this.#publish({ reset: base });
    this.#ask();
  }

  #onAsk({ type, data }) {
    if (type !== "update" || data?.ask === this.site || !this.#isReady) return;
    this.#soon("answer", this.#random() * SPREAD_MS, () => this.#save());
  }

  /** Publishes the state, unless somebody has. */
  #save() {
    for (const name of ["save", "save for others"]) this.#stop(name);
    if (!this.#isReady || this.#savedSeq >= this.#seq) return;
    this.#savedSeq = this.#seq;
    this.#client.publish(`${this.#topic}.state`, { epoch: this.#epoch, seq: this.#seq, state: this.#confirmed }).catch(() => (this.#savedSeq = 0));
  }

  /** Brings what was known from before, unless somebody else has done it. */
  #settleKnown() {
    if (!this.#known || !this.#isReady) return;
    if (this.#confirmed.covers(this.#known)) {
      this.#known = undefined;
      this.#stop("known");
      this.#rebuild();
      return this.#resend();
    }
    this.#soon("known", this.#random() * SPREAD_MS, () => {
      if (!this.#known || !this.#isReady) return;
      if (this.#confirmed.covers(this.#known)) return this.#settleKnown();
      this.#publish({ merge: this.#known });
      // Should it be lost on its way, it is said again.
      this.#after("known", 5 * ASK_MS, () => this.#settleKnown());
    });
  }

  // ---- sending ----

  #publish(entry) {
    this.#client.publish(this.#topic, entry).catch(() => {});
  }

  /** Sends the edits that are not on their way, once the log has what they hang on. */
  #resend() {
    // Between a connection and its ack, what was typed may be on its way to a log that knows none of the letters around it.
    if (!this.#isReady || !this.#isLogKnown || this.#known || this.#client.state !== "open") return;
    for (const pending of this.#pending) if (!pending.sending && pending.at?.epoch !== this.#epoch) this.#send(pending);
  }

  #send(pending) {
    const { entry } = pending;
    const sending = (pending.sending = new AbortController());
    // Under one key, however often it is sent.
    this.#client.publish(this.#topic, entry, { key: `${entry.by}-${entry.batch}`, signal: sending.signal }).then(
      (at) => (pending.at = at),
      (error) => {
        if (sending.signal.aborted) return;
        // Applied twice it does no harm. What is refused stays pending, and is shown as that.
        if (error.errorName === "uncertain") this.#after("again", 0, () => this.#resend());
      },
    ).finally(() => {
      if (pending.sending === sending) pending.sending = undefined;
    });
  }

  /** Without a connection nobody knows which log the next one leads to: what is on its way waits until that is clear. */
  #holdBack() {
    for (const pending of this.#pending) {
      pending.sending?.abort();
      pending.sending = undefined;
    }
  }

  #rebuild() {
    const view = this.#confirmed.clone();
    if (this.#known) view.merge(this.#known);
    for (const { entry } of this.#pending) for (const op of entry.ops) tryApply(view, op);
    for (const op of this.#ops) tryApply(view, op);
    view.gen = this.#confirmed.gen;
    this.#view = view;
  }

  #after(name, ms, run) {
    this.#stop(name);
    if (this.#isClosed) return;
    const timer = setTimeout(() => {
      this.#timers.delete(name);
      if (!this.#isClosed) run();
    }, ms);
    this.#timers.set(name, timer);
  }

  /** The same, unless it is going to happen already. */
  #soon(name, ms, run) {
    if (!this.#timers.has(name)) this.#after(name, ms, run);
  }

  #stop(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

function tryApply(sequence, op) {
  try {
    sequence.apply(op);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
}
