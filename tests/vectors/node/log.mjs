// The log: RFC 6962 §2.1, and C2SP signed-note, tlog-cosignature, tlog-checkpoint, tlog-tiles, tlog-witness.
import { ed25519 } from '@noble/curves/ed25519.js';
import { Refused, check, concat, equal, hex, i2osp, sha256, unhex, utf8 } from './octets.mjs';

const EMPTY = sha256(new Uint8Array());
export const leaf = (entry) => sha256(concat(new Uint8Array([0]), entry));
const node = (left, right) => sha256(concat(new Uint8Array([1]), left, right));
const below = (n) => 2 ** (Math.ceil(Math.log2(n)) - 1);

function tree(leaves) {
  if (leaves.length < 2) return leaves[0] ?? EMPTY;
  const k = below(leaves.length);
  return node(tree(leaves.slice(0, k)), tree(leaves.slice(k)));
}

function path(m, leaves) {
  if (leaves.length === 1) return [];
  const k = below(leaves.length);
  if (m < k) return [...path(m, leaves.slice(0, k)), tree(leaves.slice(k))];
  return [...path(m - k, leaves.slice(k)), tree(leaves.slice(0, k))];
}

function subproof(m, leaves, whole) {
  if (m === leaves.length) return whole ? [] : [tree(leaves)];
  const k = below(leaves.length);
  if (m <= k) return [...subproof(m, leaves.slice(0, k), whole), tree(leaves.slice(k))];
  return [...subproof(m - k, leaves.slice(k), false), tree(leaves.slice(0, k))];
}

// The root that a proof leads to, by the recursion of the RFC; null if it has not as many hashes as it must.
function rootBy(proof, m, n, found) {
  if (n === 1) return proof.length === 0 ? found : null;
  if (proof.length === 0) return null;
  const [k, last, rest] = [below(n), proof.at(-1), proof.slice(0, -1)];
  const part = m < k ? rootBy(rest, m, k, found) : rootBy(rest, m - k, n - k, found);
  if (part === null) return null;
  return m < k ? node(part, last) : node(last, part);
}

// Both roots that a consistency proof leads to; null if it has not as many hashes as it must.
function rootsBy(proof, m, n, whole, old) {
  if (m === n) {
    if (whole) return proof.length === 0 ? [old, old] : null;
    return proof.length === 1 ? [proof[0], proof[0]] : null;
  }
  if (proof.length === 0) return null;
  const [k, last, rest] = [below(n), proof.at(-1), proof.slice(0, -1)];
  if (m <= k) {
    const part = rootsBy(rest, m, k, whole, old);
    return part && [part[0], node(part[1], last)];
  }
  const part = rootsBy(rest, m - k, n - k, false, old);
  return part && [node(last, part[0]), node(last, part[1])];
}

function consistent(old, oldRoot, size, newRoot, proof) {
  if (old > size) return false;
  if (old === 0) return proof.length === 0 && equal(oldRoot, EMPTY);
  const roots = rootsBy(proof, old, size, true, oldRoot);
  return roots !== null && equal(roots[0], oldRoot) && equal(roots[1], newRoot);
}

// --- tiles ---

function place(level, number, width) {
  let digits = String(number);
  digits = digits.padStart(Math.ceil(digits.length / 3) * 3, '0');
  const parts = digits.match(/.{3}/g);
  const name = [...parts.slice(0, -1).map((part) => 'x' + part), parts.at(-1)].join('/');
  return `tile/${level}/${name}` + (width < 256 ? `.p/${width}` : '');
}

function tiles(entries) {
  const files = {};
  const rows = (level, all, spell) => {
    for (let start = 0; start < all.length; start += 256) {
      const part = all.slice(start, start + 256);
      files[place(level, start / 256, part.length)] = concat(...part.map(spell));
    }
  };
  rows('entries', entries, (entry) => concat(i2osp(entry.length, 2), entry));
  let hashes = entries.map(leaf);
  for (let level = 0; hashes.length; level++) {
    rows(level, hashes, (one) => one);
    const row = hashes;
    hashes = Array.from({ length: Math.floor(row.length / 256) }, (_, i) => tree(row.slice(256 * i, 256 * i + 256)));
  }
  return files;
}

function split(octets, each) {
  return Array.from({ length: octets.length / each }, (_, i) => octets.subarray(i * each, (i + 1) * each));
}

