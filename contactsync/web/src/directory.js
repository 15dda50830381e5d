// The directory file: docs/directory-format.md, the reader's side. All words of refusals are those of docs/vectors.md.
//
// xxh3_64 is not computed: it detects damage, and SHA-256, which trust rests on, is checked each time instead.
import { check } from './errors.js';
import { countBelow, equal, hex, sha256, u64, view } from './octets.js';

export const ceil = (a, b) => Math.ceil(a / b);
export const MOST_OF_BUCKET = 65535; // values

/** The figures of a directory that follow from slot bits, remainder bits and the number of values. */
export function shapeOf(q, r, n) {
  const buckets = 2 ** (q - 12);
  const entries = Math.min(buckets, 256);
  const pages = ceil(buckets, 256);
  const page = 48 * entries + 8;
  const top = 64 + 32 * pages;
  const data = top + pages * page;
  const [w, fill] = [r / 8, r === 32 ? 4 : 7];
  const least = data + 544 * buckets + 8 * (ceil(n, 64) + ceil(n * w, 8));
  const most = data + 544 * buckets + 8 * (Math.floor((n + 63 * buckets) / 64) + Math.floor((n * w + fill * buckets) / 8));
  return { q, r, n, buckets, entries, pages, page, top, data, least, most };
}

/**
 * About how many octets it takes to fetch so many buckets of a file, or all, with what verifies them.
 * @param {{buckets: number, pages: number, page: number, top: number, data: number}} shape @param {number} length of the file
 */
export function rangesCost({ buckets, pages, page, top, data }, length, many) {
  const fetched = Math.min(many, buckets);
  return top + page * Math.min(fetched, pages) + Math.floor(((length - data) * fetched) / buckets);
}

/** A token (20 hex digits) as slot and remainder; both are below 2^53. */
export function placeOf(token, q, r) {
  const value = BigInt(`0x${token}`) >> BigInt(80 - q - r);
  return { slot: Number(value >> BigInt(r)), rest: Number(value & ((1n << BigInt(r)) - 1n)) };
}

/** Magic and version come first: a newer file may have another header. */
export function checkMagic(data, magic, version) {
  check(data.length >= 10, 'wrong-length');
  check(hex(data.subarray(0, 8)) === magic, 'wrong-kind');
  check(view(data).getUint16(8, true) === version, 'unknown-version');
}

/**
 * What the manifest says of a base.
 * @typedef {{count: number, slot_bits: number, remainder_bits: number, top_sha256: string, length: number,
 *   sha256: string}} BaseInfo
 */

/** A directory that is read through `part(start, end)`: a slice of a file, or a range of it. */
export class Directory {
  /** @param {BaseInfo} info @param {(start: number, end: number) => Uint8Array} part */
  constructor(info, part) {
    const header = part(0, 64);
    checkMagic(header, '43534449520d0a1a', 2);
    check(header.length === 64, 'wrong-length');
    const [q, r, n, length] = [header[10], header[11], u64(header, 16), u64(header, 56)];
    check(q >= 12 && q <= 32 && (r === 32 || r === 40), 'out-of-range');
    check(n <= 2 ** (q + 1), 'too-full');
    const s = shapeOf(q, r, n);
    check(length >= s.least && length <= s.most && length % 8 === 0, 'out-of-range');
    const stated = [view(header).getUint32(12, true), ...[24, 32, 40, 48].map((at) => u64(header, at))];
    check([4096, s.buckets, s.pages, s.top, s.data].every((one, i) => one === stated[i]), 'malformed');
    check(length === info.length, 'wrong-length');
    check(info.slot_bits === q && info.remainder_bits === r && info.count === n, 'not-as-described');
    this.shape = s;
    this.length = length;
    this.part = part;
    this.top = part(0, s.top);
    check(hex(sha256(this.top)) === info.top_sha256, 'bad-hash');
    this.pages = new Map();
    this.buckets = new Map();
  }

  /** An index page, verified: the offsets of its buckets, and its octets. */
  page(number) {
    let found = this.pages.get(number);
    if (found) return found;
    const { top, page: size, entries, pages, data } = this.shape;
    const octets = this.part(top + number * size, top + (number + 1) * size);
    check(equal(sha256(octets), this.top.subarray(64 + 32 * number, 96 + 32 * number)), 'bad-hash');
    const offsets = Array.from({ length: entries + 1 }, (_, i) => u64(octets, 8 * i));
    check(offsets.every((one, i) => one % 8 === 0 && (i === 0 || one > offsets[i - 1])), 'malformed');
    check(number > 0 || offsets[0] === data, 'malformed');
    check(number < pages - 1 || offsets[entries] === this.length, 'malformed');
    check(offsets[entries] <= this.length, 'malformed');
    found = { offsets, octets };
    this.pages.set(number, found);
    return found;
  }

