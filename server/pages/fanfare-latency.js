// How old updates are when they arrive, by the server's clock.
//
// The clocks of two machines differ. A ping that came back within r milliseconds tells the difference to within r / 2, so the
// quickest of the last pings is believed. Without any, nothing is said rather than something wrong.

const PINGS_KEPT = 8;
const SAMPLES_KEPT = 4096;

export class Latency {
  /** @type {{rtt: number, offset: number}[]} */
  #pings = [];
  #samples = new Float64Array(SAMPLES_KEPT);
  #count = 0;

  /** A ping went at `sentMs`, came back at `nowMs`, and was answered when the server's clock showed `serverUs`. */
  pong(sentMs, nowMs, serverUs) {
    this.#pings.push({ rtt: nowMs - sentMs, offset: serverUs / 1000 - (sentMs + nowMs) / 2 });
    if (this.#pings.length > PINGS_KEPT) this.#pings.shift();
  }

  /** Another connection may lead to another server. */
  forgetClock() {
    this.#pings = [];
  }

  #best() {
    return this.#pings.reduce((best, ping) => (!best || ping.rtt < best.rtt ? ping : best), undefined);
  }

  /** What to add to our clock to get the server's, in milliseconds; undefined: not known. */
  get offsetMs() {
    return this.#best()?.offset;
  }

  /** The quickest way there and back, in milliseconds. */
  get rttMs() {
    return this.#best()?.rtt;
  }

  /** Notes an update of `tsUs`. Returns its age in milliseconds, if the clocks can be compared. */
  note(tsUs, nowMs) {
    const offset = this.offsetMs;
    if (offset === undefined) return undefined;
    // Half the quickest ping is how wrong the difference may be; nothing arrives before it was sent.
    const age = Math.max(0, nowMs + offset - tsUs / 1000);
    this.#samples[this.#count % SAMPLES_KEPT] = age;
    this.#count += 1;
    return age;
  }

  /** Of the last 4,096 updates. */
  summary() {
    const kept = Math.min(this.#count, SAMPLES_KEPT);
    if (kept === 0) return { count: 0, p50: undefined, p99: undefined, max: undefined, rtt: this.rttMs };
    const sorted = this.#samples.slice(0, kept).sort();
    const at = (share) => sorted[Math.min(kept - 1, Math.ceil(kept * share) - 1)];
    return { count: this.#count, p50: at(0.5), p99: at(0.99), max: sorted[kept - 1], rtt: this.rttMs };
  }
}
