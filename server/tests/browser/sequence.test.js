// Random concurrent edits converge, whatever comes in between.

import assert from "node:assert/strict";
import test from "node:test";

import { Seen, Sequence } from "../../pages/sequence.js";
import { generator } from "./random.js";

class Writer {
  sequence = new Sequence();
  #n = 0;

  constructor(site) {
    this.site = site;
  }

  insert(offset, text) {
    const op = this.sequence.insertAt(offset, text, this.site, this.#n);
    this.#n += Array.from(text).length;
    return op;
  }

  delete(offset, length) {
    return this.sequence.deleteAt(offset, length);
  }

  random(random) {
    const { text } = this.sequence;
    const at = boundary(text, random(text.length + 1));
    if (text.length > 0 && random(3) === 0) return this.delete(at, boundary(text, Math.min(text.length, at + 1 + random(4))) - at || 0);
    return this.insert(at, ["a", "bc", "XYZ", "é🦀", "\n"][random(5)]);
  }
}

/// Not in the middle of a surrogate pair.
function boundary(text, at) {
  return /[\udc00-\udfff]/.test(text.charAt(at)) ? at - 1 : at;
}

const copy = (value) => JSON.parse(JSON.stringify(value));

test("one writer's text is what was typed", () => {
  const writer = new Writer("a");
  writer.insert(0, "hello");
  writer.insert(5, " 🦀 world");
  writer.delete(0, 1);
  writer.insert(0, "J");
  writer.delete(6, 2);
  assert.equal(writer.sequence.text, "Jello  world");
  assert.equal(writer.sequence.tombstones, 2);
});

test("edits that cross each other converge in any order, and come twice without harm", () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = generator(seed);
    const writers = ["a", "b", "c"].map((site) => new Writer(site));
    const logs = writers.map(() => []);
    const read = writers.map(() => [0, 0, 0]);
    for (let step = 0; step < 60; step++) {
      const me = random(3);
      if (random(2) === 0) logs[me].push(copy(writers[me].random(random)));
      // What hangs on what, must come behind it: each takes in a log up to where its writer had read the others.
      else {
        const from = random(3);
        const isReady = (op) => op.ids || op.parent === null || writers[me].sequence.offsetBehind(op.parent) !== undefined;
        while (from !== me && read[me][from] < logs[from].length && isReady(logs[from][read[me][from]])) {
          const op = logs[from][read[me][from]++];
          // A deletion counts only once what it deletes has come.
          if (op.ids?.some(([site, n]) => writers[me].sequence.offsetBehind([site, n]) === undefined)) {
            read[me][from] -= 1;
            break;
          }
          writers[me].sequence.apply(op);
          if (random(4) === 0) writers[me].sequence.apply(op);
        }
      }
    }
    for (let round = 0; round < 3; round++) writers.forEach((writer) => logs.flat().forEach((op) => {
      if (op.ids || op.parent === null || writer.sequence.offsetBehind(op.parent) !== undefined) writer.sequence.apply(op);
    }));
    const texts = writers.map((writer) => writer.sequence.text);
    assert.equal(texts[1], texts[0], `seed ${seed}`);
    assert.equal(texts[2], texts[0], `seed ${seed}`);
  }
});

test("words that are typed at the same place do not interleave", () => {
  const [a, b] = ["a", "b"].map((site) => new Writer(site));
  const start = copy(a.insert(0, "[]"));
  b.sequence.apply(start);
  const fromA = [..."one"].map((char, at) => copy(a.insert(1 + at, char)));
  const fromB = [..."two"].map((char) => copy(b.insert(1, char)));
  fromA.forEach((op) => b.sequence.apply(op));
  fromB.forEach((op) => a.sequence.apply(op));
  assert.equal(a.sequence.text, b.sequence.text);
  assert.ok(["[oneowt]", "[owtone]"].includes(a.sequence.text), a.sequence.text);
});

