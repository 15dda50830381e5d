// What is fetched of each partition, and who is a member by it: docs/protocol.md, "Token and directory", "Large partitions".
//
// A holding is a whole file that is stored and the deltas after it: of a base {edition, base: BaseInfo, deltas: [{from, to,
// file}]}, of a screen the same with {screen: {length, sha256}}, whose base is not stored, of a sidecar {edition, sidecar:
// SidecarInfo, deltas}. The first two have patches as well, which lead on from the base that the deltas reach: patches.js.
import { openBase, placeOf, rangesCost, shapeOf } from './directory.js';
import { checkAgainst, readChain, valueOf } from './delta.js';
import { check } from './errors.js';
import { patchesOf, patchesTo } from './patches.js';
import { openScreen } from './screen.js';
import { Sidecar, checkSidecarChain, readSidecarDelta, sidecarShape } from './sidecar.js';

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

/** About how many octets it takes to fetch so many buckets, and with labels their entries. */
export function listCost(partition, buckets, { labels }) {
  const { slot_bits: q, remainder_bits: r, count, base } = partition;
  const cost = rangesCost(shapeOf(q, r, count), base.length, buckets);
  if (!labels || partition.labels === null) return cost;
  const { index, ...shape } = sidecarShape(count, partition.labels.size, q);
  return cost + rangesCost({ ...shape, top: index }, shape.length, buckets);
}

/** The screen, if the screen and buckets cost less than the base: a base that costs no more tells less. */
function screenPlan(partition, held, whole, buckets) {
  if (partition.screen === null) return null;
  const { length, sha256 } = partition.screen;
  const anew = { edition: partition.edition, base: baseInfo(partition), screen: { length, sha256 }, deltas: [] };
  const plan = carriedOn(partition, partition.screen, held, anew);
  return total(plan.fetch) + listCost(partition, buckets, { labels: false }) < total(whole.fetch) ? plan : null;
}

/**
 * What one partition needs. It depends on what is stored, and never on the address book, but for `later`.
 * @param {object} stored
 * @param {object | null} [stored.held] a base @param {object | null} [stored.screen] @param {object | null} [stored.sidecar]
 * @param {boolean} [stored.labels] whether they are wanted
 * @param {number | null} [stored.buckets] of a list; null: no list is to be sent, as in download mode
 * @param {boolean} [stored.wanted] whether somebody of the book has no current result
 * @returns {{partition: object, kind: 'base' | 'screen', fetch: {length: number, sha256: string}[], holding: object,
 *   sidecar: object | null, labels: boolean, later: number, unchecked: boolean}} `sidecar`: what is stored of the labels after that;
 *   null where there are none, none are wanted, or their entries come with buckets. `labels`: whether there are any that are wanted.
 *   `later`: about the octets that a list takes. `unchecked`: whether there is something that no earlier sync has checked
 */
export function planOf(partition, { held = null, screen = null, sidecar = null, labels = false, buckets = null, wanted = false } = {}) {
  const { edition } = partition;
  const to = partition.labels;
  labels &&= to !== null;
  const patched = ({ fetch, holding }, stored) => patchesTo(partition, { fetch, holding, stored, known: [held, screen] });
  const plan = carriedOn(partition, partition.base, held, { edition, base: baseInfo(partition), deltas: [] });
  const screened = buckets === null ? null : screenPlan(partition, screen, plan, buckets); // by what they cost without patches
  if (screened) {
    const later = wanted ? listCost(partition, buckets, { labels }) : 0;
    return { partition, kind: 'screen', ...patched(screened, screen), sidecar: null, labels, later };
  }
  const base = { partition, kind: 'base', ...patched(plan, held), sidecar: null, labels, later: 0 };
  if (!labels) return base;
  const anew = { edition: to.edition, sidecar: sidecarInfo(partition), deltas: [] };
  const more = carriedOn(to, to.file, sidecar, anew);
  return { ...base, fetch: [...base.fetch, ...more.fetch], sidecar: more.holding, unchecked: base.unchecked || more.fetch.length > 0 };
}

/** Octets of a download by these plans, lists included. @param {Iterable<ReturnType<typeof planOf>>} plans */
export const costOf = (plans) => [...plans].reduce((sum, { fetch, later }) => sum + total(fetch) + later, 0);

/** Whether a sidecar that is stored can still be continued, though nobody wants labels now. */
export const leadsOn = (partition, sidecar) => Boolean(partition?.labels) && missing(partition.labels, sidecar) !== null;

/** The data files of a holding. */
export const filesOf = (holding) => [
  holding.screen ?? holding.base ?? holding.sidecar, ...[...holding.deltas, ...(holding.patches ?? [])].map(({ file }) => file),
];

