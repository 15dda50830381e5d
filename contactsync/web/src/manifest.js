// The manifest: docs/http-api.md, "The manifest", and docs/directory-format.md, "What can have been built".
import { MAX_NUMBER, canonicalForm, fault, parseAscii } from './canonical.js';
import { shapeOf } from './directory.js';
import { check } from './errors.js';
import { isMail } from './kinds.js';
import { ascending, equal, hex, isHex, sha256 } from './octets.js';
import { callingCodes, nationalLengths } from './plans.js';
import { MOST_ENTRIES, SIZES, deltaLengths, sidecarShape } from './sidecar.js';

const FORMAT = 'contactsync-manifest-2';
const SUITE = 'ristretto255-SHA512';
const MAX_BYTES = 8388608;
const MAX_PARTITIONS = 999;
const MAX_DELTAS = 32;
const MAX_PATCHES = 64;
const MAX_MEMBERS = 2 ** 34;
const MEMBERS = ['audience', 'edition', 'epoch', 'format', 'normalisation', 'partitions', 'previous', 'public_key', 'suite'];
const PARTITION = [
  'base', 'count', 'deltas', 'edition', 'false_positive_rate', 'remainder_bits', 'screen', 'slot_bits', 'top_sha256',
];
const LABELS = ['deltas', 'edition', 'file', 'size', 'top_sha256'];
const PATCHES = ['count', 'edition', 'files', 'state'];
const UNDERSTOOD = ['labels', 'patches']; // names that may be critical in a partition
const ROWS = ['rows', 'labelled_rows', 'folded_rows']; // members of a manifest that are made from bases alone

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

function integer(value, low, high) {
  check(typeof value === 'number' && value >= low && value <= high, 'bad-value');
  return value;
}

function closed(value, names) {
  check(isObject(value), 'wrong-members');
  const there = Object.keys(value);
  check(there.length === names.length && names.every((name) => name in value), 'wrong-members');
  return value;
}

/** The members that a newer program added. */
function open(value, names) {
  check(names.every((name) => name in value), 'wrong-members');
  const extra = Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));
  const word = fault(extra);
  check(word === null, word);
  return extra;
}

/** What must be understood and is not. */
function alien(value, own, understood = []) {
  if (!('critical' in value)) return [];
  const names = value.critical;
  const known = (name) => typeof name === 'string' && name in value && name !== 'critical' && !own.includes(name);
  check(Array.isArray(names) && names.length > 0 && names.every(known), 'bad-value');
  check(names.every((name, i) => i === 0 || name > names[i - 1]), 'bad-value');
  return names.filter((name) => !understood.includes(name));
}

function fileOf(value) {
  closed(value, ['length', 'sha256', 'xxh3_64']);
  check(isHex(value.sha256, 64), 'bad-value');
  integer(value.length, 1, MAX_NUMBER);
  check(isHex(value.xxh3_64, 16), 'bad-value');
  return value;
}

/** Deltas, in order, up to an edition. */
function chainOf(value, edition, newest, { least = 0, most = MAX_DELTAS } = {}) {
  check(Array.isArray(value) && value.length >= least && value.length <= most, 'bad-value');
  const deltas = value.map((delta) => {
    closed(delta, ['file', 'from', 'to']);
    const to = integer(delta.to, 2, newest);
    return { from: integer(delta.from, 1, to - 1), to, file: fileOf(delta.file) };
  });
  check(deltas.every(({ to }, i) => to === (deltas[i + 1]?.from ?? edition)), 'malformed');
  return deltas;
}

/** "The labels" of a partition: what its sidecar must be, and the deltas of that. */
function labelsOf(value, { edition: least, count, slot_bits: q }, newest) {
  closed(value, LABELS);
  const edition = integer(value.edition, 1, newest);
  check(edition >= least, 'malformed'); // each change of the tokens changes the order of the entries
  const size = integer(value.size, 1, Math.max(...SIZES));
  check(SIZES.includes(size) && isHex(value.top_sha256, 64), 'bad-value');
  const labels = { edition, size, top_sha256: value.top_sha256, file: fileOf(value.file), deltas: chainOf(value.deltas, edition, newest) };
  check(count <= MOST_ENTRIES && labels.file.length === sidecarShape(count, size, q).length, 'out-of-range');
  labels.deltas.forEach(({ file: { length } }, i) => {
    const { least, below } = deltaLengths(count, size, q, { last: i === labels.deltas.length - 1 });
    check(length >= least && length < below && length % 4 === 0, 'out-of-range');
  });
  return labels;
}

/**
 * "Patches" of a partition: files in the format of deltas, which lead on from its base to what its members are now.
 * @param {unknown} critical of the partition: who does not know patches must not take the base for all of it
 * @param {object} one the partition, read but for these
 */