// The leaf hashes of a log from its tiles, as a client reads them: nothing is believed that does not lead to the root.
function leavesOf(given) {
  const entries = split(given.entries, given.each);
  const files = tiles(entries);
  const root = tree(entries.map(leaf));
  for (const one of given.changed ?? []) files[one.path] = one.octets;
  const row = (level, count) => {
    const found = [];
    for (let start = 0; start < count; start += 256) {
      const width = Math.min(256, count - start);
      const tile = files[place(level, start / 256, width)];
      check(tile.length === 32 * width, 'malformed');
      found.push(...split(tile, 32));
    }
    return found;
  };
  const leaves = row(0, entries.length);
  for (let [level, under] = [1, leaves]; under.length >= 256; level++) {
    const above = row(level, Math.floor(under.length / 256));
    above.forEach((one, i) => check(equal(one, tree(under.slice(256 * i, 256 * i + 256))), 'malformed'));
    under = above;
  }
  check(equal(tree(leaves), root), 'malformed');
  return { leaves, files, size: entries.length };
}

function logFiles(given) {
  const entries = split(given.entries, given.each);
  const before = {};
  const steps = given.sizes.map((size) => {
    const now = tiles(entries.slice(0, size));
    const fresh = Object.keys(now).filter((name) => !(name in before)).sort();
    Object.assign(before, now);
    return Object.fromEntries(fresh.map((name) => [name, hex(sha256(now[name]))]));
  });
  const listing = (step) => Object.entries(step).map(([name, digest]) => `${digest}  ${name}\n`).join('');
  return { root: hex(tree(entries.map(leaf))), steps, listings: steps.map((step) => hex(sha256(utf8(listing(step))))) };
}

