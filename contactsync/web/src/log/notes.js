// Signed notes and the keys that sign them: C2SP signed-note and tlog-cosignature (cosignature/v1).
import { check } from '../errors.js';
import { concat, equal, hex, sha256, text as textOf, utf8 } from '../octets.js';
import { signatureHolds } from '../voprf.js';

const MAX_NOTE = 65536;
const MAX_SIGNATURES = 100;
const KINDS = { 1: 'log', 4: 'witness' };
const [ID_BYTES, TIME_BYTES, SIGNATURE_BYTES] = [4, 8, 64];
const LAST_TIME = 2n ** 63n - 1n; // seconds since 1970

const isName = (name) => /^[^\s+\x00-\x1f\x7f]+$/.test(name) && name.isWellFormed() && utf8(name).length <= 255;

export const base64 = (octets) => btoa(String.fromCharCode(...octets));

/** The octets of base64 in its one spelling. Refuses anything else as `malformed`. */
export function fromBase64(coded) {
  let octets = null;
  try {
    octets = Uint8Array.from(atob(coded), (character) => character.charCodeAt(0));
  } catch {
    // below
  }
  check(octets !== null && base64(octets) === coded, 'malformed');
  return octets;
}

/**
 * A verifier key of the text NAME+ID+KEY.
 * @param {string} vkey
 * @returns {{vkey: string, name: string, kind: 'log' | 'witness', public: Uint8Array, id: Uint8Array}}
 */
export function keyOf(vkey) {
  const [name, id, ...more] = vkey.split('+');
  const octets = fromBase64(more.join('+')); // base64 has a +, too
  const kind = KINDS[octets[0]];
  check(isName(name) && octets.length === 33 && kind !== undefined, 'malformed');
  const real = sha256(concat(utf8(`${name}\n`), octets)).subarray(0, ID_BYTES);
  check(id === hex(real), 'malformed');
  return { vkey, name, kind, public: octets.subarray(1), id: real };
}

/** What a signature is over, and when a witness made it: null for a log. */
function signedBy({ kind }, note, octets) {
  if (kind === 'log') return { message: utf8(note), signature: octets, when: null };
  check(octets.length === TIME_BYTES + SIGNATURE_BYTES, 'bad-signature');
  const when = BigInt(`0x${hex(octets.subarray(0, TIME_BYTES))}`);
  check(when <= LAST_TIME, 'bad-signature');
  return { message: utf8(`cosignature/v1\ntime ${when}\n${note}`), signature: octets.subarray(TIME_BYTES), when };
}

/**
 * Verify a note. Signatures of other keys are ignored.
 * @param {Uint8Array} octets @param {ReturnType<typeof keyOf>[]} keys
 * @returns {Promise<{text: string, verified: Map<object, bigint | null>}>} of each key that has signed, when
 */
export async function openNote(octets, keys) {
  check(octets.length <= MAX_NOTE, 'malformed');
  let note = '';
  try {
    note = textOf(octets);
  } catch {
    // below
  }
  const end = note.lastIndexOf('\n\n');
  check(end > 0 && note.endsWith('\n') && !/[\x00-\x09\x0b-\x1f\x7f]/.test(note), 'malformed');
  const text = note.slice(0, end + 1);
  const lines = note.slice(end + 2).split('\n').slice(0, -1);
  check(lines.length > 0 && lines.length <= MAX_SIGNATURES, 'malformed');
  const verified = new Map();
  for (const line of lines) {
    const found = /^— (\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
    check(found !== null && isName(found[1]), 'malformed');
    const given = fromBase64(found[2]);
    check(given.length > ID_BYTES, 'malformed');
    const key = keys.find((one) => one.name === found[1] && equal(one.id, given.subarray(0, ID_BYTES)));
    if (key === undefined) continue;
    const { message, signature, when } = signedBy(key, text, given.subarray(ID_BYTES));
    check(await signatureHolds(key.public, signature, message), 'bad-signature', `the signature of ${key.name} is not valid`);
    verified.set(key, when);
  }
  return { text, verified };
}
