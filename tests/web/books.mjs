// Reads each file that is named, and prints the names and identifiers of its contacts, or with --faults what was not read.
import { readFileSync } from 'node:fs';
import { readBooks } from '../../contactsync/web/bundle/contactsync.mjs';

const given = process.argv.slice(2);
const faults = given[0] === '--faults';
const read = (name) => readBooks([{ name, octets: new Uint8Array(readFileSync(name)) }], { region: 'DE' });
const books = given.slice(faults ? 1 : 0).map(read);
console.log(JSON.stringify(books.map((book) => (faults ? book : book.contacts.map((one) => [one.name, one.identifiers])))));
