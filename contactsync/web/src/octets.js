// Octets, and the hashes that the other modules share.
import { sha256 as sha256Of, sha512 as sha512Of } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js';

export const sha256 = sha256Of;
export const sha512 = sha512Of;

/** SHA-256 of something large: WebCrypto has it natively, and off this thread. @param {Uint8Array} octets */
export const digest = async (octets) => new Uint8Array(await crypto.subtle.digest('SHA-256', octets));

export const hex = bytesToHex;
export const unhex = hexToBytes;
export const concat = concatBytes;

const encoder = new TextEncoder();
/** @param {string} text */
export const utf8 = (text) => encoder.encode(text);

/** The text of UTF-8. Throws TypeError for anything else. @param {Uint8Array} octets */
export const text = (octets) => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);

/** @param {Uint8Array} a @param {Uint8Array} b */
export const equal = (a, b) => a.length === b.length && a.every((octet, i) => octet === b[i]);

/** I2OSP(number, 2). */
export const two = (number) => Uint8Array.of(number >> 8, number & 255);

export const view = (data) => new DataView(data.buffer, data.byteOffset, data.byteLength);

/** A u64, little-endian. What is beyond 2^53 loses digits, and is refused by whoever compares it. */
export const u64 = (data, at) => Number(view(data).getBigUint64(at, true));

/** An order that depends on code units alone, for ASCII. */
export const ascending = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

const alphabet = /^[0-9a-f]*$/;
export const isHex = (value, digits) => typeof value === 'string' && value.length === digits && alphabet.test(value);

/** Whole number below `limit`, even: without the bias of a remainder. */
export function randomBelow(limit) {
  const room = 2 ** 48;
  const most = room - (room % limit);
  for (;;) {
    const [high, low] = crypto.getRandomValues(new Uint32Array(2));
    const drawn = (high & 0xffff) * 2 ** 32 + low;
    if (drawn < most) return drawn % limit;
  }
}

/** A random order: Fisher and Yates. Returns its argument. */
export function shuffle(list) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = randomBelow(i + 1);
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

export const randomOctets = (count) => crypto.getRandomValues(new Uint8Array(count));

/** How many of ascending numbers are below a limit. @param {number} length @param {(i: number) => number | bigint} at */
export function countBelow(length, at, limit) {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(middle) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
