// Tables (RFC 4180 quoting) with a header whose headings are known, and plain lists of numbers and addresses.
import { plainCharacters } from '../identifiers.js';
import { roleOf } from './heading.js';
import { addressIn, isAddress } from './mails.js';

const MAX_ROW_LINES = 500;
const HEADER_LINES = 12;
const SAMPLE_ROWS = 50;
const NAMES = ['full', 'given', 'middle', 'family', 'instead'];
const LONGEST_LINE = 65536;
const FAMILY_FIRST = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]/; // scripts of East Asia

/** Rows `{line, cells}`; `cells` is null where a quotation mark is never closed. */
function* rowsOf(text, separator) {
  const all = text.split(/\r\n|\r|\n/);
  for (let at = 0; at < all.length; at++) {
    const line = at + 1;
    let [cells, cell, quoted, last] = [[], '', false, at];
    for (let end = at; ; ) {
      const one = all[end];
      for (let i = 0; i < one.length; i++)
        if (quoted) {
          if (one[i] !== '"') cell += one[i];
          else if (one[i + 1] === '"') cell += one[i++];
          else quoted = false;
        } else if (one[i] === '"' && cell === '') quoted = true;
        else if (one[i] === separator) {
          cells.push(cell);
          cell = '';
        }
        else cell += one[i];
      last = end;
      if (!quoted) break;
      cell += '\n';
      if (++end >= all.length || end - at > MAX_ROW_LINES) {
        cells = null;
        break;
      }
    }
    if (cells === null) yield { line, cells };
    else {
      at = last;
      cells.push(cell);
      yield { line, cells };
    }
  }
}

