// What is fetched of each partition, and who is a member by it: docs/protocol.md, "Token and directory". Download mode.
//
// A holding is a whole file that is stored and the deltas after it: of a base {edition, base: BaseInfo, deltas: [{from, to,
// file}]}, of a sidecar {edition, sidecar: SidecarInfo, deltas}.
import { openBase, placeOf } from './directory.js';
import { checkAgainst, readDelta, valueOf } from './delta.js';
import { check } from './errors.js';
import { Sidecar, checkSidecarChain, readSidecarDelta } from './sidecar.js';

const MAX_HELD_DELTAS = 64;
const total = (files) => files.reduce((sum, file) => sum + file.length, 0);

/** What the manifest says of the base of a partition. */
export const baseInfo = (partition) => ({
  count: partition.count, slot_bits: partition.slot_bits, remainder_bits: partition.remainder_bits,
  top_sha256: partition.top_sha256, length: partition.base.length, sha256: partition.base.sha256,
});

/** What the manifest says of the sidecar of a partition. */
export const sidecarInfo = ({ count, slot_bits, labels: { size, top_sha256, file } }) => ({
  count, size, slot_bits, top_sha256, length: file.length, sha256: file.sha256,
});

export const reached = (holding) => holding.deltas.at(-1)?.to ?? holding.edition;

/** The deltas from a holding to the edition of a partition, or of its labels; null if they do not lead there. */
function missing(to, holding) {
  if (reached(holding) === to.edition) return [];
  const start = to.deltas.findIndex((one) => one.from === reached(holding));
  if (start < 0) return null;
  const chain = to.deltas.slice(start);
  return holding.deltas.length + chain.length <= MAX_HELD_DELTAS ? chain : null;
}

/** The stored file with what continues it, or the whole file: what is shorter. */
function carriedOn(to, whole, held, anew) {
  const deltas = held ? missing(to, held) : null;
  if (deltas === null || total(deltas.map(({ file }) => file)) >= whole.length) return { fetch: [whole], holding: anew };
  return { fetch: deltas.map(({ file }) => file), holding: { ...held, deltas: [...held.deltas, ...deltas] } };
}

/**
 * What one partition needs. It depends on what is stored, and never on the address book.
 * @param {{held?: object | null, sidecar?: object | null, labels?: boolean}} stored `labels`: whether they are wanted
 * @returns {{partition: object, fetch: {length: number, sha256: string}[], holding: object, sidecar: object | null}} `sidecar`:
 *   what is stored of the labels after that; null where there are none, or none are wanted
 */
export function planOf(partition, { held = null, sidecar = null, labels = false } = {}) {
  const { edition } = partition;
  const plan = carriedOn(partition, partition.base, held, { edition, base: baseInfo(partition), deltas: [] });
  const to = partition.labels;
  if (!labels || to === null) return { partition, ...plan, sidecar: null };
  const anew = { edition: to.edition, sidecar: sidecarInfo(partition), deltas: [] };
  const more = carriedOn(to, to.file, sidecar, anew);
  return { partition, fetch: [...plan.fetch, ...more.fetch], holding: plan.holding, sidecar: more.holding };
}

/** Whether a sidecar that is stored can still be continued, though nobody wants labels now. */
export const leadsOn = (partition, sidecar) => Boolean(partition?.labels) && missing(partition.labels, sidecar) !== null;

/** The data files of a holding. */
export const filesOf = (holding) => [holding.base ?? holding.sidecar, ...holding.deltas.map(({ file }) => file)];

/**
 * The deltas of a plan, read: they lead from the base that is held to that of the manifest.
 * @param {(sha256: string) => Promise<Uint8Array>} read a data file that is stored
 */
export async function chainOf({ partition, holding }, read) {
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

/** The stored sidecar of a plan, and the deltas that lead from it to that of the manifest. */
export async function sidecarOf({ partition, sidecar: { sidecar: info, deltas } }, read) {
  const chain = [];
  for (const { file } of deltas) chain.push(readSidecarDelta(await read(file.sha256), file));
  checkSidecarChain(info, chain, sidecarInfo(partition));
  return { sidecar: new Sidecar(await read(info.sha256), info), chain };
}

/** Check all of what was fetched, whether or not the book has anybody there. Returns the base, for `matchPartition`. */
export async function inspect(plan, read) {
  const chain = await chainOf(plan, read);
  if (plan.sidecar) await sidecarOf(plan, read);
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
