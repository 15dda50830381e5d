// The group and RFC 9497 mode 0x01 (docs/protocol.md), on the ristretto255 of @noble/curves.
import { ristretto255, ristretto255_hasher, ristretto255_oprf } from '@noble/curves/ed25519.js';
import { expand_message_xmd } from '@noble/curves/abstract/hash-to-curve.js';
import { blake2b } from '@noble/hashes/blake2.js';
import { sha512 as sha512Of } from '@noble/hashes/sha2.js';
import { Refused, ascii, check, concat, equal, hex, i2osp, sha512, unhex } from './octets.mjs';

const Point = ristretto255.Point;
const ORDER = Point.Fn.ORDER;
export const MAX_BATCH = 4096;

const context = (mode) => concat(ascii('OPRFV1-'), new Uint8Array([mode]), ascii('-ristretto255-SHA512'));
const CONTEXT = context(1);
const dst = (name, mode = 1) => concat(ascii(name), context(mode));

export const prefixed = (...strings) => concat(...strings.flatMap((one) => [i2osp(one.length, 2), one]));

export function le(number) {
  return unhex(number.toString(16).padStart(64, '0')).reverse();
}
export function fromLe(octets) {
  return BigInt('0x' + hex(Uint8Array.from(octets).reverse()));
}
const mod = (number) => ((number % ORDER) + ORDER) % ORDER;
export function inverse(number) {
  let [a, b, x, y] = [mod(number), ORDER, 1n, 0n];
  while (a > 1n) [a, b, x, y] = [b % a, a, y - (b / a) * x, x];
  return mod(x);
}

export function decode(octets) {
  try {
    return Point.fromBytes(octets);
  } catch {
    return null;
  }
}
const isIdentity = (point) => point.equals(Point.ZERO);
const times = (point, scalar) => (scalar === 0n ? Point.ZERO : point.multiplyUnsafe(scalar));
export const hashToGroup = (message, name) => ristretto255_hasher.hashToCurve(message, { DST: name });
const hashToScalar = (message, name = dst('HashToScalar-')) =>
  mod(fromLe(expand_message_xmd(message, name, 64, sha512Of)));

function element(octets, word = 'invalid-element') {
  const point = octets.length === 32 ? decode(octets) : null;
  check(point !== null && !isIdentity(point), word);
  return point;
}

function scalar(octets) {
  const number = fromLe(octets);
  check(octets.length === 32 && number < ORDER, 'invalid-scalar');
  return number;
}

export function deriveKey(seed, info, mode = 1) {
  const input = concat(seed, i2osp(info.length, 2), info);
  for (let counter = 0; ; counter++) {
    const secret = hashToScalar(concat(input, i2osp(counter, 1)), dst('DeriveKeyPair', mode));
    if (secret !== 0n) return { secret, public: Point.BASE.multiply(secret).toBytes() };
  }
}

export function rows(octets) {
  return Array.from({ length: octets.length / 32 }, (_, i) => octets.subarray(32 * i, 32 * i + 32));
}

export function blind(input, scalar_, mode = 1) {
  return times(hashToGroup(input, dst('HashToGroup-', mode)), scalar_).toBytes();
}

function weights(publicKey, blinded, evaluated) {
  const seed = sha512(prefixed(publicKey, concat(ascii('Seed-'), CONTEXT)));
  return blinded.map((c, i) =>
    hashToScalar(concat(prefixed(seed), i2osp(i, 2), prefixed(c, evaluated[i]), ascii('Composite'))),
  );
}

function challenge(publicKey, m, z, t2, t3) {
  return hashToScalar(concat(prefixed(publicKey, m, z, t2, t3), ascii('Challenge')));
}

const sum = (points, scalars) =>
  points.reduce((total, point, i) => total.add(times(point, scalars[i])), Point.ZERO);

export function evaluateBlinded(key, body, nonce) {
  check(body.length > 0 && body.length % 32 === 0, 'bad-batch');
  check(body.length / 32 <= MAX_BATCH, 'batch-too-large');
  const blinded = rows(body);
  const points = blinded.map((one, index) => {
    try {
      return element(one);
    } catch (error) {
      throw Object.assign(error, { index });
    }
  });
  const evaluated = points.map((point) => times(point, key.secret).toBytes());
  const d = weights(key.public, blinded, evaluated);
  const m = sum(points, d);
  const z = times(m, key.secret);
  const c = challenge(key.public, m.toBytes(), z.toBytes(), times(Point.BASE, nonce).toBytes(), times(m, nonce).toBytes());
  return { evaluated, proof: concat(le(c), le(mod(nonce - c * key.secret))) };
}

// "What a client does with the reply": the outputs.
export function finalize(inputs, blinds, blinded, reply, publicKey) {
  check(reply.length === 32 * inputs.length + 64, 'wrong-length');
  const key = element(publicKey, 'invalid-key');
  const all = rows(reply);
  const [evaluated, proof] = [all.slice(0, -2), all.slice(-2)];
  const points = evaluated.map((one) => element(one));
  const [c, s] = proof.map(scalar);
  const d = weights(publicKey, blinded, evaluated);
  const m = sum(blinded.map(decode), d);
  const z = sum(points, d);
  const t2 = times(Point.BASE, s).add(times(key, c));
  const t3 = times(m, s).add(times(z, c));
  const expected = challenge(publicKey, m.toBytes(), z.toBytes(), t2.toBytes(), t3.toBytes());
  check(expected === c, 'bad-proof');
  const outputs = inputs.map((input, i) =>
    sha512(concat(prefixed(input, times(points[i], inverse(blinds[i])).toBytes()), ascii('Finalize'))),
  );
  // The library's own protocol must say the same.
  const items = inputs.map((input, i) => ({ input, blind: le(blinds[i]), evaluated: evaluated[i], blinded: blinded[i] }));
  const theirs = ristretto255_oprf.voprf.finalizeBatch(items, publicKey, concat(...proof));
  if (!theirs.every((one, i) => equal(one, outputs[i]))) throw new Error('@noble/curves has other outputs');
  return outputs;
}

