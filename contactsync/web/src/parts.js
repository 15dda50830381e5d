// Single buckets of a base and of its sidecar, fetched by ranges and verified from the manifest alone: top, index pages,
// buckets. docs/directory-format.md, "How each part is verified". Who fetches sees to it that the list tells nothing.
import { Directory, shapeOf } from './directory.js';
import { check } from './errors.js';
import { SidecarParts, sidecarShape } from './sidecar.js';

/** @typedef {(spans: {start: number, end: number}[], options: {last: boolean}) => Promise<Uint8Array[]>} Fetch */

/** What was fetched of a file. @param {Fetch} fetch */
function collected(fetch) {
  const held = new Map();
  return {
    async take(spans, { last = false } = {}) {
      const octets = await fetch(spans, { last });
      spans.forEach(({ start, end }, i) => {
        check(octets[i].length === end - start, 'wrong-length');
        held.set(start, octets[i]);
      });
    },
    part: (start, end) => held.get(start).subarray(0, end - start),
  };
}

const pagesOf = (numbers, inPage) => [...new Set(numbers.map((number) => Math.floor(number / inPage)))];

/**
 * The directory of which these buckets can be read, all of them checked. Fetches three times.
 * @param {import('./directory.js').BaseInfo} info @param {number[]} numbers ascending @param {Fetch} fetch
 * @param {{last?: boolean}} [options] whether nothing is fetched after it
 */
export async function readBuckets(info, numbers, fetch, { last = false } = {}) {
  const { top, page, entries } = shapeOf(info.slot_bits, info.remainder_bits, info.count);
  const { take, part } = collected(fetch);
  await take([{ start: 0, end: top }]); // where they end follows from the manifest
  const directory = new Directory(info, part);
  await take(pagesOf(numbers, entries).map((number) => ({ start: top + number * page, end: top + (number + 1) * page })));
  await take(numbers.map((number) => directory.span(number)), { last });
  for (const number of numbers) directory.bucket(number);
  return directory;
}

/**
 * The sidecar of which the entries of these buckets can be read, all of them checked: each has as many as the directory's
 * bucket has values, whoever is in it.
 * @param {import('./sidecar.js').SidecarInfo} info @param {number[]} numbers ascending
 * @param {import('./directory.js').Directory} directory of which these buckets were read @param {Fetch} fetch
 */
export async function readEntries(info, numbers, directory, fetch, { last = false } = {}) {
  const { index, inPage, entry } = sidecarShape(info.count, info.size, info.slot_bits);
  const { take, part } = collected(fetch);
  await take([{ start: 0, end: index }]);
  const sidecar = new SidecarParts(info, part);
  await take(pagesOf(numbers, inPage).map((number) => sidecar.pageSpan(number)));
  const spans = numbers.map((number) => sidecar.span(number));
  spans.forEach(({ start, end }, i) => check(end - start === entry * directory.bucket(numbers[i]).slots.length, 'not-as-described'));
  await take(spans, { last });
  for (const number of numbers) sidecar.bucket(number);
  return sidecar;
}
