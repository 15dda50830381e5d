// A round of evaluation: new identifiers among padding, in batches. docs/protocol.md, "What a client sends".
import { keyOf } from './labels.js';
import { blind, finalize, MAX_BATCH, tokenOf } from './voprf.js';
import { hex, randomBelow, randomOctets, shuffle, utf8 } from './octets.js';

const LEAST = 8;
const MOST_QUICK = 8;
const USUAL_LENGTH = 17;

/** How many points hide so many identifiers: the next power of two, at least 8; none for none. */
export const padded = (count) => (count === 0 ? 0 : Math.max(LEAST, 2 ** Math.ceil(Math.log2(count))));

/** The largest batch that a server takes which lets an account have so many points at once: a power of two. */
export const largestBatch = (points) => Math.min(MAX_BATCH, Math.max(LEAST, 2 ** Math.floor(Math.log2(Math.max(points, 1)))));

/**
 * The batches of a new round. Those of an earlier one that were not answered are sent as they are, and before these.
 * @param {string[]} fresh identifiers without a token
 * @param {{points: number, identifiers: string[]}[]} unfinished
 * @param {{cover: boolean, most: number}} options `most`: points that a batch may have
 * @returns {{points: number, identifiers: string[]}[]}
 */
export function makeRound(fresh, unfinished, { cover, most }) {
  const largest = largestBatch(most);
  const waiting = new Set(unfinished.flatMap((batch) => batch.identifiers));
  const chosen = fresh.filter((one) => !waiting.has(one));
  const size = padded(chosen.length) || (cover ? LEAST : 0);
  const places = shuffle([...chosen, ...Array(size - chosen.length).fill(null)]);
  const batches = [];
  for (let start = 0; start < size; start += largest) {
    const part = places.slice(start, start + largest);
    batches.push({ points: part.length, identifiers: part.filter((one) => one !== null) });
  }
  return batches;
}

/** Whether replies are worked on once all have come: then no time between requests tells a cover round from another. */
export const isQuick = (batches) => batches.length <= MOST_QUICK && batches.every((batch) => batch.points <= LEAST);

/**
 * A batch as it is sent: padding added, shuffled, blinded.
 * @param {{points: number, identifiers: string[]}} batch
 * @param {string[]} like the book: padding has the lengths of its identifiers
 */
export function blindBatch(batch, like) {
  const length = () => (like.length ? like[randomBelow(like.length)].length : USUAL_LENGTH);
  const nobody = Array.from({ length: batch.points - batch.identifiers.length }, () => ({ octets: randomOctets(length()) }));
  const inputs = shuffle([...batch.identifiers.map((identifier) => ({ identifier, octets: utf8(identifier) })), ...nobody]);
  return blinded(inputs);
}

/** Inputs `{identifier?, octets}` in the order of the request. `blinds` only for test vectors. */
export function blinded(inputs, blinds) {
  const blinding = blind(inputs.map(({ octets }) => octets), blinds);
  return { inputs, blinding, body: blinding.body };
}

/** Tokens and label keys of a batch by identifier, once the proof holds. All points are worked on alike, padding too. */
export function finish({ inputs, blinding }, reply, publicKey) {
  const outputs = finalize(blinding, reply, publicKey);
  const found = new Map();
  inputs.forEach(({ identifier }, i) => {
    const known = { token: tokenOf(outputs[i]), key: hex(keyOf(outputs[i])) };
    if (identifier !== undefined) found.set(identifier, known);
  });
  return found;
}
