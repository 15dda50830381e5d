// Signed metadata, from a pinned root to the targets: TUF 1.0.31 §5.3 and docs/http-api.md, "TUF metadata".
import { parse, signedForm } from './canonical.js';
import { check, Refusal } from './errors.js';
import { hex, sha256, text, unhex } from './octets.js';
import { signatureHolds } from './voprf.js';

const MAX_ROOT = 65536;
const MAX_TIMESTAMP = 16384;
const MAX_OTHER = 65536;
const MAX_ROOTS = 64;

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
const isWhole = (value) => Number.isInteger(value) && value >= 0;
const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** A metadata file of a kind, not verified. @param {Uint8Array} octets @param {string} kind */
export function metadataOf(octets, kind) {
  try {
    const value = parse(text(octets));
    const { signed, signatures } = value;
    check(isObject(signed) && signed._type === kind && isWhole(signed.version) && signed.version > 0, 'malformed');
    check(/^1\./.test(signed.spec_version) && DATE.test(signed.expires), 'malformed');
    const ids = signatures.map(({ keyid, sig }) => (typeof sig === 'string' ? keyid : null));
    check(ids.every((id) => typeof id === 'string') && new Set(ids).size === ids.length, 'malformed');
    if (kind === 'root') checkRoles(signed);
    return value;
  } catch {
    throw new Refusal('malformed', `the ${kind} metadata cannot be read`);
  }
}

function checkRoles(signed) {
  for (const role of ['root', 'timestamp', 'snapshot', 'targets']) {
    const { keyids, threshold } = signed.roles[role];
    check(Number.isInteger(threshold) && threshold >= 1 && new Set(keyids).size === keyids.length, 'malformed');
    check(keyids.every((id) => isObject(signed.keys[id]) && typeof signed.keys[id].keyval.public === 'string'), 'malformed');
  }
}

/** That a threshold of the keys of a role has signed it; each key counts once. */
async function verify(file, root, role) {
  const { keyids, threshold } = root.signed.roles[role];
  const message = signedForm(file.signed);
  const public_ = new Set(); // two names of one key are one key
  for (const { keyid, sig } of file.signatures) {
    const key = root.signed.keys[keyid];
    if (!keyids.includes(keyid) || key.scheme !== 'ed25519' || key.keytype !== 'ed25519') continue;
    let octets;
    try {
      octets = [unhex(key.keyval.public), unhex(sig)];
    } catch {
      continue;
    }
    if (await signatureHolds(octets[0], octets[1], message)) public_.add(key.keyval.public.toLowerCase());
  }
  check(public_.size >= threshold, 'bad-signature', `the ${role} metadata is not signed by enough keys`);
}

function checkAlive(file, now) {
  check(Date.parse(file.signed.expires) / 1000 > now, 'expired', `the ${file.signed._type} metadata has expired`);
}

/** A file that another one describes: its length, if it states one, and its SHA-256. */
function checkDescribed(octets, info, what) {
  if (info.length !== undefined) {
    check(octets.length <= info.length, 'too-large', `${what} is too long`);
    check(octets.length === info.length, 'bad-hash', `${what} is not the one that was signed`);
  }
  if (info.hashes !== undefined)
    check(hex(sha256(octets)) === info.hashes.sha256, 'bad-hash', `${what} is not the one that was signed`);
}

/** Whether stored octets are the file that is described, by its hash: then it need not be fetched to be verified again. */
const isDescribed = (octets, { length, hashes }) =>
  octets !== undefined && octets.length === (length ?? octets.length) && hex(sha256(octets)) === hashes?.sha256;

function described(meta, name) {
  const info = isObject(meta) ? meta[name] : null;
  check(isObject(info) && isWhole(info.version) && (info.length === undefined || isWhole(info.length)), 'malformed');
  return info;
}

/** A root that people chose to trust: signed by its own threshold. @param {Uint8Array} octets */
export async function openRoot(octets) {
  const root = metadataOf(octets, 'root');
  await verify(root, root, 'root');
  return root;
}

/**
 * What was verified so far: octets of files, so that a store can keep it. `root` is the newest root.
 * `followed` gets the roots that come after it.
 * @typedef {{root: Uint8Array, followed?: Uint8Array[], timestamp?: Uint8Array, snapshot?: Uint8Array, targets?: Uint8Array}} Trusted
 */

/**
 * One refresh. Changes `trusted` as soon as each file was verified: the caller stores it, whatever is thrown.
 * @param {Trusted} trusted stored snapshots and targets are used, and verified as if they had come, where the timestamp leads to them
 * @param {(name: string, limit: number) => Promise<Uint8Array | null>} get a file of the server; null: there is none.
 *   Refuses what is longer than the limit as `too-large`.
 * @param {number} now seconds since 1970
 * @returns {Promise<object>} the targets: by name, length and hashes
 */
