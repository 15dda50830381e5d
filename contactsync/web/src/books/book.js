// An address book: contacts with their identifiers, and what could not be read. Everything stays on this machine.
import { BadInput } from '../errors.js';
import { regionOf } from '../identifiers.js';
import { KINDS, kindOf } from '../kinds.js';
import { ascending } from '../octets.js';
import { Rejected } from '../rejected.js';
import { dialling } from './dialling.js';
import { readField } from './field.js';
import { isLdif, readLdif } from './ldif.js';
import { readMails } from './mails.js';
import { isList, layoutOf, readList, readTable } from './table.js';
import { beginsWithCard, holdsCards, readVcards } from './vcard.js';

const MAX_FILE = 256 * 2 ** 20;
const MAX_NUMBERS = 1000; // of one contact, and as many addresses
const MAX_NAME = 200;
const NO_NAME = '(no name)';

// What tables are in that are not in Unicode. Each octet is some character in most of them.
const OLD = ['windows-1252', 'windows-1251', 'windows-1250', 'windows-1253', 'windows-1254', 'windows-1255', 'windows-1256',
  'shift_jis', 'gbk', 'big5', 'euc-kr'];
const SAMPLE = 65536; // octets

/** The old charset in which the most headings of a table are known; the first of them if there are several. */
function oldCharset(octets) {
  const known = OLD.map((label) => {
    const sample = new TextDecoder(label).decode(octets.subarray(0, SAMPLE)).replace(/\ufffd$/, ''); // cut within a character
    return sample.includes('\ufffd') ? -1 : (layoutOf(sample)?.roles.filter((role) => role !== 'unknown').length ?? 0);
  });
  return OLD[known.indexOf(Math.max(...known))];
}

/** The text of a file: UTF-8 or UTF-16; else in the old charset that its headings tell, or Windows' Western European. */
function textOf(octets) {
  const [a, b] = octets;
  const marked = a === 0xff && b === 0xfe ? 'utf-16le' : a === 0xfe && b === 0xff ? 'utf-16be' : null;
  const zeros = octets.subarray(0, 4096).reduce((found, octet, i) => (octet ? found : [found[0] + (i & 1), found[1] + 1 - (i & 1)]), [0, 0]);
  const bare = zeros[0] > 3 && !zeros[1] ? 'utf-16le' : zeros[1] > 3 && !zeros[0] ? 'utf-16be' : null;
  try {
    return new TextDecoder(marked ?? bare ?? 'utf-8', { fatal: true }).decode(octets);
  } catch {
    return new TextDecoder(oldCharset(octets)).decode(octets);
  }
}

/** Whether a text is JSON, XML or an archive: it may have words in it that are headings elsewhere. */
function isAnother(text) {
  if (/^\s*<(?:\?xml|!doctype|html|\w+>)|^PK\x03\x04/i.test(text)) return true;
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}

function entriesOf(octets) {
  const fault = (text, hint) => [{ fault: text, hint, place: 'file' }];
  if (octets.length > MAX_FILE) return fault('the file is larger than 256 MiB', 'split it');
  const text = textOf(octets);
  if (!text.trim()) return fault('the file is empty', '');
  if (beginsWithCard(text)) return readVcards(text);
  if (isLdif(text)) return readLdif(text);
  const another = () => fault('not an address book that this program reads', 'export it as vCard or CSV');
  if (isAnother(text)) return another();
  const layout = layoutOf(text); // before other cards: notes in a table may hold some
  if (layout !== null) return readTable(text, layout);
  if (holdsCards(text)) return readVcards(text);
  if (/^\s*[<{[]/.test(text)) return another();
  if (isList(text)) return readList(text);
  return fault('not an address book', 'give vCard, CSV with a header, LDIF, or one number or address per line');
}

function cleanName(name) {
  const plain = name.replace(/\s+/g, ' ').replace(/[^\P{C}\u200c\u200d]/gu, '').trim();
  const characters = [...plain];
  return (characters.length > MAX_NAME ? `${characters.slice(0, MAX_NAME - 1).join('')}…` : plain) || NO_NAME;
}

/**
 * Read address books.
 * @param {{name: string, octets: Uint8Array}[]} files
 * @param {{region?: string | null, kinds?: string[]}} [options] `region`: of numbers without a country code, like "DE";
 *   `kinds`: of the identifiers that are read, "tel" and "mailto" (both)
 * @returns {{contacts: {name: string, identifiers: string[], place: string}[], identifiers: string[],
 *   unreadable: {file: string, place: string, reason: string, hint: string}[]}} `identifiers`: each once, sorted
 */
export function readBooks(files, options = {}) {
  const region = options.region ? regionOf(options.region) : null;
  if (options.region && region === null)
    throw new BadInput(`unknown region ${JSON.stringify(options.region)}`, {
      hint: 'give the two letters of ISO 3166, like DE or US (the United Kingdom is GB)',
    });
  const kinds = options.kinds ?? KINDS;
  for (const kind of kinds)
    if (!KINDS.includes(kind)) throw new BadInput(`there is no kind ${JSON.stringify(kind)}`, { hint: `kinds are ${KINDS.join(', ')}` });
  const dial = dialling(region);
  const readers = { tel: (text) => readField(text, dial), mailto: readMails };
  const [contacts, unreadable, seen] = [[], [], new Set()];
  for (const { name: file, octets } of files)
    for (const entry of entriesOf(octets)) {
      const report = (place, reason, hint, kind = null) => {
        if (kind === null || kinds.includes(kind)) unreadable.push({ file, place, reason, hint });
      };
      if ('fault' in entry) {
        report(entry.place, entry.fault, entry.hint);
        continue;
      }
      const found = [['tel', entry.numbers, 'numbers'], ['mailto', entry.mails, 'e-mail addresses']].flatMap(([kind, written, many]) =>
        identifiersOf(written, readers[kind], (place, reason, hint) => report(place, reason, hint, kind), entry.place, many));
      const name = cleanName(entry.name);
      if (entry.numbers.length + entry.mails.length && !found.length && name === NO_NAME) continue; // it was reported
      const identifiers = found.filter((one) => kinds.includes(kindOf(one)));
      const key = JSON.stringify([name, identifiers]);
      if (identifiers.length && seen.has(key)) continue;
      seen.add(key);
      contacts.push({ name, identifiers, place: `${file}: ${entry.place}` });
    }
  const identifiers = [...new Set(contacts.flatMap((one) => one.identifiers))].sort(ascending);
  return { contacts, identifiers, unreadable };
}

/** The identifiers of one kind in an entry, each once. */
function identifiersOf(written, read, report, place, many) {
  const found = new Set();
  for (const { text, place: where } of written.slice(0, MAX_NUMBERS))
    for (const one of read(text))
      if (one instanceof Rejected) report(where, one.reason, one.hint);
      else if (found.size < MAX_NUMBERS) found.add(one);
  if (written.length > MAX_NUMBERS) report(place, `too many ${many}`, `a contact may have at most ${MAX_NUMBERS}`);
  return [...found];
}
