// Text to identifier: normalisation profile 1 of docs/identifiers.md, whose steps these functions follow.
import { REGIONS, planOfCode, planOfRegion, splitCode } from './plans.js';
import { Rejected } from './rejected.js';
import short from './short.js';

export const PROFILE = 1;

const MAX_TEXT = 256;
const MAX_DIGITS = 15;
const LEADING_ZERO = new Set(['39', '225', '226', '229', '241', '242', '250', '378', '881', '992']);
const WITHOUT_PLUS = new Set(['49', '62', '383']);
const RULES = {
  52: [[/^(?:1|01|04[45])([2-9]\d{9})$/, '$1']],
  54: [[/^15\d{8}$/, null, 'an Argentine mobile number without its area code']],
  55: [
    [/^([1-9][1-9])([689]\d{7})$/, '$19$2'],
    [/^(?:[2-9]\d{7}|9\d{8})$/, null, 'a Brazilian number without its area code'],
  ],
  229: [[/^\d{8}$/, '01$&']],
};
const ABROAD = 'write the number with + and its country code';

// --- steps 2 to 6: what is written ---

let zeros = null;

/** The digit zero of each script: digits of a script follow each other. Most books have none of them. */
function zerosOf() {
  if (zeros !== null) return zeros;
  zeros = [];
  for (let code = 0x660; code < 0x1fc00; code++)
    if (/\p{Nd}/u.test(String.fromCodePoint(code)) && !/\p{Nd}/u.test(String.fromCodePoint(code - 1)))
      for (let more = code; /\p{Nd}/u.test(String.fromCodePoint(more)); more += 10) zeros.push(more);
  return zeros;
}

function plainCharacter(character) {
  const code = character.codePointAt(0);
  if (code >= 0xff01 && code <= 0xff5e) return String.fromCharCode(code - 0xfee0);
  if (code < 128) return code < 32 || code === 127 ? ' ' : character;
  if (/\p{Nd}/u.test(character)) return String(code - zerosOf().findLast((zero) => zero <= code));
  if (/\p{Cf}/u.test(character)) return '';
  if (/[\p{Zs}\p{Zl}\p{Zp}\p{Cc}]/u.test(character)) return ' ';
  return /[\p{Pd}\u2212\u30fc\u00b7\u2022\u2219\u2027]/u.test(character) ? '-' : character;
}

const strip = (text) => text.replace(/^ +| +$/g, '');

/** Step 2. */
export function plainCharacters(text) {
  return strip(/^[ -~]*$/.test(text) ? text : Array.from(text, plainCharacter).join(''));
}

/** Percent-escapes as UTF-8, with U+FFFD for what is not; a % without two hex digits stays. */
function unquote(text) {
  return text.replace(/(?:%[0-9a-fA-F]{2})+/g, (escapes) =>
    new TextDecoder('utf-8', { ignoreBOM: true }).decode(
      Uint8Array.from(escapes.slice(1).split('%'), (digits) => parseInt(digits, 16)),
    ),
  );
}

/** Step 3. */
function withoutParameters(text) {
  const scheme = /^(?:tel|callto):(?:\/\/)?/i.exec(text);
  if (scheme === null && !/[\\;]/.test(text)) return text;
  let rest = text.replaceAll('\\;', ';').replaceAll('\\,', ',');
  if (scheme !== null) rest = unquote(rest.slice(scheme[0].length)).trim();
  const number = rest.split(';', 1)[0];
  const context = /;phone-context=([^;]*)/i.exec(rest);
  if (context === null || number.trimStart().startsWith('+')) return number;
  const place = context[1].trim();
  if (!place.startsWith('+')) throw new Rejected('a number inside one organisation', 'write it with its country code');
  return `${place} ${number}`;
}

