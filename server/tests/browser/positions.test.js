// What is passed on, once, and what is said of the rest.

import assert from "node:assert/strict";
import test from "node:test";

import { Positions, covers, isFilter, sampleOf } from "../../pages/fanfare-positions.js";

const E = "e1";
const update = (seq, topic = "a") => ({ type: "update", topic, seq });
const snapshot = (seq, topic = "a") => ({ type: "snapshot", topic, seq });
const brief = (events) => events.map(({ type, seq, from, to, why }) => [type, seq ?? from, to, why].filter((part) => part !== undefined).join(" "));

function standing(seq) {
  const positions = new Positions();
  positions.begin();
  positions.acked({ topic: "a", epoch: E, seq }, true);
  if (seq > 0) positions.take(snapshot(seq));
  return positions;
}

test("filters cover what the protocol says they do", () => {
  for (const [filter, topic, is] of [
    ["a", "a", true],
    ["a", "a.b", false],
    ["px.*", "px.a", true],
    ["px.*", "px", false],
    ["px.*", "px.a.b", false],
    ["px.>", "px.a.b", true],
    ["px.>", "px", false],
    ["*.b", "a.b", true],
    [">", "a", true],
    [">", "$sys.stats", false],
    ["*.stats", "$sys.stats", false],
    ["$sys.>", "$sys.stats", true],
    ["a>", "a>", true],
    ["a*", "ab", false],
  ]) {
    assert.equal(covers(filter, topic), is, `${filter} ${topic}`);
  }
  assert.deepEqual(["a", "a.*", ">", "a.>", "a*b", ">.a"].map(isFilter), [false, true, true, true, false, false]);
  assert.ok(covers("px.*.eur.>", sampleOf("px.*.eur.>")));
});

test("a topic opens with its snapshot and goes on from there", () => {
  const positions = new Positions();
  positions.acked({ topic: "a", epoch: E, seq: 7 }, true);
  assert.equal(positions.since("a"), undefined);
  assert.deepEqual(brief(positions.take(snapshot(7))), ["snapshot 7"]);
  assert.deepEqual(brief(positions.take(update(8))), ["update 8"]);
  assert.deepEqual(positions.since("a"), { epoch: E, seq: 8 });
});

test("a topic that never had a value can be resumed from zero, and so can one without its snapshot", () => {
  assert.deepEqual(standing(0).since("a"), { epoch: E, seq: 0 });
  const positions = new Positions();
  positions.acked({ topic: "a", epoch: E, seq: 7 }, false);
  assert.deepEqual(positions.since("a"), { epoch: E, seq: 7 });
});

test("what was seen is dropped, whatever it comes as", () => {
  const positions = standing(7);
  for (const type of ["update", "history", "snapshot"]) assert.deepEqual(positions.take({ type, topic: "a", seq: 7 }), []);
  assert.deepEqual(positions.take({ type: "skip", topic: "a", from: 5, to: 7, why: "slow" }), []);
  assert.deepEqual(brief(positions.take({ type: "skip", topic: "a", from: 6, to: 9, why: "slow" })), ["skip 8 9 slow"]);
  assert.deepEqual(brief(positions.take(update(10))), ["update 10"]);
});

test("a jump that nobody explained is a gap", () => {
  assert.deepEqual(brief(standing(7).take(update(10))), ["gap 8 9 unseen", "update 10"]);
});

test("a full recovery is history without a word about it", () => {
  const positions = standing(7);
  positions.begin();
  assert.deepEqual(positions.acked({ topic: "a", epoch: E, seq: 9, recovered: "full", count: 2 }, true), []);
  assert.deepEqual(brief([8, 9].flatMap((seq) => positions.take({ type: "history", topic: "a", seq }))), ["history 8", "history 9"]);
});

