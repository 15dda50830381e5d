// The history of an audience: docs/http-api.md, "The walk".
import { canonicalForm, parseAscii } from './canonical.js';
import { check, Refusal } from './errors.js';
import { equal, hex, isHex, sha256 } from './octets.js';

export const MANIFESTS_KEPT = 33;
export const MAX_MANIFEST = 8388608;

const isNumber = (value) => Number.isInteger(value) && value >= 1 && value <= 2 ** 53;

/**
 * What the history needs of a manifest of any version.
 * @param {Uint8Array} octets
 */
export function linkOf(octets) {
  let value;
  try {
    value = parseAscii(octets);
    check(equal(canonicalForm(value), octets), 'malformed');
  } catch {
    throw new Refusal('malformed');
  }
  const isObject = value !== null && typeof value === 'object' && !Array.isArray(value);
  check(isObject && typeof value.format === 'string', 'malformed');
  check(/^contactsync-manifest-[1-9][0-9]{0,5}$/.test(value.format), 'malformed');
  check(isNumber(value.epoch) && isNumber(value.edition), 'malformed');
  check(typeof value.audience === 'string' && /^[a-z]{1,32}$/.test(value.audience), 'malformed');
  check(isHex(value.public_key, 64) && (value.previous === null || isHex(value.previous, 64)), 'malformed');
  return {
    audience: value.audience, epoch: value.epoch, edition: value.edition, key: value.public_key,
    previous: value.previous, rotation: rotationOf(value.next), sha256: hex(sha256(octets)),
  };
}

// What a manifest announces; null also if it has a form of a later version.
function rotationOf(value) {
  if (value === null || typeof value !== 'object') return null;
  const { epoch, public_key: key, until, edition } = value;
  return [epoch, until, edition].every(isNumber) && isHex(key, 64) ? { epoch, key, until, edition } : null;
}

const another = (holds, what) => check(holds, 'another-history', what);
const later = (a, b) => a.epoch > b.epoch || (a.epoch === b.epoch && a.edition > b.edition);
const at = (one) => `epoch ${one.epoch} edition ${one.edition}`;

function checkBeginning(one) {
  another((one.previous === null) === (one.epoch === 1 && one.edition === 1),
    `${at(one)}: only epoch 1 edition 1 has no previous manifest`);
}

function checkStep(newer, older) {
  checkBeginning(older);
  another(newer.audience === older.audience, `before ${at(newer)} comes a manifest of another audience`);
  if (newer.edition === 1) {
    another(older.epoch === newer.epoch - 1, `before ${at(newer)} comes ${at(older)}`);
    return;
  }
  another(older.epoch === newer.epoch && older.edition === newer.edition - 1, `before ${at(newer)} comes ${at(older)}`);
  another(newer.key === older.key, `the key of epoch ${newer.epoch} changed within the epoch`);
  const [now, before] = [newer.rotation, older.rotation];
  if (now && before) {
    const same = now.epoch === before.epoch && now.key === before.key && now.until === before.until;
    another(same && now.edition >= before.edition, `what was announced of epoch ${before.epoch} changed`);
  }
}

/**
 * Check that `newest` is the manifest seen last, or continues it.
 * @param {ReturnType<typeof linkOf>} newest
 * @param {ReturnType<typeof linkOf> | null} seen
 * @param {(sha256: string) => Promise<Uint8Array | null>} older an older manifest, unverified; null if it is gone
 * @returns {Promise<{gap: null | {since: object, until: object}, fetched: string[]}>} `gap`: what cannot be checked
 */
export async function walk(newest, seen, older) {
  const fetched = [];
  checkBeginning(newest);
  if (seen === null || newest.sha256 === seen.sha256) return { fetched, gap: null };
  another(newest.audience === seen.audience, `it continues ${seen.audience} with ${newest.audience}`);
  another(later(newest, seen), `it went back from ${at(seen)}, or published ${at(newest)} twice`);
  another(newest.epoch !== seen.epoch || newest.key === seen.key, `the key of epoch ${newest.epoch} changed`);
  let link = newest;
  for (let left = MANIFESTS_KEPT; ; left--) {
    if (link.previous === seen.sha256) {
      checkStep(link, seen);
      return { fetched, gap: null };
    }
    const epochs = link.epoch - seen.epoch;
    const least = epochs ? link.edition + epochs - 1 : link.edition - seen.edition;
    if (least > left || (left === 1 && epochs)) {
      const position = ({ epoch, edition }) => ({ epoch, edition });
      return { fetched, gap: { since: position(seen), until: position(newest) } };
    }
    another(link.previous !== null && (epochs > 0 || least > 1), `${at(link)} does not continue ${at(seen)} as seen before`);
    fetched.push(link.previous);
    const octets = await older(link.previous);
    another(octets !== null && octets.length <= MAX_MANIFEST && hex(sha256(octets)) === link.previous,
      `it lacks the manifest before ${at(link)}, or shows another one`);
    const before = linkOf(octets);
    checkStep(link, before);
    another(later(before, seen), `${at(before)} is not the one seen before`);
    link = before;
  }
}
