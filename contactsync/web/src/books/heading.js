// What a column of a table holds, by its heading: the headings of programs, then words of many languages.
import words from '../heading-words.js';
import headings from '../headings.js';

const ROLES = new Map(Object.entries(headings).flatMap(([role, names]) => names.map((name) => [name, role])));
const LETTER = '[\\p{L}\\p{N}_]';
const EDGE = `(?:(?<=${LETTER})(?!${LETTER})|(?<!${LETTER})(?=${LETTER}))`;

const has = {};

/** Whether a text has one of the words of a name. The patterns are Python's, whose classes and edges of words know all scripts. */
function hasWord(name, text) {
  const pattern = () => words[name].replaceAll('[^\\W_]', '[\\p{L}\\p{N}]').replaceAll('\\w', LETTER).replaceAll('\\b', EDGE).replaceAll('\\"', '"');
  has[name] ??= new RegExp(pattern(), 'u'); // only tables take them, and they are long
  return has[name].test(text);
}

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
  if (hasWord('mail', text)) return hasWord('notMail', text) ? 'other' : 'mail';
  if (!text) return 'unknown';
  if (hasWord('notPhone', text) || hasWord('ofElse', text)) return 'other';
  return hasWord('phone', text) ? 'phone' : 'unknown';
}
