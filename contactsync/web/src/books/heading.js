// What a column of a table holds, by its heading: the headings of programs, then words of many languages.
import words from '../heading-words.js';
import headings from '../headings.js';

const ROLES = new Map(Object.entries(headings).flatMap(([role, names]) => names.map((name) => [name, role])));
const LETTER = '[\\p{L}\\p{N}_]';
const EDGE = `(?:(?<=${LETTER})(?!${LETTER})|(?<!${LETTER})(?=${LETTER}))`;

// The patterns are Python's, in which classes and edges of words know all scripts.
const has = Object.fromEntries(
  Object.entries(words).map(([name, pattern]) => [
    name,
    new RegExp(pattern.replaceAll('[^\\W_]', '[\\p{L}\\p{N}]').replaceAll('\\w', LETTER).replaceAll('\\b', EDGE).replaceAll('\\"', '"'), 'u'),
  ]),
);

/** A heading as the list has it: `mobilePhone_2` is `mobile phone 2`. */
const plain = (heading) =>
  heading.slice(0, 200)
    .replace(/(?<=[a-z])(?=[A-Z][a-z])/g, ' ').replace(/[\s_]+/g, ' ').replace(/^[ '"*:]+|[ '"*:]+$/g, '').toLowerCase()
    .replaceAll('i\u0307', 'i').replace(/(?<=\p{L})(?=\d{1,2}$)/u, ' ');

/** One of the roles of headings.js, or `unknown`. */
export function roleOf(heading) {
  const text = plain(heading);
  const known = ROLES.get(text) ?? ROLES.get(text.replace(/[ _]*\(?\d{1,2}\)?$/, ''));
  if (known) return known;
  if (has.mail.test(text)) return has.notMail.test(text) ? 'other' : 'mail';
  if (!text) return 'unknown';
  if (has.notPhone.test(text) || has.ofElse.test(text)) return 'other';
  return has.phone.test(text) ? 'phone' : 'unknown';
}
