// Which log a client follows, how many of which witnesses must have seen what it says, and what it says: docs/http-api.md,
// "The log", and C2SP tlog-checkpoint.
import { BadInput, Refusal, check } from '../errors.js';
import { equal, sha256 } from '../octets.js';
import { fromBase64, keyOf, openNote } from './notes.js';

const FIELD = 'x-contactsync-log';
const MAX_WITNESSES = 32;
const EMPTY = sha256(new Uint8Array()); // the root hash of a log without entries

/** The policy that a root's metadata states; null if it names no log. @param {object} signed */
export const policyIn = (signed) => (FIELD in signed ? policyOf(signed[FIELD]) : null);

/** @param {{log: string, quorum: number, witnesses: string[]}} value as the root has it */
export function policyOf(value) {
  const isObject = value !== null && typeof value === 'object' && !Array.isArray(value);
  check(isObject && Object.keys(value).sort().join() === 'log,quorum,witnesses', 'malformed');
  check(typeof value.log === 'string' && Array.isArray(value.witnesses) && value.witnesses.every((one) => typeof one === 'string'), 'malformed');
  const [log, witnesses] = [keyOf(value.log), value.witnesses.map(keyOf)];
  check(log.kind === 'log' && witnesses.every((one) => one.kind === 'witness'), 'malformed');
  const keys = [log, ...witnesses].map((one) => one.public.join());
  check(new Set(keys).size === keys.length && witnesses.length <= MAX_WITNESSES, 'malformed');
  check(Number.isInteger(value.quorum) && value.quorum >= 0 && value.quorum <= witnesses.length, 'malformed');
  return { log, witnesses, quorum: value.quorum, value };
}

/**
 * The witnesses that a user requires, whichever the root names, and how many of them (all); null: as the root says.
 * @param {string[]} witnesses verifier keys @param {number} [quorum] Throws BadInput
 */
export function ownOf(witnesses, quorum) {
  const hint = 'a witness is a verifier key, NAME+ID+KEY, each given once; require at least one, and at most all of them';
  if (!witnesses.length) {
    if (quorum === undefined) return null;
    throw new BadInput('a number of witnesses is required, and none is given', { hint });
  }
  const own = { witnesses: [...witnesses], quorum: quorum ?? witnesses.length };
  try {
    const keys = own.witnesses.map(keyOf);
    check(keys.every((one) => one.kind === 'witness') && new Set(keys.map((one) => one.public.join())).size === keys.length, 'malformed');
    check(keys.length <= MAX_WITNESSES && Number.isInteger(own.quorum) && own.quorum >= 1 && own.quorum <= keys.length, 'malformed');
  } catch (error) {
    if (error instanceof Refusal) throw new BadInput('the witnesses that you require cannot be used', { hint });
    throw error;
  }
  return own;
}

/** What is in force: the log that the root names, and the user's own witnesses if there are any. */
export const inForce = (policy, own) => (own === null ? policy : policyOf({ ...policy.value, ...own }));

/**
 * A checkpoint: `size` entries with the root hash `root`. Lines after the third are extensions, which are ignored.
 * @param {string} text
 */
export function checkpointOf(text) {
  const lines = text.split('\n');
  const [origin, size, coded] = lines;
  check(lines.length > 3 && lines.at(-1) === '' && lines.slice(0, -1).every(Boolean), 'malformed');
  check(/^(?:0|[1-9][0-9]{0,15})$/.test(size) && Number.isSafeInteger(Number(size)), 'malformed');
  const root = fromBase64(coded);
  check(root.length === 32 && (size !== '0' || equal(root, EMPTY)), 'malformed');
  return { origin, size: Number(size), root };
}

/**
 * The checkpoint of a note that the log and enough witnesses have signed.
 * @param {ReturnType<typeof policyOf>} policy @param {Uint8Array} note
 */
export async function accepted({ log, witnesses, quorum }, note) {
  const { text, verified } = await openNote(note, [log, ...witnesses]);
  const checkpoint = checkpointOf(text);
  check(verified.has(log) && checkpoint.origin === log.name, 'bad-signature', `the log ${log.name} has not signed its checkpoint`);
  const missing = witnesses.filter((one) => !verified.has(one)).map((one) => one.name);
  const cosigned = witnesses.length - missing.length;
  check(cosigned >= quorum, 'too-few-witnesses',
    `${cosigned} of the ${quorum} witnesses that are required have cosigned the log; without a cosignature: ${missing.join(', ')}`);
  return { ...checkpoint, text };
}
