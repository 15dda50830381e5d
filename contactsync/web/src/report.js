// The object of `sync --json`: docs/json-schema.json, and `uncovered`, which only this client prints.
import { sortedNames } from './manifest.js';
import { padded } from './round.js';

const REASONS = {
  'unknown-family': 'is of a kind or country unknown to this program',
  'unknown-critical': 'needs something that this program does not support',
};

/**
 * What the server could learn from a sync, in one sentence.
 * @param {number} points that were sent @param {boolean} covered whether all of them may be padding
 */
function leakOf(points, covered) {
  const low = points > 8 ? points / 2 + 1 : covered ? 0 : 1;
  const shown = (number) => String(number).replace(/\B(?=(?:\d{3})+$)/g, ',');
  const what = points
    ? `looked up ${shown(low)} to ${shown(points)} new numbers or addresses; not which, from which countries, or who matched`
    : 'asked for updates and has nothing new to look up; nothing else about the address book';
  return `the server could learn that this account ${what}`;
}

/** Partitions of the book whose contacts could not be looked up: nobody knows whether they are members. */
function unusableOf(manifest, groups) {
  const names = sortedNames(manifest.unusable).filter((name) => groups.has(name));
  return names.map((partition) => ({ partition, reason: REASONS[manifest.unusable[partition]], identifiers: groups.get(partition).length }));
}

/** The chance that a contact who is not a member matches, in the worst partition of the book. */
function falsePositiveRate(manifest, groups) {
  const used = [...groups.keys()].flatMap((name) => manifest.partitions[name] ?? []);
  return Math.max(0, ...used.map((one) => one.count / 2 ** (one.slot_bits + one.remainder_bits)));
}

/**
 * @param {object} found
 * @param {object} found.manifest the one that was used @param {object} found.book @param {object} found.question
 * @param {{matches: object[], joined: object[], left: object[]}} found.people
 * @param {{evaluated: number, fresh: number, largest: number, covered: boolean, uncovered: boolean}} found.round
 * @param {{unopened: number} | null} found.labels null: none are published for the book's partitions, or none are wanted
 */
export function reportOf({ manifest, book, question, people, round, labels, transport, gap, withdrawn }) {
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
    privacy: 'download',
    partitions: 'all',
    false_positive_rate: falsePositiveRate(manifest, groups),
    quota: transport.quota,
    leak_odds: {}, // no bucket is asked for
    labels: labels && { ...labels, unknown: 0 }, // with whole sidecars every entry is there
    leak: leakOf(round.uncovered ? padded(round.evaluated) : round.largest, round.covered),
    uncovered: round.uncovered,
    unchecked_history: gap,
    withdrawn_epoch: withdrawn,
  };
}
