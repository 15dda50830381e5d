// Text to the identifier of an e-mail address: e-mail profile 1 of docs/identifiers.md, whose steps these functions follow.
import { aLabel, beginsWithMark, codesOf, mapped, permits } from './idna.js';
import { utf8 } from './octets.js';
import { Rejected } from './rejected.js';

export const SCHEME = 'mailto:';
export const MAX_TEXT = 1000;
const [MAX_LOCAL, MAX_DOMAIN, MAX_ADDRESS, MAX_LABEL] = [64, 253, 254, 63];
// An ASCII address without anything around it.
const QUICK =
  /^(?=.{3,254}$)(?=[^@]{1,64}@)[A-Za-z0-9!$'*+_~-]+(?:\.[A-Za-z0-9!$'*+_~-]+)*@(?:(?![Xx][Nn]--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9]{0,62}$/;
const ATEXT = /^[a-z0-9!#$%&'*+\-/=?^_`{|}~]$/;
const LITERAL = /^[A-Za-z0-9!$'*+._~-]$/;

const several = () => new Rejected('several addresses in one field', 'write one address in each field');
const notOne = () => new Rejected('not an e-mail address', 'write it as name@example.org');
const strip = (text) => text.replace(/^ +| +$/g, '');

/** Step 2. */
function plainCharacters(text) {
  const plain = text
    .replace(/[\uff01-\uff5e]/g, (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0))
    .replace(/[\t-\r\x1c-\x1f\x85\p{Z}]/gu, ' ')
    .replace(/^[ \p{Cf}]+/u, '');
  const bare = withoutEnd(plain);
  if (/[\p{Cc}\p{Cs}]/u.test(bare)) throw new Rejected('a control character in the address', 'write the address again, by hand');
  return bare;
}

// Not by a pattern that ends with $: it would take the square of a run of spaces.
function withoutEnd(text) {
  const characters = [...text];
  while (characters.length && /[ \p{Cf}]/u.test(characters.at(-1))) characters.pop();
  return characters.join('');
}

/** Step 3: `Ann <ann@example.org>`. */
function withoutName(text) {
  const start = text.lastIndexOf('<');
  if (start < 0) return text;
  const name = text.slice(0, start).replace(/"(?:[^"\\]|\\.)*"/g, '');
  if (name.includes('<') || (name.includes('@') && /[,;]/.test(name))) throw several();
  if (!text.endsWith('>')) throw notOne();
  return strip(text.slice(start + 1, -1));
}

/** Step 4: RFC 6068 §2. */
function withoutScheme(text) {
  if (!/^mailto:/i.test(text)) return text;
  const [path] = text.slice(SCHEME.length).split(/[?#]/, 1);
  const escapes = /(?:%[0-9A-Fa-f]{2})+/g;
  if (path.replace(escapes, '').includes('%'))
    throw new Rejected('a % without two hexadecimal digits after it', 'write the address without mailto:');
  try {
    return strip(path.replace(escapes, (found) => decodeURIComponent(found)));
  } catch {
    throw new Rejected('escapes that are not UTF-8', 'write the address without mailto:');
  }
}

/** Step 5. */
function halves(text) {
  if (text.startsWith('"') || text.includes('"@'))
    throw new Rejected('a quoted local part', 'this profile has none: nobody can be found by it');
  if (/[()]/.test(text)) throw new Rejected('a comment in the address', 'write it without what is in parentheses');
  if (text.includes('@[')) throw new Rejected('an address literal instead of a domain', 'write the name of the domain');
  const parts = text.split('@');
  if (/[,;]/.test(text) || parts.length > 2) throw several();
  if (parts.length < 2) throw new Rejected('no @ in it', 'write it as name@example.org');
  if (!parts[0] || !parts[1]) throw new Rejected('nothing before or after the @', 'write it as name@example.org');
  if (text.includes(' ')) throw new Rejected('a space in the address', 'write it without spaces');
  return parts;
}

function isRun(run) {
  const codes = codesOf(run);
  return !beginsWithMark(run) && codes.every((code, i) => (code < 128 ? ATEXT.test(String.fromCharCode(code)) : permits(codes, i)));
}

/** Step 6. */
function localPart(text) {
  const [reason, hint] = ['a character that no local part has', 'check the part before the @'];
  const local = mapped(text)?.replaceAll('ς', 'σ');
  if (local === undefined) throw new Rejected(reason, hint);
  const runs = local.split('.');
  if (!runs.every(Boolean)) throw new Rejected('a dot where none may be', 'no dot at the ends of the local part, and no two together');
  if (!runs.every(isRun)) throw new Rejected(reason, hint);
  if (utf8(local).length > MAX_LOCAL) throw new Rejected('a local part of more than 64 octets', hint);
  return local;
}

function domainLabel(label) {
  if (!/^[\0-\x7f]*$/.test(label) || label.startsWith('xn--')) {
    const found = aLabel(label);
    if (found === null) throw new Rejected('a domain that IDNA 2008 does not allow', 'check the part after the @');
    return found;
  }
  if (!/^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(label) || label.length > MAX_LABEL)
    throw new Rejected('a domain that DNS does not allow', 'check the part after the @');
  return label;
}

/** Step 7. */
function domainPart(text) {
  const hint = 'check the part after the @';
  const whole = mapped(text);
  if (whole === null) throw new Rejected('a domain that IDNA 2008 does not allow', hint);
  const labels = whole.replace(/\.$/, '').split('.');
  if (labels.length < 2) throw new Rejected('a domain without a dot', 'write the whole domain, like example.org');
  const domain = labels.map(domainLabel).join('.');
  if (/^\p{Nd}+$/u.test(labels.at(-1))) throw new Rejected('an address literal instead of a domain', 'write the name of the domain');
  if (domain.length > MAX_DOMAIN) throw new Rejected('a domain of more than 253 octets', hint);
  return domain;
}

/** Step 9. */
const escaped = (local) =>
  Array.from(utf8(local), (octet) => {
    const character = String.fromCharCode(octet);
    return LITERAL.test(character) ? character : `%${octet.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');

/**
 * The identifier of an e-mail address as people write it.
 * @param {string} text
 * @returns {string} such as "mailto:ann@example.org". Throws Rejected.
 */
export function normaliseMail(text) {
  if (QUICK.test(text)) return SCHEME + text.toLowerCase();
  if (text.length > MAX_TEXT && [...text].length > MAX_TEXT) throw new Rejected('too long for an e-mail address', 'write one address alone');
  const [before, after] = halves(withoutScheme(withoutName(plainCharacters(text))));
  const [local, domain] = [localPart(before), domainPart(after)];
  if (utf8(local).length + 1 + domain.length > MAX_ADDRESS) throw new Rejected('too long for an e-mail address', 'check the domain');
  return `${SCHEME}${escaped(local)}@${domain}`;
}

/** Whether a text is to be read as an address, not as a number. */
export const looksLikeMail = (text) => /[@\uff20]/.test(text) || /^\s*mailto:/i.test(text);
