// Screen mode: who of one large partition is a member, by its screen and a list of buckets. docs/protocol.md, "Screen mode".
//
// If somebody was tested against the screen at all, buckets are fetched, even if nobody passes: fetching none would tell that a
// new contact is no member.
import { fetchRanges } from './byteranges.js';
import { tooMany, tooTelling } from './choices.js';
import { placeOf } from './directory.js';
import { bucketsOf, isSame, listOf } from './lists.js';
import { baseInfo, costOf, inspect, listCost, matchPartition, planOf, screenPartition, sidecarInfo } from './plan.js';
import { readBuckets, readEntries } from './parts.js';

/**
 * What a sync gives to each partition.
 * @typedef {object} Desk
 * @property {string} audience @property {number} epoch
 * @property {(sha256: string) => Promise<Uint8Array>} read a data file that is stored
 * @property {import('./transport.js').Transport} transport @property {import('./ledger.js').Ledger} ledger
 * @property {(name: string, plan: object, options: {last: boolean}) => Promise<void>} download
 * @property {Told[]} told of this sync
 * @property {{limit: number, buckets: number, leakBudget: number, whole: number}} allowed `limit`: octets; `whole`: those of download
 *   mode
 */

/**
 * @typedef {object} Settled
 * @property {boolean[]} member by the base, as of `matchPartition` @property {object} plan the one that was used in the end
 * @property {Map<number, Uint8Array>} entries of labels that came with buckets, by the place of the subject
 * @typedef {{name: string, crowded: true} | {name: string, fetched: number, total: number, odds: number, before: number,
 *   running: number}} Told what the server learns from a list: `odds` of it are multiplied with those `before`
 */

/**
 * Settle who of a partition that has a screen is a member by its base.
 * @param {object} plan of kind `screen` @param {{token: string, member: boolean, edition: number}[]} subjects
 * @param {Desk} desk @param {{screen?: object, last: boolean}} options `screen`: if it was opened; `last`: nothing is asked for after it
 * @returns {Promise<Settled>}
 */
export async function settle(plan, subjects, desk, { screen, last }) {
  const { partition } = plan;
  const screened = await screenPartition(plan, subjects, desk.read, screen);
  const tokensOf = (word) => subjects.filter((_, i) => screened[i][word]).map(({ token }) => token);
  const [member, entries] = [screened.map(({ sure }) => sure), new Map()];
  const tested = tokensOf('tested');
  if (!tested.length) return { member, plan, entries };
  const before = desk.ledger.asked(desk.audience, desk.epoch, partition.name);
  const { secret } = desk.ledger;
  const list = listOf(partition, desk.epoch, { candidates: tokensOf('maybe'), tested }, { secret, before, buckets: desk.allowed.buckets });
  const whole = planOf(partition, { screen: plan.holding, labels: plan.labels }); // patches are stored by now
  const [cost, costOfWhole] = [listCost(partition, list.numbers.length, plan), costOf([whole])];
  const needed = desk.transport.received + Math.min(cost, costOfWhole);
  if (needed > desk.allowed.limit) throw tooMany(partition.name, { needed, ...desk.allowed });
  if (cost >= costOfWhole) return settleWhole(whole, subjects, desk, last);
  const again = before !== null && isSame(before, list); // then it tells nothing new
  const told = toldBy(partition, list, desk.ledger.odds()[partition.name] ?? 1, again);
  if (!again && told.running > desk.allowed.leakBudget && told.odds !== 1) throw tooTelling(told, desk.allowed);
  await desk.ledger.record(desk.audience, partition.name, list, told.total); // before any of it is sent
  await desk.transport.pace({ quick: true });
  desk.told.push(told);
  const directory = await readBuckets(baseInfo(partition), list.numbers, fetcher(desk, partition.base, last && !plan.labels), { last: true });
  const { slot_bits: q, remainder_bits: r } = partition;
  const places = new Map(); // of those whose entries are welcome: found now, or members whose bucket is there by chance
  const there = new Set(list.numbers);
  const buckets = bucketsOf(partition, subjects.map(({ token }) => token));
  subjects.forEach(({ token }, i) => {
    if (!there.has(buckets[i]) || !(screened[i].maybe || screened[i].sure)) return;
    const place = directory.find(placeOf(token, q, r));
    if (screened[i].maybe) member[i] = place.found;
    if (place.found) places.set(i, place);
  });
  if (!plan.labels) return { member, plan, entries };
  await desk.transport.pace({ quick: true }); // how long it took to look for them shows nothing
  const info = sidecarInfo(partition);
  const sidecar = await readEntries(info, list.numbers, directory, fetcher(desk, partition.labels.file, last), { last: true });
  const { entry } = sidecar.shape;
  for (const [i, { bucket, below }] of places) entries.set(i, sidecar.bucket(bucket).subarray(below * entry, (below + 1) * entry));
  return { member, plan, entries };
}

/** The base costs no more than the list, and tells less. */
async function settleWhole(whole, subjects, desk, last) {
  const { name } = whole.partition;
  await desk.transport.pace({ quick: true });
  desk.told.push({ name, crowded: true });
  await desk.download(name, whole, { last });
  const directory = await inspect(whole, desk.read);
  return { member: await matchPartition(whole, subjects, desk.read, directory), plan: whole, entries: new Map() };
}

function fetcher({ transport }, file, isLast) {
  const get = (ranges, limit, { last }) => transport.ranges(file.sha256, ranges, limit, { last });
  return (spans, { last }) => fetchRanges(get, file, spans, { last: last && isLast });
}

/** By how much the odds of guessing a contact rise: 1 over the chance that its bucket is fetched anyway. */
function toldBy({ name, slot_bits: q }, { numbers }, soFar, again) {
  const total = 2 ** (q - 12);
  const odds = total / numbers.length;
  const before = again ? soFar / odds : soFar;
  return { name, fetched: numbers.length, total, odds, before, running: before * odds };
}
