// Reads each file that is named, and prints the names and identifiers of its contacts.
import { readFileSync } from 'node:fs';
import { readBooks } from '../../contactsync/web/bundle/contactsync.mjs';

const read = (name) => readBooks([{ name, octets: new Uint8Array(readFileSync(name)) }], { region: 'DE' });
const contacts = process.argv.slice(2).map((name) => read(name).contacts.map((one) => [one.name, one.identifiers]));
console.log(JSON.stringify(contacts));