const looksLikeNumber = (cell) =>
  (cell.match(/\d/g)?.length ?? 0) >= 7 && /^[\s+(]*\d[\d\s()./-]*$/.test(cell) && !/^\d{1,4}[-/.]\d\d?[-/.]\d{1,4}$/.test(cell.trim());

/** Whether the cells of a line can be headings: they hold no number and no address. */
function isHeader(cells, roles, line) {
  if (cells.some(looksLikeNumber) || cells.some(isAddress)) return false;
  if (cells.length < 2) return !/[\d,;\t|]/.test(line) && (roles[0] === 'phone' || roles[0] === 'mail');
  return roles.some((role) => ['phone', 'mail', 'number', 'maybe'].includes(role));
}

/** The roles of columns, where they say more together than each alone. */
function together(roles) {
  const has = (role) => roles.includes(role);
  if (has('full') && has('given') && !has('family')) return roles.map((role) => (role === 'full' ? 'family' : role));
  if (has('full') && has('family') && !has('given')) return roles.map((role) => (role === 'full' ? 'given' : role));
  return roles;
}

/** Columns without a heading that says what they hold, most of whose cells are addresses. */
function addressColumns(sample, separator, header, roles) {
  const seen = roles.map(() => [0, 0]);
  let left = SAMPLE_ROWS;
  for (const { line, cells } of rowsOf(sample, separator)) {
    if (line <= header + 1 || cells === null) continue;
    if (left-- === 0) break;
    cells.forEach((cell, i) => {
      if (!['unknown', 'maybe'].includes(roles[i]) || !cell.trim()) return;
      seen[i][0]++;
      if (isAddress(cell.trim())) seen[i][1]++;
    });
  }
  return new Set(seen.flatMap(([filled, addresses], i) => (2 * addresses > filled ? [i] : [])));
}

/** The layout of a table: separator, line of the header, and the roles of its columns; null if it is none. */
export function layoutOf(text) {
  const first = text.split(/\r\n|\r|\n/, HEADER_LINES + SAMPLE_ROWS + MAX_ROW_LINES);
  const sample = first.join('\n');
  for (const [header, line] of first.slice(0, HEADER_LINES).entries())
    for (const separator of [',', ';', '\t', '|']) {
      const { cells } = rowsOf(line, separator).next().value;
      if (cells === null) continue;
      const roles = together(cells.map(roleOf));
      const named = cells.length > 1 && roles.some((role) => NAMES.includes(role)) && !cells.some(looksLikeNumber);
      const known = isHeader(cells, roles, line);
      const addresses = known || named ? addressColumns(sample, separator, header, roles) : new Set();
      if (known || addresses.size) return { separator, header, roles: roles.map((role, i) => (addresses.has(i) ? 'mail' : role)) };
    }
  return null;
}

const bare = (cell) => /^="(.*)"$/.exec(cell)?.[1] ?? /^'(.*)$/.exec(cell)?.[1] ?? cell;

function nameOf(cells, roles) {
  const of = (...wanted) => cells.map((cell) => cell.trim()).filter((cell, i) => cell && wanted.includes(roles[i]));
  const [full] = of('full');
  if (full) return full;
  const [family, others] = [of('family'), [...of('given'), ...of('middle')]];
  const name = (FAMILY_FIRST.test(family[0] ?? '') ? [...family, ...others] : [...others, ...family]).join(' ');
  return name || (of('instead')[0] ?? of('mail')[0] ?? '');
}

const fieldsOf = (cell) => (cell ?? '').split(':::').map((part) => bare(part.trim())).filter((part) => part.trim());

/** Entries and faults of a table. */
export function* readTable(text, layout) {
  const { separator, header, roles } = layout;
  const others = roles.includes('phone') || roles.includes('mail') ? ['maybe'] : ['maybe', 'number'];
  const columns = (...wanted) => [...roles.entries()].filter(([, role]) => wanted.includes(role));
  const [phones, mails] = [columns('phone', ...others), columns('mail')];
  const passedOver = new Map();
  for (const { line, cells } of rowsOf(text, separator)) {
    if (line <= header + 1) continue;
    const place = `line ${line}`;
    if (cells === null) {
      yield { fault: 'a quotation mark is never closed', hint: 'export it again', place };
      continue;
    }
    if (!cells.some((cell) => cell.trim())) continue;
    const numbers = phones.flatMap(([i, role]) => fieldsOf(cells[i]).filter((cell) => role !== 'maybe' || looksLikeNumber(cell)));
    const addresses = mails.flatMap(([i]) => fieldsOf(cells[i]));
    const placed = (texts) => texts.map((one) => ({ text: one, place }));
    yield { name: nameOf(cells, roles), numbers: placed(numbers), mails: placed(addresses), place };
    cells.forEach((cell, i) => {
      if ((roles[i] ?? 'unknown') === 'unknown' && looksLikeNumber(cell)) passedOver.set(i, (passedOver.get(i) ?? 0) + 1);
    });
  }
  for (const [column, count] of passedOver)
    yield {
      fault: `${count} cells may be telephone numbers, and the heading does not say so`,
      hint: 'name the column phone, or the number\'s owner', place: `column ${column + 1}`,
    };
}

const withoutComment = (line) => line.replace(/(?:^|\s)#(?!\s*\d).*/, '').trim();
const isNumberLine = (line) => /^(?:tel:)?[\s+(]*\d[\d\s()./,;#-]*$/.test(plainCharacters(line));

/** Whether a text is a list: a line is a number, or most of them have an address. */
export function isList(text) {
  const filled = text.split(/\r\n|\r|\n/, 50).map(withoutComment).filter(Boolean);
  const addressed = filled.filter((line) => line.includes('@') && line.length <= 200 && (isAddress(line) || addressIn(line) !== null));
  return filled.some(isNumberLine) || 2 * addressed.length > filled.length;
}

/** An entry for each line: without a name, unless one stands before an address in brackets. */
export function* readList(text) {
  let number = 0;
  for (const line of text.split(/\r\n|\r|\n/)) {
    const place = `line ${++number}`;
    if (line.length > LONGEST_LINE) {
      yield { fault: 'a line longer than 64 KiB', hint: 'write one number per line', place };
      continue;
    }
    const one = withoutComment(line);
    if (one.includes('@') && !isNumberLine(one)) yield withAddress(one, place);
    else if (one) yield { name: '', numbers: [{ text: one, place }], mails: [], place };
  }
}

function withAddress(line, place) {
  const { name, address, rest } = addressIn(line) ?? { name: '', address: line, rest: '' };
  const numbers = (rest.match(/\d/g)?.length ?? 0) >= 5 ? [{ text: rest, place }] : [];
  return { name, numbers, mails: [{ text: address, place }], place };
}
