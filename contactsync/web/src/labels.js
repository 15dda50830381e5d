// What a member is called: an entry of a sidecar, opened under 32 octets of the output. docs/protocol.md, "Labels".
import { concat, sha256, text, utf8, view } from './octets.js';

export const KEY_BYTES = 32;
const MAX_LABEL = 64;
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/** The associated data of an audience's entries in an epoch: 16 octets. */
export function contextOf(audience, epoch) {
  const number = new Uint8Array(4);
  view(number).setUint32(0, epoch, true);
  return sha256(concat(utf8(`contactsync label 1\0${audience}\0`), number)).subarray(0, 16);
}

/** The label key of an output of the VOPRF: what follows the token. */
export const keyOf = (output) => output.subarray(10, 10 + KEY_BYTES);

let aessiv = null;

/** Make ready what opens labels. Its tables take time to make, and most syncs open none. */
export async function readyCipher() {
  ({ aessiv } = await import('@noble/ciphers/aes.js'));
}

/** AES-SIV, as entries are sealed by it: after `readyCipher`. */
export const cipherOf = (key, context) => aessiv(key, context);

/** Whether a text is a label: printable, 1 to 64 octets, no space at its ends. */
export const isLabel = (label) =>
  label !== '' && !UNPRINTABLE.test(label) && utf8(label).length <= MAX_LABEL && !label.startsWith(' ') && !label.endsWith(' ');

/**
 * What an entry says, after `readyCipher`: the label, '' if the member has none, null if it does not open, or opens and is no label.
 * @param {Uint8Array} key 32 octets @param {Uint8Array} entry @param {Uint8Array} context
 */
export function opened(key, entry, context) {
  const cipher = cipherOf(key, context); // outside: without a cipher no label would open, and nobody would know why
  try {
    const octets = cipher.decrypt(entry);
    const label = text(octets.subarray(0, octets.findLastIndex((octet) => octet !== 0) + 1));
    return label === '' || isLabel(label) ? label : null;
  } catch {
    return null;
  }
}
