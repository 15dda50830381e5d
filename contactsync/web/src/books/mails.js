// The e-mail addresses in one field. Several are taken apart, and names around them dropped.
import { MAX_TEXT, normaliseMail } from '../mail.js';
import { Rejected } from '../rejected.js';

const MOST = 64 * MAX_TEXT; // characters of one field
// An address, or text in quotation marks or brackets, in which separators do not count. (Bounded, as what is never closed
// would take the square of a field; a longer text is no address in any case.)
const PIECE = /(?:"[^"]{0,1000}"|<[^>]{0,1000}>|[^,;|\r\n"<]|["<])+/g;
const APART = /:::|[,;|\r\n]/;
const AROUND = '<>()[]{}.,;:"\'`´‘’“”„«»';

function read(text) {
  try {
    return normaliseMail(text);
  } catch (error) {
    if (error instanceof Rejected) return error;
    throw error;
  }
}

/**
 * The identifiers in a field, and a Rejected for each part that is no address.
 * @param {string} text
 * @returns {(string | Rejected)[]}
 */
export function readMails(text) {
  if (text.length > MOST) return [new Rejected('too long for an e-mail address', 'write one address in each field')];
  const whole = read(text);
  if (typeof whole === 'string' || !APART.test(text)) return [whole];
  const pieces = text.replaceAll(':::', '\n').replaceAll('\\n', '\n').match(PIECE) ?? [];
  return pieces.filter((piece) => piece.trim()).map(read);
}

/** Whether a cell or a line is one address, or several. */
export const isAddress = (text) => text.includes('@') && readMails(text).some((one) => typeof one === 'string');

function bare(word) {
  let [first, end] = [0, word.length];
  while (first < end && AROUND.includes(word[first])) first++;
  while (end > first && AROUND.includes(word[end - 1])) end--;
  return word.slice(first, end);
}

/**
 * The name, the address and the rest of a line of a list: `Ann <ann@x.org>`, `Ann ann@x.org 030 1234`; null: there is not
 * exactly one address in it.
 */
export function addressIn(line) {
  if (typeof read(line) === 'string')
    return { name: line.includes('<') ? line.slice(0, line.indexOf('<')).replace(/^[ "]+|[ "]+$/g, '') : '', address: line, rest: '' };
  const words = line.slice(0, MOST).split(/\s+/).filter((word) => word.includes('@'));
  if (words.length !== 1 || typeof read(bare(words[0])) !== 'string') return null;
  return { name: '', address: bare(words[0]), rest: line.replace(words[0], () => ' ').trim() };
}
