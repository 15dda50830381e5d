// The delta from one edition of a partition to the next: docs/directory-format.md, "The delta".
import { check } from './errors.js';
import { ceil, checkMagic, placeOf } from './directory.js';
import { countBelow, hex, sha256, u64, view } from './octets.js';

/** A value as one number: the key of sets. @param {{slot: number, rest: number}} place */
export const valueOf = ({ slot, rest }, r) => (BigInt(slot) << BigInt(r)) | BigInt(rest);

function setSize(c, q, r) {
  if (c === 0) return 0;
  const h = c.toString(2).length;
  return 8 * ceil(c + 2 ** h, 64) + 8 * ceil(c * (q + 32 - h), 64) + (r === 40 ? 8 * ceil(c, 8) : 0);
}

/** `width` bits from bit `at` of the octets at `start`. */
function bits(data, start, at, width) {
  let value = 0n;
  for (let done = 0; done < width; ) {
    const place = at + done;
    const some = Math.min(8 - (place & 7), width - done);
    const octet = (data[start + Math.floor(place / 8)] >> (place & 7)) & ((1 << some) - 1);
    value |= BigInt(octet) << BigInt(done);
    done += some;
  }
  return value;
}

function readSet(data, start, c, q, r) {
  if (c === 0) return [];
  const h = c.toString(2).length;
  const width = q + 32 - h;
  const words = ceil(c + 2 ** h, 64);
  const first = [];
  for (let i = 0; i < 64 * words; i++) if ((data[start + (i >> 3)] >> (i & 7)) & 1) first.push(i - first.length);
  check(first.length === c && first.every((one) => one < 2 ** h), 'malformed');
  const low = start + 8 * words;
  const lowWords = ceil(c * width, 64);
  check(bits(data, low, c * width, 64 * lowWords - c * width) === 0n, 'not-canonical');
  const last = low + 8 * lowWords;
  const values = first.map((one, j) => {
    const key = (BigInt(one) << BigInt(width)) | bits(data, low, j * width, width);
    return r === 40 ? (key << 8n) | BigInt(data[last + j]) : key;
  });
  if (r === 40) check(data.subarray(last + c, last + 8 * ceil(c, 8)).every((octet) => octet === 0), 'not-canonical');
  for (let i = 1; i < c; i++) check(values[i] > values[i - 1], 'not-ascending');
  return values;
}

/**
 * A delta file, checked by itself. Values are BigInt; `left` and `joined` are sets.
 * @param {Uint8Array} data
 * @param {{length: number, sha256: string} | null} info what the manifest says of the file
 */
export function readDelta(data, info) {
  if (info) check(data.length === info.length, 'wrong-length');
  checkMagic(data, '4353444c540d0a1a', 1);
  if (info) check(hex(sha256(data)) === info.sha256, 'bad-hash');
  check(data.length >= 168, 'wrong-length');
  const [q, r] = [data[10], data[11]];
  const [from, to, oldCount, newCount, left, joined, length] = [16, 24, 32, 40, 48, 56, 64].map((at) => u64(data, at));
  check(length === data.length, 'wrong-length');
  check(hex(sha256(data.subarray(0, -32))) === hex(data.subarray(-32)), 'bad-hash');
  const zero = view(data).getUint32(12, true) === 0;
  check(q >= 12 && q <= 32 && (r === 32 || r === 40) && zero && from < to, 'out-of-range');
  check(oldCount <= 2 ** (q + 1) && newCount <= 2 ** (q + 1), 'too-full');
  check(left <= oldCount && oldCount - left + joined === newCount, 'malformed');
  check(length === 136 + setSize(left, q, r) + setSize(joined, q, r) + 32, 'malformed');
  const leaving = readSet(data, 136, left, q, r);
  const joining = readSet(data, 136 + setSize(left, q, r), joined, q, r);
  const both = new Set(leaving);
  check(!joining.some((value) => both.has(value)), 'contradicting');
  return {
    from, to, q, r, oldCount, newCount,
    oldSha256: hex(data.subarray(72, 104)),
    newSha256: hex(data.subarray(104, 136)),
    left: both,
    joined: new Set(joining),
  };
}

/**
 * Deltas, read: each leads on from the one before it, from one content to another, which are named by a hash and a count.
 * @param {{from: number, to: number, file: object}[]} steps @param {(sha256: string) => Promise<Uint8Array>} read a file that is stored
 * @param {{at: [string, number], to: [string, number], q: number, r: number}} ends
 */
export async function readChain(steps, read, { at: [sha256, count], to, q, r }) {
  const chain = [];
  for (const { from, to: end, file } of steps) {
    const delta = readDelta(await read(file.sha256), file);
    check(delta.from === from && delta.to === end, 'not-following');
    check(delta.oldSha256 === sha256 && delta.oldCount === count, 'not-following');
    check(delta.q === q && delta.r === r, 'not-following');
    [sha256, count] = [delta.newSha256, delta.newCount];
    chain.push(delta);
  }
  check(sha256 === to[0] && count === to[1], 'not-following');
  return chain;
}

/**
 * That deltas do not contradict what is held: no value joins that was there, none leaves that was not.
 * @param {ReturnType<typeof readDelta>[]} deltas
 * @param {(value: bigint) => boolean | undefined} holds whether the base before them has a value; undefined: nobody knows
 */
export function checkAgainst(deltas, holds) {
  const changed = new Map();
  const there = (value) => changed.get(value) ?? holds(value);
  for (const delta of deltas) {
    for (const value of delta.left) check(there(value) !== false, 'contradicting');
    for (const value of delta.joined) check(there(value) !== true, 'contradicting');
    for (const value of delta.left) changed.set(value, false);
    for (const value of delta.joined) changed.set(value, true);
  }
}

/**
 * The ranks of tokens among the values of the edition that deltas lead to, which is where their entries are in its sidecar;
 * -1 for a token that is no value of it.
 * @param {import('./directory.js').Directory} base of which all was checked
 * @param {ReturnType<typeof readDelta>[]} deltas checked against it
 * @param {string[]} tokens
 */
export function ranksOf(base, deltas, tokens) {
  const [joined, left] = [new Set(), new Set()]; // by all of them together
  const swap = (values, from, to) => {
    for (const value of values) if (!from.delete(value)) to.add(value);
  };
  for (const delta of deltas) {
    swap(delta.left, joined, left);
    swap(delta.joined, left, joined);
  }
  const ascending = (values) => [...values].sort((a, b) => (a < b ? -1 : 1));
  const [come, gone] = [ascending(joined), ascending(left)];
  const below = (values, value) => countBelow(values.length, (i) => values[i], value);
  const { q, r } = base.shape;
  return tokens.map((token) => {
    const place = placeOf(token, q, r);
    const value = valueOf(place, r);
    const { found, bucket, below: inBucket } = base.find(place);
    if (!((found && !left.has(value)) || joined.has(value))) return -1;
    return base.first[bucket] + inBucket + below(come, value) - below(gone, value);
  });
}
