// The client of RFC 9497, mode 0x01, ristretto255-SHA512: docs/protocol.md, "What a client sends" and "The proof".
//
// BigInt is not constant time: docs/web.md says what that means. Secret scalars go through `multiply`, which always takes
// the same steps; `Vartime` marks what works on public octets alone.
import { ed25519, ristretto255, ristretto255_hasher } from '@noble/curves/ed25519.js';
import { expand_message_xmd } from '@noble/curves/abstract/hash-to-curve.js';
import { check } from './errors.js';
import { concat, hex, randomOctets, sha512, two, utf8 } from './octets.js';

const Point = ristretto255.Point;
const ORDER = Point.Fn.ORDER;
export const MAX_BATCH = 4096;

const CONTEXT = concat(utf8('OPRFV1-'), Uint8Array.of(1), utf8('-ristretto255-SHA512'));
const TO_GROUP = concat(utf8('HashToGroup-'), CONTEXT);
const TO_SCALAR = concat(utf8('HashToScalar-'), CONTEXT);
const SEED = concat(utf8('Seed-'), CONTEXT);
const COMPOSITE = utf8('Composite');
const CHALLENGE = utf8('Challenge');
const FINALIZE = utf8('Finalize');

const prefixed = (...strings) => concat(...strings.flatMap((one) => [two(one.length), one]));
const fromLe = (octets) => BigInt('0x' + hex(Uint8Array.from(octets).reverse()));
const hashToGroup = (input) => ristretto255_hasher.hashToCurve(input, { DST: TO_GROUP });
const hashToScalar = (message) => fromLe(expand_message_xmd(message, TO_SCALAR, 64, sha512)) % ORDER;

/** A scalar below the order (RFC 9497 §4.1), from 32 octets. */
function scalar(octets) {
  const number = fromLe(octets);
  check(octets.length === 32 && number < ORDER, 'invalid-scalar');
  return number;
}

/** A usable element: canonical, and not the identity. */
function element(octets, word = 'invalid-element') {
  let point = null;
  try {
    point = Point.fromBytes(octets);
  } catch {
    // below
  }
  check(point !== null && !point.equals(Point.ZERO), word);
  return point;
}

/** A blind: uniform, and not zero. */
function randomScalar() {
  for (;;) {
    const number = fromLe(randomOctets(64)) % ORDER;
    if (number !== 0n) return number;
  }
}

/** Blinds from their encodings (vectors). Refuses zero, and what is not below the order. */
export function blindsFrom(encodings) {
  return encodings.map((octets) => {
    const number = scalar(octets);
    check(number !== 0n, 'invalid-scalar');
    return number;
  });
}

/**
 * Blind inputs, each with a scalar of its own.
 * @param {Uint8Array[]} inputs 1 to 4096
 * @param {bigint[]} [blinds] only for test vectors
 * @returns {{inputs: Uint8Array[], blinds: bigint[], blinded: import('@noble/curves/ed25519.js').ristretto255.Point[],
 *   body: Uint8Array}}
 */
export function blind(inputs, blinds = inputs.map(randomScalar)) {
  check(blinds.length === inputs.length, 'invalid-scalar');
  check(inputs.length > 0, 'bad-batch');
  check(inputs.length <= MAX_BATCH, 'batch-too-large');
  const blinded = inputs.map((input, i) => multiply(hashToGroup(input), blinds[i]));
  return { inputs, blinds, blinded, body: concat(...blinded.map((point) => point.toBytes())) };
}

const WINDOWS = 64; // of 4 bits: 256 bits hold any scalar

/**
 * scalar · point for a secret scalar: in every window four doublings and one addition, also of the identity. noble's own
 * `multiply` adds once a bit, and inverts once a product.
 */
function multiply(point, scalar) {
  const table = [ed25519.Point.ZERO, point.ep];
  while (table.length < 16) table.push(table.at(-1).add(point.ep));
  const digits = scalar.toString(16).padStart(WINDOWS, '0');
  let total = ed25519.Point.ZERO;
  for (let i = 0; i < WINDOWS; i++) {
    if (i > 0) total = total.double().double().double().double();
    total = total.add(table[parseInt(digits[i], 16)]);
  }
  return new Point(total);
}

const rows = (octets) => Array.from({ length: octets.length / 32 }, (_, i) => octets.subarray(32 * i, 32 * i + 32));

