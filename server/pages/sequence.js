// A text that several people edit at once, as a sequence of characters with names: the tree of Fugue (Weidner and Kleppmann, "The
// Art of the Fugue", 2023), in which concurrent runs of text do not interleave.
//
// Every character is a node below the one it was typed behind (a right child) or before (a left child), and siblings are in the order
// of their names; so the text follows from the set of nodes, in whatever order they came. Deleted characters stay as tombstones that
// others may hang on. `compact` drops them all; it and `merge` give the same result on replicas that are the same before, and so they are
// for a log with one order. No I/O, no clock.

/** @typedef {[site: string, n: number]} Id */
/** @typedef {{site: string, n: number, text: string, parent: Id | null, side: 0 | 1, left: Id | null, right: Id | null, gen: string}} Insert */
/** @typedef {{ids: [site: string, from: number, count: number][]}} Delete */

const LEFT = 0;
const RIGHT = 1;

class Node {
  constructor(site, n, char, isDeleted) {
    this.site = site;
    this.n = n;
    this.char = char;
    this.isDeleted = isDeleted;
    this.parent = null;
    this.side = RIGHT;
    /** @type {Node[] | undefined} */
    this.lefts = undefined;
    /** @type {Node[] | undefined} */
    this.rights = undefined;
  }

  get id() {
    return [this.site, this.n];
  }
}

function isBefore(a, b) {
  return a.site === b.site ? a.n < b.n : a.site < b.site;
}

/** Which names have been seen: for each site, ranges in order that do not touch. */
export class Seen {
  #ranges = new Map();

  has(site, n) {
    const ranges = this.#ranges.get(site);
    return ranges !== undefined && ranges.some(([from, to]) => from <= n && n < to);
  }

  /** Whether none of `count` names from `n` on has been. */
  hasNone(site, n, count) {
    const ranges = this.#ranges.get(site);
    return ranges === undefined || ranges.every(([from, to]) => to <= n || n + count <= from);
  }

  add(site, n, count = 1) {
    let ranges = this.#ranges.get(site);
    if (!ranges) this.#ranges.set(site, (ranges = []));
    const last = ranges.at(-1);
    if (last && last[1] === n) last[1] = n + count;
    else if (!last || last[1] < n) ranges.push([n, n + count]);
    else this.#ranges.set(site, joined([...ranges, [n, n + count]]));
  }

