// Signed metadata (TUF 1.0.31, docs/http-api.md "What is signed") and the history of manifests ("The walk").
import { ed25519 } from '@noble/curves/ed25519.js';
import { Refused, check, equal, hex, sha256, unhex, utf8 } from './octets.mjs';

const text = (octets) => new TextDecoder('utf-8', { fatal: true }).decode(octets);

// By code points: JavaScript's own order is that of UTF-16.
function byCodePoint(a, b) {
  const [x, y] = [[...a], [...b]];
  for (let i = 0; i < Math.min(x.length, y.length); i++)
    if (x[i] !== y[i]) return x[i].codePointAt(0) - y[i].codePointAt(0);
  return x.length - y.length;
}

const members = (value, spell) =>
  '{' + Object.keys(value).sort(byCodePoint).map((name) => `${spell(name)}:${spell(value[name])}`).join(',') + '}';

// OLPC Canonical JSON.
function signedForm(value) {
  if (typeof value === 'string') return '"' + value.replace(/[\\"]/g, '\\$&') + '"';
  if (Array.isArray(value)) return '[' + value.map(signedForm).join(',') + ']';
  if (value !== null && typeof value === 'object') return members(value, signedForm);
  return JSON.stringify(value);
}

// The form of manifests: ASCII.
function canonical(value) {
  if (typeof value === 'string')
    return JSON.stringify(value).replace(/[\x7f-\uffff]/g, (one) => '\\u' + one.charCodeAt(0).toString(16).padStart(4, '0'));
  if (Array.isArray(value)) return '[' + value.map(canonical).join(',') + ']';
  if (value !== null && typeof value === 'object') return members(value, canonical);
  return JSON.stringify(value);
}

function metadata(octets, kind) {
  try {
    const value = JSON.parse(text(octets));
    const ids = value.signatures.map((one) => one.keyid);
    if (value.signed._type === kind && new Set(ids).size === ids.length) return value;
  } catch {
    // below
  }
  throw new Refused('malformed');
}

function verify(file, root, role) {
  const { keyids, threshold } = root.signed.roles[role];
  const message = utf8(signedForm(file.signed));
  const good = file.signatures.filter(({ keyid, sig }) => {
    const key = root.signed.keys[keyid];
    if (!keyids.includes(keyid) || key?.scheme !== 'ed25519') return false;
    try {
      return ed25519.verify(unhex(sig), message, unhex(key.keyval.public), { zip215: false });
    } catch {
      return false;
    }
  });
  check(good.length >= threshold, 'bad-signature');
}

const alive = (file, now) => check(Date.parse(file.signed.expires) / 1000 > now, 'expired');

function described(octets, info) {
  check(octets.length <= info.length, 'too-large');
  check(octets.length === info.length && hex(sha256(octets)) === info.hashes.sha256, 'bad-hash');
}

// One refresh, and the manifest that it leads to. `trusted` is what was verified before.
function refresh(trusted, files, now) {
  const get = (name, limit) => {
    check(name in files, 'withheld');
    check(files[name].length <= limit, 'too-large');
    return files[name];
  };
  for (;;) {
    const name = `${trusted.root.signed.version + 1}.root.json`;
    if (!(name in files)) break;
    const next = metadata(get(name, 65536), 'root');
    verify(next, trusted.root, 'root');
    check(next.signed.version === trusted.root.signed.version + 1, 'rolled-back');
    verify(next, next, 'root');
    trusted.root = next;
  }
  alive(trusted.root, now);
  const timestamp = metadata(get('timestamp.json', 16384), 'timestamp');
  verify(timestamp, trusted.root, 'timestamp');
  const [before, info] = [trusted.timestamp, timestamp.signed.meta['snapshot.json']];
  if (before) {
    check(timestamp.signed.version >= before.signed.version, 'rolled-back');
    check(info.version >= before.signed.meta['snapshot.json'].version, 'rolled-back');
  }
  trusted.timestamp = timestamp;
  alive(timestamp, now);
  const snapshotOctets = get(`${info.version}.snapshot.json`, info.length);
  described(snapshotOctets, info);
  const snapshot = metadata(snapshotOctets, 'snapshot');
  verify(snapshot, trusted.root, 'snapshot');
  check(snapshot.signed.version === info.version, 'rolled-back');
  const listed = snapshot.signed.meta['targets.json'];
  if (trusted.snapshot) check(listed.version >= trusted.snapshot.signed.meta['targets.json'].version, 'rolled-back');
  trusted.snapshot = snapshot;
  alive(snapshot, now);
  const targetsOctets = get(`${listed.version}.targets.json`, listed.length);
  described(targetsOctets, listed);
  const targets = metadata(targetsOctets, 'targets');
  verify(targets, trusted.root, 'targets');
  check(targets.signed.version === listed.version, 'rolled-back');
  alive(targets, now);
  return targets.signed.targets;
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function follow(given) {
  const root = metadata(given.root, 'root');
  verify(root, root, 'root');
  const trusted = { root };
  let [seen, manifest, gap] = [null, null, null];
  for (const state of given.states) {
    const files = Object.fromEntries(state.map((one) => [one.name, one.octets]));
    const target = refresh(trusted, files, given.now)[`${given.audience}.json`];
    check(target.length <= 8388608 && same(Object.keys(target.hashes), ['sha256']), 'out-of-range');
    const name = `${target.hashes.sha256}.${given.audience}.json`;
    check(name in files, 'withheld');
    described(files[name], target);
    check(JSON.parse(text(files[name])).audience === given.audience, 'not-as-described');
    manifest = link(files[name]);
    const kept = Object.entries(files).filter(([one]) => one.endsWith(`.${given.audience}.json`)).map(([, octets]) => octets);
    ({ gap } = walkBack(manifest, seen, kept));
    seen = manifest;
  }
  return { root_version: trusted.root.signed.version, epoch: manifest.at[0], edition: manifest.at[1], sha256: manifest.sha256, gap };
}

// --- the history ---

const isNumber = (value) => Number.isSafeInteger(value) && value >= 1;
const isHash = (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);

function link(octets) {
  let value;
  try {
    value = JSON.parse(text(octets));
    check(equal(utf8(canonical(value)), octets), 'malformed');
  } catch {
    throw new Refused('malformed');
  }
  check(/^contactsync-manifest-[1-9][0-9]*$/.test(value.format) && isNumber(value.epoch) && isNumber(value.edition), 'malformed');
  check(/^[a-z]+$/.test(value.audience) && isHash(value.public_key), 'malformed');
  check(value.previous === null || isHash(value.previous), 'malformed');
  const { audience, public_key: key, previous, next = null } = value;
  return { audience, key, previous, next, at: [value.epoch, value.edition], sha256: hex(sha256(octets)) };
}

const another = (holds) => check(holds, 'another-history');
const later = (a, b) => a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
const beginning = (one) => another((one.previous === null) === same(one.at, [1, 1]));

function step(newer, older) {
  beginning(older);
  another(newer.audience === older.audience);
  const [epoch, edition] = newer.at;
  if (edition === 1) return another(older.at[0] === epoch - 1);
  another(same(older.at, [epoch, edition - 1]) && newer.key === older.key);
  if (newer.next && older.next) {
    another(['epoch', 'public_key', 'until'].every((name) => newer.next[name] === older.next[name]));
    another(newer.next.edition >= older.next.edition);
  }
  return undefined;
}

function walkBack(newest, seen, keptOctets) {
  const kept = Object.fromEntries(keptOctets.map((octets) => [hex(sha256(octets)), octets]));
  const fetched = [];
  beginning(newest);
  if (seen === null || newest.sha256 === seen.sha256) return { fetched, gap: null };
  another(newest.audience === seen.audience && later(newest.at, seen.at));
  another(newest.at[0] !== seen.at[0] || newest.key === seen.key);
  let at = newest;
  for (let left = 33; ; left--) {
    if (at.previous === seen.sha256) {
      step(at, seen);
      return { fetched, gap: null };
    }
    const epochs = at.at[0] - seen.at[0];
    const least = epochs ? at.at[1] + epochs - 1 : at.at[1] - seen.at[1];
    if (least > left || (left === 1 && epochs)) return { fetched, gap: [seen.at, newest.at] };
    another(at.previous !== null && (epochs > 0 || least > 1));
    fetched.push(at.previous);
    another(at.previous in kept && kept[at.previous].length <= 8388608);
    const before = link(kept[at.previous]);
    step(at, before);
    another(later(before.at, seen.at));
    at = before;
  }
}

const walk = (given) => walkBack(link(given.newest), given.seen && link(given.seen), given.kept);

export const OPERATIONS = { follow, walk };
