// What is stored of epochs, and what of it still counts when a manifest has come.

/** What is known of an identifier that was evaluated: store.js. */
export const newRow = (token, key) => ({ token, key, member: false, edition: -1, label: null, labelled: -1 });

export const newEpoch = () => ({ public_key: '', announced: false, tokens: {}, holdings: {}, screens: {}, sidecars: {}, unfinished: [] });

/** Editions are of another history, or count from 1 again: what was matched, and the files, are of others. Tokens stay. */
function dropMatches(epoch) {
  Object.assign(epoch, { holdings: {}, screens: {}, sidecars: {} });
  for (const row of Object.values(epoch.tokens)) Object.assign(row, { edition: -1, labelled: -1 });
}

/**
 * Bring what is stored to the manifest that is published.
 * @param {Record<string, object>} epochs by number
 * @param {object} published @param {object | null} gap what cannot be checked of the history since the last sync
 * @returns {number[]} epochs that were stored under another key than is published now: they are gone
 */
export function keepEpochs(epochs, published, gap) {
  const replaced = [];
  for (const { epoch, public_key: key } of [published, ...(published.next ? [published.next] : [])]) {
    const kept = epochs[epoch];
    if (!kept?.public_key) continue;
    if (kept.public_key !== key) {
      // Tokens belong to a key. Another one was announced, or the keys were replaced.
      replaced.push(epoch);
      delete epochs[epoch];
    } else if (kept.announced && epoch === published.epoch) {
      kept.announced = false;
      dropMatches(kept);
    }
  }
  const wanted = [published.epoch, published.next?.epoch];
  for (const number of Object.keys(epochs)) if (!wanted.includes(Number(number)) && Number(number) < published.epoch) delete epochs[number];
  if (gap !== null) Object.values(epochs).forEach(dropMatches); // nobody knows whether it is of this history
  return replaced;
}

/** Whether something that was evaluated has no label key: an earlier version kept the token alone. */
export const lacksKeys = (epoch) => Object.values(epoch.tokens).some((row) => row.key === null);

/** Tokens without a label key are of no more use where labels are wanted. */
export function dropKeyless(epoch) {
  for (const [identifier, row] of Object.entries(epoch.tokens)) if (row.key === null) delete epoch.tokens[identifier];
}

/** Labels are kept of members alone. */
export function dropLabels(epoch, { all }) {
  for (const row of Object.values(epoch.tokens)) if (all || !row.member) Object.assign(row, { label: null, labelled: -1 });
}

const KEPT_MONTHS = 12;

/**
 * A book was synced in this month that has these identifiers; forget what none has had for a year. What was stored before
 * this was counted counts from now on.
 * @param {{epochs: Record<string, object>, found: object, seen: Record<string, number>}} state of an audience
 */
export function forgetUnseen(state, identifiers, now = new Date()) {
  const month = 12 * now.getUTCFullYear() + now.getUTCMonth();
  for (const one of identifiers) state.seen[one] = month;
  const stored = [state.found, ...Object.values(state.epochs).map((epoch) => epoch.tokens)];
  for (const one of stored.flatMap(Object.keys)) state.seen[one] ??= month;
  for (const [one, last] of Object.entries(state.seen)) {
    const isStored = stored.some((table) => one in table);
    if (isStored && last >= month - KEPT_MONTHS) continue;
    for (const table of [state.seen, ...stored]) delete table[one];
  }
}
