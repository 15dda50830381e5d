// The patches of a partition: what led on from its base to its members of now. docs/http-api.md, "The patches".
//
// The base, and what is beside it in the manifest, stay those of an older edition. A row of the state says who is a member by the
// base, so that nothing is matched or asked for anew while it stays: all patches are held, and applied in each sync.
import { readChain, valueOf } from './delta.js';
import { placeOf } from './directory.js';

const textOf = (files, state) => JSON.stringify([state, ...files.map(({ from, to, file }) => [from, to, file.sha256])]);

/**
 * Let a plan have the patches, too. Which are fetched depends on what is stored alone.
 * @param {object} partition of the manifest
 * @param {object} plan
 * @param {object[]} plan.fetch @param {object} plan.holding without patches
 * @param {object | null} plan.stored the holding that it continues, or replaces
 * @param {(object | null)[]} plan.known all holdings of the partition that are stored
 * @returns {{fetch: object[], holding: object, unchecked: boolean}} `unchecked`: whether anything is not as it was stored
 */
export function patchesTo({ patches }, { fetch, holding, stored, known }) {
  const [files, state] = patches ? [patches.files, patches.state] : [[], null];
  const there = new Set(known.flatMap((one) => one?.patches ?? []).map(({ file }) => file.sha256));
  const all = [...fetch, ...files.map(({ file }) => file).filter(({ sha256 }) => !there.has(sha256))];
  const same = textOf(stored?.patches ?? [], stored?.state ?? null) === textOf(files, state);
  return { fetch: all, holding: { ...holding, patches: files, state }, unchecked: all.length > 0 || !same };
}

/**
 * The patches of a plan, read: they lead from the base of the manifest to the state that it names.
 * @param {(sha256: string) => Promise<Uint8Array>} read a data file that is stored
 */
export async function patchesOf({ partition }, read) {
  const { patches, base, count, slot_bits: q, remainder_bits: r } = partition;
  if (patches === null) return [];
  return readChain(patches.files, read, { at: [base.sha256, count], to: [patches.state, patches.count], q, r });
}

/**
 * Who is a member now. That patches do not contradict the base is checked for every client alike, and not here, where a refusal
 * would depend on the book.
 * @param {object} partition of the manifest @param {Awaited<ReturnType<typeof readChain>>} patches
 * @param {string[]} tokens @param {boolean[]} members by the base
 * @returns {boolean[]}
 */
export function patched({ slot_bits: q, remainder_bits: r }, patches, tokens, members) {
  if (!patches.length) return members;
  return tokens.map((token, i) => {
    const value = valueOf(placeOf(token, q, r), r);
    return patches.reduce((member, { joined, left }) => (member || joined.has(value)) && !left.has(value), members[i]);
  });
}