  addAll(other) {
    for (const [site, ranges] of other.#ranges) for (const [from, to] of ranges) this.add(site, from, to - from);
  }

  toJSON() {
    return Object.fromEntries(this.#ranges);
  }

  static from(json) {
    const seen = new Seen();
    for (const [site, ranges] of Object.entries(json)) for (const [from, to] of ranges) seen.add(site, integer(from), integer(to) - from);
    return seen;
  }
}

function joined(ranges) {
  ranges.sort((a, b) => a[0] - b[0]);
  const result = [ranges[0].slice()];
  for (const [from, to] of ranges.slice(1)) {
    const last = result.at(-1);
    if (from <= last[1]) last[1] = Math.max(last[1], to);
    else result.push([from, to]);
  }
  return result;
}

function integer(value) {
  if (!Number.isSafeInteger(value) || value < 0) throw new TypeError("a whole number was expected");
  return value;
}

function name(value) {
  if (typeof value !== "string") throw new TypeError("a name was expected");
  return value;
}

export class Sequence {
  /** In the order of the text. @type {Node[]} */
  #nodes = [];
  /** @type {Map<string, Map<number, Node>>} */
  #bySite = new Map();
  #root = new Node("", -1, "", true);
  #seen = new Seen();
  #tombstones = 0;
  /** Which compaction the tree goes back to; what was made on another tree is placed by its neighbours. */
  gen = "";

  get text() {
    let text = "";
    for (const node of this.#nodes) if (!node.isDeleted) text += node.char;
    return text;
  }

  get tombstones() {
    return this.#tombstones;
  }

  /** Characters that are not deleted. */
  get size() {
    return this.#nodes.length - this.#tombstones;
  }

  // ---- edits made here ----

  /**
   * Inserts at an offset of the text, in UTF-16 units.
   * @returns {Insert} what others have to apply
   */
  insertAt(offset, text, site, n) {
    const index = this.#indexOfOffset(offset);
    const left = this.#visible(index - 1, -1);
    const right = this.#visible(index, 1);
    const [parent, side] = this.#anchorBehind(left ?? this.#root);
    const op = { site, n, text, parent: parent === this.#root ? null : parent.id, side, left: left?.id ?? null, right: right?.id ?? null, gen: this.gen };
    this.apply(op);
    return op;
  }

  /** Deletes from an offset on, in UTF-16 units. @returns {Delete} */
  deleteAt(offset, length) {
    const ids = [];
    let left = length;
    for (let index = this.#indexOfOffset(offset); left > 0 && index < this.#nodes.length; index++) {
      const node = this.#nodes[index];
      if (node.isDeleted) continue;
      left -= node.char.length;
      const last = ids.at(-1);
      if (last && last[0] === node.site && last[1] + last[2] === node.n) last[2] += 1;
      else ids.push([node.site, node.n, 1]);
    }
    const op = { ids };
    this.apply(op);
    return op;
  }

  // ---- edits from anywhere ----

  /**
   * Applies an edit; applying it again changes nothing. Throws a TypeError on what is none.
   * @param {Insert | Delete} op
   * @returns {boolean} whether it was placed by its name alone, so that the order in which edits come does not matter
   */
  apply(op) {
    if (op.ids) {
      for (const [site, from, count] of op.ids) {
        const nodes = this.#bySite.get(name(site));
        for (let n = integer(from), end = n + integer(count); nodes && n < end; n++) this.#delete(nodes.get(n));
      }
      return true;
    }
    const chars = Array.from(name(op.text));
    const { site, gen } = op;
    const n = integer(op.n);
    if (chars.length === 0) return true;
    const isKnown = gen === this.gen && (op.parent === null || this.#find(op.parent) !== undefined);
    if (this.#seen.hasNone(name(site), n, chars.length)) {
      const [parent, side] = isKnown ? [op.parent === null ? this.#root : this.#find(op.parent), op.side === LEFT ? LEFT : RIGHT] : this.#anchorNear(op.left, op.right);
      this.#insertRun(chars.map((char, at) => new Node(site, n + at, char, false)), parent, side);
      return isKnown;
    }
    // Parts of it are here already: each character by itself, behind the one before it.
    chars.forEach((char, at) => {
      if (this.#seen.has(site, n + at)) return;
      const before = at === 0 ? undefined : this.#find([site, n + at - 1]);
      const [parent, side] = before ? this.#anchorBehind(before) : this.#anchorNear(op.left, op.right);
      this.#insertRun([new Node(site, n + at, char, false)], parent, side);
    });
    return false;
  }

  /** Takes in all that another replica knows: what it inserted, and what it deleted, be the tombstone there or gone. */
  merge(other) {
    for (const node of this.#nodes) {
      if (node.isDeleted || !other.#seen.has(node.site, node.n)) continue;
      const theirs = other.#find(node.id);
      if (!theirs || theirs.isDeleted) this.#delete(node);
    }
    let left = this.#root;
    let run = [];
    const place = () => {
      if (run.length === 0) return;
      const [parent, side] = this.#anchorBehind(left);
      this.#insertRun(run, parent, side);
      left = run.at(-1);
      run = [];
    };
    for (const theirs of other.#nodes) {
      const mine = this.#find(theirs.id);
      if (mine) {
        place();
        left = mine;
      } else if (!this.#seen.has(theirs.site, theirs.n)) {
        const node = new Node(theirs.site, theirs.n, theirs.char, theirs.isDeleted);
        run.push(node);
      }
    }
    place();
    this.#seen.addAll(other.#seen);
  }

  /** Whether nothing that `other` inserted or deleted is missing here. */
  covers(other) {
    return (
      other.#nodes.every((node) => this.#seen.has(node.site, node.n)) &&
      this.#nodes.every((node) => node.isDeleted || !other.#seen.has(node.site, node.n) || other.#find(node.id)?.isDeleted === false)
    );
  }

  /** Drops all tombstones. `gen` names the tree that is left. */
  compact(gen) {
    const living = this.#nodes.filter((node) => !node.isDeleted);
    this.#nodes = [];
    this.#bySite = new Map();
    this.#root = new Node("", -1, "", true);
    this.#tombstones = 0;
    this.gen = gen;
    this.#insertRun(living.map(({ site, n, char }) => new Node(site, n, char, false)), this.#root, RIGHT);
  }

  // ---- carets ----

  /** The name of the character before an offset, by which a caret is found again; null at the start. */
  idBefore(offset) {
    return this.#visible(this.#indexOfOffset(offset) - 1, -1)?.id ?? null;
  }

  /** Where a caret behind this character stands now; undefined: the character is gone. */
  offsetBehind(id) {
    if (id === null) return 0;
    const node = this.#find(id);
    if (!node) return undefined;
    let offset = 0;
    for (const other of this.#nodes) {
      if (!other.isDeleted) offset += other.char.length;
      if (other === node) return offset;
    }
    return undefined;
  }

  // ---- as JSON ----

  /** Runs of characters that hang behind each other, in the order of the text; of deleted ones only their number is kept. */
  toJSON() {
    const runs = [];
    let last;
    let before;
    for (const node of this.#nodes) {
      const goesOn = before && node.parent === before && node.side === RIGHT && node.site === before.site && node.n === before.n + 1 && node.isDeleted === before.isDeleted;
      if (goesOn) {
        if (node.isDeleted) last[2] += 1;
        else last[2] += node.char;
      } else {
        last = [node.site, node.n, node.isDeleted ? 1 : node.char];
        if (node.parent !== this.#root) last.push(node.parent.site, node.parent.n);
        if (node.side === LEFT) last.push(LEFT);
        runs.push(last);
      }
      before = node;
    }
    return { gen: this.gen, runs, seen: this.#seen };
  }

  /** Throws a TypeError on what is no sequence. */
  static from({ gen, runs, seen }) {
    const sequence = new Sequence();
    sequence.gen = name(gen);
    const waiting = [];
    for (const [site, n, what, ...where] of runs) {
      const chars = typeof what === "string" ? Array.from(what) : new Array(integer(what)).fill("");
      let before;
      chars.forEach((char, at) => {
        const node = new Node(name(site), integer(n) + at, char, typeof what === "number");
        sequence.#add(node);
        sequence.#nodes.push(node);
        if (before) link(node, before, RIGHT);
        else waiting.push([node, where]);
        before = node;
      });
    }
    // Children come in the order of the text, which is that of their names; those in the middle of a run have none before.
    for (const [node, where] of waiting) {
      const parent = where.length >= 2 ? sequence.#find([where[0], where[1]]) : sequence.#root;
      if (!parent) throw new TypeError("a character hangs on one that is not there");
      link(node, parent, where.length % 2 === 1 ? LEFT : RIGHT);
    }
    sequence.#seen.addAll(Seen.from(seen));
    return sequence;
  }

  clone() {
    return Sequence.from(JSON.parse(JSON.stringify(this)));
  }

  // ---- the tree ----

  #find(id) {
    return this.#bySite.get(id?.[0])?.get(id[1]);
  }

  #add(node) {
    let nodes = this.#bySite.get(node.site);
    if (!nodes) this.#bySite.set(node.site, (nodes = new Map()));
    if (nodes.has(node.n)) throw new TypeError("a character is there twice");
    nodes.set(node.n, node);
    this.#seen.add(node.site, node.n);
    if (node.isDeleted) this.#tombstones += 1;
  }

  #delete(node) {
    if (!node || node.isDeleted) return;
    node.isDeleted = true;
    this.#tombstones += 1;
  }

  /** Each node of the run hangs behind the one before it. */
  #insertRun(run, parent, side) {
    if (run.length === 0) return;
    const index = this.#indexFor(run[0], parent, side);
    link(run[0], parent, side);
    for (let at = 1; at < run.length; at++) link(run[at], run[at - 1], RIGHT);
    for (const node of run) this.#add(node);
    if (run.length === 1) this.#nodes.splice(index, 0, run[0]);
    else this.#nodes = this.#nodes.slice(0, index).concat(run, this.#nodes.slice(index));
  }

  #indexFor(node, parent, side) {
    if (side === RIGHT) {
      const before = (parent.rights ?? []).filter((sibling) => isBefore(sibling, node)).at(-1);
      let last = before ?? parent;
      if (before) while (last.rights?.length) last = last.rights.at(-1);
      return last === this.#root ? 0 : this.#nodes.indexOf(last) + 1;
    }
    let first = (parent.lefts ?? []).find((sibling) => isBefore(node, sibling)) ?? parent;
    if (first !== parent) while (first.lefts?.length) first = first.lefts[0];
    return this.#nodes.indexOf(first);
  }

  /** Where something that stands directly behind `node` hangs. */
  #anchorBehind(node) {
    if (!node.rights?.length) return [node, RIGHT];
    const index = node === this.#root ? -1 : this.#nodes.indexOf(node);
    return [this.#nodes[index + 1], LEFT];
  }

  /** The same for something whose parent is gone or was another's: behind its neighbour, or before the other, or at the end. */
  #anchorNear(left, right) {
    const before = left === null ? this.#root : this.#find(left);
    if (before) return this.#anchorBehind(before);
    const behind = this.#find(right);
    const index = behind ? this.#nodes.indexOf(behind) : this.#nodes.length;
    return this.#anchorBehind(this.#nodes[index - 1] ?? this.#root);
  }

  /** The nearest character that is not deleted, from `index` in one direction. */
  #visible(index, step) {
    while (index >= 0 && index < this.#nodes.length && this.#nodes[index].isDeleted) index += step;
    return this.#nodes[index];
  }

  /** Of the first node behind `offset` UTF-16 units of text. */
  #indexOfOffset(offset) {
    let index = 0;
    for (let left = offset; left > 0 && index < this.#nodes.length; index++) {
      if (!this.#nodes[index].isDeleted) left -= this.#nodes[index].char.length;
    }
    return index;
  }
}

function link(node, parent, side) {
  node.parent = parent;
  node.side = side;
  const key = side === LEFT ? "lefts" : "rights";
  const siblings = (parent[key] ??= []);
  let at = siblings.length;
  while (at > 0 && isBefore(node, siblings[at - 1])) at -= 1;
  siblings.splice(at, 0, node);
}
