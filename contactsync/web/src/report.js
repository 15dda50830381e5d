// The object of `sync --json`: docs/json-schema.json, and `uncovered`, which only this client prints.
import { grouped, oddsText } from './choices.js';
import { listed } from './kinds.js';
import { countNow, sortedNames } from './manifest.js';
import { padded } from './round.js';

const REASONS = {
  'unknown-family': 'is of a kind or country unknown to this program',
  'unknown-critical': 'needs something that this program does not support',
};

/** What lists of buckets add to that, as parts of a sentence. @param {import('./settling.js').Told[]} told */
function partsOf(told) {
  const [lists, crowded] = [told.filter((one) => !one.crowded), told.filter((one) => one.crowded)];
  const sum = (word) => grouped(lists.reduce((all, one) => all + one[word], 0));
  const names = (those) => listed(those.map(({ name }) => name));
  return [
    ...(lists.length ? [
      `fetched ${sum('fetched')} of ${sum('total')} buckets of ${names(lists)}, decoys included` +
        ` (all lists so far multiply the odds of a guess by up to ${oddsText(Math.max(...lists.map((one) => one.running)))})`,
    ] : []),
    ...(crowded.length ? [`has so many members among its contacts in ${names(crowded)} that the whole directory was fetched`] : []),
  ];
}

/**
 * What the server could learn from a sync, in one sentence.
 * @param {number} points that were sent @param {boolean} covered whether all of them may be padding
 * @param {import('./settling.js').Told[]} told
 */
function leakOf(points, covered, told) {
  const low = points > 8 ? points / 2 + 1 : covered ? 0 : 1;
  const first = points ? `looked up ${grouped(low)} to ${grouped(points)} new numbers or addresses` : 'asked for updates and has nothing new to look up';
  const parts = [first, ...partsOf(told)];
  const hidden = parts.length > 1 ? 'not which, or who matched' : points ? 'not which, from which countries, or who matched' : 'nothing else about the address book';
  return `the server could learn that this account ${parts.join(' and ')}; ${hidden}`;
}

/** Partitions of the book whose contacts could not be looked up: nobody knows whether they are members. */
function unusableOf(manifest, groups) {
  const names = sortedNames(manifest.unusable).filter((name) => groups.has(name));
  return names.map((partition) => ({ partition, reason: REASONS[manifest.unusable[partition]], identifiers: groups.get(partition).length }));
}

/** The chance that a contact who is not a member matches, in the worst partition of the book. */
function falsePositiveRate(manifest, groups) {
  const used = [...groups.keys()].flatMap((name) => manifest.partitions[name] ?? []);
  return Math.max(0, ...used.map((one) => countNow(one) / 2 ** (one.slot_bits + one.remainder_bits)));
}

/**
 * @param {object} found
 * @param {object} found.manifest the one that was used @param {object} found.book @param {object} found.question
 * @param {{matches: object[], joined: object[], left: object[]}} found.people
 * @param {{evaluated: number, fresh: number, largest: number, covered: boolean, uncovered: boolean}} found.round
 * @param {{unopened: number, unknown: number} | null} found.labels null: none are published for the book's partitions, or none are
 *   wanted
 * @param {string} found.privacy the mode @param {import('./settling.js').Told[]} found.told @param {Record<string, number>} found.odds
 */
export function reportOf({ manifest, book, question, people, round, labels, transport, gap, withdrawn, privacy, told, odds }) {
  const { identifiers, asked, groups } = question;
  return {
    ...people,
    contacts: book.contacts.length,
    identifiers: asked,
    further_forms: identifiers.length - asked,
    unserved: book.identifiers.length - asked, // of a kind that the server has nobody of
    unreadable: (book.unreadable ?? []).map(({ file, place, reason }) => ({ file, place, reason })),
    unusable: unusableOf(manifest, groups),
    evaluated: round.evaluated,
    new_identifiers: round.fresh,
    bytes_sent: transport.sent,
    bytes_received: transport.received,
    audience: manifest.audience,
    epoch: manifest.epoch,
    edition: manifest.edition,
    members: manifest.count,
    privacy,
    partitions: 'all',
    false_positive_rate: falsePositiveRate(manifest, groups),
    quota: transport.quota,
    leak_odds: odds, // of all lists so far
    labels,
    leak: leakOf(round.uncovered ? padded(round.evaluated) : round.largest, round.covered, told),
    uncovered: round.uncovered,
    unchecked_history: gap,
    withdrawn_epoch: withdrawn,
  };
}