function patchesOf(value, critical, one, newest) {
  check(Array.isArray(critical) && critical.length === 1 && critical[0] === 'patches', 'malformed');
  closed(value, PATCHES);
  check(isHex(value.state, 64), 'bad-value');
  const edition = integer(value.edition, one.edition + 1, newest);
  const count = integer(value.count, 1, MAX_NUMBER);
  const files = chainOf(value.files, edition, newest, { least: 1, most: MAX_PATCHES });
  check(files[0].from === one.edition, 'malformed');
  const lengths = files.map(({ file }) => file.length);
  check(lengths.every((length) => length % 8 === 0 && length >= LEAST_DELTA), 'out-of-range');
  check(lengths.reduce((sum, length) => sum + length) < one.base.length, 'out-of-range'); // and so is each
  check(slotBits(count) === one.slot_bits, 'out-of-range');
  check(isPossible(count, one.name), 'too-full');
  check(one.labels === null, 'malformed');
  return { count, edition, files, state: value.state };
}

/** How many members a partition has now: its base is of an older edition if it has patches. */
export const countNow = ({ count, patches }) => patches?.count ?? count;

const arePatched = (partitions) => Object.values(partitions).some(({ patches }) => patches !== null);

/** log2(count) rounded, at least 12: the least q with count² ≤ 2^(2q+1). */
function slotBits(count) {
  let q = 12;
  while (BigInt(count) ** 2n > 1n << BigInt(2 * q + 1)) q++;
  return q;
}

function isqrt(number) {
  let found = BigInt(Math.floor(Math.sqrt(Number(number))));
  while (found * found > number) found--;
  while ((found + 1n) * (found + 1n) <= number) found++;
  return Number(found);
}

const LEAST_DELTA = 168; // which changes nothing
const setOfOne = (q, r) => 8 + 8 * Math.ceil((q + 31) / 64) + (r === 40 ? 8 : 0);

export const sliceBits = (count) => Math.ceil((count * Math.abs(Math.log(0.01))) / (7 * Math.log(2) ** 2));
export const hasScreen = (count) => count >= 131072 && sliceBits(count) < 2 ** 31;
export const screenLength = (count) => 40 + Math.ceil((7 * sliceBits(count)) / 8);

/** How many members a partition can have. */
function roomIn(name) {
  if (isMail(name)) return MAX_MEMBERS;
  const lengths = nationalLengths(name).filter((digits) => digits + name.length <= 15);
  return lengths.reduce((sum, digits) => sum + 10 ** digits, 0);
}

const isPossible = (count, name) => count <= 10000 || count <= roomIn(name);

function checkFigures(one, name) {
  const { count, slot_bits: q, remainder_bits: r, base, deltas, screen } = one;
  check(q >= 12 && q <= 32 && (r === 32 || r === 40), 'out-of-range');
  check(count <= 2 ** (q + 1), 'too-full');
  const shape = shapeOf(q, r, count);
  check(base.length >= shape.least && base.length <= shape.most && base.length % 8 === 0, 'out-of-range');
  check(q === slotBits(count), 'out-of-range');
  deltas.forEach((delta, i) => {
    const largest = shapeOf(q, r, isqrt(1n << BigInt(2 * q + 1))).most;
    const below = i === deltas.length - 1 ? base.length : largest;
    const { length } = delta.file;
    check(length >= LEAST_DELTA + setOfOne(q, r) && length < below && length % 8 === 0, 'out-of-range');
  });
  check((screen !== null) === hasScreen(count), 'out-of-range');
  if (screen !== null) check(screen.length === screenLength(count), 'out-of-range');
  check(isPossible(count, name), 'too-full');
}

function rateOf({ count, slot_bits: q, remainder_bits: r }) {
  const [digits, power] = (count / 2 ** (q + r)).toExponential(2).split('e');
  return `${digits}e${power[0]}${power.slice(1).padStart(2, '0')}`;
}

/** Whether a partition of this name can be used; refuses a name that can be none. */
function isKnown(name) {
  check(/^[a-z0-9][a-z0-9._-]{0,31}$/.test(name), 'bad-value');
  if (!/^[0-9]+$/.test(name)) return isMail(name);
  if (callingCodes.has(name)) return true;
  check(/^[1-9][0-9]{0,2}$/.test(name), 'bad-value');
  for (const code of callingCodes) check(!name.startsWith(code) && !code.startsWith(name), 'bad-value');
  return false;
}

