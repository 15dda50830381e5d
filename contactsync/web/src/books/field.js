// The numbers in one field. This reader takes what is one number for certain, or several that are clearly apart; it
// reports everything else, where contactsync/contacts/fields.py would read more.
import { plainCharacters } from '../identifiers.js';
import { Rejected } from '../rejected.js';

const CLEAN = /^(?!\s*\d\d?[.)]\s|\s*\+\s*0)[ \t]*\+?[ ]?(?:[0-9][0-9 .-]{0,6})?(?:\([0-9 ]{1,6}\))?[0-9 .-]+$/;
const SLASHED = /^\s*\+?[0-9()\s.-]{2,14}\/[0-9\s.-]+$/;
const EXTENDED = /^[+0-9() ./-]{7,}\s*(?:ext\.?|extension|x|#)\s*\d{1,6}$/i;
const URI = /^\s*(?:tel|callto):[^\s,|<>]+\s*$/i;
const VANITY = /^\s*\+?1?[-. (]{0,2}(?:8(?:00|33|44|55|66|77|88)|900)[-. )]{1,2}[A-Za-z0-9-]{7,9}\s*$/;
const DATE = /\b(?:\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.](?:\d{4}|\d\d))\b/g;
const DECIMAL = /^\s*(?:\d(?:[.,]\d+)?E\+?\d+|\d{7,}[.,]0+)\s*$/i;
const SPAN = /\d-\d{1,3}\s{1,3}[-\u2013\u2014]\s{0,3}\d{1,3}\s*$/;
const APART = /\s*(?:\r?\n|\\n|\||•|:::)\s*/;

const HIDING = /^\s*[*#]31#\s*(?=[+\d(])/; // asks the network not to show who calls
const PAUSES = /(?:\s*\\*[;,])+\s*$/; // after which nothing is dialled
const BRACKETED = /^\s*(?:\(\+(\d{1,3})\)|\[\+(\d{1,3})\])(?=[ \d])/;
const LOST = /^\s*\?(\+?\d[\d ()/.-]+\d)\??\s*$/; // a mark of direction that an export could not write
const ENUMERATED = /^\s*[+0][0-9 ()/.-]{6,30}(?:\s*[;,]\s*[+0][0-9 ()/.-]{6,30})+\s*$/;

const LONGEST = 4096; // characters of a field: patterns take the square of it, at worst

const digitsIn = (text) => text.match(/\p{Nd}/gu)?.length ?? 0;

function dialled(text, dial) {
  try {
    return dial(text);
  } catch (error) {
    if (error instanceof Rejected) return error;
    throw error;
  }
}

/** A part without what surrounds a number and is none of it. */
const bare = (part) =>
  part.replace(HIDING, '').replace(PAUSES, '').replace(BRACKETED, (_, one, other) => `+${one ?? other} `).replace(LOST, '$1');

function one(written, dial) {
  const part = bare(written);
  const plain = plainCharacters(part);
  if (DECIMAL.test(plain)) return new Rejected('a spreadsheet made a decimal number of it', 'format the column as text');
  const undated = digitsIn(plain.replace(DATE, ' '));
  if (SPAN.test(plain)) return new Rejected('a second number in one field, or an extension', 'write each number in a field of its own');
  if (plain.length <= 12 && undated === 0 && digitsIn(plain) > 0)
    return new Rejected('a date, not a phone number', 'put it into a field for dates');
  const certain = [CLEAN, SLASHED, EXTENDED, URI, VANITY].some((form) => form.test(plain));
  if (certain || digitsIn(plain) === 0) return dialled(part, dial);
  return new Rejected('more than one clear number in a field', 'write each number in a field of its own, without words');
}

/**
 * The identifiers in a field, and a Rejected for each part that is not a number, or not clear.
 * @param {string} text
 * @param {(text: string) => string} dial
 * @returns {(string | Rejected)[]}
 */
export function readField(text, dial) {
  if (text.length > LONGEST) return [new Rejected('too long for a phone number')];
  const parts = text.split(ENUMERATED.test(text) ? /[;,]/ : APART).filter((part) => part.trim());
  const numbers = parts.length > 1 && parts.every((part) => digitsIn(part) >= 5) ? parts : [text];
  return numbers.map((part) => one(part, dial));
}