  /** Where a bucket lies, by its index page, which is verified. */
  span(number) {
    const { entries, r } = this.shape;
    const [start, end] = this.page(Math.floor(number / entries)).offsets.slice(number % entries, (number % entries) + 2);
    check(end - start <= bucketSize(MOST_OF_BUCKET, r), 'malformed');
    return { start, end };
  }

  /** A bucket, verified: the slot of each value within the bucket, and its remainder. */
  bucket(number) {
    let found = this.buckets.get(number);
    if (found) return found;
    const { entries, r } = this.shape;
    const entry = number % entries;
    const { octets } = this.page(Math.floor(number / entries));
    const { start, end } = this.span(number);
    const data = this.part(start, end);
    const at = 8 * (2 * entries + 1) + 32 * entry;
    check(equal(sha256(data), octets.subarray(at, at + 32)), 'bad-hash');
    found = bucketOf(data, r);
    this.buckets.set(number, found);
    return found;
  }

  /** Check all of it, and keep it for `holds`: what a client does before it sends anything. */
  checkAll() {
    const { pages, entries, buckets, n } = this.shape;
    for (let p = 1; p < pages; p++) check(this.page(p).offsets[0] === this.page(p - 1).offsets[entries], 'malformed');
    let [total, ascend] = [0, true];
    this.first = []; // how many values are before each bucket
    for (let number = 0; number < buckets; number++) {
      const { slots, rests } = this.bucket(number);
      this.first.push(total);
      total += slots.length;
      for (let i = 1; ascend && i < slots.length; i++)
        ascend = slots[i] > slots[i - 1] || rests[i] > rests[i - 1];
    }
    check(total === n, 'malformed');
    check(ascend, 'not-ascending');
    return this;
  }

  /** Whether a value is a member, and how many values of its bucket are below it. */
  find({ slot, rest }) {
    const number = Math.floor(slot / 4096);
    const { slots, rests } = this.bucket(number);
    const wanted = slot % 4096;
    let below = countBelow(slots.length, (i) => slots[i], wanted);
    while (slots[below] === wanted && rests[below] < rest) below++;
    return { found: slots[below] === wanted && rests[below] === rest, bucket: number, below };
  }

  /** Whether a value is a member. */
  holds(place) {
    return this.find(place).found;
  }
}

/** Octets of a bucket of n values. */
const bucketSize = (n, r) => 8 * ceil(32 + 8 * ceil(n + 4096, 64) + (n * r) / 8, 8);

/** "Bucket" of the format: the values of 4096 slots. */
function bucketOf(data, r) {
  const octets = view(data);
  const n = data.length >= 32 ? octets.getUint16(0, true) : 0;
  const words = ceil(n + 4096, 64);
  const size = 32 + 8 * words + (n * r) / 8;
  check(data.length === bucketSize(n, r), 'malformed');
  const slots = new Uint16Array(n);
  const last = n + 4096; // one bit for each value, and a zero for each slot
  let [ones, high] = [0, 32 + 8 * words];
  for (let i = 32; i < high; i++) {
    let octet = data[i];
    for (const bit = 8 * (i - 32); octet; octet &= octet - 1) {
      const place = bit + 31 - Math.clz32(octet & -octet);
      check(ones < n && place < last - 1, 'malformed');
      slots[ones] = place - ones;
      ones++;
    }
  }
  check(ones === n, 'malformed');
  for (let i = 1, j = 0; i < 16; i++) {
    while (j < n && slots[j] < 256 * i) j++;
    check(octets.getUint16(2 * i, true) === j, 'malformed');
  }
  const rests = r === 40 ? new Float64Array(n) : new Uint32Array(n);
  for (let j = 0; j < n; j++) {
    const first = octets.getUint32(high + 4 * j, true);
    rests[j] = r === 40 ? first * 256 + data[high + 4 * n + j] : first;
  }
  check(data.subarray(size).every((octet) => octet === 0), 'malformed');
  return { slots, rests };
}

/** A whole base that came or was stored: everything is checked. @param {Uint8Array} data @param {BaseInfo} info */
export function openBase(data, info) {
  check(data.length >= 10, 'wrong-length');
  checkMagic(data, '43534449520d0a1a', 2);
  check(data.length === info.length && data.length >= 64, 'wrong-length');
  const directory = new Directory(info, (start, end) => data.subarray(start, end));
  check(hex(sha256(data)) === info.sha256, 'bad-hash');
  return directory.checkAll();
}
