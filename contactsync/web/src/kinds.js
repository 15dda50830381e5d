// Kinds of identifiers, `tel` and `mailto`, and the partitions that they are in.
import { ascending } from './octets.js';
import { splitCode } from './plans.js';

const TEL = 'tel:+';
const MAIL = 'mail'; // the partition of all addresses; its name stands for the e-mail profile, too

export const KINDS = ['tel', 'mailto'];

/** @param {string} identifier */
export const kindOf = (identifier) => identifier.slice(0, identifier.indexOf(':'));

/** The partition of an identifier: its calling code, or that of addresses. */
export const partitionOf = (identifier) =>
  identifier.startsWith(TEL) ? splitCode(identifier.slice(TEL.length, TEL.length + 3)) : MAIL;

/** Whether a partition has addresses. */
export const isMail = (name) => name === MAIL;

/**
 * The kinds that a directory with these partitions has members of, usable here or not; numbers if there are none.
 * Identifiers of other kinds are not worth asking for.
 * @param {Iterable<string>} names
 */
export function servedKinds(names) {
  const all = [...names];
  const found = KINDS.filter((kind) => all.some((name) => (kind === 'mailto' ? isMail(name) : /^[0-9]+$/.test(name))));
  return found.length ? found : ['tel'];
}

/** An identifier as people write it. */
export function shown(identifier) {
  if (!identifier.startsWith('mailto:')) return identifier.replace(/^tel:/, '');
  const text = decodeURIComponent(identifier.slice('mailto:'.length));
  return /[\p{C}\p{Zl}\p{Zp}]/u.test(text) ? identifier : text;
}

/** A partition as people write it. */
export const titleOf = (name) => (isMail(name) ? 'mail' : `+${name}`);

/** Partitions as people write them. @param {Iterable<string>} names */
export const listed = (names) => [...names].sort(ascending).map(titleOf).join(', ');
