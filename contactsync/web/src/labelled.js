// Labels of those who matched: opened on this machine, from entries that were fetched whoever matches.
//
// What is known of an identifier is a row of its epoch: store.js.
import { ranksOf } from './delta.js';
import { openBase } from './directory.js';
import { opened, readyCipher } from './labels.js';
import { unhex } from './octets.js';
import { chainOf, sidecarOf } from './plan.js';
import { entryThrough } from './sidecar.js';

/**
 * Find the labels of members of one partition, and note them in their rows. What is known of the same edition of the labels
 * is taken as it is.
 * @param {object} plan with a sidecar @param {object[]} rows of the members
 * @param {(sha256: string) => Promise<Uint8Array>} read a data file that is stored
 * @param {Uint8Array} context @param {import('./directory.js').Directory} [directory] the base, if it was opened
 * @returns {Promise<number>} how many entries do not open
 */
export async function labelPartition(plan, rows, read, context, directory) {
  const { edition } = plan.partition.labels;
  const stale = rows.filter((row) => row.labelled !== edition);
  if (!stale.length) return 0;
  const base = directory ?? openBase(await read(plan.holding.base.sha256), plan.holding.base);
  const entries = await entriesOf(plan, base, stale.map((row) => row.token), read);
  await readyCipher();
  stale.forEach((row, i) => {
    const label = entries[i] && opened(unhex(row.key), entries[i], context);
    note(row, label, edition);
  });
  return stale.filter((row) => row.labelled < 0).length;
}

/**
 * The same where entries came with buckets: those of the last list that had its bucket say what a member is called. What no list
 * has had is not known.
 * @param {object[]} rows of the members @param {Map<object, Uint8Array>} entries by row @param {number} edition of the labels
 * @returns {Promise<{unopened: number, unknown: number}>} how many entries do not open, and of how many members none was fetched
 */
export async function labelBySome(rows, entries, edition, context) {
  await readyCipher();
  let unopened = 0;
  for (const row of rows) {
    if (!entries.has(row)) continue;
    const label = opened(unhex(row.key), entries.get(row), context);
    if (label === null) unopened++;
    note(row, label, edition);
  }
  return { unopened, unknown: rows.filter((row) => row.labelled < 0).length - unopened };
}

/** What an entry says. */
const note = (row, label, edition) => Object.assign(row, label === null ? { label, labelled: -1 } : { label: label || null, labelled: edition });

/** The entries of tokens in the stored sidecar, by their ranks in the edition that it leads to; null for one that is not there. */
async function entriesOf(plan, base, tokens, read) {
  const ranks = ranksOf(base, await chainOf(plan, read), tokens);
  const { sidecar, chain } = await sidecarOf(plan, read);
  return ranks.map((rank) => (rank < 0 ? null : entryThrough(sidecar, chain, rank)));
}
