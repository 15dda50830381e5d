// Several books, one after the other, by a client with its state in a folder. Reads {url, credential, root, state, options,
// books: [text of CSV…]} from stdin, and prints for each what `contactsync-js sync --json` would print.
import { readFileSync } from 'node:fs';
import { Transport, readBooks, sync } from '../../contactsync/web/bundle/contactsync.mjs';
import { FolderStore } from '../../contactsync/web/src/node/store.js';

process.removeAllListeners('warning');
const { url, credential, root, state, options, books } = JSON.parse(readFileSync(0, 'utf8'));
const results = [];
for (const text of books) {
  const book = readBooks([{ name: 'book.csv', octets: new TextEncoder().encode(text) }], { region: 'DE' });
  results.push(await sync(new FolderStore(state), new Transport(url, credential), book, { root: new Uint8Array(Buffer.from(root, 'base64')), ...options }));
}
console.log(JSON.stringify(results));
process.stdout.write('', () => process.exit(0));
