// What a client keeps of one server: tokens, verified metadata (against rollback), the unfinished round, data files.
//
// A store keeps octets by name: `read(name)`, `write(name, octets)` (durable, all or nothing), `remove(name)`,
// `names(prefix)`, `holds(name, length)` (whether octets of that length are there, at less cost than reading them), and
// `lock()`, which gives a function that releases. MemoryStore, node/store.js, and ../page/kept.js in IndexedDB.
import { OurError } from './errors.js';
import { text, utf8 } from './octets.js';

export class MemoryStore {
  constructor() {
    this._kept = new Map();
    this._locked = false;
  }

  async read(name) {
    return this._kept.get(name) ?? null;
  }

  async holds(name, length) {
    return this._kept.get(name)?.length === length;
  }

  async write(name, octets) {
    this._kept.set(name, octets.slice());
  }

  async remove(name) {
    this._kept.delete(name);
  }

  async names(prefix) {
    return [...this._kept.keys()].filter((name) => name.startsWith(prefix));
  }

  async lock() {
    if (this._locked) throw new OurError('another sync with this server is running', { hint: 'wait until it ends' });
    this._locked = true;
    return () => {
      this._locked = false;
    };
  }
}

const VERSION = 1;
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

// The text of each record as it is in a store, by store and name. Whoever writes has the lock, and has read it under that.
const asStored = new WeakMap();

function recordsOf(store) {
  if (!asStored.has(store)) asStored.set(store, new Map());
  return asStored.get(store);
}

async function readRecord(store, name, empty) {
  const octets = await store.read(name);
  recordsOf(store).delete(name);
  if (octets === null) return empty();
  try {
    const stored = text(octets);
    const value = JSON.parse(stored);
    if (value.version === VERSION && Object.keys(empty()).every((key) => key in value)) {
      recordsOf(store).set(name, stored);
      return value;
    }
  } catch {
    // below
  }
  throw new OurError(`what is stored as ${name} is damaged, or of a newer version`, {
    hint: 'update this program; if it is damaged, ask the operator whether the server went back, then remove the state',
  });
}

/** Write a record, unless it is there as it is: a durable write takes as long as the disk wants. */
async function writeRecord(store, name, value) {
  const wanted = JSON.stringify({ ...value, version: VERSION });
  const records = recordsOf(store);
  if (records.get(name) === wanted) return;
  records.delete(name); // nobody knows what is there if the write fails
  await store.write(name, utf8(wanted));
  records.set(name, wanted);
}

const trustName = 'trust.json';
const audienceName = (audience) => `audience-${audience}.json`;

/**
 * What was verified: the pinned root, the newest root, timestamp, snapshot and targets (all as text; targets null: an earlier
 * version did not keep them), and by audience the last manifest and what could not be checked of its history. `roots`: those that were not found in the log yet, the oldest first
 * (null: a state of an earlier version, which did not keep them); `log`: what was seen of it, log/follower.js.
 */
export const readTrust = async (store) => ({
  roots: null, log: null, targets: null,
  ...(await readRecord(store, trustName, () => ({ pinned: null, root: null, timestamp: null, snapshot: null, manifests: {}, gaps: {} }))),
});
export const writeTrust = (store, value) => writeRecord(store, trustName, value);

// A row on the disk; the last three are not there in rows of earlier versions.
const packed = ({ token, member, edition, key, label, labelled }) => [token, member, edition, key, label, labelled];
const unpacked = ([token, member, edition, key = null, label = null, labelled = -1]) => ({ token, member, edition, key, label, labelled });
const withRows = (epochs, change) =>
  Object.fromEntries(
    Object.entries(epochs).map(([number, { tokens, ...more }]) => [
      number,
      { screens: {}, sidecars: {}, ...more, tokens: Object.fromEntries(Object.entries(tokens).map(([one, row]) => [one, change(row)])) },
    ]),
  );

/**
 * What is known in an audience. `epochs`: by number {public_key, announced, tokens, holdings: {partition: holding}, screens and
 * sidecars likewise, unfinished: [{points, identifiers}], reached: epochs.js}. `found`: who was a member at the last sync. `seen`: by identifier
 * the month in which a book had it (12 years + month).
 *
 * `tokens` has a row for each identifier: {token, key: of its label (null: an earlier version did not keep it), member: by the
 * base, without patches, edition: of the partition that `member` is of (-1: none), label: or null, labelled: the edition of the labels that says so (-1: none)}.
 */
export async function readAudience(store, audience) {
  const value = { seen: {}, ...(await readRecord(store, audienceName(audience), () => ({ epochs: {}, found: {}, move: null, account: null }))) };
  if (!isObject(value.epochs) || !isObject(value.found))
    throw new OurError(`what is stored of ${audience} is damaged`, { hint: 'remove the state: all is asked for again' });
  return { ...value, epochs: withRows(value.epochs, unpacked) };
}
export const writeAudience = (store, audience, value) =>
  writeRecord(store, audienceName(audience), { ...value, epochs: withRows(value.epochs, packed) });

export const dataName = (sha256) => `data-${sha256}`;
