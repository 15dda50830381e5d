// How to sync: what `sync` takes, with the defaults of `contactsync sync`.
import { BadInput } from './errors.js';
import { BUCKETS, LEAK_BUDGET, MOST_BUCKETS } from './lists.js';

/**
 * @typedef {object} Options
 * @property {Uint8Array} root the root that was built in, or that the user chose: nothing is trusted on first use
 * @property {string} [audience] "people" or "business"
 * @property {'download' | 'screen'} [privacy] "screen": where a partition is large, fetch its screen and some buckets among decoys,
 *   which tells the server more; never chosen by itself
 * @property {number} [maxDownload] octets that may be fetched; if it were more, nothing is, and the choices are named
 * @property {number} [buckets] of a list, decoys included: 64, or a multiple
 * @property {number} [leakBudget] by how much all lists may multiply the odds of a guess; 1000
 * @property {boolean} [cover] send eight points of padding if nothing is new (default)
 * @property {boolean} [labels] fetch the labels of all members, and show those of matches (default)
 * @property {string[]} [witnesses] verifier keys of witnesses that must have cosigned the log, instead of those of the root
 * @property {number} [quorum] how many of `witnesses` (default: all)
 * @property {boolean} [newLog] accept that the server's log began anew
 * @property {(what: string, done: number, total: number) => void} [progress]
 */

/** Options, checked and complete. @param {Options} given */
export function optionsOf({
  audience = 'people', privacy = 'download', maxDownload = 2 ** 30, buckets = BUCKETS, leakBudget = LEAK_BUDGET,
  cover = true, labels = true, witnesses = [], quorum, newLog = false, progress = () => {},
}) {
  if (audience !== 'people' && audience !== 'business') throw new BadInput('there is no such audience', { hint: 'people, or business' });
  if (privacy !== 'download' && privacy !== 'screen') throw new BadInput('there is no such privacy mode', { hint: 'download, or screen' });
  if (!Number.isInteger(buckets) || buckets < 1 || buckets > MOST_BUCKETS)
    throw new BadInput('there is no list of so many buckets', { hint: `from 1 to ${MOST_BUCKETS}` });
  if (!(leakBudget >= 1)) throw new BadInput('there are no such odds', { hint: 'a leak budget is at least 1' });
  return { audience, privacy, maxDownload, buckets, leakBudget, cover, labels, witnesses, quorum, newLog, progress };
}
