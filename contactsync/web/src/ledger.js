// The ledger: what lists of buckets have told a server over all syncs, and the secret that chooses decoys.
//
// It outlives epochs, editions and the forgetting of results: the server does not forget what it has seen either. Of the address
// book it contains only the names of partitions that lists were sent for. Its record is that of the Python client's ledger.
import { OurError } from './errors.js';
import { isSame } from './lists.js';
import { hex, isHex, randomOctets, text, unhex, utf8 } from './octets.js';

export const LEDGER = 'ledger.json';
const VERSION = 1;
const SECRET = 32; // octets
const oddsOf = (bits) => 2 ** Math.min(bits, 1000);

const isText = (value) => typeof value === 'string';
const isFigure = (value) => Number.isSafeInteger(value) && value >= 0;
const isTold = (one) =>
  [one.audience, one.partition, one.first, one.last].every(isText) && isFigure(one.lists) && one.lists > 0 && Number.isFinite(one.log2_odds) && one.log2_odds >= 0;
const isAsked = (one) =>
  isText(one.audience) && isText(one.partition) && isHex(one.seed, 64) && [one.epoch, one.slot_bits, one.edition, ...one.numbers].every(isFigure);

function parsed(octets) {
  try {
    const value = JSON.parse(text(octets));
    if (value.version === VERSION && isHex(value.decoy_secret, 2 * SECRET) && value.told.every(isTold) && value.asked.every(isAsked)) return value;
  } catch {
    // said below
  }
  throw new OurError('the ledger of what bucket lists have told this server is damaged, or of a newer version', {
    hint: 'update this program, or restore the state from a backup; without the ledger, it no longer counts what earlier lists told',
  });
}

/** The ledger of one server, in its store. */
export class Ledger {
  /** @param {import('./store.js').MemoryStore} store */
  static async open(store) {
    const octets = await store.read(LEDGER);
    return new Ledger(store, octets === null ? { version: VERSION, decoy_secret: hex(randomOctets(SECRET)), told: [], asked: [] } : parsed(octets));
  }

  constructor(store, record) {
    this._store = store;
    this._record = record;
    this.secret = unhex(record.decoy_secret);
  }

  /** The odds so far, by partition: over all audiences, for they are asked about the same people. */
  odds() {
    const bits = {};
    for (const { partition, log2_odds: more } of this._record.told) bits[partition] = (bits[partition] ?? 0) + more;
    return Object.fromEntries(Object.entries(bits).map(([partition, all]) => [partition, oddsOf(all)]));
  }

  /** The list that was sent and not settled; null if there is none. */
  asked(audience, epoch, partition) {
    const found = this._record.asked.find((one) => one.audience === audience && one.epoch === epoch && one.partition === partition);
    if (!found) return null;
    const { slot_bits, edition, seed, numbers } = found;
    return { epoch, slot_bits, edition, seed, numbers };
  }

  /**
   * A list of some of `total` buckets is about to be sent. It is stored when this returns. The very list that was not settled is
   * not counted again: it tells nothing new.
   */
  async record(audience, partition, list, total) {
    const before = this.asked(audience, list.epoch, partition);
    if (before && isSame(before, list)) return;
    const today = new Date().toISOString().slice(0, 10);
    const isOurs = (one) => one.audience === audience && one.partition === partition;
    let told = this._record.told.find(isOurs);
    if (!told) this._record.told.push((told = { audience, partition, lists: 0, log2_odds: 0, first: today, last: today }));
    Object.assign(told, { lists: told.lists + 1, log2_odds: told.log2_odds + Math.log2(total / list.numbers.length), last: today });
    this._record.asked = [...this._record.asked.filter((one) => !isOurs(one)), { audience, partition, ...list }];
    await this._save();
  }

  /** What came of the lists for these partitions is stored; lists of other epochs mean nothing any more. */
  settled(audience, epoch, partitions) {
    return this._keep((one) => one.audience !== audience || (one.epoch === epoch && !partitions.includes(one.partition)));
  }

  /** The key of an epoch does not come: its lists mean nothing any more. */
  withdrawn(audience, epoch) {
    return this._keep((one) => one.audience !== audience || one.epoch !== epoch);
  }

  /**
   * An announced epoch is in force, and its editions have other numbers. Its lists stay, to be asked for again in full, as ones of
   * no edition that there is; those of partitions in `editions` have that edition.
   */
  async promoted(audience, epoch, editions) {
    const mine = this._record.asked.filter((one) => one.audience === audience && one.epoch === epoch);
    for (const one of mine) one.edition = one.edition === editions[one.partition] ? 1 : 0;
    if (mine.length) await this._save();
  }

  async _keep(stays) {
    const asked = this._record.asked.filter(stays);
    if (asked.length === this._record.asked.length) return;
    this._record.asked = asked;
    await this._save();
  }

  _save() {
    return this._store.write(LEDGER, utf8(JSON.stringify(this._record)));
  }
}