test("a gap names what is lost, and the snapshot is not", () => {
  const positions = standing(7);
  positions.begin();
  positions.acked({ topic: "a", epoch: E, seq: 12, recovered: "none" }, true);
  assert.deepEqual(brief(positions.take({ type: "gap", topic: "a", from: 8, why: "history", epoch: E })), ["gap 8 11 history"]);
  assert.deepEqual(brief(positions.take(snapshot(12))), ["snapshot 12"]);
});

test("a gap of a stream that overlaps with one which brought it all is none", () => {
  const positions = standing(7);
  positions.acked({ topic: "a", epoch: E, seq: 8, recovered: "none" }, true);
  positions.take(update(8));
  assert.deepEqual(positions.take({ type: "gap", topic: "a", from: 8, why: "history", epoch: E }), []);
  assert.deepEqual(positions.take(snapshot(8)), []);
});

test("a new epoch is a gap, and counts from its own beginning", () => {
  const positions = standing(700);
  positions.begin();
  positions.acked({ topic: "a", epoch: "e2", seq: 3, recovered: "none" }, true);
  assert.deepEqual(brief(positions.take({ type: "gap", topic: "a", from: 701, why: "epoch", epoch: "e2" })), ["gap 701 epoch"]);
  assert.deepEqual(brief(positions.take(snapshot(3))), ["snapshot 3"]);
  assert.deepEqual(positions.since("a"), { epoch: "e2", seq: 3 });
});

test("under a filter a reconnect drops what was seen and says what was missed", () => {
  const positions = new Positions();
  positions.learn(E);
  positions.take(snapshot(5, "px.a"));
  positions.take(snapshot(5, "px.b"));
  positions.begin();
  positions.learn(E);
  assert.deepEqual(brief(positions.take(snapshot(5, "px.a"))), []);
  assert.deepEqual(brief(positions.take(snapshot(9, "px.b"))), ["gap 6 8 unseen", "snapshot 9"]);
});

test("under a filter another epoch is noticed even where the count is higher than before", () => {
  const positions = new Positions();
  positions.learn(E);
  positions.take(snapshot(5, "px.a"));
  positions.begin();
  positions.learn("e2");
  assert.deepEqual(brief(positions.take(snapshot(9, "px.a"))), ["gap 6 epoch", "snapshot 9"]);
  assert.deepEqual(brief(positions.take(update(10, "px.a"))), ["update 10"]);
});

test("any cutting of connections passes every update on once, or names it in one gap", () => {
  // A server that keeps a few updates, and a client that is cut off at random.
  let state = 12345;
  const random = (below) => ((state = (state * 1103515245 + 12345) % 2 ** 31), Math.floor((state / 2 ** 31) * below));
  for (let round = 0; round < 300; round++) {
    const kept = random(6);
    const positions = new Positions();
    let seq = random(3);
    let expected;
    const seen = [];
    const take = (frame) => seen.push(...positions.take(frame));
    for (let connection = 0; connection < 6; connection++) {
      positions.begin();
      const since = positions.since("a");
      const missed = since ? seq - since.seq : 0;
      if (!since) {
        positions.acked({ topic: "a", epoch: E, seq }, true);
        if (seq > 0 && random(5) > 0) take(snapshot(seq));
      } else if (missed <= kept) {
        positions.acked({ topic: "a", epoch: E, seq, recovered: "full", count: missed }, true);
        const cut = random(5) === 0 ? random(missed + 1) : missed;
        for (let at = 1; at <= cut; at++) take({ type: "history", topic: "a", seq: since.seq + at });
        if (cut < missed) continue;
      } else {
        positions.acked({ topic: "a", epoch: E, seq, recovered: "none" }, true);
        take({ type: "gap", topic: "a", from: since.seq + 1, why: "history", epoch: E });
        if (random(5) === 0) continue;
        take(snapshot(seq));
      }
      for (let count = random(5); count > 0; count--) take(update(++seq));
      seq += random(5);
    }
    for (const event of seen) {
      const first = event.seq ?? event.from;
      if (expected !== undefined) assert.equal(first, expected, `round ${round}: ${JSON.stringify(seen)}`);
      expected = (event.seq ?? event.to) + 1;
    }
  }
});
