// Characters beyond ASCII in e-mail addresses: the mapping of UTS #46 (non-transitional, without UseSTD3ASCIIRules), which
// characters IDNA 2008 permits where (RFC 5892), A-labels (RFC 5891, RFC 3492), the bidi rule (RFC 5893).
//
// The tables are those of the Python client, so that both make the same identifier of an address whatever the engine's
// version of Unicode. They are unpacked when the first address needs them: most are ASCII.
import bidiTable from './bidi-table.js';
import idnaTable from './idna-table.js';
import { countBelow } from './octets.js';

/** Whether a code point is in a table of ranges: their lengths in base 36, outside and inside in turn. */
function within(packed) {
  let edges = null;
  return (code) => {
    if (edges === null) {
      let at = 0;
      edges = Uint32Array.from(packed.split(' '), (length) => (at += parseInt(length, 36)));
    }
    return placeIn(edges, code) % 2 === 1;
  };
}

/** How many edges are not above a code point. */
const placeIn = (edges, code) => countBelow(edges.length, (i) => edges[i], code + 1);

const isOf = Object.fromEntries(
  Object.entries(idnaTable).filter(([name]) => !name.startsWith('mapp')).map(([name, packed]) => [name, within(packed)]),
);
const { virama, ...classes } = Object.fromEntries(Object.entries(bidiTable).map(([name, packed]) => [name, within(packed)]));

let mapping = null;

function unpacked() {
  const [starts, kinds, first] = [[], [], []];
  const texts = idnaTable.mapped.split('\n');
  let [code, mapped] = [0, 0];
  for (const [, kind, length] of idnaTable.mapping.matchAll(/([VMIX])([0-9a-z]+)/g)) {
    starts.push(code);
    kinds.push(kind);
    first.push(mapped);
    code += parseInt(length, 36);
    if (kind === 'M') mapped += parseInt(length, 36);
  }
  return { starts: Uint32Array.from(starts), kinds, first, texts };
}

/** The mapping, which ends in NFC; null if a character is disallowed. @param {string} text */
export function mapped(text) {
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase();
  mapping ??= unpacked();
  const { starts, kinds, first, texts } = mapping;
  let result = '';
  for (const character of text) {
    const code = character.codePointAt(0);
    const range = placeIn(starts, code) - 1;
    if (kinds[range] === 'X') return null;
    if (kinds[range] === 'V') result += character;
    if (kinds[range] === 'M') result += texts[first[range] + code - starts[range]];
  }
  return result.normalize('NFC');
}

/** RFC 5892, appendix A.1 and A.2. */
function joinerFits(codes, place) {
  if (place > 0 && virama(codes[place - 1])) return true;
  if (codes[place] !== 0x200c) return false;
  let [before, after] = [place - 1, place + 1];
  while (before >= 0 && isOf.joiningT(codes[before])) before--;
  while (after < codes.length && isOf.joiningT(codes[after])) after++;
  const joins = (at, kinds) => at >= 0 && at < codes.length && kinds.some((kind) => isOf[kind](codes[at]));
  return joins(before, ['joiningL', 'joiningD']) && joins(after, ['joiningR', 'joiningD']);
}

/** RFC 5892, appendix A.3 to A.9. */
function otherFits(codes, place) {
  const code = codes[place];
  const [before, after] = [codes[place - 1], codes[place + 1]];
  if (code === 0xb7) return before === 0x6c && after === 0x6c;
  if (code === 0x375) return after !== undefined && isOf.greek(after);
  if (code === 0x5f3 || code === 0x5f4) return before !== undefined && isOf.hebrew(before);
  if (code === 0x30fb) return codes.some((one) => one !== 0x30fb && ['hiragana', 'katakana', 'han'].some((name) => isOf[name](one)));
  const isArabicDigit = (one) => one >= 0x660 && one <= 0x669;
  const isExtendedDigit = (one) => one >= 0x6f0 && one <= 0x6f9;
  if (isArabicDigit(code)) return !codes.some(isExtendedDigit);
  return isExtendedDigit(code) && !codes.some(isArabicDigit);
}

/** Whether IDNA 2008 permits a character where it stands. @param {number[]} codes code points of all of the label */
export function permits(codes, place) {
  const code = codes[place];
  if (isOf.contextj(code)) return joinerFits(codes, place);
  if (isOf.contexto(code)) return otherFits(codes, place);
  return isOf.pvalid(code);
}

export const codesOf = (text) => Array.from(text, (character) => character.codePointAt(0));
export const beginsWithMark = (text) => /^\p{M}/u.test(text);

