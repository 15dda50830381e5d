// Parts of a data file by HTTP ranges (RFC 9110 §14), many with one request: docs/http-api.md, "Data files".
//
// A server may send fewer ranges than it was asked for, in another order, join neighbours, or not know lists of ranges: what
// is missing is asked for again, in the end range by range. Spans are {start, end}, the octets from start up to, but not
// including, end.
import { PeerError } from './errors.js';
import { concat } from './octets.js';

const MAX_RANGES = 64; // in one request: servers refuse more than 100 or 200
const OVERHEAD = 1024; // octets around a part, or between two parts that a server joins
const HEAD_LIMIT = 512;
const MULTIPART = /^multipart\/byteranges\s*;\s*(?:[\w-]+=[^;"]*;\s*)*boundary=(?:"([ !#-~]{1,70})"|([!#-:<-~]{1,70}))\s*(?:;.*)?$/i;
const CONTENT_RANGE = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/i;

const bad = (message) => new PeerError(message, { hint: 'use --privacy download with this server, and tell the operator' });
const wrong = () => bad('the server sent an invalid reply to a range request');

/** Ranges as the field `Range` lists them. */
export const rangeList = (spans) => `bytes=${spans.map(({ start, end }) => `${start}-${end - 1}`).join(',')}`;

/** The same octets in ascending order, adjacent spans joined. */
export function joined(spans) {
  const whole = [];
  for (const { start, end } of spans.toSorted((one, two) => one.start - two.start || one.end - two.end)) {
    const last = whole.at(-1);
    if (last && start <= last.end) last.end = Math.max(last.end, end);
    else whole.push({ start, end });
  }
  return whole;
}

/**
 * The octets of a data file at each of these places, in the same order, unverified. Some may be empty.
 * @param {(ranges: string, limit: number, options: {last: boolean}) => Promise<{status: number, headers: Headers, body: Uint8Array}>} get
 *   a reply to a request with this field `Range`
 * @param {{length: number}} file @param {{start: number, end: number}[]} wanted
 * @param {{last?: boolean}} [options] `last`: nothing is asked for after it
 */
export async function fetchRanges(get, file, wanted, { last = false } = {}) {
  const whole = joined(wanted.filter(({ start, end }) => end > start));
  const held = new Map();
  let atOnce = MAX_RANGES;
  for (;;) {
    const missing = whole.filter((span) => !held.has(span));
    if (!missing.length) break;
    const asked = missing.slice(0, atOnce);
    const limit = asked.reduce((sum, { start, end }) => sum + end - start, 0) + OVERHEAD * (asked.length + 1);
    const reply = await get(rangeList(asked), limit, { last: last && asked.length === missing.length });
    const parts = reply.status === 206 ? partsOf(reply, file.length) : [];
    let found = 0;
    for (const span of asked) {
      const part = parts.find(({ start, end }) => start <= span.start && span.end <= end);
      if (!part) continue;
      held.set(span, part.octets.subarray(span.start - part.start, span.end - part.start));
      found++;
    }
    if (found) continue;
    if (asked.length === 1) throw bad('the server did not send the range that was asked for');
    atOnce = 1; // it may know single ranges
  }
  return wanted.map(({ start, end }) => {
    if (end <= start) return new Uint8Array(0);
    const around = whole.find((span) => span.start <= start && end <= span.end);
    return held.get(around).subarray(start - around.start, end - around.start);
  });
}

function placeOf(field, length) {
  const [, first, last, total] = (CONTENT_RANGE.exec(field.trim()) ?? []).map(Number);
  if (total !== length || last < first || last >= length) throw wrong();
  return { start: first, end: last + 1 };
}

/** The parts of a reply with status 206: where each lies in the file, and its octets. */
function partsOf({ headers, body }, length) {
  if (headers.has('content-range')) {
    const place = placeOf(headers.get('content-range'), length);
    if (body.length !== place.end - place.start) throw wrong();
    return [{ ...place, octets: body }];
  }
  const boundary = MULTIPART.exec((headers.get('content-type') ?? '').slice(0, HEAD_LIMIT));
  if (!boundary) throw wrong();
  const delimiter = octetsOf(`--${boundary[1] ?? boundary[2]}`);
  const parts = [];
  let at = indexOf(body, delimiter, 0, body.length);
  if (at < 0) throw wrong();
  for (;;) {
    at += delimiter.length;
    if (body[at] === 45 && body[at + 1] === 45) return parts;
    const end = indexOf(body, octetsOf('\r\n\r\n'), at, at + HEAD_LIMIT);
    if (end < 0) throw wrong();
    const head = latin(body.subarray(at, end));
    const field = /^content-range:(.*)$/im.exec(head);
    if (!field) throw wrong();
    const place = placeOf(field[1], length);
    const after = end + 4 + place.end - place.start;
    const next = concat(octetsOf('\r\n'), delimiter);
    if (indexOf(body, next, after, after + next.length) !== after) throw wrong();
    parts.push({ ...place, octets: body.subarray(end + 4, after) });
    at = after + 2;
  }
}

const octetsOf = (text) => Uint8Array.from(text, (one) => one.charCodeAt(0));
const latin = (octets) => Array.from(octets, (one) => String.fromCharCode(one)).join('');

/** Where `sought` begins, all of it before `end`; -1 if it is not there. */
function indexOf(octets, sought, start, end) {
  const last = Math.min(end, octets.length) - sought.length;
  for (let at = octets.indexOf(sought[0], start); at >= 0 && at <= last; at = octets.indexOf(sought[0], at + 1))
    if (sought.every((one, i) => octets[at + i] === one)) return at;
  return -1;
}
