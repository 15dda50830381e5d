// What is stored of epochs, and what of it still counts when a manifest has come.
import { partitionOf } from './kinds.js';

/** What is known of an identifier that was evaluated: store.js. */
export const newRow = (token, key) => ({ token, key, member: false, edition: -1, label: null, labelled: -1 });

export const newEpoch = () => ({ public_key: '', announced: false, tokens: {}, holdings: {}, screens: {}, sidecars: {}, unfinished: [] });

/**
 * Editions are of another history, maybe: what was matched, and the files, are of others. Tokens stay. So does what is held of a base
 * that is stated now, too, by edition and SHA-256: it is that base in whatever history. Of labels this cannot be said.
 * @param {Record<string, object>} partitions of the manifest, if it is of this epoch
 */
function dropMatches(epoch, partitions) {
  const isSame = (name, { edition, base, deltas }) => {
    const now = partitions[name];
    return now?.labels === null && !deltas.length && edition === now.edition && base.sha256 === now.base.sha256;
  };
  const kept = (holdings) => Object.fromEntries(Object.entries(holdings).filter(([name, one]) => isSame(name, one)));
  Object.assign(epoch, { holdings: kept(epoch.holdings), screens: kept(epoch.screens), sidecars: {} });
  const names = new Set(Object.keys({ ...epoch.holdings, ...epoch.screens }));
  for (const [identifier, row] of Object.entries(epoch.tokens))
    if (!names.has(partitionOf(identifier))) Object.assign(row, { edition: -1, labelled: -1 });
}

/** What the editions are that an announced epoch was used in: by that it is known when they are edition 1. */
export const reachedIn = (partitions) =>
  Object.fromEntries(Object.entries(partitions).map(([name, { edition, base, labels }]) => [name, { edition, base: base.sha256, labels: labels && { edition: labels.edition, file: labels.file.sha256 } }]));

/**
 * An announced epoch is in force, and editions count from 1 again. What was matched stays where the edition that was used is edition 1,
 * by its base: in screen mode, who is matched anew has to send one list more. Files stay if no delta leads to it.
 * @returns {Record<string, number>} what edition 1 was in the announcement, by partition, where it is known
 */
function promote(epoch, { partitions }) {
  const reached = Object.entries(epoch.reached ?? {}).filter(([name, { base }]) => partitions[name]?.edition === 1 && partitions[name].base.sha256 === base);
  const editions = Object.fromEntries(reached.map(([name, { edition }]) => [name, edition]));
  const labels = new Map(); // by partition the edition that they were of, and now are
  for (const [name, { labels: before }] of reached) {
    const now = partitions[name].labels;
    if (before && now?.file.sha256 === before.file) labels.set(name, [before.edition, now.edition]);
  }
  for (const [identifier, row] of Object.entries(epoch.tokens)) {
    const name = partitionOf(identifier);
    const [before, now] = labels.get(name) ?? [];
    const [edition, labelled] = [row.edition === editions[name] ? 1 : -1, row.labelled >= 0 && row.labelled === before ? now : -1];
    Object.assign(row, { edition, labelled });
  }
  const whole = (holdings, to) => Object.fromEntries(Object.entries(holdings).flatMap(([name, one]) => {
    const now = one.deltas.length ? undefined : to(name, one.edition);
    return now === undefined ? [] : [[name, { ...one, edition: now }]];
  }));
  const first = (name, edition) => (edition === editions[name] ? 1 : undefined);
  const ofLabels = (name, edition) => (edition === labels.get(name)?.[0] ? labels.get(name)[1] : undefined);
  Object.assign(epoch, { holdings: whole(epoch.holdings, first), screens: whole(epoch.screens, first), sidecars: whole(epoch.sidecars, ofLabels) });
  return editions;
}

/**
 * Bring what is stored to the manifest that is published.
 * @param {Record<string, object>} epochs by number
 * @param {object} published @param {object | null} gap what cannot be checked of the history since the last sync
 * @returns {{replaced: number[], promoted: null | {epoch: number, editions: Record<string, number>}}} `replaced`: epochs that were stored
 *   under another key than is published now: they are gone. `promoted`: the announced one that began
 */
export function keepEpochs(epochs, published, gap) {
  const replaced = [];
  let promoted = null;
  for (const { epoch, public_key: key } of [published, ...(published.next ? [published.next] : [])]) {
    const kept = epochs[epoch];
    if (!kept?.public_key) continue;
    if (kept.public_key !== key) {
      // Tokens belong to a key. Another one was announced, or the keys were replaced.
      replaced.push(epoch);
      delete epochs[epoch];
    } else if (kept.announced && epoch === published.epoch) {
      kept.announced = false;
      promoted = { epoch, editions: promote(kept, published) };
    }
  }
  const wanted = [published.epoch, published.next?.epoch];
  for (const number of Object.keys(epochs)) if (!wanted.includes(Number(number)) && Number(number) < published.epoch) delete epochs[number];
  if (gap !== null) // nobody knows whether it is of this history
    for (const [number, epoch] of Object.entries(epochs)) dropMatches(epoch, Number(number) === published.epoch ? published.partitions : {});
  return { replaced, promoted };
}

/** Whether something that was evaluated has no label key: an earlier version kept the token alone. */
export const lacksKeys = (epoch) => Object.values(epoch.tokens).some((row) => row.key === null);

/** Tokens without a label key are of no more use where labels are wanted. */
export function dropKeyless(epoch) {
  for (const [identifier, row] of Object.entries(epoch.tokens)) if (row.key === null) delete epoch.tokens[identifier];
}

/** Labels are kept of members alone. @param {Map<string, boolean>} given.members who is one now, as far as it was asked */
export function dropLabels(epoch, { all, members }) {
  for (const [identifier, row] of Object.entries(epoch.tokens))
    if (all || !(members.get(identifier) ?? row.member)) Object.assign(row, { label: null, labelled: -1 });
}

const KEPT_MONTHS = 12;

/**
 * A book was synced in this month that has these identifiers; forget what none has had for a year, and what is known of earlier
 * epochs alone. What was stored before this was counted counts from now on.
 * @param {{epochs: Record<string, object>, found: object, seen: Record<string, number>}} state of an audience
 */
export function forgetUnseen(state, identifiers, now = new Date()) {
  const month = 12 * now.getUTCFullYear() + now.getUTCMonth();
  for (const one of identifiers) state.seen[one] = month;
  const tokens = Object.values(state.epochs).map((epoch) => epoch.tokens);
  for (const one of Object.keys(state.found)) if (!tokens.some((table) => one in table)) delete state.found[one];
  const stored = [state.found, ...tokens];
  for (const one of stored.flatMap(Object.keys)) state.seen[one] ??= month;
  for (const [one, last] of Object.entries(state.seen)) {
    const isStored = stored.some((table) => one in table);
    if (isStored && last >= month - KEPT_MONTHS) continue;
    for (const table of [state.seen, ...stored]) delete table[one];
  }
}
