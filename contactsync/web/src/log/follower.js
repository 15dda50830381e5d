// A client's side of a log: what it accepts is an entry, and what it saw before is the beginning. docs/http-api.md, "The log".
//
// What is kept: {root: the version of the newest root that was found in the log, policy: that in force, as the root has it,
// checkpoint: the text of the last one that was accepted; null if there is none}. Tiles are not kept: a new manifest takes a
// few.
import { canonicalForm } from '../canonical.js';
import { Refusal, check } from '../errors.js';
import { metadataOf } from '../metadata.js';
import { equal, hex, sha256 } from '../octets.js';
import { accepted, checkpointOf, inForce, policyIn, policyOf } from './policy.js';
import { HashReader, WIDTH, leafHash } from './tiles.js';

const MAX_NOTE = 65536;
const MAX_INDEX = 20;
const MAX_TILE = 32 * WIDTH;

const anotherHistory = (what) => new Refusal('another-history', what);

/** The checkpoint of a note; another history if it is of another log. */
async function acceptedOf(policy, note) {
  const [origin] = new TextDecoder().decode(note).split('\n', 1);
  if (origin !== policy.log.name && /^[\x20-\x7e]{1,80}$/.test(origin)) throw anotherHistory(`its log was ${policy.log.name}, and is ${origin} now`);
  return accepted(policy, note);
}

/**
 * What is kept when a log has ended, and the user accepts the one that this root names: nothing was seen of it.
 * @param {Uint8Array} root the newest
 */
export function begunAnew(root) {
  const { signed } = metadataOf(root, 'root');
  const policy = policyIn(signed);
  return policy && { root: signed.version, policy: policy.value, checkpoint: null };
}

export class LogFollower {
  /**
   * @param {object | null} kept null: nothing was seen of a log
   * @param {(path: string, limit: number) => Promise<Uint8Array | null>} get a file of the log; null: there is none
   * @param {{witnesses: string[], quorum: number} | null} own of the user: they take the place of those of the root, and roots
   *   are then found under the newest checkpoint
   */
  constructor(kept, get, own = null) {
    this.kept = kept;
    this._own = own;
    this._get = get;
    this._current = null;
    this._reader = null;
  }

  /** Whether nothing was seen of the log before: then also a manifest that was accepted is to be found in it. */
  get isNew() {
    return this.kept !== null && this.kept.checkpoint === null;
  }

  /**
   * Bring the policy of the newest root into force. Asks for nothing if there is no new one, or none ever named a log.
   * @param {Uint8Array[]} roots that were not found in the log yet, verified, the oldest first
   */
  async followRoots(roots) {
    let news = roots.map((octets) => {
      const { signed } = metadataOf(octets, 'root');
      return { octets, version: signed.version, policy: policyIn(signed) };
    });
    const first = this.kept === null ? news.findIndex((one) => one.policy !== null) : 0;
    news = first < 0 ? [] : news.slice(first);
    check(this._own === null || this.kept !== null || news.length > 0, 'bad-signature', 'you require witnesses, and this server names no log');
    if (!news.length) return;
    let policy = this.kept ? policyOf(this.kept.policy) : news[0].policy;
    for (const one of news) {
      if (this._own === null) one.under = await acceptedOf(policy, await this._must(`root/${one.version}`, MAX_NOTE));
      policy = one.policy ?? policy;
    }
    const checkpoint = this.kept?.checkpoint ?? null;
    const reader = await this._underCheckpoint(policy, checkpoint);
    for (const { octets, version, under } of news) {
      const what = `root version ${version}`;
      const name = hex(sha256(octets));
      const index = await this._find(reader, name, { sha256: name, type: 'root', version }, what);
      if (this._own !== null) continue;
      check(under.size <= this._current.size && equal(await reader.tree(under.size), under.root), 'another-history',
        `the log under which ${what} was witnessed is not the one that it shows now`);
      check(index < under.size, 'another-history', `${what} is not in the log under which it was witnessed`);
    }
    this.kept = { root: news.at(-1).version, policy: policy.value, checkpoint };
  }

  /** That a manifest is an entry of the log; nothing is asked where there is none. @param {object} link of history.js */
  async checkManifest({ audience, epoch, edition, sha256: name }) {
    if (this.kept === null) return;
    const reader = await this._underCheckpoint(policyOf(this.kept.policy), this.kept.checkpoint);
    await this._find(reader, name, { audience, edition, epoch, sha256: name, type: 'manifest' }, `${audience}, epoch ${epoch} edition ${edition},`);
    this.kept = { ...this.kept, checkpoint: this._current.text };
  }

  /** Where an entry is. Nobody signs that place: a wrong one leads to another entry, which does not fit. */
  async _find(reader, name, entry, what) {
    const stated = await this._get(`leaf/${name}`, MAX_INDEX);
    check(stated !== null, 'another-history', `${what} is not in its log`);
    const place = /^(0|[1-9][0-9]{0,15})\n?$/.exec(new TextDecoder('latin1').decode(stated));
    check(place !== null, 'malformed', 'the log states no place for one of its entries');
    const index = Number(place[1]);
    const found = index < this._current.size && equal(await reader.leaf(index), leafHash(canonicalForm(entry)));
    check(found, 'another-history', `${what} is not in its log`);
    return index;
  }

  /** The hashes of the newest checkpoint, which continues the one seen last. */
  async _underCheckpoint(policy, last) {
    if (this._reader !== null) return this._reader;
    const current = await acceptedOf(inForce(policy, this._own), await this._must('checkpoint', MAX_NOTE));
    const reader = new HashReader((path) => this._tile(path), current);
    const before = last === null ? { origin: current.origin, size: current.size, root: current.root } : checkpointOf(last);
    check(before.origin === current.origin, 'another-history', `its log was ${before.origin}, and is ${current.origin} now`);
    check(before.size <= current.size, 'another-history', `its log has ${current.size} entries, and had ${before.size} before`);
    check(equal(await reader.tree(before.size), before.root), 'another-history',
      `its log does not continue the one of ${before.size} entries that was seen before`);
    [this._current, this._reader] = [current, reader];
    return reader;
  }

  async _must(path, limit) {
    const octets = await this._get(path, limit);
    if (octets === null) throw anotherHistory(`its log is gone, or has no ${path}`);
    return octets;
  }

  async _tile(path) {
    const octets = await this._get(path, MAX_TILE);
    const [whole, width] = path.split('.p/');
    if (octets !== null || width === undefined) return octets ?? this._must(path, MAX_TILE);
    // It has become full meanwhile, and who serves it may have removed what it was before.
    return (await this._must(whole, MAX_TILE)).subarray(0, 32 * Number(width));
  }
}
