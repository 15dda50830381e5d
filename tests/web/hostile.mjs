// Books that are made to keep a reader busy. Prints for each the milliseconds and how many entries were reported.
import { readBooks } from '../../contactsync/web/bundle/contactsync.mjs';

const card = (...lines) => ['BEGIN:VCARD', 'VERSION:3.0', 'FN:x', ...lines, 'END:VCARD', ''].join('\n');
const many = (text, count) => text.repeat(count);
const BOOKS = {
  semicolons: card(`TEL${many(';', 60000)}:1`, `TEL${many(';', 60000)}`),
  quotes: card(`TEL;X=${many('"', 60000)}:1`, `TEL;X=${many('";"', 20000)}`),
  brackets: card(`EMAIL:${many('<', 60000)},`, `EMAIL:${many('"<', 30000)},`, `EMAIL:${many(' ', 60000)}@,`),
  spaces: card(`TEL:1${many(' ', 60000)}y`, `TEL:${many('1 ', 2000)}y`),
  lines: card(`TEL:${many('\\n', 30000)}y`, `TEL:${many('\\n ', 1000)}y`),
  dates: card(`TEL:${many('1-1 - 1', 500)}`),
  backslashes: card(`N:${many('\\', 60001)}`, `N:${many('\\;', 30000)}`),
  folds: card('TEL:1', ...Array(50000).fill(' 1')),
  nested: many('BEGIN:VCARD\n', 50000),
  ends: many('END:VCARD\n', 50000),
  script: card('FN:<script>alert(1)</script>', 'TEL:+4915112345678'),
  commas: `name,phone\n${many(',', 300000)}\n`,
  unclosed: `name,phone\n${many('"x\n', 20000)}`,
  headings: `${many("'", 200000)},phone\n1,2\n`,
  hashes: many('# # # 1\n', 20000),
  nothing: many('\0', 300000),
};
for (const [name, text] of Object.entries(BOOKS)) {
  const before = process.cpuUsage();
  const book = readBooks([{ name, octets: new TextEncoder().encode(text) }], { region: 'DE' });
  const { user } = process.cpuUsage(before);
  console.log(JSON.stringify({ name, milliseconds: Math.round(user / 1000), contacts: book.contacts.length, unreadable: book.unreadable.length }));
}