const PAUSE = /,|(?<![A-Za-z])[pPwW](?![A-Za-z])/g;
const EXTENSION = /(?<!\p{L})(?:ext(?:n|ension)?|xtn?|x|anexo|доб|#)[ .:=#-]*[0-9]{1,9}#?\s*/giu;

/** Step 4. */
function dialledPart(text) {
  if (text.includes('*')) throw new Rejected('a service code', 'write only the phone number');
  const first = text.search(/[0-9]/);
  if (first < 0) throw new Rejected('not a phone number', 'it contains no digit');
  let start = first;
  while (start && '+([ '.includes(text[start - 1])) start--;
  if (text.slice(0, start).includes('#')) throw new Rejected('a service code', 'write only the phone number');
  let part = text.slice(start);
  PAUSE.lastIndex = first - start;
  const pause = PAUSE.exec(part);
  if (pause !== null) part = part.slice(0, pause.index).trim();
  for (const { index, 0: found } of part.matchAll(EXTENSION))
    if (index && index + found.length === part.length) part = part.slice(0, index).trim();
  return part.trim();
}

const lettersRejected = () => new Rejected('letters in the number', 'write it in digits');
const KEYS = '22233344455566677778889999'; // ITU-T E.161

/** Step 5: digits for letters, and whether there were any. */
function withoutLetters(text) {
  if (/^[0-9](?:[.][0-9]+)?E[+]?[0-9]+$/i.test(text) || /^[0-9]{7,}[.]0$/.test(text))
    throw new Rejected('a spreadsheet made a decimal number of it', 'format the column as text');
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  if (!letters) return [text, false];
  if (letters < 3 || !/^[\0-\x7f]*$/.test(text)) throw lettersRejected();
  return [text.toUpperCase().replace(/[A-Z]/g, (letter) => KEYS[letter.charCodeAt(0) - 65]), true];
}

const LAYOUT = /^[ (\[]*[+]?[ ()\[\]0-9./:_~-]+$/;

/** Steps 1 to 6. */
function readWritten(text) {
  if ([...text].length > MAX_TEXT) throw new Rejected('too long for a phone number');
  const [plain, keypad] = withoutLetters(dialledPart(withoutParameters(plainCharacters(text))));
  if (!LAYOUT.test(plain))
    throw new Rejected('not a phone number', 'write digits; + ( ) - . / and spaces may stand between them');
  return { digits: plain.replace(/[^0-9]+/g, ''), international: /^[ (\[]*\+/.test(plain), keypad };
}

// --- step 7: calling code and national number, as libphonenumber's `parse` finds them ---

const tooShort = () => new Rejected('too short for its country', 'add the area code, and check the region');
const fits = (plan, digits) => plan.pattern !== null && plan.pattern.test(digits);
const isPossible = (plan, digits) => plan.lengths.includes(digits.length);
const isTooLong = (plan, digits) => digits.length > Math.max(...plan.lengths);

/** The digits without a national prefix, if what remains can be a number where the whole could be one. */
function withoutPrefix(digits, plan) {
  const match = plan.prefix?.exec(digits) ?? null;
  if (match === null || digits === '') return digits;
  const changed = plan.transform !== null && match.length > 1 && match.at(-1) !== undefined;
  const rest = changed ? digits.replace(plan.prefix, plan.transform) : digits.slice(match[0].length);
  return fits(plan, digits) && !fits(plan, rest) ? digits : rest;
}

function codeAndRest(digits, international, plan) {
  let rest = international ? digits : null;
  const abroad = international ? null : (plan?.abroad?.exec(digits) ?? null);
  if (abroad !== null && digits[abroad[0].length] !== '0') rest = digits.slice(abroad[0].length);
  if (rest !== null) {
    if (rest.length <= 2) throw tooShort();
    const code = splitCode(rest);
    if (code === null) throw new Rejected('no such country code', 'check what follows the international prefix');
    return [code, rest.slice(code.length)];
  }
  if (plan !== null && digits.startsWith(plan.code)) {
    const without = withoutPrefix(digits.slice(plan.code.length), plan);
    if ((!fits(plan, digits) && fits(plan, without)) || isTooLong(plan, digits)) return [plan.code, without];
  }
  return [null, digits];
}

function parse(digits, international, region) {
  const own = region === null ? null : planOfRegion(region);
  if (digits.length < 2) throw tooShort();
  let [code, national] = codeAndRest(digits, international, own);
  const plan = code === null ? own : planOfCode(code);
  code ??= own.code;
  if (national.length < 2) throw tooShort();
  const rest = withoutPrefix(national, plan);
  if (isPossible(plan, rest) || isTooLong(plan, rest)) national = rest;
  if (national.length < 2) throw tooShort();
  if (national.length > 17) throw new Rejected('too long for a phone number', 'is it two numbers?');
  return [code, national];
}

// --- steps 7 to 11 ---

function isPlain(code, national, plan) {
  return (
    isPossible(plan, national) &&
    national.length + code.length <= MAX_DIGITS &&
    (LEADING_ZERO.has(code) || national[0] !== '0') &&
    !plan.prefix?.test(national) &&
    !(RULES[code] ?? []).some(([pattern]) => pattern.test(national))
  );
}

function byPlan(digits, international, region) {
  let [code, national] = parse(digits, international, region);
  const parsed = national;
  const plan = planOfCode(code);
  const rule = (RULES[code] ?? []).find(([pattern]) => pattern.test(national));
  if (rule) {
    if (rule[1] === null) throw new Rejected(rule[2], 'write it with its country code and area code');
    national = national.replace(rule[0], rule[1]);
  }
  if (national[0] === '0' && !LEADING_ZERO.has(code)) throw new Rejected('a prefix that is not dialled there', ABROAD);
  const most = Math.max(...plan.lengths);
  if (national.length > most || national.length + code.length > MAX_DIGITS)
    throw new Rejected('too long for its country', 'is it two numbers, or is the region wrong?');
  if (national.length < Math.min(...plan.lengths)) throw tooShort();
  if (!isPossible(plan, national))
    throw new Rejected('no number of its country has this length', 'check the digits and the region');
  if (!isPlain(code, national, plan) && parse(code + national, true, null)[1] !== national)
    throw new Rejected('a prefix that is not dialled there', ABROAD);
  return { code, national, parsed };
}

const shorts = new Map();
const whole = (pattern) => (pattern ? new RegExp(`^(?:${pattern})$`) : /^(?!)/);

function isShort(digits, region) {
  if (!(region in short)) return false;
  if (!shorts.has(region)) shorts.set(region, short[region].map(whole));
  const [code, emergency] = shorts.get(region);
  if (emergency.test(digits)) return true;
  try {
    const [calling, national] = parse(digits, false, region);
    return national === digits && calling === planOfRegion(region).code && code.test(digits);
  } catch {
    return false;
  }
}

function complete({ digits, international }, region) {
  if (international) {
    const code = splitCode(digits);
    if (code === null) throw new Rejected('no such country code', 'check the digits after +');
    const national = digits.slice(code.length);
    return national && isPlain(code, national, planOfCode(code)) ? { code, national } : byPlan(digits, true, null);
  }
  if (region === null)
    throw new Rejected('no country code', 'give --region, or write the number with + and its country code');
  if (digits.length <= 6 && isShort(digits, region))
    throw new Rejected('a short code or an emergency number', 'only subscribers can be looked up');
  const found = byPlan(digits, false, region);
  if (found.national === digits && WITHOUT_PLUS.has(found.code) && digits.startsWith(found.code) && digits.length >= 10)
    throw new Rejected('its own country code without +', 'write + before it, or 0 and the area code');
  return found;
}

/**
 * The identifier of a number as people write it.
 * @param {string} text
 * @param {string | null} region of a number without a country code, like "DE"; null: such numbers are rejected
 * @returns {string} such as "tel:+4915112345678". Throws Rejected.
 */
export function normalise(text, region) {
  const written = readWritten(text);
  const where = region === null ? null : regionOf(region);
  let found;
  try {
    found = complete(written, where);
  } catch (error) {
    if (written.keypad && error instanceof Rejected) throw lettersRejected();
    throw error;
  }
  if (written.keypad && found.code !== '1') throw lettersRejected();
  return `tel:+${found.code}${found.national}`;
}

/** The region in capitals; null if there is none of that name. */
export function regionOf(text) {
  const region = text.trim().toUpperCase();
  return REGIONS.has(region) ? region : null;
}