/**
 * The deltas of a plan, read: they lead from the base that is held to that of the manifest.
 * @param {(sha256: string) => Promise<Uint8Array>} read a data file that is stored
 */
export async function chainOf({ partition, holding: { base, deltas } }, read) {
  const { slot_bits: q, remainder_bits: r } = base;
  return readChain(deltas, read, { at: [base.sha256, base.count], to: [partition.base.sha256, partition.count], q, r });
}

/** The stored sidecar of a plan, and the deltas that lead from it to that of the manifest. */
export async function sidecarOf({ partition, sidecar: { sidecar: info, deltas } }, read) {
  const chain = [];
  for (const { file } of deltas) chain.push(readSidecarDelta(await read(file.sha256), file));
  checkSidecarChain(info, chain, sidecarInfo(partition));
  return { sidecar: new Sidecar(await read(info.sha256), info), chain };
}

/**
 * Check all of what was fetched, whether or not the book has anybody there.
 * @returns {Promise<import('./directory.js').Directory | object>} the base for `matchPartition`, or the screen for `screenPartition`
 */
export async function inspect(plan, read) {
  const chain = [...(await chainOf(plan, read)), ...(await patchesOf(plan, read))];
  if (plan.kind === 'screen') {
    checkAgainst(chain, () => undefined); // what it is a screen of is not known
    return screenOf(plan, read);
  }
  if (plan.sidecar) await sidecarOf(plan, read);
  const { base } = plan.holding;
  const directory = openBase(await read(base.sha256), base);
  const place = (value) => ({ slot: Number(value >> BigInt(base.remainder_bits)), rest: Number(value & ((1n << BigInt(base.remainder_bits)) - 1n)) });
  checkAgainst(chain, (value) => directory.holds(place(value)));
  return directory;
}

/**
 * Check that what is held, of which nothing was fetched, leads to what the manifest states: the same edition may be stated of another
 * file, which must not be found by who is in the book alone.
 */
export async function retrace(plan, read) {
  await chainOf(plan, read);
  await patchesOf(plan, read);
  if (plan.sidecar) await sidecarOf(plan, read);
}

const screenOf = async ({ holding: { screen, base } }, read) => openScreen(await read(screen.sha256), screen, base);

/** Which subjects were matched at no edition that a holding reaches: the others are updated by the deltas alone. */
export function freshOf({ holding }, subjects) {
  const steps = new Set([holding.edition, ...holding.deltas.map(({ to }) => to)]);
  return subjects.map(({ edition }) => !steps.has(edition));
}

/**
 * Who is a member by the base: patches come after it.
 * @param {{token: string, member: boolean, edition: number}[]} subjects `edition` of the partition that `member` is of; -1: none
 * @param {import('./directory.js').Directory} [directory] the base, if `inspect` has opened it
 * @returns {Promise<boolean[]>}
 */
export async function matchPartition(plan, subjects, read, directory) {
  const { holding } = plan;
  const { slot_bits: q, remainder_bits: r } = holding.base;
  const chain = await chainOf(plan, read);
  const fresh = freshOf(plan, subjects);
  const base = directory ?? (fresh.includes(true) ? openBase(await read(holding.base.sha256), holding.base) : null);
  return subjects.map((one, i) => {
    const place = placeOf(one.token, q, r);
    let [member, at] = fresh[i] ? [base.holds(place), holding.edition] : [one.member, one.edition];
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

/**
 * What a screen and the deltas after it, but not yet the patches, say of subjects: `sure` are members, `maybe` must be looked up,
 * `tested` were tested against the screen now.
 * @param {{token: string, member: boolean, edition: number}[]} subjects as of `matchPartition`
 * @param {object} [screen] if `inspect` has opened it
 * @returns {Promise<{sure: boolean, maybe: boolean, tested: boolean}[]>}
 */
export async function screenPartition(plan, subjects, read, screen) {
  const { holding } = plan;
  const { slot_bits: q, remainder_bits: r } = holding.base;
  const chain = await chainOf(plan, read);
  const fresh = freshOf(plan, subjects);
  screen ??= fresh.includes(true) ? await screenOf(plan, read) : null;
  return subjects.map((one, i) => {
    const value = valueOf(placeOf(one.token, q, r), r);
    const tested = fresh[i];
    let [sure, at] = tested ? [false, holding.edition] : [one.member, one.edition];
    let maybe = tested && screen.passes(one.token);
    for (const delta of chain) {
      if (delta.from !== at) continue;
      const [joined, left] = [delta.joined.has(value), delta.left.has(value)];
      if (!tested) check(!(joined && sure) && !(left && !sure), 'contradicting');
      sure = (sure || joined) && !left;
      maybe &&= !left;
      at = delta.to;
    }
    return { sure, maybe: maybe && !sure, tested };
  });
}
