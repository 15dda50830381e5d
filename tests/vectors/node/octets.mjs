// How vector files write octets down: docs/vectors.md, "Octets". And what all other files here share.
import { createHash } from 'node:crypto';
import { inflateSync } from 'node:zlib';
import { createXXHash3 } from 'hash-wasm';

export class Refused extends Error {} // message: the word of the refusal

export function check(holds, word) {
  if (!holds) throw new Refused(word);
}

export const hex = (octets) => Buffer.from(octets).toString('hex');
export const unhex = (text) => new Uint8Array(Buffer.from(text, 'hex'));
export const ascii = (text) => new Uint8Array(Buffer.from(text, 'latin1'));
export const utf8 = (text) => new Uint8Array(Buffer.from(text, 'utf8'));
export const sha256 = (octets) => new Uint8Array(createHash('sha256').update(octets).digest());
export const sha512 = (octets) => new Uint8Array(createHash('sha512').update(octets).digest());
export const concat = (...parts) => new Uint8Array(Buffer.concat(parts));
export const equal = (a, b) => Buffer.compare(a, b) === 0;
export const i2osp = (number, length) => unhex(BigInt(number).toString(16).padStart(2 * length, '0'));
export const ordered = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

const hasher = await createXXHash3();
export const xxh3 = (octets) => hasher.init().update(octets).digest();

export function fileIs(data, info) {
  check(data.length === info.length, 'wrong-length');
  check(hex(sha256(data)) === info.sha256, 'bad-hash');
  check(xxh3(data) === info.xxh3_64, 'bad-hash');
}

export function u64(data, at) {
  return Number(new DataView(data.buffer, data.byteOffset, data.byteLength).getBigUint64(at, true));
}

export function uint(data, at, width) {
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 256 + data[at + i];
  return value;
}

function repeated(octets, times = 1) {
  return times === 1 ? octets : new Uint8Array(Buffer.alloc(octets.length * times, octets));
}

function spelled(spec) {
  return repeated('hex' in spec ? unhex(spec.hex) : ascii(spec.text), spec.times);
}

function spliced(data, splices) {
  const parts = [];
  let done = 0;
  for (const splice of splices) {
    parts.push(data.subarray(done, splice.at), spelled(splice));
    done = splice.at + splice.remove;
  }
  return concat(...parts, data.subarray(done));
}

const FORMS = ['hex', 'text', 'zlib', 'sha512', 'of'];

export function octets(spec, files) {
  if ('of' in spec) return spliced(files[spec.of], spec.splice ?? []);
  if ('zlib' in spec) return new Uint8Array(inflateSync(Buffer.from(spec.zlib, 'base64')));
  if ('sha512' in spec) {
    const parts = [];
    for (let i = 0; i < spec.count; i++) parts.push(sha512(ascii(spec.sha512 + i)).subarray(0, spec.octets));
    return concat(...parts);
  }
  return spelled(spec);
}

export function resolved(value, files) {
  if (Array.isArray(value)) return value.map((one) => resolved(one, files));
  if (value === null || typeof value !== 'object') return value;
  if (FORMS.some((form) => form in value)) return octets(value, files);
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, resolved(one, files)]));
}

export function filesOf(specs) {
  const found = {};
  for (const [name, spec] of Object.entries(specs)) found[name] = octets(spec, found);
  return found;
}