export async function refresh(trusted, get, now) {
  const there = (octets, name) => {
    check(octets !== null, 'withheld', `${name} is not there`);
    return octets;
  };
  const must = async (name, limit) => there(await get(name, limit), name);
  let root = metadataOf(trusted.root, 'root');
  const before = root.signed.roles;
  const early = get('timestamp.json', MAX_TIMESTAMP); // it is asked for whatever comes of the root
  early.catch(() => {}); // whoever waits for it says so
  let followed = 0;
  for (; followed < MAX_ROOTS; followed++) {
    const octets = await get(`${root.signed.version + 1}.root.json`, MAX_ROOT);
    if (octets === null) break;
    const next = metadataOf(octets, 'root');
    await verify(next, root, 'root');
    check(next.signed.version === root.signed.version + 1, 'rolled-back', 'a root has another version than its name');
    await verify(next, next, 'root');
    [root, trusted.root] = [next, octets];
    trusted.followed?.push(octets);
  }
  checkAlive(root, now);
  // Keys that were replaced may have signed versions that are too high (TUF §5.3.11).
  for (const [role, names] of [['timestamp', ['timestamp', 'snapshot']], ['snapshot', ['timestamp', 'snapshot']]])
    if (JSON.stringify(before[role]) !== JSON.stringify(root.signed.roles[role]))
      for (const name of names) delete trusted[name];

  // With a new root the timestamp may be a new one, too.
  const timestampOctets = followed ? await must('timestamp.json', MAX_TIMESTAMP) : there(await early, 'timestamp.json');
  const timestamp = metadataOf(timestampOctets, 'timestamp');
  await verify(timestamp, root, 'timestamp');
  const info = described(timestamp.signed.meta, 'snapshot.json');
  if (trusted.timestamp) {
    const last = metadataOf(trusted.timestamp, 'timestamp').signed;
    check(timestamp.signed.version >= last.version, 'rolled-back', 'the timestamp is older than the one seen before');
    check(info.version >= last.meta['snapshot.json'].version, 'rolled-back', 'the timestamp names an older snapshot');
  }
  trusted.timestamp = timestampOctets;
  checkAlive(timestamp, now);

  const kept = isDescribed(trusted.snapshot, info);
  const snapshotOctets = kept ? trusted.snapshot : await must(`${info.version}.snapshot.json`, info.length ?? MAX_OTHER);
  checkDescribed(snapshotOctets, info, 'the snapshot');
  const snapshot = metadataOf(snapshotOctets, 'snapshot');
  await verify(snapshot, root, 'snapshot');
  check(snapshot.signed.version === info.version, 'rolled-back', 'the snapshot is of another version');
  const listed = described(snapshot.signed.meta, 'targets.json');
  if (trusted.snapshot) {
    const last = metadataOf(trusted.snapshot, 'snapshot').signed.meta['targets.json'];
    check(listed.version >= last.version, 'rolled-back', 'the snapshot names older targets than the one seen before');
  }
  trusted.snapshot = snapshotOctets;
  checkAlive(snapshot, now);

  const same = isDescribed(trusted.targets, listed);
  const targetsOctets = same ? trusted.targets : await must(`${listed.version}.targets.json`, listed.length ?? MAX_OTHER);
  checkDescribed(targetsOctets, listed, 'the targets metadata');
  const targets = metadataOf(targetsOctets, 'targets');
  await verify(targets, root, 'targets');
  check(targets.signed.version === listed.version, 'rolled-back', 'the targets metadata is of another version');
  checkAlive(targets, now);
  check(isObject(targets.signed.targets), 'malformed');
  trusted.targets = targetsOctets;
  return targets.signed.targets;
}

/**
 * The target of an audience: what its manifest must be.
 * @returns {{length: number, sha256: string}}
 */
export function targetOf(targets, audience, most) {
  const target = targets[`${audience}.json`];
  check(isObject(target), 'withheld', `nothing is published for ${audience}`);
  const names = isObject(target.hashes) ? Object.keys(target.hashes) : [];
  check(isWhole(target.length) && target.length <= most && names.join() === 'sha256', 'out-of-range');
  check(typeof target.hashes.sha256 === 'string' && /^[0-9a-f]{64}$/.test(target.hashes.sha256), 'malformed');
  return { length: target.length, sha256: target.hashes.sha256 };
}

/** That octets are those of a target. */
export const checkTarget = (octets, { length, sha256: wanted }) =>
  checkDescribed(octets, { length, hashes: { sha256: wanted } }, 'the manifest');
