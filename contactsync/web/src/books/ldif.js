// LDIF (RFC 2849): what Thunderbird, SOGo and directories export.
import { decoded } from './encoded.js';

// Attributes of RFC 2798, RFC 4519 and Thunderbird, in small letters.
const PHONES = `telephonenumber homephone hometelephonenumber mobile mobiletelephonenumber cellphone
  facsimiletelephonenumber fax pager pagertelephonenumber workphone otherphone carphone primaryphone companyphone
  otherhomephone othermobile othertelephone internationalisdnnumber othermobiletelephonenumber mozillahomephone ipphone
  mozillaworkphone`.split(/\s+/);
const MAILS = `mail rfc822mailbox email emailaddress mozillasecondemail xmozillasecondemail secondemail othermailbox
  mailalternateaddress alternatemail`.split(/\s+/);
const NAMES = ['cn', 'commonname', 'displayname'];
const INSTEAD = ['mozillanickname', 'xmozillanickname', 'nickname', 'o', 'company'];
const GROUPS = ['groupofnames', 'groupofuniquenames', 'group', 'posixgroup', 'mozillaablist'];
const PARTS = ['dn', 'sn', 'surname', 'givenname', 'gn', 'objectclass'];
const USED = new Set([...PHONES, ...MAILS, ...NAMES, ...INSTEAD, ...PARTS]);
const LONGEST = 65536;
const MOST = 4000; // attributes of one entry

/** Whether the first line that is no comment is LDIF's. */
export function isLdif(text) {
  const first = text.slice(0, 16384).replace(/^\ufeff/, '').split(/\r\n|\r|\n/).find((line) => line.trim() && !line.startsWith('#'));
  return /^(?:version:[ \t]*\d+[ \t]*|dn::?[ \t].*)$/i.test(first ?? '');
}

/** Lines with their numbers: one that begins with a space continues the line before it. An empty one ends the last entry. */
function* lines(text) {
  let current = null;
  let number = 0;
  for (const physical of text.split(/\r\n|\r|\n/)) {
    number++;
    if (physical.startsWith(' ') && current !== null) {
      if (current.text.length <= LONGEST) current.text += physical.slice(1);
      continue;
    }
    if (current !== null) yield current;
    current = { number, text: physical };
  }
  if (current !== null) yield current;
  yield { number, text: '' };
}

/** The name of an attribute in small letters, without options, and its value: null if it is broken base64. */
function attributeOf(line) {
  const colon = line.indexOf(':');
  if (line.startsWith('#') || colon < 0) return ['', ''];
  const name = line.slice(0, colon).split(';', 1)[0].trim().toLowerCase();
  const value = line.slice(colon + 1);
  if (value.startsWith('<')) return ['', ''];
  if (!value.startsWith(':')) return [name, value.trim()];
  try {
    return [name, decoded(atob(value.slice(1).trim()))];
  } catch {
    return [name, null];
  }
}

function* entryOf(attributes, count) {
  const texts = (...names) => names.flatMap((name) => attributes.filter((one) => one.name === name).map((one) => one.value.trim())).filter(Boolean);
  const written = (names) => attributes.filter((one) => names.includes(one.name) && one.value.trim())
    .map(({ value, number }) => ({ text: value, place: `entry ${count}, line ${number}` }));
  const place = `entry ${count}, line ${attributes[0].number}`;
  if (texts('objectclass').some((kind) => GROUPS.includes(kind.toLowerCase()))) return;
  const parts = [texts('givenname', 'gn')[0], texts('sn', 'surname')[0]].filter(Boolean).join(' ');
  const name = texts(...NAMES)[0] ?? (parts || (texts(...INSTEAD, ...MAILS)[0] ?? ''));
  const [numbers, mails] = [written(PHONES), written(MAILS)];
  if (name || numbers.length) yield { name, numbers, mails, place };
  else if (attributes.some((one) => one.name !== 'dn' && one.name !== 'objectclass')) yield { fault: 'the entry is empty', hint: '', place };
}

/** Entries and faults of a file. Groups are not contacts. */
export function* readLdif(text) {
  let [attributes, count, dropped] = [[], 0, false];
  for (const { number, text: line } of lines(text.replace(/^\ufeff/, ''))) {
    if (!line.trim()) {
      if (attributes.length) yield* entryOf(attributes, ++count);
      [attributes, dropped] = [[], false];
      continue;
    }
    const [name, value] = attributeOf(line);
    const place = `line ${number}`;
    if (!USED.has(name)) continue;
    if (line.length > LONGEST) yield { fault: 'a line longer than 64 KiB', hint: 'shorten it', place };
    else if (value === null) yield { fault: 'not the base64 that it should be', hint: 'export it again', place };
    else if (attributes.length < MOST) attributes.push({ name, value, number });
    else if (!dropped) {
      dropped = true;
      yield { fault: 'too many attributes in one entry', hint: `it may have at most ${MOST}`, place };
    }
  }
}
