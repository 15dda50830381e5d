// Which buckets of a large partition are asked for, among decoys, and what that tells: docs/protocol.md, "Buckets and decoys".
import { blake2b } from '@noble/hashes/blake2.js';
import { placeOf } from './directory.js';
import { ascending, concat, hex, unhex, view } from './octets.js';

export const BUCKETS = 64; // T, if nobody says otherwise
export const MOST_BUCKETS = 4096;
export const LEAK_BUDGET = 1000;

/**
 * A list of buckets as it was sent, or is about to be.
 * @typedef {{epoch: number, slot_bits: number, edition: number, seed: string, numbers: number[]}} AskedList
 */

/** The buckets of a directory that hold what those of one of other slot bits held. */
function atWidth(numbers, before, now) {
  if (before >= now) return numbers.map((number) => Math.floor(number / 2 ** (before - now)));
  const each = 2 ** (now - before);
  return numbers.flatMap((number) => Array.from({ length: each }, (_, i) => number * each + i));
}

/** Decoys in their order, without end: leading bits, as buckets are, so that neither stands out when slot bits change. */
function* decoys(seed, bits) {
  const counter = new Uint8Array(8);
  for (let i = 0n; ; i++) {
    view(counter).setBigUint64(0, i, true);
    yield Number(view(blake2b(counter, { key: seed, dkLen: 8 })).getBigUint64(0) >> BigInt(64 - bits));
  }
}

const bucketOf = (token, q, r) => Math.floor(placeOf(token, q, r).slot / 4096);

/** The bucket of each token. @param {object} partition of the manifest */
export const bucketsOf = ({ slot_bits: q, remainder_bits: r }, tokens) => tokens.map((token) => bucketOf(token, q, r));

/**
 * The list for a question: what passes the screen, among decoys that depend on all that was tested and on a secret.
 * @param {object} partition of the manifest @param {number} epoch
 * @param {{candidates: string[], tested: string[]}} question tokens; `candidates` are some of `tested`
 * @param {{secret: Uint8Array, before: AskedList | null, buckets: number}} given `before`: a list that was not settled
 * @returns {AskedList} `before` itself for the same question
 */
export function listOf(partition, epoch, { candidates, tested }, { secret, before, buckets }) {
  const { slot_bits: q, edition } = partition;
  const seed = blake2b(concat(...tested.toSorted(ascending).map(unhex)), { key: secret, dkLen: 32 });
  if (before && before.slot_bits === q && before.edition === edition && before.seed === hex(seed)) return before;
  const total = 2 ** (q - 12);
  const numbers = new Set(before ? atWidth(before.numbers, before.slot_bits, q).filter((number) => number < total) : []);
  const asked = numbers.size;
  for (const number of bucketsOf(partition, candidates)) numbers.add(number);
  const many = Math.min(total, asked + buckets * Math.max(1, Math.ceil((numbers.size - asked) / buckets)));
  for (const number of decoys(seed, q - 12)) {
    if (numbers.size >= many) break;
    numbers.add(number);
  }
  return { epoch, slot_bits: q, edition, seed: hex(seed), numbers: [...numbers].sort((one, two) => one - two) };
}

/** Whether two lists are the same. */
export const isSame = (one, two) => JSON.stringify(one) === JSON.stringify(two);
