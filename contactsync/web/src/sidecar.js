// The sidecar of a partition, a sealed label for each value of its directory, and its deltas: docs/directory-format.md,
// "The sidecar" and "The delta of a sidecar". labels.js opens entries.
import { check } from './errors.js';
import { MOST_OF_BUCKET, ceil, checkMagic } from './directory.js';
import { countBelow, equal, hex, sha256, u64, view } from './octets.js';

export const SIZES = [16, 32, 48, 64];
export const MOST_ENTRIES = 2 ** 32 - 1;
const TAG = 16;
const DELTA_BYTES = 168; // of a delta without places and entries

/** The figures of a sidecar that follow from the number of entries, the size of labels and the directory's slot bits. */
export function sidecarShape(count, size, q) {
  const buckets = 2 ** (q - 12);
  const [inPage, pages] = [Math.min(buckets, 256), ceil(buckets, 256)];
  const [page, index] = [36 * inPage + 4, 64 + 32 * pages];
  const data = index + pages * page;
  return { count, size, q, buckets, inPage, pages, page, index, data, entry: TAG + size, length: data + count * (TAG + size) };
}

/** The lengths that a delta between sidecars of these figures can have; multiples of 4. `last`: it leads to this one. */
export function deltaLengths(count, size, q, { last }) {
  const most = last ? count : Math.min(2 ** (q + 1), MOST_ENTRIES);
  return { least: DELTA_BYTES + 4, below: sidecarShape(most, size, q).length };
}

function checkRange(count, size, q) {
  check(q >= 12 && q <= 32 && SIZES.includes(size), 'out-of-range');
  check(count <= Math.min(2 ** (q + 1), MOST_ENTRIES), 'too-full');
}

/**
 * What the manifest says of a sidecar.
 * @typedef {{count: number, size: number, slot_bits: number, top_sha256: string, length: number, sha256: string}} SidecarInfo
 */

/**
 * Check header and top table. @param {Uint8Array} top the file, or at least these @param {SidecarInfo} info
 * @returns {ReturnType<typeof sidecarShape>}
 */
function checkTop(top, info) {
  checkMagic(top, '43534c424c0d0a1a', 1);
  check(top.length >= 64, 'wrong-length');
  const [q, size, count] = [top[10], top[11], u64(top, 16)];
  checkRange(count, size, q);
  const shape = sidecarShape(count, size, q);
  const stated = [view(top).getUint32(12, true), ...[24, 32, 40, 48, 56].map((at) => u64(top, at))];
  const { buckets, pages, index, data: start, length } = shape;
  check([0, buckets, pages, index, start, length].every((one, i) => one === stated[i]), 'malformed');
  check(length === info.length, 'wrong-length');
  check(info.count === count && info.size === size && info.slot_bits === q, 'not-as-described');
  check(hex(sha256(top.subarray(0, index))) === info.top_sha256, 'bad-hash');
  return shape;
}

/** An index page, verified: where each of its buckets begins, and the end. @param {Uint8Array} top header and top table */
function edgesOf(octets, number, top, { inPage, count }) {
  check(equal(sha256(octets), top.subarray(64 + 32 * number, 96 + 32 * number)), 'bad-hash');
  const edges = Array.from({ length: inPage + 1 }, (_, i) => view(octets).getUint32(4 * i, true));
  for (let i = 1; i <= inPage; i++) check(edges[i] >= edges[i - 1] && edges[i] - edges[i - 1] <= MOST_OF_BUCKET, 'malformed');
  check(edges[inPage] <= count, 'malformed');
  return edges;
}

/** A whole sidecar, of which everything is checked. */
export class Sidecar {
  /** @param {Uint8Array} data @param {SidecarInfo} info */
  constructor(data, info) {
    check(data.length >= 10, 'wrong-length');
    checkMagic(data, '43534c424c0d0a1a', 1);
    check(data.length === info.length, 'wrong-length');
    this.shape = checkTop(data, info);
    check(hex(sha256(data)) === info.sha256, 'bad-hash');
    this.info = info;
    this._data = data;
    /** Where each bucket begins, and the end. */
    this.first = this._index();
  }

  _index() {
    const { pages, page, index, count } = this.shape;
    const first = [0];
    for (let number = 0; number < pages; number++) {
      const edges = edgesOf(this._data.subarray(index + number * page, index + (number + 1) * page), number, this._data, this.shape);
      check(edges[0] === first.at(-1), 'malformed');
      for (const edge of edges.slice(1)) first.push(edge); // an index has up to a million
    }
    check(first.at(-1) === count, 'malformed');
    return first;
  }

  /** The entry at a place. */
  entry(place) {
    const { data, entry } = this.shape;
    return this._data.subarray(data + place * entry, data + (place + 1) * entry);
  }
}