// Σ scalar · point by Pippenger's method, on public points and scalars alone: buckets of 5 to 8 bits.
function sumVartime(points, scalars) {
  const width = points.length < 32 ? 4 : points.length < 300 ? 6 : 8;
  const mask = (1n << BigInt(width)) - 1n;
  const Edwards = ed25519.Point;
  const plain = points.map((point) => point.ep);
  const digits = scalars.map((one) => {
    const found = [];
    for (let left = one; left > 0n; left >>= BigInt(width)) found.push(Number(left & mask));
    return found;
  });
  let total = Edwards.ZERO;
  for (let place = Math.ceil(253 / width) - 1; place >= 0; place--) {
    for (let i = 0; i < width; i++) total = total.double();
    const buckets = new Array(2 ** width).fill(null);
    plain.forEach((point, i) => {
      const digit = digits[i][place];
      if (digit) buckets[digit] = buckets[digit] === null ? point : buckets[digit].add(point);
    });
    let [running, sum] = [Edwards.ZERO, Edwards.ZERO];
    for (let digit = buckets.length - 1; digit > 0; digit--) {
      if (buckets[digit] !== null) running = running.add(buckets[digit]);
      sum = sum.add(running);
    }
    total = total.add(sum);
  }
  return new Point(total);
}

/** d_i of "The proof". */
function weights(publicKey, blinded, evaluated) {
  const seed = prefixed(sha512(prefixed(publicKey, SEED)));
  return blinded.map((c, i) => hashToScalar(concat(seed, two(i), prefixed(c, evaluated[i]), COMPOSITE)));
}

/**
 * Check a reply, then unblind: "What a client does with the reply". Nothing is returned unless all checks pass.
 * @param {ReturnType<typeof blind>} blinding
 * @param {Uint8Array} reply 32·n + 64 octets
 * @param {Uint8Array} publicKey 32 octets, from the verified manifest
 * @returns {Uint8Array[]} the outputs, 64 octets each
 */
export function finalize(blinding, reply, publicKey) {
  const { inputs, blinds, blinded, body } = blinding;
  check(reply.length === 32 * inputs.length + 64, 'wrong-length');
  check(publicKey.length === 32, 'invalid-key');
  const key = element(publicKey, 'invalid-key');
  const all = rows(reply);
  const [evaluated, proof] = [all.slice(0, -2), all.slice(-2)];
  const points = evaluated.map((one) => element(one));
  const [c, s] = proof.map(scalar);
  const d = weights(publicKey, rows(body), evaluated);
  const m = sumVartime(blinded, d);
  const z = sumVartime(points, d);
  const t2 = sumVartime([Point.BASE, key], [s, c]);
  const t3 = sumVartime([m, z], [s, c]);
  const octets = [m, z, t2, t3].map((point) => point.toBytes());
  check(hashToScalar(concat(prefixed(publicKey, ...octets), CHALLENGE)) === c, 'bad-proof');
  const inverses = invert(blinds);
  return inputs.map((input, i) =>
    sha512(concat(prefixed(input, multiply(points[i], inverses[i]).toBytes()), FINALIZE)),
  );
}

// One inversion for all blinds (Montgomery's trick): each inverse then costs three products.
function invert(blinds) {
  const before = [1n];
  for (const one of blinds) before.push((before.at(-1) * one) % ORDER);
  let rest = Point.Fn.inv(before.at(-1));
  const found = new Array(blinds.length);
  for (let i = blinds.length - 1; i >= 0; i--) {
    found[i] = (rest * before[i]) % ORDER;
    rest = (rest * blinds[i]) % ORDER;
  }
  return found;
}

/** The token of an output, as 20 hex digits. @param {Uint8Array} output */
export function tokenOf(output) {
  check(output.length >= 10, 'wrong-length');
  return hex(output.subarray(0, 10));
}

/** Whether an Ed25519 signature holds: by WebCrypto, or by noble where WebCrypto does not have Ed25519. */
export async function signatureHolds(publicKey, signature, message) {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  let key;
  try {
    key = await crypto.subtle.importKey('raw', publicKey, { name: 'Ed25519' }, false, ['verify']);
  } catch {
    try {
      return ed25519.verify(signature, message, publicKey, { zip215: false });
    } catch {
      return false;
    }
  }
  return crypto.subtle.verify({ name: 'Ed25519' }, key, signature, message);
}

/** For test vectors of the layers below. */
export const layers = { Point, fromLe, hashToGroup, hashToScalar, sumVartime };