function logEntries(given) {
  const { leaves, files, size } = leavesOf(given);
  const number = Math.floor(given.start / 256);
  const width = Math.min(256, size - 256 * number);
  const octets = files[place('entries', number, width)];
  const found = [];
  let at = 0;
  while (at < octets.length && found.length < width) {
    const length = (octets[at] << 8) | octets[at + 1];
    found.push(octets.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  check(at === octets.length && found.length === width, 'malformed');
  found.forEach((entry, i) => check(equal(leaf(entry), leaves[256 * number + i]), 'malformed'));
  return { entries: found.slice(given.start % 256, ((given.end - 1) % 256) + 1).map(hex) };
}

function logEntry(given) {
  const octets = given.entry;
  let value;
  try {
    value = JSON.parse(Buffer.from(octets).toString('latin1'));
  } catch {
    throw new Refused('malformed');
  }
  const [hash, count] = [/^[0-9a-f]{64}$/, (one) => typeof one === 'number' && one >= 1 && one <= 2 ** 53 && Number.isInteger(one)];
  const forms = {
    manifest: (v) => ['people', 'business'].includes(v.audience) && count(v.epoch) && count(v.edition),
    root: (v) => count(v.version),
  };
  check(forms[value?.type]?.(value) && typeof value.sha256 === 'string' && hash.test(value.sha256), 'malformed');
  const names = { manifest: ['audience', 'edition', 'epoch', 'sha256', 'type'], root: ['sha256', 'type', 'version'] };
  const only = Object.fromEntries(names[value.type].map((name) => [name, value[name]]));
  check(JSON.stringify(only) === Buffer.from(octets).toString('latin1'), 'malformed');
  return only;
}

// --- notes ---

const KINDS = { 1: 'log', 4: 'witness' };
const isName = (name) => /^[^\s+\x00-\x1f\x7f]+$/u.test(name) && utf8(name).length <= 255;

function base64(coded) {
  const octets = new Uint8Array(Buffer.from(coded, 'base64'));
  check(Buffer.from(octets).toString('base64') === coded, 'malformed');
  return octets;
}

const keyId = (name, kind, key) => sha256(concat(utf8(name + '\n'), new Uint8Array([kind]), key)).subarray(0, 4);

export function verifier(vkey) {
  const [name, id, ...rest] = vkey.split('+');
  check(id !== undefined && rest.length > 0 && isName(name), 'malformed');
  const octets = base64(rest.join('+'));
  check(octets.length === 33 && octets[0] in KINDS, 'malformed');
  const found = keyId(name, octets[0], octets.subarray(1));
  check(hex(found) === id, 'malformed');
  return { vkey, name, kind: octets[0], key: octets.subarray(1), id: found };
}

const cosigned = (text, when) => utf8(`cosignature/v1\ntime ${when}\n${text}`);

export function openNote(octets, verifiers) {
  check(octets.length <= 65536, 'malformed');
  let note;
  try {
    note = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    throw new Refused('malformed');
  }
  check(note.endsWith('\n') && !/[\x00-\x09\x0b-\x1f\x7f]/.test(note), 'malformed');
  const end = note.lastIndexOf('\n\n');
  check(end > 0, 'malformed');
  const text = note.slice(0, end + 1);
  const lines = note.slice(end + 2, -1).split('\n');
  check(note.length > end + 2 && lines.length <= 100, 'malformed');
  const verified = {};
  for (const line of lines) {
    const found = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
    check(found && isName(found[1]), 'malformed');
    const signature = base64(found[2]);
    check(signature.length > 4, 'malformed');
    const known = verifiers.find((one) => one.name === found[1] && equal(one.id, signature.subarray(0, 4)));
    if (!known) continue;
    const body = signature.subarray(4);
    const when = known.kind === 4 && body.length === 72 ? Number(BigInt('0x' + hex(body.subarray(0, 8)))) : null;
    check(body.length === (known.kind === 4 ? 72 : 64), 'bad-signature');
    const message = known.kind === 4 ? cosigned(text, when) : utf8(text);
    let good = false;
    try {
      good = ed25519.verify(body.slice(-64), message, known.key, { zip215: false });
    } catch {
      // not good
    }
    check(good, 'bad-signature');
    verified[known.vkey] = when;
  }
  return { text, verified };
}

function signNote(given) {
  const vkeys = [];
  let lines = '';
  for (const { name, kind, seed, time } of given.signers) {
    const [secret, number] = [unhex(seed), kind === 'log' ? 1 : 4];
    const key = ed25519.getPublicKey(secret);
    const id = keyId(name, number, key);
    const signed = kind === 'log'
      ? ed25519.sign(utf8(given.written), secret)
      : concat(i2osp(time, 8), ed25519.sign(cosigned(given.written, time), secret));
    lines += `\u2014 ${name} ${Buffer.from(concat(id, signed)).toString('base64')}\n`;
    vkeys.push(`${name}+${hex(id)}+${Buffer.from(concat(new Uint8Array([number]), key)).toString('base64')}`);
  }
  return { note: hex(utf8(`${given.written}\n${lines}`)), vkeys };
}

function checkpoint(text) {
  const lines = text.split('\n');
  check(lines.length >= 4 && lines.at(-1) === '' && lines.slice(0, -1).every((line) => line !== ''), 'malformed');
  const [origin, size, coded] = lines;
  const root = base64(coded);
  check(/^(0|[1-9][0-9]{0,18})$/.test(size) && BigInt(size) <= 1n << 62n && root.length === 32, 'malformed');
  check(size !== '0' || equal(root, EMPTY), 'malformed');
  return { origin, size: Number(size), root: hex(root) };
}

function accept({ note, policy }) {
  check(JSON.stringify(Object.keys(policy).sort()) === '["log","quorum","witnesses"]', 'malformed');
  const [log, witnesses] = [verifier(policy.log), policy.witnesses.map(verifier)];
  check(log.kind === 1 && witnesses.every((one) => one.kind === 4), 'malformed');
  check(new Set([log, ...witnesses].map((one) => hex(one.key))).size === 1 + witnesses.length, 'malformed');
  check(policy.quorum >= 0 && policy.quorum <= witnesses.length, 'malformed');
  const { text, verified } = openNote(note, [log, ...witnesses]);
  const found = checkpoint(text);
  check(log.vkey in verified && found.origin === log.name, 'bad-signature');
  const cosigners = witnesses.filter((one) => one.vkey in verified).length;
  check(cosigners >= policy.quorum, 'too-few-witnesses');
  return found;
}

function addCheckpoint({ body }) {
  const octets = Buffer.from(body);
  const end = octets.indexOf('\n\n');
  check(end > 0 && octets.length > end + 2 && octets.length <= 65536 + 4096, 'malformed');
  const [first, ...lines] = octets.subarray(0, end).toString('latin1').split('\n');
  const old = /^old (0|[1-9][0-9]{0,18})$/.exec(first);
  check(old, 'malformed');
  const proof = lines.map(base64);
  check(proof.length <= 63 && proof.every((one) => one.length === 32), 'malformed');
  check(old[1] !== '0' || proof.length === 0, 'malformed');
  return { old: Number(old[1]), proof: proof.map(hex), note: hex(octets.subarray(end + 2)) };
}

export const OPERATIONS = {
  log_files: logFiles,
  log_entries: logEntries,
  log_entry: logEntry,
  log_proof(given) {
    const { leaves, size } = leavesOf(given);
    if ('index' in given) return { proof: path(given.index, leaves).map(hex) };
    const trivial = given.old === 0 || given.old === size;
    return { proof: trivial ? [] : subproof(given.old, leaves, true).map(hex) };
  },
  inclusion(given) {
    const found = leaf(given.entry);
    const { index, size, root } = given;
    const reached = index < size ? rootBy(given.proof.map(unhex), index, size, found) : null;
    return { leaf: hex(found), holds: reached !== null && hex(reached) === root };
  },
  consistency: (given) => ({
    holds: consistent(given.old, unhex(given.old_root), given.new, unhex(given.new_root), given.proof.map(unhex)),
  }),
  vkey({ vkey }) {
    const found = verifier(vkey);
    return { name: found.name, kind: KINDS[found.kind], public: hex(found.key), id: hex(found.id) };
  },
  sign_note: signNote,
  open_note({ note, vkeys }) {
    const { text, verified } = openNote(note, vkeys.map(verifier));
    return { signed: text, verified };
  },
  accept_checkpoint: accept,
  add_checkpoint: addCheckpoint,
};
