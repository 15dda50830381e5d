// Many books, one after the other, by one client whose state is kept in between. Reads {url, credential, root, books:
// [{name, text, region}]} from stdin; prints for each what was read, and what `contactsync-js sync --json` would print.
import { readFileSync } from 'node:fs';
import { MemoryStore, Transport, readBooks, sync } from '../../contactsync/web/bundle/contactsync.mjs';

process.removeAllListeners('warning');
const { url, credential, root, books } = JSON.parse(readFileSync(0, 'utf8'));
const store = new MemoryStore();
const results = [];
for (const { name, text, region } of books) {
  const book = readBooks([{ name, octets: new TextEncoder().encode(text) }], { region });
  const options = { root: new Uint8Array(Buffer.from(root, 'base64')), cover: false };
  results.push({ read: book.identifiers, found: await sync(store, new Transport(url, credential), book, options) });
}
console.log(JSON.stringify(results));
process.stdout.write('', () => process.exit(0));
