// Where each topic's stream stands, so that no update is lost or repeated across connections and transports.
//
// Everything that arrives goes through here. What was seen already is dropped; what was missed is told by a gap, the server's or one
// of our own where the server cannot know what we had (a filter has no position to resume from). No I/O, no clock.

/** Whether `filter` (or a plain topic) covers `topic`: `*` is one segment, a last `>` is one or more. */
export function covers(filter, topic) {
  if (filter === topic) return true;
  if (!isFilter(filter)) return false;
  const wanted = filter.split(".");
  const segments = topic.split(".");
  // Topics of the server's own are covered by filters that begin with the same segment only.
  if (topic.startsWith("$") && wanted[0] !== segments[0]) return false;
  for (let at = 0; at < wanted.length; at++) {
    if (wanted[at] === ">" && at === wanted.length - 1) return segments.length > at;
    if (at >= segments.length || (wanted[at] !== "*" && wanted[at] !== segments[at])) return false;
  }
  return wanted.length === segments.length;
}

/** Whether a name is a filter rather than one topic. */
export function isFilter(name) {
  return name.split(".").some((segment, at, all) => segment === "*" || (segment === ">" && at === all.length - 1));
}

/** A topic that `filter` covers; it need not exist. */
export function sampleOf(filter) {
  return filter.replaceAll("*", "0").replaceAll(">", "0");
}

export class Positions {
  /** @type {Map<string, {epoch?: string, seq?: number, ackSeq?: number, last?: object}>} */
  #entries = new Map();
  /** The epoch of the present connection, as soon as anything has told it. */
  #epoch;

  /** A new connection: what the last one acknowledged counts no more, and the server may be another. */
  begin() {
    this.#epoch = undefined;
    for (const entry of this.#entries.values()) entry.ackSeq = undefined;
  }

  /** Something told the epoch of the present connection. */
  learn(epoch) {
    this.#epoch = epoch;
  }

  get epoch() {
    return this.#epoch;
  }

  /** What to resume `topic` from. */
  since(topic) {
    const entry = this.#entries.get(topic);
    if (!entry?.epoch || entry.seq === undefined) return undefined;
    return { epoch: entry.epoch, seq: entry.seq };
  }

  /** The last value of `topic` that was passed on. */
  last(topic) {
    return this.#entries.get(topic)?.last;
  }

  /** Forgets the topics that nothing wanted covers any more. */
  retain(isWanted) {
    for (const topic of this.#entries.keys()) if (!isWanted(topic)) this.#entries.delete(topic);
  }

  /**
   * The server acknowledged a topic.
   * @param {{topic: string, epoch: string, seq: number, recovered?: string}} ack
   * @param {boolean} hasSnapshot whether its last value follows
   * @returns {object[]} events to pass on
   */
  acked(ack, hasSnapshot) {
    this.#epoch = ack.epoch;
    const entry = this.#entry(ack.topic);
    entry.ackSeq = ack.seq;
    if (ack.recovered !== undefined) return [];
    const events = [];
    if (entry.seq !== undefined && entry.epoch !== ack.epoch) {
      events.push(this.#newEpoch(ack.topic, entry, ack.epoch));
    }
    entry.epoch = ack.epoch;
    if (entry.seq === undefined && (!hasSnapshot || ack.seq === 0)) entry.seq = ack.seq;
    return events;
  }

  /**
   * A snapshot, history, update, skip or gap arrived.
   * @returns {object[]} what it means to somebody who has had all that was passed on before: nothing, itself, or a gap and itself
   */
  take(frame) {
    const entry = this.#entry(frame.topic);
    if (frame.type === "gap") return this.#gap(frame, entry);
    const events = [];
    // Without an ack of its own a topic is had by a filter, and its epoch is the connection's.
    const isAcked = entry.ackSeq !== undefined;
    const seq = frame.type === "skip" ? frame.from : frame.seq;
    if (!isAcked && entry.seq !== undefined) {
      const isOther = this.#epoch !== undefined && entry.epoch !== undefined && entry.epoch !== this.#epoch;
      // Nobody could tell the epoch: a value that is older than what we had is another count.
      const isBehind = this.#epoch === undefined && frame.type === "snapshot" && seq < entry.seq;
      if (isOther || isBehind) events.push(this.#newEpoch(frame.topic, entry, this.#epoch));
    }
    entry.epoch = isAcked ? entry.epoch : (this.#epoch ?? entry.epoch);
    const end = frame.type === "skip" ? frame.to : frame.seq;
    if (entry.seq !== undefined) {
      if (end <= entry.seq) return events;
      if (seq > entry.seq + 1) {
        events.push({ type: "gap", topic: frame.topic, from: entry.seq + 1, to: seq - 1, why: "unseen", epoch: entry.epoch });
      }
    }
    if (frame.type === "skip") {
      events.push({ ...frame, from: entry.seq === undefined ? frame.from : Math.max(frame.from, entry.seq + 1) });
    } else {
      events.push(frame);
      entry.last = frame;
    }
    entry.seq = end;
    return events;
  }

  #gap(frame, entry) {
    this.#epoch = frame.epoch ?? this.#epoch;
    if (frame.why === "epoch" || entry.epoch !== frame.epoch || entry.seq === undefined) {
      const event = { ...frame };
      entry.epoch = frame.epoch;
      // The last value follows, if the topic has any.
      entry.seq = entry.ackSeq === 0 ? 0 : undefined;
      return [event];
    }
    const from = Math.max(frame.from, entry.seq + 1);
    const to = entry.ackSeq === undefined ? from : entry.ackSeq - 1;
    if (to < from) return [];
    entry.seq = to;
    return [{ ...frame, from, to }];
  }

  #newEpoch(topic, entry, epoch) {
    const event = { type: "gap", topic, from: entry.seq + 1, why: "epoch", epoch };
    entry.epoch = epoch;
    entry.seq = undefined;
    return event;
  }

  #entry(topic) {
    let entry = this.#entries.get(topic);
    if (!entry) this.#entries.set(topic, (entry = {}));
    return entry;
  }
}
