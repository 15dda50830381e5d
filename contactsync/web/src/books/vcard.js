// vCard 2.1, 3.0 and 4.0: names, numbers and e-mail addresses. What cannot be read is a fault with its place; nothing is dropped silently.
import { decoded } from './encoded.js';

const LONGEST = 65536;
const MOST = 4000; // properties of one card
const NEEDED = /^(?:[A-Za-z0-9_-]+\.)?(BEGIN|END|VERSION|FN|N|NICKNAME|ORG|EMAIL|TEL|X-MS-TEL|KIND|X-ADDRESSBOOKSERVER-KIND)[ \t]*(?=[;:])/i;
const INVENTED = /^(?!X-PHONETIC|PHONETIC|X-ASSISTANT)[A-Z0-9_.-]*(?:PHONE|MOBILE|CELL|TELEFON|HANDY|MOBIL)(?!TIC)[A-Z0-9_.-]*[ \t]*[;:]/i;
const MARKER = /^(?:BEGIN|END)[ \t]*:[ \t]*VCARD[ \t]*$/i;
const HEAD = /^[^:;]*?((?:;(?:[^":;]|"[^"]*")*)*):([^]*)$/;
const UNCLOSED = /^[^:;]*?((?:;[^:;]*)*):([^]*)$/; // a quotation mark that is never closed
const ALIASES = { 'X-MS-TEL': 'TEL', 'X-ADDRESSBOOKSERVER-KIND': 'KIND' };

/** Whether a text begins with a card. */
export const beginsWithCard = (text) => /^\ufeff?\s*BEGIN[ \t]*:[ \t]*V(?:CARD|ADDRESSBOOK)/i.test(text);

/** Whether a text holds a card. */
export const holdsCards = (text) => /(?:^|[\r\n])[ \t]*BEGIN[ \t]*:[ \t]*VCARD/i.test(text);

/**
 * Lines of the properties that are used, unfolded. In quoted-printable a line that ends in `=` goes on in the next.
 */
function* lines(text) {
  let [current, number, quoted] = [null, 0, false];
  for (const raw of text.split(/\r\n|\r|\n/)) {
    const physical = raw.replace(/^\ufeff/, ''); // files that were put together each have their own mark
    number++;
    const folded = /^[ \t]/.test(physical);
    if (current !== null && ((quoted && current.text.endsWith('=')) || folded)) {
      const soft = quoted && current.text.endsWith('=');
      if (current.text.length <= LONGEST)
        current.text = soft ? current.text.slice(0, -1) + physical : current.text + physical.slice(1);
      continue;
    }
    if (folded || physical === '') continue;
    if (current !== null) yield current;
    const head = physical.slice(0, LONGEST).split(':', 1)[0];
    quoted = head.includes(';') && /quoted-printable/i.test(head);
    current = { number, text: physical };
  }
  if (current !== null) yield current;
}

/** Bytes of quoted-printable, as a text in which each character is one octet. */
const unquoted = (value) =>
  value.replace(/=\r?\n/g, '').replace(/=([0-9A-Fa-f]{2})/g, (_, digits) => String.fromCharCode(parseInt(digits, 16)));

function valueOf(line) {
  const match = HEAD.exec(line) ?? UNCLOSED.exec(line);
  if (match === null) return '';
  const [, parameters, value] = match;
  const charset = /;\s*charset\s*=\s*"?([A-Za-z0-9_.:-]+)/i.exec(parameters)?.[1];
  if (/quoted-printable/i.test(parameters)) return decoded(unquoted(value), charset);
  if (/;\s*(?:encoding\s*=\s*"?)?b(?:ase64)?"?\s*(?:;|$)/i.test(parameters))
    try {
      return decoded(atob(value.replace(/\s+/g, '')), charset);
    } catch {
      // it is no base64, whatever it says
    }
  return value;
}

const unescaped = (text) => text.replace(/\\([^])/g, (_, one) => (one === 'n' || one === 'N' ? '\n' : one));

/** Parts between separators that are not escaped. */
const partsOf = (text, separator) =>
  text.match(new RegExp(`(?:\\\\[^]|[^\\\\${separator}])+|(?<=${separator}|^)(?=${separator}|$)`, 'g'))?.map((part) => unescaped(part).trim()) ?? [];

function nameOf(card) {
  const first = (name) => card.lines.filter((line) => line.name === name).map((line) => valueOf(line.text));
  for (const text of first('FN')) if (unescaped(text).trim()) return unescaped(text);
  for (const text of first('N')) {
    const [family = '', given = '', more = '', before = '', after = ''] = partsOf(text, ';');
    const name = [before, given, more, family, after].filter(Boolean).join(' ');
    if (name) return name;
  }
  for (const property of ['NICKNAME', 'ORG', 'EMAIL'])
    for (const text of first(property)) {
      const name = partsOf(text, ';').filter(Boolean).join(', ');
      if (name) return name;
    }
  return '';
}

function* cardOf(card) {
  const place = `card ${card.number}, line ${card.line}`;
  const [numbers, mails] = [[], []];
  for (const line of card.lines) {
    const where = `card ${card.number}, line ${line.number}`;
    if (line.text.length > LONGEST) yield { fault: `a ${line.name} line longer than 64 KiB`, hint: 'shorten it', place: where };
    else if (line.name === 'TEL') {
      const text = unescaped(valueOf(line.text)).trim().replace(/^"+|"+$/g, '');
      if (text) numbers.push({ text, place: where });
    } else if (line.name === 'EMAIL') {
      const text = unescaped(valueOf(line.text)).trim();
      if (text) mails.push({ text, place: where });
    } else if (line.name === 'INVENTED' && (valueOf(line.text).match(/\p{Nd}/gu)?.length ?? 0) >= 5)
      yield { fault: 'a number in a property that vCard does not have', hint: 'name the property TEL', place: where };
  }
  if (card.dropped) yield { fault: 'too many properties in one card', hint: `a card may have at most ${MOST}`, place };
  const kind = card.lines.find((line) => line.name === 'KIND');
  if (kind && valueOf(kind.text).trim().toLowerCase() === 'group') return;
  const name = nameOf(card);
  if (name || numbers.length) yield { name, numbers, mails, place };
  else yield { fault: 'the card is empty', hint: '', place };
}

const cutOff = (card) => ({
  fault: 'the card is cut off: it has no END:VCARD', hint: 'export or download it again',
  place: `card ${card.number}, line ${card.line}`,
});

/** Entries `{name, numbers, mails, place}`, where a number is `{text, place}`, and faults `{fault, hint, place}` of a file of cards. */
export function* readVcards(text) {
  const open = [];
  let count = 0;
  for (const { number, text: line } of lines(text)) {
    const marker = MARKER.test(line);
    if (marker && /^BEGIN/i.test(line)) {
      if (open.length >= 8) yield* open.splice(0).map(cutOff);
      open.push({ number: ++count, line: number, lines: [], dropped: 0 });
    } else if (marker && open.length) yield* cardOf(open.pop());
    else if (marker) yield { fault: 'an END:VCARD without a BEGIN:VCARD', hint: 'export it again', place: `line ${number}` };
    else if (open.length) {
      const head = line.slice(0, 100);
      const named = NEEDED.exec(head)?.[1].toUpperCase() ?? (INVENTED.test(head) ? 'INVENTED' : null);
      if (named === null || named === 'VERSION') continue;
      const card = open.at(-1);
      if (card.lines.length < MOST) card.lines.push({ number, name: ALIASES[named] ?? named, text: line });
      else card.dropped++;
    }
  }
  yield* open.map(cutOff);
}