/** @returns {[object, null] | [null, string]} the partition, or why it cannot be used */
function partitionOf(name, value, newest) {
  const known = isKnown(name);
  check(isObject(value), 'bad-value');
  const needed = alien(value, PARTITION, UNDERSTOOD);
  if (!known || needed.length) {
    const word = fault(value);
    check(word === null, word);
    return [null, known ? 'unknown-critical' : 'unknown-family'];
  }
  const extra = open(value, PARTITION);
  const edition = integer(value.edition, 1, newest);
  const deltas = chainOf(value.deltas, edition, newest);
  const one = {
    name, edition, deltas,
    count: integer(value.count, 1, MAX_NUMBER),
    slot_bits: integer(value.slot_bits, 0, 64),
    remainder_bits: integer(value.remainder_bits, 0, 64),
    top_sha256: value.top_sha256,
    base: null, screen: null, labels: null, patches: null,
  };
  check(isHex(value.top_sha256, 64), 'bad-value');
  one.base = fileOf(value.base);
  one.screen = value.screen === null ? null : fileOf(value.screen);
  checkFigures(one, name);
  if ('labels' in extra) one.labels = labelsOf(extra.labels, one, newest);
  if ('patches' in extra) one.patches = patchesOf(extra.patches, value.critical, one, newest);
  check(value.false_positive_rate === rateOf(one), 'malformed');
  return [one, null];
}

function partitionsOf(named, newest) {
  check(named.length <= MAX_PARTITIONS, 'too-large');
  const [partitions, unusable] = [{}, {}];
  for (const [name, value] of named) {
    const [one, word] = partitionOf(name, value, newest);
    if (one) partitions[name] = one;
    else unusable[name] = word;
  }
  const total = Object.values(partitions).reduce((sum, one) => sum + countNow(one), 0);
  check(total <= MAX_MEMBERS, 'too-full');
  return { partitions, unusable, count: total };
}

function nextOf(value, epoch) {
  closed(value, ['edition', 'epoch', 'partitions', 'public_key', 'until']);
  check(integer(value.epoch, 1, MAX_NUMBER) === epoch + 1, 'malformed');
  const edition = integer(value.edition, 1, MAX_NUMBER);
  check(Array.isArray(value.partitions), 'bad-value');
  let last = '';
  const named = value.partitions.map((one) => {
    check(isObject(one) && typeof one.name === 'string', 'wrong-members');
    check(one.name > last, 'not-ascending');
    last = one.name;
    const { name, ...rest } = one;
    return [name, rest];
  });
  const found = partitionsOf(named, edition);
  check(!arePatched(found.partitions), 'malformed');
  check(isHex(value.public_key, 64), 'bad-value');
  const until = integer(value.until, 1, 253402300799);
  return { epoch: epoch + 1, edition, public_key: value.public_key, until, ...found };
}

const filesIn = ({ base, deltas, screen, labels, patches }) => [
  base, ...deltas.map(({ file }) => file), ...(screen ? [screen] : []),
  ...(labels ? [labels.file, ...labels.deltas.map(({ file }) => file)] : []),
  ...(patches ? patches.files.map(({ file }) => file) : []),
];

/** Every data file that partitions name. */
export const filesOf = (partitions) => Object.values(partitions).flatMap(filesIn);

/**
 * A manifest, checked to the last member. `partitions` can be used; of those in `unusable` nobody knows who is a member.
 * @param {Uint8Array} octets verified by the TUF targets that name their SHA-256
 */
export function readManifest(octets) {
  check(octets.length <= MAX_BYTES, 'too-large');
  const value = parseAscii(octets);
  check(isObject(value) && 'format' in value, 'wrong-members');
  check(value.format === FORMAT, 'unknown-version');
  const extra = open(value, MEMBERS);
  const needed = alien(Object.fromEntries(Object.entries(value).filter(([name]) => name !== 'next')), MEMBERS);
  check(needed.length === 0, 'unknown-critical');
  check(value.suite === SUITE, 'unknown-suite');
  check(value.audience === 'people' || value.audience === 'business', 'bad-value');
  check(isObject(value.partitions), 'bad-value');
  const edition = integer(value.edition, 1, MAX_NUMBER);
  const found = partitionsOf(Object.entries(value.partitions), edition);
  check(!arePatched(found.partitions) || !ROWS.some((name) => name in value), 'malformed');
  const epoch = integer(value.epoch, 1, MAX_NUMBER);
  check(isHex(value.public_key, 64), 'bad-value');
  integer(value.normalisation, 1, MAX_NUMBER);
  check(value.previous === null || isHex(value.previous, 64), 'bad-value');
  const next = 'next' in extra ? nextOf(value.next, epoch) : null;
  const files = [...filesOf(found.partitions), ...(next ? filesOf(next.partitions) : [])];
  const described = new Map();
  for (const { sha256: name, length, xxh3_64: fast } of files) {
    const before = described.get(name);
    check(before === undefined || before === `${length} ${fast}`, 'malformed');
    described.set(name, `${length} ${fast}`);
  }
  check(equal(canonicalForm(value), octets), 'not-canonical');
  return {
    audience: value.audience, epoch, edition, public_key: value.public_key, normalisation: value.normalisation,
    previous: value.previous, sha256: hex(sha256(octets)), ...found, next,
  };
}

/** The epoch that a manifest announces, read as a manifest. */
export const ahead = (manifest) => (manifest.next === null ? null : { ...manifest, ...manifest.next, next: null });

export const sortedNames = (partitions) => Object.keys(partitions).sort(ascending);
