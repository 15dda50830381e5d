// What is fetched of each partition, and who is a member by it: docs/protocol.md, "Token and directory". Download mode.
//
// A holding is a base that is stored and the deltas after it: {edition, base: BaseInfo, deltas: [{from, to, file}]}.
import { openBase, placeOf } from './directory.js';
import { checkAgainst, readDelta, valueOf } from './delta.js';
import { check } from './errors.js';

const MAX_HELD_DELTAS = 64;
const total = (files) => files.reduce((sum, file) => sum + file.length, 0);

/** What the manifest says of the base of a partition. */
export const baseInfo = (partition) => ({
  count: partition.count, slot_bits: partition.slot_bits, remainder_bits: partition.remainder_bits,
  top_sha256: partition.top_sha256, length: partition.base.length, sha256: partition.base.sha256,
});

export const reached = (holding) => holding.deltas.at(-1)?.to ?? holding.edition;

/** The deltas from a holding to the partition's edition; null if they do not lead there. */
function missing(partition, holding) {
  if (reached(holding) === partition.edition) return [];
  const start = partition.deltas.findIndex((one) => one.from === reached(holding));
  if (start < 0) return null;
  const chain = partition.deltas.slice(start);
  return holding.deltas.length + chain.length <= MAX_HELD_DELTAS ? chain : null;
}

/**
 * What one partition needs. It depends on what is stored, and never on the address book.
 * @returns {{partition: object, fetch: {length: number, sha256: string}[], holding: object}}
 */
export function planOf(partition, held) {
  const deltas = held ? missing(partition, held) : null;
  if (deltas === null || total(deltas.map(({ file }) => file)) >= partition.base.length)
    return { partition, fetch: [partition.base], holding: { edition: partition.edition, base: baseInfo(partition), deltas: [] } };
  return { partition, fetch: deltas.map(({ file }) => file), holding: { ...held, deltas: [...held.deltas, ...deltas] } };
}

/** The data files of a holding. */
export const filesOf = (holding) => [holding.base, ...holding.deltas.map(({ file }) => file)];

/**
 * The deltas of a plan, read: they lead from the base that is held to that of the manifest.
 * @param {(sha256: string) => Promise<Uint8Array>} read a data file that is stored
 */
async function chainOf({ partition, holding }, read) {
  let [sha256, count] = [holding.base.sha256, holding.base.count];
  const chain = [];
  for (const { from, to, file } of holding.deltas) {
    const delta = readDelta(await read(file.sha256), file);
    check(delta.from === from && delta.to === to, 'not-following');
    check(delta.oldSha256 === sha256 && delta.oldCount === count, 'not-following');
    check(delta.q === holding.base.slot_bits && delta.r === holding.base.remainder_bits, 'not-following');
    [sha256, count] = [delta.newSha256, delta.newCount];
    chain.push(delta);
  }
  check(sha256 === partition.base.sha256 && count === partition.count, 'not-following');
  return chain;
}

/** Check all of what was fetched, whether or not the book has anybody there. Returns the base, for `matchPartition`. */
export async function inspect(plan, read) {
  const chain = await chainOf(plan, read);
  const { base } = plan.holding;
  const directory = openBase(await read(base.sha256), base);
  const place = (value) => ({ slot: Number(value >> BigInt(base.remainder_bits)), rest: Number(value & ((1n << BigInt(base.remainder_bits)) - 1n)) });
  checkAgainst(chain, (value) => directory.holds(place(value)));
  return directory;
}

/**
 * Who is a member now.
 * @param {{token: string, member: boolean, edition: number}[]} subjects `edition` of the partition that `member` is of; -1: none
 * @param {import('./directory.js').Directory} [directory] the base, if `inspect` has opened it
 * @returns {Promise<boolean[]>}
 */
export async function matchPartition(plan, subjects, read, directory) {
  const { holding } = plan;
  const { slot_bits: q, remainder_bits: r } = holding.base;
  const chain = await chainOf(plan, read);
  const steps = new Set([holding.edition, ...chain.map(({ to }) => to)]);
  const isFresh = (one) => !steps.has(one.edition);
  const base = directory ?? (subjects.some(isFresh) ? openBase(await read(holding.base.sha256), holding.base) : null);
  return subjects.map((one) => {
    const place = placeOf(one.token, q, r);
    let [member, at] = isFresh(one) ? [base.holds(place), holding.edition] : [one.member, one.edition];
    for (const delta of chain) {
      if (delta.from !== at) continue;
      const value = valueOf(place, r);
      if (delta.joined.has(value)) {
        check(!member, 'contradicting');
        member = true;
      } else if (delta.left.has(value)) {
        check(member, 'contradicting');
        member = false;
      }
      at = delta.to;
    }
    return member;
  });
}