/** A sidecar of which single buckets are read, each verified, through `part(start, end)`: a range of it that was fetched. */
export class SidecarParts {
  /** @param {SidecarInfo} info @param {(start: number, end: number) => Uint8Array} part */
  constructor(info, part) {
    this._part = part;
    this._top = part(0, sidecarShape(info.count, info.size, info.slot_bits).index);
    this.shape = checkTop(this._top, info);
    this._edges = new Map();
  }

  /** Where an index page lies. */
  pageSpan(number) {
    const { index, page } = this.shape;
    return { start: index + number * page, end: index + (number + 1) * page };
  }

  /** Where the entries of a bucket lie, by its index page. */
  span(number) {
    const { inPage, data, entry } = this.shape;
    const [first, end] = this._page(Math.floor(number / inPage)).edges.slice(number % inPage, (number % inPage) + 2);
    return { start: data + first * entry, end: data + end * entry };
  }

  /** The entries of a bucket, one after the other. */
  bucket(number) {
    const { inPage } = this.shape;
    const { start, end } = this.span(number);
    const octets = this._part(start, end);
    const at = 4 * (inPage + 1) + 32 * (number % inPage);
    check(equal(sha256(octets), this._page(Math.floor(number / inPage)).octets.subarray(at, at + 32)), 'bad-hash');
    return octets;
  }

  _page(number) {
    if (!this._edges.has(number)) {
      const { start, end } = this.pageSpan(number);
      const octets = this._part(start, end);
      this._edges.set(number, { octets, edges: edgesOf(octets, number, this._top, this.shape) });
    }
    return this._edges.get(number);
  }
}

function placesOf(data, start, many, below) {
  const octets = view(data);
  const places = Uint32Array.from({ length: many }, (_, i) => octets.getUint32(start + 4 * i, true));
  for (let i = 0; i < many; i++) check(places[i] < below && (i === 0 || places[i] > places[i - 1]), 'not-ascending');
  return places;
}

/**
 * A delta of a sidecar, checked by itself.
 * @param {Uint8Array} data
 * @param {{length: number, sha256: string} | null} info what the manifest says of the file
 */
export function readSidecarDelta(data, info) {
  if (info) check(data.length === info.length, 'wrong-length');
  checkMagic(data, '43534c42440d0a1a', 1);
  if (info) check(hex(sha256(data)) === info.sha256, 'bad-hash');
  check(data.length >= DELTA_BYTES, 'wrong-length');
  const [q, size] = [data[10], data[11]];
  const [from, to, oldCount, newCount, dropped, placed, length] = [16, 24, 32, 40, 48, 56, 64].map((at) => u64(data, at));
  check(length === data.length, 'wrong-length');
  check(equal(sha256(data.subarray(0, -32)), data.subarray(-32)), 'bad-hash');
  checkRange(oldCount, size, q);
  checkRange(newCount, size, q);
  check(view(data).getUint32(12, true) === 0 && from < to, 'out-of-range');
  check(dropped <= oldCount && oldCount - dropped + placed === newCount, 'malformed');
  check(length === DELTA_BYTES + 4 * (dropped + placed) + placed * (TAG + size), 'malformed');
  const entries = 136 + 4 * (dropped + placed);
  return {
    from, to, q, size, oldCount, newCount,
    oldSha256: hex(data.subarray(72, 104)),
    newSha256: hex(data.subarray(104, 136)),
    dropped: placesOf(data, 136, dropped, oldCount),
    placed: placesOf(data, 136 + 4 * dropped, placed, newCount),
    entry: (i) => data.subarray(entries + i * (TAG + size), entries + (i + 1) * (TAG + size)),
  };
}

/** That deltas lead from one sidecar to the other, one after the other. An empty chain leads from one to itself. */
export function checkSidecarChain(info, deltas, reaches) {
  let here = [info.size, info.slot_bits, info.count, info.sha256];
  const isHere = (...figures) => figures.every((one, i) => one === here[i]);
  for (const { size, q, oldCount, newCount, oldSha256, newSha256 } of deltas) {
    check(isHere(size, q, oldCount, oldSha256), 'not-following');
    here = [size, q, newCount, newSha256];
  }
  check(isHere(reaches.size, reaches.slot_bits, reaches.count, reaches.sha256), 'not-following');
}

/** The entry at a place of the edition that a chain of deltas, which was checked, leads to. */
export function entryThrough(sidecar, deltas, place) {
  for (const { placed, dropped, entry } of deltas.toReversed()) {
    const before = countBelow(placed.length, (i) => placed[i], place);
    if (placed[before] === place) return entry(before);
    const kept = place - before; // it is the so many-th that was kept: go past the dropped before it
    place = kept + countBelow(dropped.length, (i) => dropped[i] - i, kept + 1);
  }
  return sidecar.entry(place);
}
