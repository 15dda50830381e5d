// The screen of a large partition, a Bloom filter over its values: docs/directory-format.md, "The screen".
import { placeOf } from './directory.js';
import { valueOf } from './delta.js';
import { check } from './errors.js';
import { hasScreen, screenLength, sliceBits } from './manifest.js';
import { concat, hex, sha256, u64, utf8, view } from './octets.js';

const MAGIC = '43535343520d0a1a'; // how every later format begins; the first one has neither magic nor version
const HEADER = 40;
const RATE = 0.01;
const SLICES = 7;
const DEVIATIONS = 8;
const WORDS = 2 ** 32; // of which one leads to a place of a slice
const SALT = sha256(new Uint8Array(4));

/** How many ones a slice of an honest screen of so many values has, at least and at most. */
export function fillOf(count) {
  const m = sliceBits(count);
  const [each, more] = [Math.floor(WORDS / m), WORDS % m];
  let [zeros, spread, pulled] = [0, 0, 0];
  for (const [places, words] of [[more, each + 1], [m - more, each]]) {
    const load = (count * words) / WORDS;
    const empty = Math.exp(-load);
    zeros += places * empty;
    spread += places * empty * (1 - empty);
    pulled += places * load * empty;
  }
  const tolerance = DEVIATIONS * Math.sqrt(spread - pulled ** 2 / count);
  return { least: m - zeros - tolerance, most: m - zeros + tolerance };
}

const ONES = Uint8Array.from({ length: 256 }, (_, octet) => octet.toString(2).replaceAll('0', '').length);

/** How many of the bits first … end - 1 are set. */
function onesIn(bitmap, first, end) {
  const [from, to] = [Math.floor(first / 8), Math.floor(end / 8)];
  let ones = -ONES[bitmap[from] & ((1 << first % 8) - 1)];
  for (let i = from; i < to; i++) ones += ONES[bitmap[i]];
  return end % 8 ? ones + ONES[bitmap[to] & ((1 << end % 8) - 1)] : ones;
}

/** Else more would pass than members make pass, and the server would see the buckets of all of them. */
function checkFill(bitmap, m, count) {
  const bits = SLICES * m;
  if (bits % 8) check(bitmap.at(-1) >> bits % 8 === 0, 'not-canonical');
  const { least, most } = fillOf(count);
  for (let number = 0; number < SLICES; number++) {
    const ones = onesIn(bitmap, number * m, (number + 1) * m);
    check(ones <= most, 'too-full');
    check(ones >= least, 'malformed');
  }
}

/** A screen, of which everything was checked. */
class Screen {
  constructor(bitmap, m, { slot_bits: q, remainder_bits: r }) {
    Object.assign(this, { bitmap, m, q, r });
    this.digits = Math.ceil((q + r) / 4);
  }

  /** Whether a token passes: each that is in the directory, and one of a hundred others. */
  passes(token) {
    const key = valueOf(placeOf(token, this.q, this.r), this.r).toString(16).padStart(this.digits, '0');
    const hashes = view(sha256(concat(SALT, utf8(key))));
    for (let j = 0; j < SLICES; j++) {
      const bit = j * this.m + (hashes.getUint32(4 * j, true) % this.m);
      if (!((this.bitmap[Math.floor(bit / 8)] >> bit % 8) & 1)) return false;
    }
    return true;
  }
}

/**
 * A screen that came or was stored.
 * @param {Uint8Array} data @param {{length: number, sha256: string}} info what the manifest says of the file
 * @param {{count: number, slot_bits: number, remainder_bits: number}} of the directory that it was published with
 */
export function openScreen(data, info, of) {
  check(data.length === info.length, 'wrong-length');
  check(hex(sha256(data)) === info.sha256, 'bad-hash');
  check(hex(data.subarray(0, 8)) !== MAGIC, 'unknown-version');
  check(data.length >= HEADER, 'wrong-length');
  const [slices, m, capacity, added] = [8, 16, 24, 32].map((at) => u64(data, at));
  check(view(data).getFloat64(0, true) === RATE && slices === SLICES, 'wrong-kind');
  check(capacity === of.count, 'not-as-described');
  check(hasScreen(capacity), 'out-of-range');
  check(m === sliceBits(capacity), 'out-of-range');
  check(added > 0 && added <= capacity, 'out-of-range');
  check(data.length === screenLength(capacity), 'wrong-length');
  const bitmap = data.subarray(HEADER);
  checkFill(bitmap, m, capacity);
  return new Screen(bitmap, m, of);
}