test("JSON there and back is the same tree", () => {
  for (let seed = 0; seed < 50; seed++) {
    const random = generator(seed);
    const writer = new Writer("a");
    const other = new Writer("b");
    for (let step = 0; step < 40; step++) {
      const op = copy(writer.random(random));
      other.sequence.apply(op);
      if (step % 5 === 0) writer.sequence.apply(copy(other.random(random)));
    }
    const again = writer.sequence.clone();
    assert.equal(again.text, writer.sequence.text);
    assert.equal(again.tombstones, writer.sequence.tombstones);
    assert.deepEqual(copy(again), copy(writer.sequence));
    const next = copy(other.random(random));
    again.apply(next);
    writer.sequence.apply(next);
    assert.equal(again.text, writer.sequence.text, `seed ${seed}`);
  }
});

test("compaction leaves the text, drops the tombstones, and late edits still find their place", () => {
  const [a, b] = ["a", "b"].map((site) => new Writer(site));
  b.sequence.apply(copy(a.insert(0, "the quick brown fox")));
  const late = copy(b.insert(9, "er")); // behind "quick", made before the compaction
  const gone = copy(a.delete(4, 5));
  a.sequence.compact("g1");
  assert.equal(a.sequence.text, "the  brown fox");
  assert.equal(a.sequence.tombstones, 0);
  assert.equal(a.sequence.apply(late), false);
  const c = Sequence.from(copy(a.sequence));
  b.sequence.apply(gone);
  assert.equal(a.sequence.text, "the er brown fox");
  assert.equal(c.text, a.sequence.text);
  assert.equal(b.sequence.text, "the er brown fox");
});

test("a replica that was away brings what it has and learns what was deleted, tombstones or not", () => {
  const [a, b] = ["a", "b"].map((site) => new Writer(site));
  b.sequence.apply(copy(a.insert(0, "shared text")));
  b.insert(11, " from b");
  a.delete(0, 7);
  a.insert(0, "A: ");
  a.sequence.compact("g1");
  assert.equal(a.sequence.covers(b.sequence), false);
  a.sequence.merge(Sequence.from(copy(b.sequence)));
  assert.equal(a.sequence.text, "A: text from b");
  assert.ok(a.sequence.covers(b.sequence));
  b.sequence.merge(Sequence.from(copy(a.sequence)));
  assert.equal(b.sequence.text, "A: text from b");
});

test("what is no edit is refused and changes nothing", () => {
  const writer = new Writer("a");
  writer.insert(0, "x");
  for (const op of [{}, { text: 7 }, { site: 1, n: 0, text: "a" }, { site: "b", n: -1, text: "a" }, { ids: 7 }, { ids: [[1, 2]] }, { ids: [["a", "b", 1]] }]) {
    assert.throws(() => writer.sequence.apply(op), TypeError, JSON.stringify(op));
  }
  for (const json of [{}, { gen: "", runs: [[1]], seen: {} }, { gen: "", runs: [["a", 0, "x", "b", 7]], seen: {} }, { gen: "", runs: [["a", 0, "x"], ["a", 0, "y"]], seen: {} }]) {
    assert.throws(() => Sequence.from(json), TypeError, JSON.stringify(json));
  }
  assert.equal(writer.sequence.text, "x");
});

test("names that were seen are ranges, in whatever order they come", () => {
  for (let seed = 0; seed < 100; seed++) {
    const random = generator(seed);
    const seen = new Seen();
    const naive = new Set();
    for (let step = 0; step < 30; step++) {
      const n = random(40);
      const count = 1 + random(5);
      const isNew = Array.from({ length: count }, (_, at) => n + at).every((m) => !naive.has(m));
      assert.equal(seen.hasNone("s", n, count), isNew);
      seen.add("s", n, count);
      for (let at = 0; at < count; at++) naive.add(n + at);
    }
    for (let n = 0; n < 50; n++) assert.equal(seen.has("s", n), naive.has(n), `seed ${seed}, ${n}`);
  }
});

test("a hundred thousand characters are no work", () => {
  const writer = new Writer("a");
  writer.insert(0, "0123456789".repeat(5000));
  writer.insert(25_000, "x".repeat(50_000));
  for (let at = 0; at < 200; at++) writer.insert(at * 7, "y");
  const again = writer.sequence.clone();
  assert.equal(again.text.length, 100_200);
});
