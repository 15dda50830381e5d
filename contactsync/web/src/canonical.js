// JSON as the protocol has it: docs/http-api.md, "Canonical JSON" and "What is signed".
//
// JSON.parse would round numbers beyond 2^53 and take fractions for integers; this parser does neither.
import { Refusal } from './errors.js';
import { ascending, utf8 } from './octets.js';

export const MAX_NUMBER = 2 ** 53;
const MAX_LEVELS = 200;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const WORDS = { true: true, false: false, null: null };

/**
 * The value of a JSON text with whole numbers only: those beyond ±2^53 are BigInt. Throws `not-json`.
 * Objects have no prototype; of a name that occurs twice the last one counts, as encoding again shows.
 */
export function parse(source) {
  let at = 0;
  const fail = () => {
    throw new Refusal('not-json');
  };
  const match = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(source);
    if (found === null) fail();
    at += found[0].length;
    return found[0];
  };
  const skip = () => match(SPACE);
  const take = (sign) => {
    skip();
    if (source[at] !== sign) return false;
    at++;
    return true;
  };
  function members(depth) {
    const object = Object.create(null);
    if (take('}')) return object;
    do {
      skip();
      const name = JSON.parse(match(STRING));
      if (!take(':')) fail();
      object[name] = value(depth);
    } while (take(','));
    return take('}') ? object : fail();
  }
  function items(depth) {
    const list = [];
    if (take(']')) return list;
    do list.push(value(depth));
    while (take(','));
    return take(']') ? list : fail();
  }
  function value(depth) {
    if (depth > MAX_LEVELS) fail();
    if (take('{')) return members(depth + 1);
    if (take('[')) return items(depth + 1);
    if (source[at] === '"') return JSON.parse(match(STRING));
    for (const [word, meaning] of Object.entries(WORDS))
      if (source.startsWith(word, at)) {
        at += word.length;
        return meaning;
      }
    const digits = match(NUMBER);
    if (/[.eE]/.test(source[at] ?? '')) fail();
    const exact = BigInt(digits);
    return exact >= -(2n ** 53n) && exact <= 2n ** 53n ? Number(exact) : exact;
  }
  const found = value(0);
  skip();
  return at === source.length ? found : fail();
}

/** The value of ASCII octets. Throws `not-json`. @param {Uint8Array} octets */
export function parseAscii(octets) {
  if (!octets.every((octet) => octet < 128)) throw new Refusal('not-json');
  return parse(new TextDecoder('latin1').decode(octets));
}

function spelled(value, string, order) {
  if (typeof value === 'string') return string(value);
  if (Array.isArray(value)) return `[${value.map((one) => spelled(one, string, order)).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const names = Object.keys(value).sort(order);
    return `{${names.map((name) => `${string(name)}:${spelled(value[name], string, order)}`).join(',')}}`;
  }
  if (Object.is(value, -0)) return '0';
  return String(value);
}

// By code points: JavaScript's own order is that of UTF-16.
function byCodePoint(a, b) {
  const [x, y] = [[...a], [...b]];
  for (let i = 0; i < Math.min(x.length, y.length); i++)
    if (x[i] !== y[i]) return x[i].codePointAt(0) - y[i].codePointAt(0);
  return x.length - y.length;
}

const escaped = (text) => `"${text.replace(/[\\"]/g, '\\$&')}"`;
const ascii = (text) =>
  JSON.stringify(text).replace(/[\x7f-\uffff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The octets that are signed in TUF metadata: OLPC Canonical JSON. */
export const signedForm = (value) => utf8(spelled(value, escaped, byCodePoint));

/** The octets of a manifest: ASCII. */
export const canonicalForm = (value) => utf8(spelled(value, ascii, ascending));

const MEMBER = /^[a-z0-9_.-]{1,64}$/;
const HALF = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

/** Why a value of unknown meaning may not be kept: a word of a refusal, or null ("Members of later versions"). */
export function fault(value, depth = 8) {
  if (typeof value === 'bigint') return 'bad-value';
  if (typeof value === 'string') return HALF.test(value) ? 'bad-value' : null;
  if (value === null || typeof value !== 'object') return null;
  if (depth === 0) return 'too-large';
  const parts = Array.isArray(value) ? value : Object.values(value);
  if (!Array.isArray(value)) {
    if (parts.length > 64) return 'too-large';
    if (!Object.keys(value).every((name) => MEMBER.test(name))) return 'bad-value';
  }
  for (const part of parts) {
    const found = fault(part, depth - 1);
    if (found) return found;
  }
  return null;
}
