// Places of a file by ranges, as the client fetches them. Reads {url, name, length, credential, places: [[start, end]…]} from
// stdin; prints the octets of each in hex, or the error.
import { readFileSync } from 'node:fs';
import { fetchRanges } from '../../contactsync/web/src/byteranges.js';
import { Transport } from '../../contactsync/web/src/transport.js';

const { url, name, length, credential, places } = JSON.parse(readFileSync(0, 'utf8'));
const transport = new Transport(url, credential);
const get = (ranges, limit, options) => transport.ranges(name, ranges, limit, options);
try {
  const parts = await fetchRanges(get, { length }, places.map(([start, end]) => ({ start, end })), { last: true });
  console.log(JSON.stringify({ parts: parts.map((octets) => Buffer.from(octets).toString('hex')) }));
} catch (error) {
  console.log(JSON.stringify({ error }));
}
process.stdout.write('', () => process.exit(0));