const RIGHT = ['R', 'AL', 'AN'];
const IN_RIGHT = ['R', 'AL', 'AN', 'EN', 'ES', 'CS', 'ET', 'ON', 'BN', 'NSM'];
const IN_LEFT = ['L', 'EN', 'ES', 'CS', 'ET', 'ON', 'BN', 'NSM'];

/** RFC 5893 §2. */
function keepsBidiRule(codes) {
  const names = codes.map((code) => Object.keys(classes).find((name) => classes[name](code)));
  if (names.includes(undefined)) return false;
  if (!names.some((name) => RIGHT.includes(name))) return true;
  const rtl = names[0] === 'R' || names[0] === 'AL';
  if (!rtl && names[0] !== 'L') return false; // 1
  if (!names.every((name) => (rtl ? IN_RIGHT : IN_LEFT).includes(name))) return false; // 2, 5
  if (rtl && names.includes('EN') && names.includes('AN')) return false; // 4
  const last = names.findLast((name) => name !== 'NSM');
  return (rtl ? ['R', 'AL', 'EN', 'AN'] : ['L', 'EN']).includes(last); // 3, 6
}

/** Whether a text is a U-label: RFC 5891 §5.4. */
function isLabel(label) {
  const codes = codesOf(label);
  return (
    codes.length > 0 && codes.length <= 254 && label.normalize('NFC') === label &&
    label.slice(2, 4) !== '--' && !label.startsWith('-') && !label.endsWith('-') && !beginsWithMark(label) &&
    codes.every((_, place) => permits(codes, place)) && keepsBidiRule(codes)
  );
}

/** The A-label of a label beyond ASCII, or an A-label that is what its U-label gives; else null. */
export function aLabel(label) {
  const ascii = label.startsWith('xn--') && /^[\0-\x7f]*$/.test(label);
  if (ascii && label.endsWith('-')) return null; // of ASCII alone
  const unicode = ascii ? decoded(label.slice(4)) : label;
  if (unicode === null || !isLabel(unicode)) return null;
  const made = `xn--${encoded(codesOf(unicode))}`;
  return made.length <= 63 && (!ascii || made === label) ? made : null;
}

// --- Punycode, RFC 3492 §6 ---

const [BASE, LEAST, MOST, SKEW, DAMP, BIAS, FIRST] = [36, 1, 26, 38, 700, 72, 128];
const DIGITS = 'abcdefghijklmnopqrstuvwxyz0123456789';
const threshold = (k, bias) => Math.min(Math.max(k - bias, LEAST), MOST);

function adapted(delta, points, isFirst) {
  let [rest, k] = [Math.floor(delta / (isFirst ? DAMP : 2)), 0];
  for (rest += Math.floor(rest / points); rest > ((BASE - LEAST) * MOST) / 2; k += BASE) rest = Math.floor(rest / (BASE - LEAST));
  return k + Math.floor(((BASE - LEAST + 1) * rest) / (rest + SKEW));
}

function encoded(codes) {
  const basic = codes.filter((code) => code < FIRST);
  let [output, n, delta, bias, done] = [String.fromCharCode(...basic), FIRST, 0, BIAS, basic.length];
  if (done) output += '-';
  for (const begun = done; done < codes.length; delta++, n++) {
    const next = codes.reduce((least, code) => (code >= n && code < least ? code : least), Infinity);
    delta += (next - n) * (done + 1);
    n = next;
    for (const code of codes) {
      if (code < n) delta++;
      if (code !== n) continue;
      let q = delta;
      for (let k = BASE; ; k += BASE) {
        const t = threshold(k, bias);
        if (q < t) break;
        output += DIGITS[t + ((q - t) % (BASE - t))];
        q = Math.floor((q - t) / (BASE - t));
      }
      output += DIGITS[q];
      bias = adapted(delta, done + 1, done === begun);
      delta = 0;
      done++;
    }
  }
  return output;
}

/** The text of Punycode; null if it is none. */
function decoded(text) {
  const end = text.lastIndexOf('-');
  const codes = codesOf(text.slice(0, Math.max(end, 0)));
  let [n, i, bias] = [FIRST, 0, BIAS];
  for (let at = end + 1; at < text.length; ) {
    const before = i;
    for (let [weight, k] = [1, BASE]; ; k += BASE) {
      const digit = DIGITS.indexOf(text[at++]);
      if (digit < 0) return null; // also at the end
      i += digit * weight;
      const t = threshold(k, bias);
      if (digit < t) break;
      weight *= BASE - t;
      if (weight > 2 ** 40) return null;
    }
    bias = adapted(i - before, codes.length + 1, before === 0);
    n += Math.floor(i / (codes.length + 1));
    if (n > 0x10ffff) return null;
    i %= codes.length + 1;
    codes.splice(i++, 0, n);
  }
  return codes.length > 254 ? null : String.fromCodePoint(...codes);
}
