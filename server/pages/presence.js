// Who is there: everybody says so on one topic, again and again, and is forgotten after silence or a goodbye.

const EVERY_MS = 15_000;
const FORGET_MS = 40_000;
const PEOPLE_MAX = 200;

export class Presence {
  #client;
  #topic;
  #id;
  #tell;
  #onChange;
  #people = new Map();
  #timer;
  #off;
  #stops = [];

  /**
   * @param {() => object} tell what to say of oneself, `name` among it
   * @param {(people: Map<string, object>) => void} onChange called with all others by their id
   */
  constructor(client, topic, id, tell, onChange) {
    this.#client = client;
    this.#topic = topic;
    this.#id = id;
    this.#tell = tell;
    this.#onChange = onChange;
    this.#off = client.subscribe(topic, { snapshot: false }, (event) => this.#take(event));
    const onSubscribed = client.on("subscribed", ({ topics }) => topics.some((ack) => ack.topic === topic) && this.say({ isAsking: true }));
    this.#timer = setInterval(() => this.#sweep(), EVERY_MS);
    const leave = () => this.say({ isLeaving: true });
    addEventListener("pagehide", leave);
    this.#stops.push(onSubscribed, () => removeEventListener("pagehide", leave));
  }

  get people() {
    return this.#people;
  }

  say(more = {}) {
    // Who is away says it on coming back; what is old by then need not be said.
    if (this.#client.state !== "open") return;
    this.#client.publish(this.#topic, { id: this.#id, ...this.#tell(), ...more }).catch(() => {});
  }

  end() {
    this.say({ isLeaving: true });
    clearInterval(this.#timer);
    this.#off();
    for (const stop of this.#stops) stop();
  }

  #take({ type, data }) {
    if (type !== "update" || typeof data?.id !== "string" || data.id === this.#id) return;
    if (data.isLeaving) this.#people.delete(data.id);
    else if (this.#people.has(data.id) || this.#people.size < PEOPLE_MAX) this.#people.set(data.id, { ...data, heardAt: performance.now() });
    if (data.isAsking) setTimeout(() => this.say(), Math.random() * 300);
    this.#onChange(this.#people);
  }

  #sweep() {
    this.say();
    for (const [id, { heardAt }] of this.#people) if (performance.now() - heardAt > FORGET_MS) this.#people.delete(id);
    this.#onChange(this.#people);
  }
}
