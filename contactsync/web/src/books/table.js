// Tables (RFC 4180 quoting) with a header whose headings are known, and plain lists of numbers.
import headings from '../headings.js';

const ROLES = new Map(Object.entries(headings).flatMap(([role, names]) => names.map((name) => [name, role])));
const MAX_ROW_LINES = 500;
const HEADER_LINES = 12;

function roleOf(heading) {
  const text = heading.slice(0, 200)
    .replace(/(?<=[a-z])(?=[A-Z][a-z])/g, ' ').replace(/[\s_]+/g, ' ').replace(/^[ '"*:]+|[ '"*:]+$/g, '').toLowerCase();
  const plain = text.replace(/(?<=\p{L})(?=\d{1,2}$)/u, ' ');
  const known = ROLES.get(plain) ?? ROLES.get(plain.replace(/[ _]*\(?\d{1,2}\)?$/, ''));
  if (known) return known;
  return /^phone \d+ - value$/.test(plain) || /(?<!\p{L})(?:phones?|telefon|mobile|tel|handy)(?!\p{L})/u.test(plain) &&
    !/label|type|assist|country|ext/.test(plain) ? 'phone' : 'unknown';
}

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

/** The layout of a table: separator, line of the header, and the roles of its columns; null if it is none. */
export function layoutOf(text) {
  const first = text.split(/\r\n|\r|\n/, HEADER_LINES);
  for (const [at, line] of first.entries())
    for (const separator of [',', ';', '\t', '|']) {
      const { cells } = rowsOf(line, separator).next().value;
      if (cells === null || cells.length < 2) continue;
      const roles = cells.map(roleOf);
      const phones = roles.some((role) => role === 'phone') ? ['phone'] : ['number', 'maybe'];
      if (roles.some((role) => phones.includes(role)) && !cells.some(looksLikeNumber)) return { separator, header: at, roles };
    }
  return null;
}

const bare = (cell) => /^="(.*)"$/.exec(cell)?.[1] ?? /^'(.*)$/.exec(cell)?.[1] ?? cell;

function nameOf(cells, roles) {
  const of = (...wanted) => cells.map((cell) => cell.trim()).filter((cell, i) => cell && wanted.includes(roles[i]));
  const [full] = of('full');
  if (full) return full;
  const name = [...of('given'), ...of('middle'), ...of('family')].join(' ');
  return name || (of('instead')[0] ?? '');
}

/** Entries and faults of a table. */
export function* readTable(text, layout) {
  const { separator, header, roles } = layout;
  const read = roles.map((role, i) => ({ role, i })).filter(({ role }) => role === 'phone' || role === 'maybe' ||
    (role === 'number' && !roles.includes('phone')));
  const passedOver = new Map();
  for (const { line, cells } of rowsOf(text, separator)) {
    if (line <= header + 1) continue;
    const place = `line ${line}`;
    if (cells === null) {
      yield { fault: 'a quotation mark is never closed', hint: 'export it again', place };
      continue;
    }
    if (!cells.some((cell) => cell.trim())) continue;
    const numbers = read.flatMap(({ role, i }) => (cells[i] ?? '').split(':::').map((cell) => bare(cell.trim()))
      .filter((cell) => cell.trim() && (role !== 'maybe' || looksLikeNumber(cell))).map((cell) => ({ text: cell, place })));
    yield { name: nameOf(cells, roles), numbers, place };
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

/** Whether a text is a list with one number a line. */
export function isList(text) {
  const filled = text.split(/\r\n|\r|\n/, 50).map((line) => line.replace(/(?:^|\s)#(?!\s*\d).*/, '').trim()).filter(Boolean);
  return filled.length > 0 && filled.some((line) => /^(?:tel:)?[\s+(]*\d[\d\s()./,;#-]*$/.test(line));
}

/** An entry without a name for each line. */
export function* readList(text) {
  let number = 0;
  for (const line of text.split(/\r\n|\r|\n/)) {
    const place = `line ${++number}`;
    const one = line.replace(/(?:^|\s)#(?!\s*\d).*/, '').trim();
    if (one) yield { name: '', numbers: [{ text: one, place }], place };
  }
}