export function evaluate(secret, input, mode = 1) {
  const issued = times(hashToGroup(input, dst('HashToGroup-', mode)), secret).toBytes();
  return sha512(concat(prefixed(input, issued), ascii('Finalize')));
}

const blindOf = (octets) => {
  const number = fromLe(octets);
  check(number < ORDER && number !== 0n, 'invalid-scalar');
  return number;
};

function exchange(given, mode) {
  const [seed, info] = [unhex(given.seed), unhex(given.info)];
  const key = deriveKey(seed, info, mode);
  const inputs = given.inputs.map(unhex);
  const blinds = given.blinds.map((one) => blindOf(unhex(one)));
  const blinded = inputs.map((input, i) => blind(input, blinds[i], mode));
  return { key, inputs, blinds, blinded };
}

export const OPERATIONS = {
  expand_message_xmd: (given) => ({
    uniform_bytes: hex(expand_message_xmd(unhex(given.message), unhex(given.dst), given.length, sha512Of)),
  }),
  hash_to_group: (given) => ({ element: hashToGroup(unhex(given.message), unhex(given.dst)).toHex() }),
  hash_to_scalar: (given) => ({ scalar: hex(le(hashToScalar(unhex(given.message), unhex(given.dst)))) }),
  multiply_base: (given) => ({ element: times(Point.BASE, fromLe(unhex(given.scalar))).toHex() }),
  decode(given) {
    const point = decode(unhex(given.encoding));
    return { valid: point !== null, element: (point ?? Point.ZERO).toHex() };
  },
  from_uniform_bytes: (given) => ({
    element: ristretto255_hasher.deriveToCurve(unhex(given.uniform_bytes)).toHex(),
  }),
  oprf(given) {
    const { key, inputs, blinds, blinded } = exchange(given, 0);
    const evaluated = blinded.map((one) => times(decode(one), key.secret));
    return {
      secret_key: hex(le(key.secret)),
      blinded: blinded.map(hex),
      evaluated: evaluated.map((one) => one.toHex()),
      outputs: inputs.map((input, i) =>
        hex(sha512(concat(prefixed(input, times(evaluated[i], inverse(blinds[i])).toBytes()), ascii('Finalize')))),
      ),
    };
  },
  voprf(given) {
    const { key, inputs, blinds, blinded } = exchange(given, 1);
    const { evaluated, proof } = evaluateBlinded(key, concat(...blinded), fromLe(unhex(given.nonce)));
    const outputs = finalize(inputs, blinds, blinded, concat(...evaluated, proof), key.public);
    return {
      secret_key: hex(le(key.secret)),
      public_key: hex(key.public),
      blinded: blinded.map(hex),
      evaluated: evaluated.map(hex),
      proof: hex(proof),
      outputs: outputs.map(hex),
    };
  },
  evaluate(given) {
    const { secret } = deriveKey(unhex(given.seed), unhex(given.info));
    return { outputs: given.inputs.map((one) => hex(evaluate(secret, unhex(one)))) };
  },
  receive_request(given) {
    const body = concat(...Array(given.times).fill(unhex(given.body)));
    try {
      evaluateBlinded(deriveKey(unhex(given.seed), unhex(given.info)), body, 1n);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return { refusal: error.message, index: error.index };
    }
    return {};
  },
  receive_reply(given) {
    const inputs = given.inputs.map(unhex);
    const blinds = given.blinds.map((one) => fromLe(unhex(one)));
    const blinded = inputs.map((input, i) => blind(input, blinds[i]));
    finalize(inputs, blinds, blinded, unhex(given.reply), unhex(given.public_key));
    return {};
  },
  blind(given) {
    const blinds = given.blinds.map(unhex);
    check(blinds.length === given.inputs.length, 'invalid-scalar');
    check(blinds.length > 0, 'bad-batch');
    blinds.forEach(blindOf);
    return {};
  },
  key(given) {
    const [secret, publicKey] = [unhex(given.secret_key), unhex(given.public_key)];
    check(secret.length === 32 && publicKey.length === 32, 'wrong-length');
    blindOf(secret);
    return {};
  },
  epoch_key(given) {
    const [seed, info] = [unhex(given.seed), infoOf(given.audience, given.epoch)];
    check(seed.length === 32, 'wrong-length');
    const key = deriveKey(seed, info);
    return { info: hex(info), secret_key: hex(le(key.secret)), public_key: hex(key.public) };
  },
  batch_name: (given) => ({
    name: hex(blake2b(concat(i2osp(given.epoch, 8), unhex(given.body)), { key: unhex(given.secret), dkLen: 16 })),
  }),
};

export const infoOf = (audience, epoch) => ascii(`contactsync/v1/${audience}/${epoch}`);
