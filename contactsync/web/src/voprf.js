// The client of RFC 9497, mode 0x01, ristretto255-SHA512: docs/protocol.md, "What a client sends" and "The proof".
//
// Elements and scalars are 32 octets. What computes with them is a group: group/group.js says which.
import { ed25519 } from '@noble/curves/ed25519.js';
import { expand_message_xmd } from '@noble/curves/abstract/hash-to-curve.js';
import { check } from './errors.js';
import { GENERATOR, group } from './group/group.js';
import { concat, hex, randomOctets, sha512, two, utf8 } from './octets.js';

const ORDER = '1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed';
export const MAX_BATCH = 4096;

const CONTEXT = concat(utf8('OPRFV1-'), Uint8Array.of(1), utf8('-ristretto255-SHA512'));
const TO_GROUP = concat(utf8('HashToGroup-'), CONTEXT);
const TO_SCALAR = concat(utf8('HashToScalar-'), CONTEXT);
const SEED = concat(utf8('Seed-'), CONTEXT);
const COMPOSITE = utf8('Composite');
const CHALLENGE = utf8('Challenge');
const FINALIZE = utf8('Finalize');

const prefixed = (...strings) => concat(...strings.flatMap((one) => [two(one.length), one]));
const hashToGroup = (input) => group().fromUniform(expand_message_xmd(input, TO_GROUP, 64, sha512));
const hashToScalar = (message) => group().reduce(expand_message_xmd(message, TO_SCALAR, 64, sha512));
const isZero = (octets) => octets.every((one) => one === 0);

/** 32 octets that are a scalar below the order (RFC 9497 §4.1), as public ones are. */
function scalar(octets) {
  check(octets.length === 32 && hex(Uint8Array.from(octets).reverse()) < ORDER, 'invalid-scalar');
  return octets;
}

/** A usable element: canonical, and not the identity. */
function element(octets, word = 'invalid-element') {
  check(group().isElement(octets), word);
  return octets;
}

/** A blind: uniform, and not zero. */
function randomScalar() {
  for (;;) {
    const octets = group().reduce(randomOctets(64));
    if (!isZero(octets)) return octets;
  }
}

/** Blinds from their encodings (vectors). Refuses zero, and what is not below the order. */
export function blindsFrom(encodings) {
  return encodings.map((octets) => {
    check(!isZero(scalar(octets)), 'invalid-scalar');
    return octets;
  });
}

/**
 * Blind inputs, each with a scalar of its own.
 * @param {Uint8Array[]} inputs 1 to 4096
 * @param {Uint8Array[]} [blinds] only for test vectors
 * @returns {{inputs: Uint8Array[], blinds: Uint8Array[], blinded: Uint8Array[], body: Uint8Array}}
 */
export function blind(inputs, blinds = inputs.map(randomScalar)) {
  check(blinds.length === inputs.length, 'invalid-scalar');
  check(inputs.length > 0, 'bad-batch');
  check(inputs.length <= MAX_BATCH, 'batch-too-large');
  const blinded = inputs.map((input, i) => group().multiply(hashToGroup(input), blinds[i]));
  return { inputs, blinds, blinded, body: concat(...blinded) };
}

const rows = (octets) => Array.from({ length: octets.length / 32 }, (_, i) => octets.subarray(32 * i, 32 * i + 32));

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
  const { inputs, blinds, blinded } = blinding;
  const { multiply, sum, invert } = group();
  check(reply.length === 32 * inputs.length + 64, 'wrong-length');
  check(publicKey.length === 32, 'invalid-key');
  const key = element(publicKey, 'invalid-key');
  const all = rows(reply);
  const evaluated = all.slice(0, -2).map((one) => element(one));
  const [c, s] = all.slice(-2).map(scalar);
  const d = weights(publicKey, blinded, evaluated);
  const m = sum(blinded, d);
  const z = sum(evaluated, d);
  const t2 = sum([GENERATOR, key], [s, c]);
  const t3 = sum([m, z], [s, c]);
  const challenge = hashToScalar(concat(prefixed(publicKey, m, z, t2, t3), CHALLENGE));
  check(hex(challenge) === hex(c), 'bad-proof');
  const inverses = invert(blinds);
  return inputs.map((input, i) => sha512(concat(prefixed(input, multiply(evaluated[i], inverses[i])), FINALIZE)));
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
export const layers = { hashToGroup, hashToScalar };
