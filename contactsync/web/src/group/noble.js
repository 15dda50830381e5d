// ristretto255 (RFC 9496) by @noble/curves, in BigInt: it runs everywhere, and is not constant time (docs/web.md).
//
// A group is `name`, `fromUniform`, `isElement`, `multiply`, `sum`, `reduce` and `invert`, on octets alone: elements
// and scalars are 32 of them. Elements that it is given have been checked by `isElement`, or are its own.
import { ed25519, ristretto255, ristretto255_hasher } from '@noble/curves/ed25519.js';
import { hex, unhex } from '../octets.js';

const Point = ristretto255.Point;
const ORDER = Point.Fn.ORDER;
const WINDOWS = 64; // of 4 bits: 256 bits hold any scalar

const fromLe = (octets) => BigInt('0x' + hex(Uint8Array.from(octets).reverse()));
const toLe = (number) => unhex(number.toString(16).padStart(64, '0')).reverse();

// Decoding takes as long as a tenth of a product, so what was decoded is remembered as long as its octets live.
const decoded = new WeakMap();

function encoded(point) {
  const octets = point.toBytes();
  decoded.set(octets, point);
  return octets;
}

function pointOf(octets) {
  let point = decoded.get(octets);
  if (point === undefined) {
    point = Point.fromBytes(octets);
    decoded.set(octets, point);
  }
  return point;
}

export const noble = {
  name: 'noble',

  /** The element of 64 uniform octets: RFC 9496 §4.3.4. */
  fromUniform: (octets) => encoded(ristretto255_hasher.deriveToCurve(octets)),

  /** Whether octets encode an element, and not the identity: RFC 9496 §4.3.1. */
  isElement(octets) {
    try {
      return !pointOf(octets).equals(Point.ZERO);
    } catch {
      return false;
    }
  },

  /** scalar · element, for a secret scalar: in every window four doublings and one addition, also of the identity. */
  multiply(element, scalar) {
    const { ep } = pointOf(element);
    const table = [ed25519.Point.ZERO, ep];
    while (table.length < 16) table.push(table.at(-1).add(ep));
    const digits = hex(Uint8Array.from(scalar).reverse());
    let total = ed25519.Point.ZERO;
    for (let i = 0; i < WINDOWS; i++) {
      if (i > 0) total = total.double().double().double().double();
      total = total.add(table[parseInt(digits[i], 16)]);
    }
    return encoded(new Point(total));
  },

  /** Σ scalar · element for public ones, by Pippenger's method: buckets of 4 to 8 bits. */
  sum(elements, scalars) {
    const width = elements.length < 32 ? 4 : elements.length < 300 ? 6 : 8;
    const mask = (1n << BigInt(width)) - 1n;
    const plain = elements.map((one) => pointOf(one).ep);
    const digits = scalars.map((one) => {
      const found = [];
      for (let left = fromLe(one); left > 0n; left >>= BigInt(width)) found.push(Number(left & mask));
      return found;
    });
    let total = ed25519.Point.ZERO;
    for (let place = Math.ceil(253 / width) - 1; place >= 0; place--) {
      for (let i = 0; i < width; i++) total = total.double();
      const buckets = new Array(2 ** width).fill(null);
      plain.forEach((point, i) => {
        const digit = digits[i][place];
        if (digit) buckets[digit] = buckets[digit] === null ? point : buckets[digit].add(point);
      });
      let [running, sum] = [ed25519.Point.ZERO, ed25519.Point.ZERO];
      for (let digit = buckets.length - 1; digit > 0; digit--) {
        if (buckets[digit] !== null) running = running.add(buckets[digit]);
        sum = sum.add(running);
      }
      total = total.add(sum);
    }
    return encoded(new Point(total));
  },

  /** A uniform scalar of 64 uniform octets. */
  reduce: (octets) => toLe(fromLe(octets) % ORDER),

  /** The inverses of scalars, none of them zero: one inversion for all (Montgomery's trick). */
  invert(scalars) {
    const numbers = scalars.map(fromLe);
    const before = [1n];
    for (const one of numbers) before.push((before.at(-1) * one) % ORDER);
    let rest = Point.Fn.inv(before.at(-1));
    const found = new Array(numbers.length);
    for (let i = numbers.length - 1; i >= 0; i--) {
      found[i] = toLe((rest * before[i]) % ORDER);
      rest = (rest * numbers[i]) % ORDER;
    }
    return found;
  },
};
